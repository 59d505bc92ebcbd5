"""What is kept is weighed once, however many names it has."""

from __future__ import annotations

from trueup.engine.leave import Listed, ours

NAMES = ["ghcr.io/acme/app:1", "127.0.0.1:5000/ghcr.io/acme/app@sha256:aa", "ghcr.io/acme/app:2", "elsewhere:1"]


def test_an_image_that_podman_lists_for_each_of_its_names_counts_once() -> None:
    listed = [Listed(id="a", size=100, names=NAMES)] * 3 + [Listed(id="b", size=7, names=["elsewhere:2"])]
    (found,) = ours(listed, {"ghcr.io/acme/app:1", "ghcr.io/acme/app:2"}, ("127.0.0.1:5000/",))
    assert found.size == 100
    assert found.names == tuple(NAMES[:3]), "a name that somebody else gave is not ours to remove"


def test_without_a_registry_only_what_was_built_here_is_ours() -> None:
    assert ours([Listed(id="a", size=1, names=NAMES)], set(), ()) == []
    assert ours([Listed(id="a", size=1)], {"ghcr.io/acme/app:1"}, ()) == []

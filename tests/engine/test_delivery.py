"""How images that were built here get to a cluster's nodes: which registry, under which name, and when not at all."""

from __future__ import annotations

import pytest

from trueup.core.images import image_uses
from trueup.core.model import Object
from trueup.core.objects import body_hash, make_object
from trueup.core.yamldoc import documents
from trueup.drivers.builders.auth import Account
from trueup.drivers.builders.index import Entry
from trueup.drivers.targets.kubernetes.facts import Node
from trueup.engine.cluster import elsewhere
from trueup.engine.delivery import Delivery, RegistryInvalid, RegistrySetting, read_setting
from trueup.ports import BuilderDown, TargetDown

DIGEST = f"sha256:{'a' * 64}"
FOREIGN = f"sha256:{'b' * 64}"
DEPLOYMENT = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  template:
    spec:
      containers:
        - {{name: web, image: "ghcr.io/acme/web:1@{DIGEST}"}}
        - {{name: proxy, image: "envoy:2@{FOREIGN}"}}
"""


class Built:
    """One image was built here; `pushed` by a pipeline or not."""

    def __init__(self, pushed: bool = False) -> None:
        self._pushed = pushed

    def built(self, digest: str) -> Entry | None:
        return Entry("ghcr.io/acme/web:1", DIGEST, "ghcr.io/acme/web", 0.0) if digest == DIGEST else None

    def pushed(self, repository: str, digest: str) -> bool:
        return self._pushed


class Store:
    def __init__(self, accounts: tuple[str, ...] = (), down: str = "") -> None:
        self._accounts, self._down = accounts, down
        self.copies: list[tuple[str, bool]] = []

    async def account(self, repository: str) -> Account | None:
        return Account(auth="x") if repository.startswith(self._accounts or ("-",)) else None

    async def deliver(self, name: str, digest: str, path: str, *, account: Account | None, secure: bool) -> None:
        if self._down:
            raise BuilderDown(self._down)
        self.copies.append((name, secure))


def delivery(
    store: Store, built: Built | None = None, setting: RegistrySetting | None = None, far: str = ""
) -> Delivery:
    async def embedded() -> str:
        return "127.0.0.1:5001"

    async def here() -> str:
        return far

    return Delivery(setting, built or Built(), store, embedded, here)


def web() -> Object:
    (doc,) = documents(DEPLOYMENT.encode(), "web.yaml")
    return make_object(doc.body, doc.place(), image_uses(doc))


def images(each: Object) -> list[str]:
    return [c["image"] for c in each.body["spec"]["template"]["spec"]["containers"]]


async def test_a_registry_by_setting_gets_the_image_and_the_cluster_its_name() -> None:
    store = Store()
    made = delivery(store, setting=read_setting("registry.example:5000/team"))
    (named,) = await made.named([web()])
    assert images(named) == [f"registry.example:5000/team/acme/web:1@{DIGEST}", f"envoy:2@{FOREIGN}"]
    assert named.hash == body_hash(named.body) != web().hash
    assert [use.text for use in named.images] == images(named)
    await made.bring([named])
    await made.bring([named])
    assert store.copies == [(f"registry.example:5000/team/acme/web:trueup-{'a' * 12}", True)]


async def test_with_an_account_the_manifests_own_registry_gets_it_and_nothing_is_renamed() -> None:
    store = Store(("ghcr.io",))
    made = delivery(store, far="elsewhere")
    assert await made.named([web()]) == (web(),)
    await made.bring([web()])
    assert store.copies == [(f"ghcr.io/acme/web:trueup-{'a' * 12}", True)]


async def test_what_a_pipeline_has_pushed_is_not_pushed_again() -> None:
    store = Store()
    made = delivery(store, Built(pushed=True), far="elsewhere")
    assert await made.named([web()]) == (web(),)
    await made.bring([web()])
    assert store.copies == []


async def test_nodes_that_are_this_machine_pull_from_the_embedded_registry() -> None:
    store = Store()
    made = delivery(store)
    (named,) = await made.named([web()])
    assert images(named)[0] == f"127.0.0.1:5001/ghcr.io/acme/web:1@{DIGEST}"
    await made.bring([named])
    assert store.copies == []


async def test_nodes_elsewhere_without_any_way_are_refused_by_name_with_what_to_do() -> None:
    made = delivery(Store(), far="the embedded registry listens on this machine only, and node-1 is elsewhere")
    assert await made.named([web()]) == (web(),)
    with pytest.raises(TargetDown, match=r"ghcr\.io: .* node-1 is elsewhere\. Log in to ghcr\.io .*--image-registry"):
        await made.bring([web()])


async def test_a_push_that_fails_is_the_worlds_fault() -> None:
    made = delivery(Store(down="registry.example does not answer"), setting=read_setting("registry.example"))
    with pytest.raises(TargetDown, match=r"registry\.example does not answer; it is tried again"):
        await made.bring([web()])


async def test_what_was_pushed_before_is_enough_while_the_registry_is_away() -> None:
    store = Store(down="registry.example does not answer")
    made = delivery(store, Built(pushed=True), read_setting("registry.example"))
    await made.bring(await made.named([web()]))


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("registry.example", RegistrySetting("registry.example")),
        ("https://registry.example/a/b/", RegistrySetting("registry.example", "a/b")),
        ("http://10.0.0.1:5000", RegistrySetting("10.0.0.1:5000", "", False)),
        ("127.0.0.1:5000/x", RegistrySetting("127.0.0.1:5000", "x", False)),
    ],
)
def test_the_setting_is_a_host_with_a_prefix(text: str, setting: RegistrySetting) -> None:
    assert read_setting(text) == setting


@pytest.mark.parametrize("text", ["team", "registry.example/Team", "ftp://x.example", ""])
def test_a_setting_that_names_no_registry_is_refused(text: str) -> None:
    with pytest.raises(RegistryInvalid, match="--image-registry"):
        read_setting(text)


def test_the_manifests_own_registry_by_setting_renames_nothing() -> None:
    setting = read_setting("ghcr.io/acme")
    assert setting.repository("ghcr.io/acme/web") == "ghcr.io/acme/web"
    assert setting.repository("ghcr.io/other/web") == "ghcr.io/acme/other/web"


def test_nodes_that_are_elsewhere_are_named() -> None:
    here = Node("a", ("10.0.0.5",))
    assert elsewhere([here], frozenset({"10.0.0.5"})) == ""
    assert elsewhere([here, Node("b", ("10.0.0.6",), takes_pods=False)], frozenset({"10.0.0.5"})) == ""
    assert "b is elsewhere" in elsewhere([here, Node("b", ("10.0.0.6",))], frozenset({"10.0.0.5"}))
    many = [Node(name, ("1.1.1.1",)) for name in "bcdef"]
    assert "b, c, d and 2 more are elsewhere" in elsewhere(many, frozenset())
    assert elsewhere([], frozenset()) == "the cluster has no node"

"""Single objects of a cluster, as people are shown them."""

from __future__ import annotations

from trueup.core.model import Ref
from trueup.core.objects import secret_values
from trueup.drivers.targets.kubernetes.client import Client
from trueup.engine.clusterlook import HIDDEN, Looking, shown

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "token",
        "managedFields": [{"manager": "x"}],
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": '{"data": {"a": "aHVudGVyMg=="}}',
            "b": "c",
        },
    },
    "data": {"a": "aHVudGVyMg=="},
    "stringData": {"d": "hunter3"},
}


def test_nothing_of_a_secrets_values_is_shown() -> None:
    body = shown(SECRET)
    assert body["data"] == {"a": HIDDEN} and body["stringData"] == {"d": HIDDEN}
    assert "aHVudGVyMg" not in str(body) and "managedFields" not in body["metadata"]
    assert body["metadata"]["annotations"]["b"] == "c"
    assert SECRET["data"] == {"a": "aHVudGVyMg=="}


def test_the_values_to_be_masked_are_those_that_readers_see() -> None:
    assert set(secret_values(SECRET)) == {"hunter2", "hunter3"}
    assert secret_values({"kind": "Secret", "data": {"binary": "/w==", "wrong": "%", "number": 1}}) == ()


def test_an_object_is_named_in_several_ways() -> None:
    web = Ref("host", "apps", "Deployment", "shop", "web")
    other = Ref("host", "", "Service", "blog", "web")
    looking = Looking(Client.__new__(Client), [("application/a", web), ("application/b", other)])
    assert looking.named("deployment/web") == looking.named("Deployment/web") == looking.named("shop/web") == [web]
    assert looking.named("web") == looking.named("") == [web, other]
    assert looking.named("web", "application/b") == [other]
    assert looking.named("pod/web") == []

"""Objects that the host refuses: each names the field, what is wrong and what to do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from trueup.core import support
from trueup.core.admission import Admitted, Refusal, admit, percent, quantity, reads, served
from trueup.core.kinds import Deployment
from trueup.core.pods import Config, ConfigMissing, Identity, environment, expand, files

WEB: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "creationTimestamp": None},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "affinity": {"nodeAffinity": {}},
                "serviceAccountName": "web",
                "volumes": [{"name": "conf", "configMap": {"name": "web"}}],
                "containers": [
                    {
                        "name": "web",
                        "image": "ghcr.io/acme/web:1",
                        "ports": [{"containerPort": 8080, "name": "http"}],
                        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}},
                        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                        "volumeMounts": [{"name": "conf", "mountPath": "/conf"}],
                        "envFrom": [{"secretRef": {"name": "web", "optional": True}}],
                    }
                ],
            },
        },
    },
}
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
}
POD = ("spec", "template", "spec")
FIRST = (*POD, "containers", 0)


def put(body: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    out = copy.deepcopy(body)
    at: Any = out
    for part in path[:-1]:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
    at[path[-1]] = value
    return out


REFUSED = {
    "unknown field names the nearest": (put(WEB, (*FIRST, "imagee"), "x"), "did you mean image?"),
    "unknown field far from all": (put(SERVICE, ("spec", "zzz"), 1), "unknown field 'zzz': known here are"),
    "wrong type": (put(WEB, ("spec", "replicas"), "3"), "spec.replicas: must be a whole number"),
    "missing field": (put(WEB, (*POD, "containers"), [{"name": "web"}]), "image is missing"),
    "selector does not match": (
        put(WEB, ("spec", "template", "metadata", "labels"), {"app": "wbe"}),
        "does not match the template, which has app: wbe",
    ),
    "negative replicas": (put(WEB, ("spec", "replicas"), -1), "is negative"),
    "strategy that can replace nothing": (
        put(WEB, ("spec", "strategy"), {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        "nothing could be replaced",
    ),
    "port out of range": (put(WEB, (*FIRST, "ports", 0, "containerPort"), 80800), "80800 is not a port"),
    "probe of a port nobody named": (
        put(WEB, (*FIRST, "readinessProbe"), {"httpGet": {"port": "web"}}),
        "no port of the container is called 'web'",
    ),
    "probe without an action": (put(WEB, (*FIRST, "readinessProbe"), {}), "exactly one of httpGet"),
    "gRPC probe": (put(WEB, (*FIRST, "livenessProbe"), {"grpc": {"port": 1}}), "gRPC probes are not served"),
    "privileged": (put(WEB, (*FIRST, "securityContext"), {"privileged": True}), "owns the machine"),
    "host network": (put(WEB, (*POD, "hostNetwork"), True), "addresses of their own"),
    "host path": (
        put(WEB, (*POD, "volumes"), [{"name": "conf", "hostPath": {"path": "/"}}]),
        "list hostPath under accept: in trueup.yaml",
    ),
    "claim": (
        put(WEB, (*POD, "volumes"), [{"name": "conf", "persistentVolumeClaim": {"claimName": "x"}}]),
        "does not serve it yet",
    ),
    "mount without a volume": (put(WEB, (*POD, "volumes"), []), "no volume is called 'conf'"),
    "mount that leads out": (
        put(WEB, (*FIRST, "volumeMounts"), [{"name": "conf", "mountPath": "/c", "subPath": "../x"}]),
        "leads out of the volume",
    ),
    "two containers of one name": (
        put(WEB, (*POD, "initContainers"), [{"name": "web", "image": "x"}]),
        "two containers are called 'web'",
    ),
    "quantity": (put(WEB, (*FIRST, "resources"), {"limits": {"cpu": "lots"}}), "is not a quantity"),
    "field reference": (
        put(WEB, (*FIRST, "env"), [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
        "status.podIP is not served",
    ),
    "secret that is not base64": (
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "not base64"}},
        "is not base64",
    ),
    "kind misspelt": (put(WEB, ("kind",), "Deploymnt"), "did you mean Deployment?"),
    "old apiVersion": (put(WEB, ("apiVersion",), "extensions/v1beta1"), "write apps/v1"),
    "kind not served": (put(WEB, ("kind",), "StatefulSet"), "does not serve it yet"),
    "network policy": ({"apiVersion": "v1", "kind": "NetworkPolicy"}, "does not filter traffic"),
    "service without ports": (put(SERVICE, ("spec", "ports"), []), "a Service needs a port"),
    "service ports without names": (
        put(SERVICE, ("spec", "ports"), [{"port": 80}, {"port": 81}]),
        "every port needs a name",
    ),
    "service by UDP": (put(SERVICE, ("spec", "ports", 0, "protocol"), "UDP"), "HAProxy carries TCP"),
    "external name": (put(SERVICE, ("spec", "type"), "ExternalName"), "'ExternalName' is not served"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    body, says = REFUSED[name]
    verdict = admit(body)
    assert isinstance(verdict, Refusal)
    assert says in str(verdict)


def test_admitted_with_what_has_no_effect() -> None:
    verdict = admit(WEB)
    assert isinstance(verdict, Admitted)
    assert set(verdict.inert) == {
        "spec.template.spec.affinity",
        "spec.template.spec.serviceAccountName",
        "spec.template.spec.containers[0].resources.requests",
    }


def test_accepted_by_name() -> None:
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x"}}
    assert admit(policy, accepted=("NetworkPolicy",)) == Admitted(None, ("NetworkPolicy",))
    body = put(WEB, (*POD, "volumes"), [{"name": "conf", "hostPath": {"path": "/srv"}}])
    assert isinstance(admit(body, accepted=("hostPath",)), Admitted)


def test_a_selector_cannot_change() -> None:
    after = put(WEB, ("spec", "selector", "matchLabels"), {"app": "web", "tier": "front"})
    after = put(after, ("spec", "template", "metadata", "labels"), {"app": "web", "tier": "front"})
    verdict = admit(after, WEB)
    assert isinstance(verdict, Refusal)
    assert verdict.at == "spec.selector"
    assert isinstance(admit(after), Admitted)


def test_an_immutable_config_map_cannot_change() -> None:
    before = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}, "immutable": True}
    assert isinstance(admit(put(before, ("data", "a"), "2"), before), Refusal)
    assert isinstance(admit(before, before), Admitted)


@pytest.mark.parametrize(("text", "number"), [("500m", 0.5), (2, 2.0), ("64Mi", 67108864.0), ("1.5Gi", 1610612736.0)])
def test_quantities(text: str | int, number: float) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize(("value", "of", "up", "count"), [("25%", 3, True, 1), ("25%", 3, False, 0), (2, 9, True, 2)])
def test_percentages_round_as_kubernetes(value: int | str, of: int, up: bool, count: int) -> None:
    assert percent(value, of, up=up) == count


def test_what_a_pod_reads() -> None:
    body = served(WEB)
    assert isinstance(body, Deployment)
    assert reads(body.spec.template.spec) == (("ConfigMap", "web"), ("Secret", "web"))


def test_the_table_is_in_the_docs() -> None:
    docs = Path(__file__).parents[2] / "docs/host.md"
    assert support.markdown() in docs.read_text()


# --- what a container is given


CONFIG: Config = {"ConfigMap/web": {"A": "YQ==", "not a name": "eA=="}, "Secret/web": {"P": "cA=="}}
ME = Identity("web-1", "default", "uid-1", "host")


def environment_of(env: list[dict[str, Any]], origins: list[dict[str, Any]]) -> dict[str, str]:
    body = served(put(put(WEB, (*FIRST, "env"), env), (*FIRST, "envFrom"), origins))
    assert isinstance(body, Deployment)
    template = body.spec.template
    return environment(template.spec.containers[0], template, CONFIG, ME)


def test_environment_from_everywhere() -> None:
    env = [
        {"name": "HOST", "value": "db"},
        {"name": "URL", "value": "http://$(HOST)/$(NOBODY)/$$(HOST)"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "web", "key": "P"}}},
        {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "Z", "optional": True}}},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
    ]
    assert environment_of(env, [{"configMapRef": {"name": "web"}, "prefix": "W_"}]) == {
        "W_A": "a",
        "HOST": "db",
        "URL": "http://db/$(NOBODY)/$(HOST)",
        "PASSWORD": "p",
        "ME": "web-1",
        "APP": "web",
    }


@pytest.mark.parametrize(
    "source",
    [{"configMapKeyRef": {"name": "web", "key": "Z"}}, {"secretKeyRef": {"name": "nobody", "key": "P"}}],
)
def test_what_is_missing_is_named(source: dict[str, Any]) -> None:
    with pytest.raises(ConfigMissing, match=r"'Z'|'nobody'"):
        environment_of([{"name": "X", "valueFrom": source}], [])


def test_expand_leaves_what_it_does_not_know() -> None:
    assert expand("$(A) $(B) $$(A) $A", {"A": "1"}) == "1 $(B) $(A) $A"


def test_files_of_a_volume() -> None:
    body = served(
        put(WEB, (*POD, "volumes", 0, "configMap", "items"), [{"key": "A", "path": "d/a.txt", "mode": 0o400}])
    )
    assert isinstance(body, Deployment)
    found = files(body.spec.template.spec.volumes[0], CONFIG)
    assert [(f.path, f.data, f.mode) for f in found] == [("d/a.txt", b"a", 0o400)]

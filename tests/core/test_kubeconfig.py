"""Kubeconfig files as people have them."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from trueup.core.kubeconfig import ConfigFault, Exec, in_cluster, resolve

KIND = """\
apiVersion: v1
kind: Config
current-context: dev
clusters:
- name: dev
  cluster: {server: "https://dev.example:6443/", certificate-authority: pki/ca.crt, tls-server-name: api}
- name: prod
  cluster:
    server: https://prod.example
    proxy-url: http://proxy.example:3128
    insecure-skip-tls-verify: true
users:
- name: ann
  user: {client-certificate: ../ann.crt, client-key: /keys/ann.key}
- name: cloud
  user:
    as: deployer
    as-groups: [ops]
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: bin/login
      args: [token, --cluster=prod]
      env: [{name: REGION, value: eu}]
      installHint: install the cloud's tool
      interactiveMode: Never
contexts:
- {name: dev, context: {cluster: dev, user: ann, namespace: shop}}
- {name: prod, context: {cluster: prod, user: cloud}}
"""


def test_the_current_context_with_paths_beside_the_file() -> None:
    found = resolve([("/home/ann/.kube/config", KIND.encode())])
    assert (found.name, found.server, found.namespace) == ("dev", "https://dev.example:6443", "shop")
    assert (found.ca_file, found.server_name) == ("/home/ann/.kube/pki/ca.crt", "api")
    assert (found.user.certificate_file, found.user.key_file) == ("/home/ann/ann.crt", "/keys/ann.key")


def test_another_context_with_a_plugin_and_a_proxy() -> None:
    found = resolve([("/k/config", KIND.encode())], "prod")
    assert (found.proxy, found.insecure, found.namespace) == ("http://proxy.example:3128", True, "default")
    assert (found.user.impersonate, found.user.impersonate_groups) == ("deployer", ("ops",))
    assert found.user.exec == Exec(
        "client.authentication.k8s.io/v1", "/k/bin/login", ("token", "--cluster=prod"), (("REGION", "eu"),),
        "install the cloud's tool",
    )  # fmt: skip


def test_of_several_files_the_first_to_name_a_thing_wins() -> None:
    other = {"current-context": "prod", "clusters": [{"name": "prod", "cluster": {"server": "https://mine.example"}}]}
    found = resolve([("/a", orjson.dumps(other)), ("/b", KIND.encode())])
    assert (found.server, found.user.impersonate) == ("https://mine.example", "deployer")


def config(user: Any, **cluster: Any) -> bytes:
    return orjson.dumps({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://x", **cluster}}],
        "users": [{"name": "u", "user": user}],
    })  # fmt: skip


def test_data_is_decoded() -> None:
    given = base64.b64encode(b"PEM").decode()
    found = resolve([("/a", config({"client-certificate-data": given}, **{"certificate-authority-data": given}))])
    assert (found.ca, found.user.certificate) == (b"PEM", b"PEM")


@pytest.mark.parametrize(
    ("data", "context", "words"),
    [
        (b"", "", "/a: no current-context; name a context"),
        (KIND.encode(), "stage", "no context is named 'stage'; there is: dev, prod"),
        (
            KIND.replace("cluster: dev,", "cluster: gone,").encode(),
            "",
            "names the cluster 'gone', which stands in none",
        ),
        (KIND.replace("https://dev.example:6443/", "dev").encode(), "", "has no server address"),
        (config({"token": "t"}, **{"certificate-authority-data": "%"}), "", "certificate-authority-data is no base64"),
        (config({"auth-provider": {}}), "", "auth-provider, which Kubernetes removed"),
        (config({"exec": {}}), "", "exec has no command"),
        (b"- a list", "", "this is no kubeconfig"),
        (b"a: [", "", "/a:"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, context: str, words: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        resolve([("/a", data)], context)
    assert words in str(caught.value)


def test_in_a_pod_the_service_account_is_used() -> None:
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, "shop\n")
    assert (found.server, found.namespace) == ("https://[fd00::1]:443", "shop")
    assert found.user.token_file.endswith("/token")
    with pytest.raises(ConfigFault, match="this is no pod"):
        in_cluster({})

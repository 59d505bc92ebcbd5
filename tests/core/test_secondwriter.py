from __future__ import annotations

import pytest

from trueup.core.secondwriter import answer


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("kubectl apply -f a.yaml -f b/", ("a.yaml", "b/")),
        ("kubectl apply --filename=a.yaml,b.yaml -n prod", ("a.yaml", "b.yaml")),
        ("kubectl apply -k overlays/prod", ("overlays/prod",)),
        ("kubectl -n prod set image deployment/web web=a:1", ()),
        ("kubectl rollout restart deployment/web", ()),
        ("helm upgrade web ./chart -f values.yaml", ("values.yaml", "./chart")),
        ("helm install web oci://x/chart", ("oci://x/chart",)),
        ("argocd app sync web --prune", ()),
    ],
)
def test_writes_are_recorded(line: str, files: tuple[str, ...]) -> None:
    tool, *argv = line.split()
    said = answer(tool, argv)
    assert said.code == 0
    assert said.intent is not None
    assert said.intent.files == files
    assert "not executed" in said.text


@pytest.mark.parametrize(
    "line",
    [
        "kubectl version --client",
        "kubectl rollout status deployment/web",
        "kubectl config use-context prod",
        "kubectl apply --dry-run=server -f x",
        "helm repo add a https://example.org",
        "argocd login cd.example.org --password x",
        "kubectl",
    ],
)
def test_harmless_words_pass(line: str) -> None:
    tool, *argv = line.split()
    said = answer(tool, argv)
    assert (said.code, said.intent) == (0, None)


@pytest.mark.parametrize(
    "line",
    [
        "kubectl get pods",
        "kubectl delete -f x",
        "kubectl exec web -- sh",
        "kubectl create secret generic x",
        "helm uninstall web",
    ],
)
def test_the_rest_is_refused_by_name(line: str) -> None:
    tool, *argv = line.split()
    said = answer(tool, argv)
    assert (said.code, said.intent) == (1, None)
    assert f"{tool} {argv[0]} is not offered" in said.text


def test_credentials_are_not_recorded() -> None:
    said = answer("helm", ["upgrade", "web", "c", "--set", "password=hush", "--set-string=p=hush"])
    assert said.intent is not None
    assert "hush" not in said.intent.command
    said = answer("kubectl", ["--token", "hush", "apply", "-f", "x"])
    assert said.intent is not None
    assert said.intent.command == "kubectl --token '***' apply -f x"

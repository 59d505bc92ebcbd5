"""What the loop reads of a commit: findings, triggered pipelines, what can be built, what Git states."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from trueup.app import checker
from trueup.core.bundle import make_bundle
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.hooks import Removal, When, hook_of, is_shared
from trueup.core.model import BuiltImage, DriftRules, Leave, Place, Severity
from trueup.core.sealed import Fault, Opened
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.engine.candidate import Look, decides
from trueup.engine.planning import BundleRefused
from trueup.engine.study import RepositoryStudy
from trueup.ports import NoKey

EXAMPLES = Path(__file__).parents[2] / "examples"
TODAY = date(2026, 11, 1)


def files(variant: str, tmp_path: Path) -> dict[str, str | None]:
    runpy.run_path(str(EXAMPLES / "make.py"))["write"](variant, tmp_path / variant)
    root = tmp_path / variant
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


def study_of(remote: MemoryRemote) -> tuple[RepositoryStudy, MemorySource]:
    source = MemorySource(remote)
    return RepositoryStudy({"s": source}, {"s": "shop"}, {"s": "refs/heads/main"}, checker(TODAY)), source


async def test_the_example_has_no_error_and_triggers_both_workflows(tmp_path: Path) -> None:
    remote = MemoryRemote()
    commit = remote.push(files("standard", tmp_path), "first")
    look = await study_of(remote)[0].look("s", commit)
    assert [f for f in look.findings if f.severity is Severity.ERROR] == []
    assert {g.name for g in look.triggered} == {"test", "deploy"}
    assert [(b.repository, b.dockerfile, b.context) for b in look.buildable] == [
        ("ghcr.io/example/python-app", "app/Dockerfile", "app")
    ]


@pytest.mark.parametrize("variant", ["jenkins", "gitlab"])
async def test_pipelines_that_do_not_run_natively_trigger_nothing_and_the_image_is_built_by_convention(
    variant: str, tmp_path: Path
) -> None:
    remote = MemoryRemote()
    commit = remote.push(files(variant, tmp_path), "first")
    look = await study_of(remote)[0].look("s", commit)
    assert look.triggered == ()
    assert [b.repository for b in look.buildable] == ["ghcr.io/example/python-app"]


async def test_path_filters_look_at_the_whole_push(tmp_path: Path) -> None:
    remote = MemoryRemote()
    workflow = "on: {push: {paths: ['app/**']}}\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}\n"
    first = remote.push({".github/workflows/a.yml": workflow, "readme": "1"}, "first")
    remote.push({"app/x": "1"}, "second")
    third = remote.push({"readme": "2"}, "third")
    study, _ = study_of(remote)
    assert len((await study.look("s", third, first)).triggered) == 1
    fourth = remote.push({"readme": "3"}, "fourth")
    assert (await study.look("s", fourth, third)).triggered == ()


async def test_required_pipelines_by_name_the_others_are_advisory(tmp_path: Path) -> None:
    remote = MemoryRemote()
    own = files("standard", tmp_path) | {"trueup.yaml": "pipelines: {required: [test]}\n"}
    look = await study_of(remote)[0].look("s", remote.push(own, "first"))
    assert {g.name: decides(g, look.required) for g in look.triggered} == {"test": True, "deploy": False}


UNRUNNABLE = "jobs: {a: {runs-on: windows-latest, steps: [{uses: 'github/codeql-action/init@v3'}]}}\n"


@pytest.mark.parametrize(
    ("on", "settings", "severity"),
    [
        ("on: push", "", Severity.ERROR),
        ("on: {push: {branches: [main], tags: ['v*']}}", "", Severity.ERROR),
        ("on: {push: {tags: ['v*']}, release: {}}", "", Severity.WARNING),
        ("on: {schedule: [{cron: '0 3 * * *'}], pull_request: {}}", "", Severity.WARNING),
        ("on: workflow_dispatch", "", Severity.WARNING),
        ("on: push", "pipelines: {required: [test]}\n", Severity.WARNING),
        ("on: push", "pipelines: {required: [test, other]}\n", Severity.ERROR),
    ],
)
async def test_what_is_wrong_with_a_workflow_that_decides_nothing_holds_no_push_up(
    on: str, settings: str, severity: Severity, tmp_path: Path
) -> None:
    remote = MemoryRemote()
    own = files("standard", tmp_path) | {".github/workflows/other.yml": f"{on}\n{UNRUNNABLE}"}
    look = await study_of(remote)[0].look("s", remote.push(own | {"trueup.yaml": settings or None}, "first"))
    told = {f.rule: f.severity for f in look.findings if f.place.file.endswith("other.yml")}
    assert told == {"workflow-unsupported": severity, "workflow-unsupported-action": severity}
    assert {f.severity for f in look.findings if not f.place.file.endswith("other.yml")} <= {Severity.NOTE}


async def test_how_a_bad_commit_is_undone_is_read_from_it(tmp_path: Path) -> None:
    remote = MemoryRemote()
    plain = remote.push(files("standard", tmp_path), "first")
    told = remote.push({"trueup.yaml": "undo: pin\n"}, "second")
    study, _ = study_of(remote)
    assert [(await study.look("s", commit)).undo for commit in (plain, told)] == ["", "pin"]


async def test_edits_state_digests_and_a_refused_match_states_nothing(tmp_path: Path) -> None:
    remote = MemoryRemote()
    commit = remote.push(files("standard", tmp_path), "first")
    study, source = study_of(remote)
    image = BuiltImage("ghcr.io/example/python-app", "abc", f"sha256:{'a' * 64}", "k", Place("app/Dockerfile"))
    edits = await study.edits(source, commit, (image,))
    assert list(edits) == ["config/kubernetes-deployment.yaml"]
    assert b"ghcr.io/example/python-app:abc@sha256:aaaa" in edits["config/kubernetes-deployment.yaml"]
    stranger = BuiltImage("ghcr.io/example/other", "abc", f"sha256:{'b' * 64}", "k", Place("app/Dockerfile"))
    assert await study.edits(source, commit, (stranger,)) == {}
    with pytest.raises(BundleRefused, match="other"):
        await study.bundle(
            ApplicationState("application/a"),
            CandidateState("candidate/c", source="s", commit=commit, images={stranger.repository: stranger}),
        )


async def test_what_trueup_yaml_accepts_goes_with_the_bundle(tmp_path: Path) -> None:
    remote = MemoryRemote()
    own = files("standard", tmp_path) | {"trueup.yaml": "accept: [NetworkPolicy]\n"}
    commit = remote.push(own, "first")
    study, _ = study_of(remote)
    bundle = await study.bundle(
        ApplicationState("application/a"), CandidateState("candidate/c", source="s", commit=commit)
    )
    assert bundle.accepted == ("NetworkPolicy",)
    assert {o.ref.kind for o in bundle.objects} == {"ConfigMap", "Service", "Deployment"}


async def test_the_drift_rules_of_trueup_yaml_go_with_the_bundle(tmp_path: Path) -> None:
    remote = MemoryRemote()
    text = "drift: {repair: false, leave: [{kind: Deployment, jsonPointers: [/spec/replicas]}]}\n"
    commit = remote.push(files("standard", tmp_path) | {"trueup.yaml": text}, "first")
    study, _ = study_of(remote)
    bundle = await study.bundle(
        ApplicationState("application/a"), CandidateState("candidate/c", source="s", commit=commit)
    )
    assert bundle.drift == DriftRules((Leave(kind="Deployment", pointers=("/spec/replicas",)),), repair=False)


async def test_a_wrong_trueup_yaml_is_an_error_with_its_line(tmp_path: Path) -> None:
    remote = MemoryRemote()
    commit = remote.push(files("standard", tmp_path) | {"trueup.yaml": "\npipeline: {}\n"}, "first")
    errors = [f for f in (await study_of(remote)[0].look("s", commit)).findings if f.severity is Severity.ERROR]
    assert [(str(f.place), f.rule) for f in errors] == [("trueup.yaml:2", "settings-unknown-key")]


# --- what SOPS encrypted ---------------------------------------------------------------------------


class Opener:
    """The port `Unsealer`: knows what each file holds."""

    def __init__(self, clear: Mapping[str, bytes | Fault]) -> None:
        self.clear, self.asked = clear, 0

    async def open(self, repository: str, files: Mapping[str, bytes]) -> Opened:
        self.asked += 1
        if not self.clear:
            raise NoKey(f"{', '.join(files)}: no key")
        return {path: self.clear[path] for path in files}


BOX = "ENC[AES256_GCM,data:aGk=,iv:aa,tag:bb,type:str]"
SEALED = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: db}}
stringData:
  password: {BOX}
sops:
  mac: {BOX}
"""
CLEAR = b"apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData:\n  password: hunter2\n"
BAD = CLEAR.replace(b"stringData:", b"data:").replace(b"hunter2", b"hunter2!")


def sealed_study(clear: Mapping[str, bytes | Fault]) -> tuple[RepositoryStudy, str, Opener]:
    remote = MemoryRemote()
    commit = remote.push({"k8s/secret.yaml": SEALED, "notes.yaml": f"a: {BOX}\nsops:\n  mac: {BOX}\n"}, "first")
    opener, refs = Opener(clear), {"s": "refs/heads/main"}
    study = RepositoryStudy({"s": MemorySource(remote)}, {"s": "shop"}, refs, checker(TODAY), unsealer=opener)
    return study, commit, opener


async def test_what_sops_encrypted_runs_as_it_is_in_the_clear() -> None:
    study, commit, opener = sealed_study({"k8s/secret.yaml": CLEAR})
    look = await study.look("s", commit)
    assert [f for f in look.findings if f.severity is not Severity.NOTE] == []
    bundle = await study.bundle(ApplicationState(id="a"), CandidateState(id="c", source="s", commit=commit))
    assert [o.body["stringData"] for o in bundle.objects] == [{"password": "hunter2"}]
    assert opener.asked == 1, "one look at a commit opens its files once"


async def test_without_a_key_nothing_is_decided_and_it_is_asked_for_again() -> None:
    study, commit, opener = sealed_study({})
    for count in (1, 2):
        with pytest.raises(NoKey, match=r"k8s/secret\.yaml: no key"):
            await study.look("s", commit)
        assert opener.asked == count


async def test_a_damaged_file_makes_the_commit_red() -> None:
    study, commit, _ = sealed_study({"k8s/secret.yaml": Fault("its MAC does not match", "Restore it.")})
    (error,) = [f for f in (await study.look("s", commit)).findings if f.severity is Severity.ERROR]
    assert (error.rule, str(error.place)) == ("sops-not-opened", "k8s/secret.yaml")


async def test_no_finding_quotes_what_was_sealed() -> None:
    study, commit, _ = sealed_study({"k8s/secret.yaml": BAD})
    findings = (await study.look("s", commit)).findings
    assert [f for f in findings if f.severity is Severity.ERROR], "the host refuses what is no base64"
    assert not [f for f in findings if "hunter2" in f"{f.message} {f.fix}"]


DEFINED = {
    "argocd/shop.yaml": (
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop, namespace: argocd}\n"
        "spec:\n  source: {repoURL: https://git.example/acme/shop, path: config}\n"
        "  destination: {name: in-cluster, namespace: shop}\n"
    ),
    "argocd/tools.yaml": (
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: tools, namespace: argocd}\n"
        "spec:\n  source: {repoURL: git@git.example:acme/shop.git, path: examples/tools}\n"
        "  destination: {server: https://kubernetes.default.svc, namespace: tools}\n"
    ),
    "config/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
    "examples/tools/t.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: t}\n",
    "config/not-named/d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: below}\n",
}


async def looked_at(stated: Mapping[str, str], own: str = "https://git.example/acme/shop") -> Look:
    remote = MemoryRemote()
    addresses = {"s": (own,)} if own else None
    checking = checker(TODAY)
    study = RepositoryStudy(
        {"s": MemorySource(remote)}, {"s": "shop"}, {"s": "refs/heads/main"}, checking, addresses=addresses
    )
    return await study.look("s", remote.push(stated, "first"))


def of_definitions(look: Look) -> set[tuple[Severity, str]]:
    return {(f.severity, f.rule) for f in look.findings if f.rule.startswith("definition-")}


async def test_what_definitions_state_is_what_runs_each_in_its_namespace() -> None:
    look = await looked_at(DEFINED)
    assert [(o.ref.namespace, o.ref.name) for o in look.objects] == [("shop", "c"), ("tools", "t")]
    assert of_definitions(look) == set()


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (
            "repoURL: https://git.example/acme/shop",
            "repoURL: https://git.example/acme/other",
            "definition-not-deployed",
        ),
        ("name: in-cluster", "name: far-away", "definition-not-served"),
        ("path: config}", "path: config, plugin: {name: x}}", "definition-not-served"),
        ("path: config}", "pth: config}", "definition-field-unknown"),
    ],
)
async def test_all_that_definitions_state_is_deployed_or_nothing(old: str, new: str, rule: str) -> None:
    look = await looked_at({**DEFINED, "argocd/shop.yaml": DEFINED["argocd/shop.yaml"].replace(old, new)})
    assert look.objects == ()
    assert (Severity.ERROR, rule) in of_definitions(look)


async def test_nothing_is_guessed_of_a_repository_whose_address_is_not_known() -> None:
    look = await looked_at(DEFINED, own="")
    assert look.objects == ()
    assert of_definitions(look) == {(Severity.ERROR, "definition-not-deployed")}


async def test_a_project_holds_for_what_is_deployed() -> None:
    project = (
        "apiVersion: argoproj.io/v1alpha1\nkind: AppProject\nmetadata: {name: default, namespace: argocd}\nspec:\n"
        "  sourceRepos: ['*']\n  destinations: [{server: '*', namespace: '*'}]\n"
        "  namespaceResourceBlacklist: [{group: '', kind: ConfigMap}]\n"
    )
    assert of_definitions(await looked_at({**DEFINED, "argocd/project.yaml": project})) == {
        (Severity.ERROR, "definition-not-permitted")
    }


async def test_where_trueup_yaml_says_what_runs_definitions_are_only_noted() -> None:
    far = DEFINED["argocd/shop.yaml"].replace("in-cluster", "far-away")
    stated = {"argocd/shop.yaml": far, "config/c.yaml": DEFINED["config/c.yaml"]}
    look = await looked_at({**stated, "trueup.yaml": "environments: [{name: prod, path: config}]\n"})
    assert [str(o.ref) for o in look.objects] == ["configmap/c"]
    assert of_definitions(look) == {(Severity.NOTE, "definition-not-served")}


MADE = (
    "  syncPolicy:\n    syncOptions: [CreateNamespace=true, ApplyOutOfSyncOnly=true]\n"
    "    managedNamespaceMetadata: {labels: {team: shop}, annotations: {note: mine}}\n"
)


async def test_a_namespace_is_made_before_anything_else_where_an_application_asks() -> None:
    look = await looked_at({**DEFINED, "argocd/shop.yaml": DEFINED["argocd/shop.yaml"] + MADE})
    bundle = make_bundle("shop", "c", look.objects)
    assert [o.ref.name for o in bundle.objects] == ["c", "t"]
    (made,) = bundle.hooks
    assert (str(made.ref), str(made.place)) == ("namespace/shop", "argocd/shop.yaml:1")
    assert made.body["metadata"]["labels"] == {"team": "shop"}
    assert made.body["metadata"]["annotations"]["note"] == "mine"
    hook = hook_of(made)
    assert (hook.when, hook.removal, hook.wave) == ({When.PRE_SYNC}, {Removal.FAILED}, -999999999)
    assert is_shared(made.body)
    stated = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {mine: here}}\n"
    own = {**DEFINED, "argocd/shop.yaml": DEFINED["argocd/shop.yaml"] + MADE, "config/n.yaml": stated}
    names = [o for o in (await looked_at(own)).objects if o.ref.kind == "Namespace"]
    assert [o.body["metadata"].get("labels") for o in names] == [{"mine": "here"}]


@pytest.mark.parametrize(
    ("option", "severity", "rule"),
    [
        ("ServerSideApply=false", Severity.ERROR, "sync-option-refused"),
        ("CreateNamespac=true", Severity.WARNING, "sync-option-no-effect"),
        ("Replace=true", Severity.WARNING, "sync-option-no-effect"),
        ("PruneLast=true", None, ""),
    ],
)
async def test_sync_options_of_an_application_are_honoured_or_named(
    option: str, severity: Severity | None, rule: str
) -> None:
    text = DEFINED["argocd/shop.yaml"] + f"  syncPolicy: {{syncOptions: [{option}]}}\n"
    look = await looked_at({**DEFINED, "argocd/shop.yaml": text})
    found = [(f.severity, f.rule) for f in look.findings if f.rule.startswith("sync-option")]
    assert found == ([(severity, rule)] if severity else [])
    assert bool(look.objects) is (severity is not Severity.ERROR)

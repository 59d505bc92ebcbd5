"""Pipeline files of every system: what cannot run, who else writes to the target, what they install by mistake."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from trueup.core.check.rule import Rule, Subject, nearest, one_of
from trueup.core.check.wellknown import ACTIONS, DEPLOYING_ACTIONS
from trueup.core.commands import calls, github_steps
from trueup.core.found import Command, Pipeline
from trueup.core.images import repository_of
from trueup.core.model import Finding, Place, Severity
from trueup.core.yamldoc import Doc, YamlFault, node_at

STEPS_ONLY = Rule(
    "workflow-steps-without-jobs", Severity.ERROR,
    "A GitHub workflow is only `steps:`; GitHub runs `jobs:`, and refuses the file.",
)  # fmt: skip
NO_SUCH_ACTION = Rule(
    "action-unknown", Severity.ERROR,
    "`uses:` names an action that does not exist (of owners whose actions are all known); the nearest real ones are "
    "named.",
)  # fmt: skip
VERSION_NUMBER = Rule(
    "version-read-as-number", Severity.WARNING,
    "A version such as `python-version: 3.10` is written without quotes, and YAML reads 3.1.",
)  # fmt: skip
SECOND_WRITER = Rule(
    "second-writer", Severity.WARNING,
    "A pipeline writes to the target itself (`kubectl apply`, `helm upgrade`, `argocd app sync`): two writers undo "
    "each other. Run by Trueup, the command is recorded and not executed.",
)  # fmt: skip
OWN_NAME = Rule(
    "pip-installs-own-name", Severity.WARNING,
    "`pip install` of the application's own name installs a stranger's package of that name from the public index.",
)  # fmt: skip
RULES = (STEPS_ONLY, NO_SUCH_ACTION, VERSION_NUMBER, SECOND_WRITER, OWN_NAME)


def check(subject: Subject) -> Iterator[Finding]:
    own = _own_names(subject)
    for pipeline in subject.found.pipelines:
        if pipeline.system == "github":
            docs = subject.docs(pipeline.path)
            if not isinstance(docs, YamlFault):  # its parser names that fault
                yield from (finding for doc in docs for finding in _workflow(doc))
        yield from _commands(pipeline, own)


# --- GitHub ----------------------------------------------------------------------------------------


def _workflow(doc: Doc) -> Iterator[Finding]:
    if not isinstance(doc.body, dict):
        return
    if "steps" in doc.body and "jobs" not in doc.body:
        yield STEPS_ONLY.at(
            doc.key_place("steps"), "steps: stands at the top, without jobs:",
            "put them into a job: `jobs:`, under it `build:`, under it `runs-on: ubuntu-latest` and the steps",
        )  # fmt: skip
    for path, where, step in github_steps(doc):
        uses = step.get("uses")
        if isinstance(uses, str):
            yield from _uses(doc.place(*path, "uses"), uses, where)
        yield from _versions(doc, (*path, "with"), step.get("with"))


def _uses(place: Place, uses: str, where: str) -> Iterator[Finding]:
    name = uses.partition("@")[0]
    owner, _, rest = name.partition("/")
    repository = rest.partition("/")[0]
    known = ACTIONS.get(owner.lower())
    if known is not None and repository and repository.lower() not in known:
        near = [f"{owner}/{each}" for each in nearest(repository, known, 3, 0.5)] or [f"{owner}/{min(known)}"]
        yield NO_SUCH_ACTION.at(
            place, f"there is no action {owner}/{repository}", f"Use {one_of(near)}, or commands in a `run:` step.",
        )  # fmt: skip
    if f"{owner}/{repository}".lower() in DEPLOYING_ACTIONS:
        yield _second(place, name, where)


def _versions(doc: Doc, path: tuple[str | int, ...], given: object) -> Iterator[Finding]:
    for name, value in given.items() if isinstance(given, dict) else ():
        node = node_at(doc.root, (*path, name))
        if not str(name).endswith("-version") or node is None or not isinstance(value, (int, float)) or node.style:
            continue
        entry = doc.data.splitlines()[node.line - 1].decode("utf-8", "replace")
        text = entry[node.column - 1 :].split("#")[0].strip(" ,}")
        if re.fullmatch(r"\d+\.\d*0", text):
            yield VERSION_NUMBER.at(
                doc.place(*path, name), f"{name}: {text} is the number {value:g}", f'Quote it: `{name}: "{text}"`.',
            )  # fmt: skip


# --- commands of every system ----------------------------------------------------------------------

_KUBECTL = frozenset({"apply", "create", "replace", "patch", "set", "scale", "delete", "edit", "autoscale", "annotate",
                      "label", "expose", "run"})  # fmt: skip
_WRITING: dict[str, frozenset[str]] = {
    "kubectl": _KUBECTL,
    "oc": _KUBECTL,
    "helm": frozenset({"upgrade", "install", "uninstall", "rollback", "delete"}),
    "helmfile": frozenset({"apply", "sync", "destroy"}),
    "kustomize": frozenset(),
}
_ARGOCD_APP = frozenset({"sync", "set", "create", "delete", "rollback", "patch"})
_ROLLOUT = frozenset({"restart", "undo", "pause", "resume"})


def writes(words: list[str]) -> str:
    """The writing command in a call, as "kubectl apply"; "" when it only reads."""
    program, rest = posixpath.basename(words[0]), _without_options(words[1:])
    if program in ("kubectl", "oc") and rest[:1] == ["rollout"] and rest[1:2] and rest[1] in _ROLLOUT:
        return f"{program} rollout {rest[1]}"
    if program == "argocd" and rest[:1] == ["app"] and rest[1:2] and rest[1] in _ARGOCD_APP:
        return f"argocd app {rest[1]}"
    if program == "flux" and rest[:1] == ["reconcile"]:
        return "flux reconcile"
    if rest[:1] and rest[0] in _WRITING.get(program, ()):
        dry = any(word.startswith("--dry-run") and not word.endswith("=none") for word in words)
        return "" if dry else f"{program} {rest[0]}"
    return ""


_WITH_VALUE = frozenset({"-n", "--namespace", "--context", "--kubeconfig", "--kube-context", "-s", "--server",
                         "--token", "--user", "--cluster", "-f", "--file", "-e", "--environment"})  # fmt: skip


def _without_options(words: list[str]) -> list[str]:
    """The words that are neither options nor the values of those that stand before a verb."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in _WITH_VALUE
        else:
            kept.append(word)
    return kept


def _commands(pipeline: Pipeline, own: dict[str, str]) -> Iterator[Finding]:
    for command in pipeline.commands:
        for words in calls(command.text):
            if verb := writes(words):
                yield _second(command.place, verb, command.where)
            yield from _pip(command, words, own)


def _second(place: Place, verb: str, where: str) -> Finding:
    what = f"`{verb}`" + (f" in {where}" if where else "")
    return SECOND_WRITER.at(
        place, f"{what} writes to the target beside Trueup",
        "Remove it: a green commit is deployed by Trueup. Until then it is recorded, not executed, in Trueup's runs.",
    )  # fmt: skip


def _pip(command: Command, words: list[str], own: dict[str, str]) -> Iterator[Finding]:
    for name in installed(words):
        if origin := own.get(_normal(name)):
            yield OWN_NAME.at(
                command.place, f"`pip install {name}` installs whoever's package has that name; {origin} is not it",
                f"Remove {name}; install the requirements (`pip install -r requirements.txt`) and test the files here.",
            )  # fmt: skip


def installed(words: list[str]) -> list[str]:
    """The package names that a `pip install` call takes from an index."""
    words = words[2:] if len(words) > 2 and words[0].startswith("python") and words[1] == "-m" else words
    words = words[1:] if words[:1] == ["uv"] else words
    if len(words) < 2 or not re.fullmatch(r"pip[\d.]*", words[0]) or words[1] != "install":
        return []
    names: list[str] = []
    skip = False
    for word in words[2:]:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in ("-r", "-e", "-c", "-t", "-i", "--requirement", "--editable", "--constraint", "--target",
                            "--index-url", "--extra-index-url", "--find-links", "-f", "--prefix", "--root")  # fmt: skip
        elif found := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*(?=$|[\[<>=!~; @])", word):
            names.append(found.group())
    return names


def _normal(name: str) -> str:
    """Source: PEP 503, normalized names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _own_names(subject: Subject) -> dict[str, str]:
    """normalised name → where it comes from: modules beside a Dockerfile, images built here, the repository."""
    contexts = {dockerfile.context for dockerfile in subject.found.dockerfiles}
    own: dict[str, str] = {_normal(subject.found.name): "this repository"}
    for pipeline in subject.found.pipelines:
        for build in pipeline.builds:
            own |= {
                _normal(repository_of(r).rpartition("/")[2]): f"the image built at {build.place}"
                for r in build.references
            }
    for path in subject.tree:
        folder, _, name = path.rpartition("/")
        if (folder or ".") in contexts and name.endswith(".py") and not name.startswith(("test_", "__", "setup.")):
            own[_normal(name[:-3])] = path
    for path in subject.found.requirements:
        for line in (subject.text(path) or "").splitlines():
            own.pop(_normal(re.split(r"[\[<>=!~; @#]", line.strip(), maxsplit=1)[0]), None)
    own.pop("", None)
    return own

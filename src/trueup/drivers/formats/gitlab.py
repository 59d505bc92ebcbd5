"""`.gitlab-ci.yml`: found, named and shown as stages and jobs; not run natively yet.

Source: GitLab Docs, "CI/CD YAML syntax reference".
"""

from __future__ import annotations

from collections.abc import Iterator

from trueup.core.model import Finding, Place, Severity
from trueup.core.pipeline import Graph, Job, Parsed, RunStep, Trigger
from trueup.core.text import shown
from trueup.drivers.formats.yamlnodes import Mapping, Node, Scalar, Sequence, YamlError, read

GLOBALS = frozenset(
    {"after_script", "before_script", "cache", "default", "image", "include", "pages", "services", "spec"}
    | {"stages", "types", "variables", "workflow"}
)
STAGES = (".pre", "build", "test", "deploy", ".post")


def owns(path: str) -> bool:
    return path in (".gitlab-ci.yml", ".gitlab-ci.yaml")


def parse(path: str, content: bytes) -> Parsed:
    """The jobs with their scripts, ordered by stages; `native` is False."""
    try:
        node = read(content)
    except YamlError as error:
        place = Place(path, error.line, error.column)
        finding = Finding(Severity.WARNING, "gitlab-yaml", place, str(error), error.fix)
        return Parsed(graph=None, findings=(finding,), native=False)
    if not isinstance(node, Mapping):
        finding = Finding(Severity.WARNING, "gitlab-yaml", Place(path), "the file is empty or no mapping", "add a job")
        return Parsed(graph=None, findings=(finding,), native=False)
    note = Finding(
        Severity.NOTE,
        "gitlab-not-native",
        Place(path, 1),
        "GitLab CI is shown, not run by Trueup yet",
        "keep GitLab's runners for it, or describe the required checks as a GitHub workflow",
    )
    return Parsed(graph=_graph(path, node), findings=(note, *_includes(path, node.get("include"))), native=False)


def _includes(path: str, node: Node | None) -> Iterator[Finding]:
    """Source: GitLab Docs, "CI/CD YAML syntax reference", include."""
    for item in node.items if isinstance(node, Sequence) else (node,) if node is not None else ():
        parts = item.entries if isinstance(item, Mapping) else ()
        named = [f"{key.text} {' '.join(_texts(value))}" for key, value in parts if key.text not in ("rules", "inputs")]
        what = shown(", ".join(named) or " ".join(_texts(item)))
        yield Finding(
            Severity.NOTE,
            "gitlab-include",
            Place(path, item.line, item.column),
            f"the jobs of {what} are not shown: what is included is not read",
            "nothing, while GitLab runs them",
        )


def _graph(path: str, node: Mapping) -> Graph:
    stages = _texts(node.get("stages")) or STAGES
    found = [(key, value) for key, value in node.entries if _is_job(key, value)]
    by_stage: dict[str, list[str]] = {}
    for key, value in found:
        by_stage.setdefault(_stage(value), []).append(key.text)
    jobs = tuple(_job(path, key, value, stages, by_stage, node) for key, value in found)
    order = {stage: at for at, stage in enumerate(stages)}
    return Graph(
        name="GitLab CI",
        place=Place(path, node.line),
        dialect="gitlab",
        jobs=tuple(sorted(jobs, key=lambda job: order.get(job.environment, len(order)))),
        triggers=(Trigger(event="push"),),
    )


def _is_job(key: Scalar, value: Node) -> bool:
    return key.text not in GLOBALS and not key.text.startswith(".") and isinstance(value, Mapping)


def _stage(value: Node) -> str:
    stage = value.get("stage") if isinstance(value, Mapping) else None
    return stage.text if isinstance(stage, Scalar) else "test"


def _job(
    path: str, key: Scalar, value: Node, stages: tuple[str, ...], by_stage: dict[str, list[str]], top: Mapping
) -> Job:
    assert isinstance(value, Mapping)
    stage = _stage(value)
    before = stages[: stages.index(stage)] if stage in stages else ()
    explicit = value.get("needs")
    needs = _needs(explicit) if explicit else tuple(id for each in reversed(before) for id in by_stage.get(each, ()))
    scripts = [_script(path, value.get(part) or top.get(part)) for part in ("before_script", "script", "after_script")]
    return Job(
        id=key.text,
        place=Place(path, key.line, key.column),
        name=f"{stage}: {key.text}",
        needs=needs,
        environment=stage,
        steps=tuple(step for step in scripts if step),
    )


def _needs(node: Node) -> tuple[str, ...]:
    items = node.items if isinstance(node, Sequence) else ()
    named = [item.get("job") if isinstance(item, Mapping) else item for item in items]
    return tuple(name.text for name in named if isinstance(name, Scalar))


def _script(path: str, node: Node | None) -> RunStep | None:
    lines = _texts(node)
    if not lines or node is None:
        return None
    first = node.items[0] if isinstance(node, Sequence) and node.items else node
    return RunStep(place=Place(path, first.line, first.column), script="\n".join(lines))


def _texts(node: Node | None) -> tuple[str, ...]:
    if isinstance(node, Scalar):
        return (node.text,)
    if isinstance(node, Sequence):
        return tuple(text for item in node.items for text in _texts(item))
    return ()

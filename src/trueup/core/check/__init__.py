"""What is wrong with a commit before anything of it runs: rules by family, each finding with its place and what to do.

Pure: gets contents, never fetches; a rule that does not understand a file stays silent. What must not hold up a
deployment is no ERROR: monitoring, Terraform and other people's habits are warnings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from trueup.core.check import endoflife, monitoring, ordering, pipelines, promql, terraform, workloads
from trueup.core.check.rule import Rule, Subject
from trueup.core.found import Found
from trueup.core.manifests import Rendered
from trueup.core.model import Finding, Oid, Severity, Tree

FAMILIES = (workloads, ordering, pipelines, endoflife, monitoring, terraform)

# Findings of the conventions and the renderer, which are made while reading
READING = (
    Rule("manifest-unreadable", Severity.ERROR, "A manifest is no YAML as Kubernetes reads it, too large, a symbolic "
         "link, a submodule or an LFS pointer."),
    Rule("manifest-invalid", Severity.ERROR, "A document among the manifests is no Kubernetes object."),
    Rule("sops-not-opened", Severity.ERROR, "A file that SOPS encrypted was changed afterwards, or is damaged."),
    Rule("encrypted-not-read", Severity.NOTE, "A file that SOPS encrypted: `trueup check` opens none."),
    Rule("object-stated-twice", Severity.ERROR, "Two documents state the same object."),
    Rule("application-unclear", Severity.ERROR, "More than one kustomization, chart or Jsonnet file could be what "
         "runs, or `environments` of trueup.yaml names nothing that can; the lines to write are told."),
    Rule("chart-beside-manifests", Severity.WARNING, "A Helm chart beside plain manifests: the manifests run."),
    Rule("render-failed", Severity.ERROR, "A kustomization, chart or Jsonnet file cannot be rendered."),
    Rule("render-warning", Severity.WARNING, "A render has something to say, such as a key that a chart states twice."),
    Rule("render-differs", Severity.WARNING, "A template gives something else each time (`randAlphaNum`, `now`); "
         "it is rendered again only when its inputs change."),
    Rule("definition-cycle", Severity.WARNING, "Applications of Argo CD or Flux state one another; the path is told."),
    Rule("definition-field-unknown", Severity.ERROR, "A definition has a field that its product does not know; the "
         "nearest is named."),
    Rule("definition-invalid", Severity.ERROR, "A field of a definition has a value of another type than it takes, or "
         "a project says what Argo CD refuses."),
    Rule("definition-not-deployed", Severity.ERROR, "Definitions state what should run, and `trueup up` does not "
         "deploy by them yet. A note when trueup.yaml names an environment."),
    Rule("definition-not-permitted", Severity.ERROR, "An application asks for what its project does not permit."),
    Rule("definition-not-served", Severity.ERROR, "A field, source or destination of a definition is not served; why, "
         "and what to do ([definitions.md](definitions.md))."),
    Rule("submodule", Severity.NOTE, "A submodule's files are not part of the commit."),
    Rule("image-ambiguous", Severity.ERROR, "Which built image a manifest means cannot be told; both places are "
         "named."),
    Rule("image-unmatched", Severity.ERROR, "A built image is used by no manifest. A note when others are used."),
    Rule("image-not-spliceable", Severity.WARNING, "An image is written with escapes or over lines: it runs pinned, "
         "but Git cannot be made to say so."),
)  # fmt: skip
RULES: tuple[Rule, ...] = (
    *READING, *workloads.RULES, *ordering.RULES, *pipelines.RULES, *endoflife.RULES, *monitoring.RULES, *promql.RULES,
    *terraform.RULES,
)  # fmt: skip

# A finding that says more, of the same line, makes the other superfluous
SAYS_MORE = {"workflow-unsupported-action": "action-unknown"}
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


def check(
    tree: Tree,
    blobs: Mapping[Oid, bytes],
    found: Found,
    rendered: Rendered,
    *,
    today: date,
    target: str = "host",
    accepted: frozenset[str] = frozenset(),
) -> tuple[Finding, ...]:
    """Everything the rules have to say; the findings of `found` and `rendered` themselves are not repeated.

    `blobs` holds at least what `convention.wanted(tree)` names; `accepted` is what trueup.yaml accepts by name.
    """
    subject = Subject(tree, blobs, found, rendered.manifests, today, target, accepted)
    return merged(finding for family in FAMILIES for finding in family.check(subject))


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of several readers of the same files, each thing told once, errors first, then by place."""
    first: dict[tuple[object, str], Finding] = {}
    for finding in findings:
        first.setdefault((finding.place, finding.rule), finding)
    lines = {(f.place.file, f.place.line, f.rule) for f in first.values()}
    kept = [
        finding
        for finding in first.values()
        if (finding.place.file, finding.place.line, SAYS_MORE.get(finding.rule, "")) not in lines
    ]
    return tuple(sorted(kept, key=lambda f: (_ORDER[f.severity], f.place, f.rule)))


def worst(findings: Sequence[Finding]) -> Severity | None:
    """The gravest severity among the findings; None when there is none."""
    return min((f.severity for f in findings), key=_ORDER.__getitem__, default=None)

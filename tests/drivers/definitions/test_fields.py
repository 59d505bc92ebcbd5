"""Each field of the upstream schemas is served, served differently or refused; nothing else is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trueup.core.fields import How, Kind, Tables
from trueup.drivers.definitions import argocd, flux

FACTS = Path(__file__).parent / "fields"
KINDS = (*argocd.KINDS, *flux.KINDS)
TABLES = Tables(KINDS)


def facts(kind: Kind) -> tuple[str, set[str]]:
    """The stored version and the paths of a kind, as `scripts/crd-fields` wrote them down."""
    name = f"{kind.group.partition('.')[0]}-{kind.name.lower()}.txt"
    first, _, *lines = (FACTS / name).read_text().splitlines()
    return first.split()[1], {line.split()[0] for line in lines}


def test_every_kind_has_a_table() -> None:
    assert {path.name for path in FACTS.iterdir()} == {
        f"{kind.group.partition('.')[0]}-{kind.name.lower()}.txt" for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_field_upstream_is_in_the_table(kind: Kind) -> None:
    version, upstream = facts(kind)
    assert version == f"{kind.group}/{kind.version}"
    stated = [field.path for field in kind.fields]
    assert not upstream - set(stated), "neither served, served differently nor refused"
    assert not set(stated) - upstream, "no such field upstream"
    assert len(stated) == len(set(stated)), "stated twice"


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_what_is_not_simply_served_says_how_or_why(kind: Kind) -> None:
    assert not [f.path for f in kind.fields if f.how is not How.SERVED and len(f.note.split()) < 4]


def test_what_asks_for_nothing_is_not_refused() -> None:
    body = {"spec": {"url": "x", "recurseSubmodules": False, "ignore": ""}}
    assert list(TABLES.walk("source.toolkit.fluxcd.io", "GitRepository", body)) == []
    (met,) = TABLES.walk("source.toolkit.fluxcd.io", "GitRepository", {"spec": {"recurseSubmodules": True}})
    assert met.path == ("spec", "recurseSubmodules") and met.field is not None and met.field.how is How.REFUSED


def test_a_field_that_nobody_knows_names_the_nearest() -> None:
    body = {"spec": {"sources": [{"repoURL": "x"}, {"helm": {"valuesFiles": ["a"]}}]}}
    (met,) = TABLES.walk("argoproj.io", "Application", body)
    assert met.path == ("spec", "sources", 1, "helm", "valuesFiles")
    assert (met.field, met.nearest) == (None, "valueFiles")


def test_a_template_reads_like_an_application_and_a_nested_generator_like_the_outer_one() -> None:
    plugin = {"plugin": {"configMapRef": {"name": "x"}}}
    template = {"spec": {"source": {"plugin": {"name": "cue"}}}}
    body = {"spec": {"generators": [{"matrix": {"generators": [{"merge": {"generators": [plugin]}}]}}],
                     "template": template}}  # fmt: skip
    found = ["/".join(map(str, met.path)) for met in TABLES.walk("argoproj.io", "ApplicationSet", body)]
    assert found == [
        "spec/generators/0/matrix/generators/0/merge/generators/0/plugin/configMapRef/name",
        "spec/template/spec/source/plugin/name",
    ]


def test_the_page_is_as_the_tables_say() -> None:
    script = Path(__file__).parents[3] / "scripts/definitions-docs"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


RECORDS: dict[str, type] = {
    "Application": argocd.resources.Application,
    "AppProject": argocd.resources.Project,
    "ApplicationSet": argocd.resources.ApplicationSet,
    "GitRepository": flux.resources.GitSpec,
    "OCIRepository": flux.resources.OciSpec,
    "HelmRepository": flux.resources.HelmRepositorySpec,
    "HelmChart": flux.resources.HelmChartSpec,
    "Kustomization": flux.resources.KustomizationSpec,
    "HelmRelease": flux.resources.HelmReleaseSpec,
}
# Read from the body itself: filled in as a whole, or told as it stands.
AS_WRITTEN = ("spec.template.", "spec.generators[].")


def paths(kind: msgspec.inspect.Type, at: str) -> Iterator[str]:
    if isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:
            yield from paths(one, at)
    elif isinstance(kind, msgspec.inspect.StructType):
        for field in kind.fields:
            yield from paths(field.type, f"{at}.{field.encode_name}")
    elif isinstance(kind, msgspec.inspect.VarTupleType) and isinstance(kind.item_type, msgspec.inspect.StructType):
        yield from paths(kind.item_type, at + "[]")
    else:
        yield at


@pytest.mark.parametrize("kind", [k for k in KINDS if k.name in RECORDS], ids=lambda kind: kind.name)
def test_what_is_served_is_read(kind: Kind) -> None:
    record = RECORDS[kind.name]
    start = "" if "spec" in record.__struct_fields__ else ".spec"
    read = {path.removeprefix(".") for path in paths(msgspec.inspect.type_info(record), start)}
    served = {field.path for field in kind.fields if field.how is How.SERVED and not field.path.startswith(AS_WRITTEN)}
    assert not served - read, "called served, and no record has it"


def test_what_has_no_record_is_nowhere_called_served() -> None:
    for kind in KINDS:
        if kind.name not in RECORDS:
            assert not [field.path for field in kind.fields if field.how is How.SERVED]

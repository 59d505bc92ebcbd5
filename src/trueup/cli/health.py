"""`trueup health`: judges manifests as they were read from a cluster. Asks no cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec
import orjson
from msgspec import Struct

from trueup.app import render_workers
from trueup.cli import exits
from trueup.cli.common import output_option, run
from trueup.cli.errors import Away, Stop
from trueup.core.health.live import Found, group_of, live_health
from trueup.core.health.rules import Rule, RulesWrong, read
from trueup.core.model import Health, Json
from trueup.core.objects import dig
from trueup.core.yamldoc import Limits, YamlFault, documents
from trueup.engine.judging import judge_all
from trueup.ports import RendererDown, RenderFailed

LIMITS = Limits(
    size_bytes=512 << 20, documents=1_000_000, aliased=1_000_000
)  # a person's own files, not a repository's


class Judged(Struct, frozen=True):
    """One object: "deployment/web" and how it is."""

    file: str
    ref: str
    health: str
    reason: str
    group: str = ""
    namespace: str = ""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--rules",
    "rule_files",
    multiple=True,
    metavar="FILE",
    help="Your own rules: an argocd-cm, a Flux Kustomization with healthCheckExprs, or such a list. May be repeated.",
)
@click.option(
    "--exit-code", is_flag=True, help="End with 1 when something is degraded, 4 when something is on its way."
)
@output_option
def health(files: tuple[str, ...], rule_files: tuple[str, ...], exit_code: bool, output: str) -> None:
    """Judge objects as they were read from a cluster, by the rules that a rollout is judged by.

    FILE is YAML or JSON as `kubectl get -o yaml` gives it, lists included; `-` is the standard input. With
    --output json each object is one line: file, ref, health, reason, group, namespace.

    --rules takes the Lua of `resource.customizations.health.GROUP_KIND` and the CEL of `healthCheckExprs`; a rule of
    yours counts before the built-in one of its kind. Rules run in the render worker, a second for each object.

    \b
    Examples:
      trueup health deployment.yaml
      kubectl get all -o json | trueup health - --exit-code
      trueup health widgets.yaml --rules argocd-cm.yaml
      trueup health dump/*.yaml --output json | jq -r 'select(.health != "healthy").ref'
    """
    seen: set[str] = set()
    rules = [rule for file in rule_files for rule in _rules(file)]
    for file in files:
        for judged in _judge(file, rules):
            seen.add(judged.health)
            click.echo(msgspec.json.encode(judged) if output == "json" else _line(judged))
    if exit_code:
        sys.exit(_code(seen))


def _code(seen: set[str]) -> int:
    if Health.DEGRADED.value in seen:
        return exits.FAILED
    waits = {Health.PROGRESSING.value, Health.UNKNOWN.value}
    return exits.WAITS if seen & waits else exits.DONE


def _line(judged: Judged) -> str:
    where = f"{judged.namespace}/" if judged.namespace else ""
    reason = f": {judged.reason}" if judged.reason else ""
    return f"{judged.file}: {where}{judged.ref}: {judged.health}{reason}"


def _rules(file: str) -> tuple[Rule, ...]:
    try:
        return read(_read(file), file)
    except RulesWrong as wrong:
        raise Stop(str(wrong)) from wrong


def _judge(file: str, rules: Sequence[Rule]) -> Iterator[Judged]:
    for body, found in _found(file, rules):
        name, namespace = (str(dig(body, ("metadata", key)) or "") for key in ("name", "namespace"))
        ref = f"{body['kind'].lower()}/{name}"
        yield Judged(file, ref, found.health.value, found.reason, group_of(body), namespace)


def _found(file: str, rules: Sequence[Rule]) -> Iterator[tuple[Json, Found]]:
    if not rules:
        yield from ((body, live_health(body)) for body in _objects(file))
        return
    bodies = list(_objects(file))
    yield from zip(bodies, run(_by_rules(bodies, rules)), strict=True)


async def _by_rules(bodies: Sequence[Json], rules: Sequence[Rule]) -> tuple[Found, ...]:
    async with render_workers(os.environ, size=1) as workers:
        try:
            return await judge_all(bodies, rules, workers)
        except RenderFailed as error:
            raise Stop(str(error)) from error
        except RendererDown as error:
            raise Away(str(error)) from error


def _objects(file: str) -> Iterator[Json]:
    for body in _bodies(file):
        if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
            raise Stop(
                f"{file}: this is no Kubernetes object: each one is a mapping with apiVersion, kind and metadata"
            )
        yield body


def _bodies(file: str) -> Iterator[Json]:
    """Every object of a file; the items of a list one by one."""
    data = _read(file)
    if data.lstrip()[:1] == b"{":
        try:
            yield from _flat(orjson.loads(data))
            return
        except orjson.JSONDecodeError:
            pass  # YAML may begin with a brace too
    try:
        for doc in documents(data, file, limits=LIMITS):
            yield from _flat(doc.body)
    except YamlFault as fault:
        raise Stop(str(fault)) from fault


def _flat(body: Json) -> Iterator[Json]:
    if isinstance(body, dict) and isinstance(body.get("items"), list) and str(body.get("kind")).endswith("List"):
        for item in body["items"]:
            yield from _flat(item)
    elif body is not None:
        yield body


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Away(f"{file}: {error.strerror}; give a file, or - for the standard input") from error

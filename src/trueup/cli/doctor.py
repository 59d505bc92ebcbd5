"""`trueup doctor`: what is missing on this machine, push rights included, and the command that mends it."""

from __future__ import annotations

import os
from pathlib import Path

import click
from msgspec import Struct, structs
from rich.console import Console
from rich.text import Text

from trueup.app import Options, accounts, open_sources
from trueup.cli import exits
from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.drivers.renderers import program
from trueup.drivers.secrets.vault import FileVault
from trueup.engine.cluster import Way, kept
from trueup.engine.clusterdoctor import examine_cluster
from trueup.engine.doctor import Check, Host, State, examine
from trueup.store.state import vault_key


class Diagnosis(Struct, frozen=True):
    checks: tuple[Check, ...]
    missing: int
    warnings: int


@click.command()
@click.argument("repositories", nargs=-1, metavar="[REPO]...")
@click.option("--registry", default="docker.io", show_default=True, help="The registry that base images come from.")
@click.option("--target", type=click.Choice(["host", "kubernetes"]), help="Where it runs. [default: as `up` had it]")
@click.option("--kubeconfig", default="", metavar="FILE", help="With kubernetes. [default: as kubectl finds it]")
@click.option("--context", default="", help="With kubernetes: the kubeconfig's context. [default: its current one]")
@click.option("--namespace", default="", help="Of objects that state none. [default: the context's]")
@click.option(
    "--image-registry", default="", metavar="HOST/PREFIX", help="Where built images are pushed to and nodes pull from."
)
@state_option
@output_option
@click.pass_context
def doctor(
    ctx: click.Context,
    repositories: tuple[str, ...],
    registry: str,
    target: str | None,
    kubeconfig: str,
    context: str,
    namespace: str,
    image_registry: str,
    state: str | None,
    output: str,
) -> None:
    """What is missing on this machine, and the command that mends it.

    With REPO (a path or a URL) also whether it can be read and pushed to. Nothing is installed or changed.

    \b
    Examples:
      trueup doctor
      trueup doctor git@git.example:shop.git
      trueup doctor --target kubernetes --context staging --image-registry registry.example/team
      trueup doctor --output json | jq '.checks[] | select(.state == "missing") | .fix'
    """
    where = layout(state)
    way = kept(where)
    if target:
        way = Way(
            target=target, kubeconfig=kubeconfig, context=context, namespace=namespace, image_registry=image_registry
        )
    options = Options(layout=where, repositories=repositories, environ=dict(os.environ), way=way)
    found = run(_examine(options, registry))
    emit(found, output, _show)
    if found.missing:
        ctx.exit(exits.FAILED)


async def _examine(options: Options, registry: str) -> Diagnosis:
    environ = options.environ
    home = Path(environ.get("HOME", "/root"))
    host = Host(
        layout=options.layout,
        registry=registry,
        proxy=environ.get("HTTPS_PROXY", environ.get("https_proxy", "")),
        known_hosts=(str(home / ".ssh/known_hosts"), "/etc/ssh/ssh_known_hosts"),
        renderer=program.find(environ.get("TRUEUP_RENDER", "")),
        sops=program.find(environ.get("TRUEUP_SOPS", ""), program.SOPS_PROGRAM),
    )
    cluster = await examine_cluster(options.way, environ, accounts(environ)) if options.way.target != "host" else ()
    if not options.repositories:
        return _diagnosis((*await examine(host), *cluster))
    Path(options.layout.root).mkdir(mode=0o700, parents=True, exist_ok=True)
    sources, watched = await open_sources(options, FileVault(options.layout.secrets, vault_key(options.layout)))
    try:
        push = tuple((watched[id].name, watched[id].branch, source) for id, source in sources.items())
        ssh = [s for s in sources.values() if s.address.scheme == "ssh"]
        hosts = tuple(f"[{s.address.host}]:{s.address.port}" if s.address.port else s.address.host for s in ssh)
        given = tuple(s.known_hosts for s in ssh if s.known_hosts)
        known = given or host.known_hosts
        found = await examine(structs.replace(host, push=push, ssh_hosts=hosts, known_hosts=known))
        return _diagnosis((*found, *cluster))
    finally:
        for source in sources.values():
            await source.close()


def _diagnosis(checks: tuple[Check, ...]) -> Diagnosis:
    return Diagnosis(
        checks,
        sum(c.state is State.MISSING for c in checks),
        sum(c.state is State.WARNING for c in checks),
    )


SIGN = {State.OK: ("✔", "green"), State.NOTE: ("·", "dim"), State.WARNING: ("!", "yellow"), State.MISSING: ("✘", "red")}


def _show(found: Diagnosis, console: Console) -> None:
    for check in found.checks:
        sign, style = SIGN[check.state]
        console.print(Text.assemble((f"{sign} ", style), (f"{check.name}: ", "bold"), check.message), soft_wrap=True)
        if check.fix:
            console.print(Text(f"    {check.fix}", style), soft_wrap=True)
    if not found.missing:
        console.print("ready" if not found.warnings else f"ready, with {found.warnings} warnings")
        return
    console.print(f"{found.missing} missing: run what stands below each")

"""`trueup secret set|list|remove`: values come from standard input or a prompt, never from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trueup.cli import exits, reading
from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.cli.errors import Away, Stop, Unknown
from trueup.core.layout import Layout

if TYPE_CHECKING:
    from trueup.drivers.secrets.vault import FileVault

T = TypeVar("T")

EXAMPLES = """\b
Examples:
  trueup secret set REGISTRY_TOKEN               asks for the value
  trueup secret set KEY --environment production < key.pem
  trueup secret list
  trueup secret remove REGISTRY_TOKEN"""


@click.group(epilog=EXAMPLES)
def secret() -> None:
    """Secrets for pipelines and builds, encrypted in the state folder, by repository and environment."""


def scope(function: click.decorators.FC) -> click.decorators.FC:
    repository = click.option(
        "--repository", "-r", default="", help="Its path or URL; not needed when only one is watched."
    )
    environment = click.option("--environment", "-e", default="", help="Only for this environment.")
    return repository(environment(state_option(function)))


@secret.command("set", epilog="\b\nExamples:\n  trueup secret set TOKEN\n  pass show token | trueup secret set TOKEN")
@click.argument("name")
@scope
def set_(name: str, repository: str, environment: str, state: str | None) -> None:
    """Keep a secret. The value is read from standard input, or asked for."""
    where = layout(state)
    value = _value(name)
    if not value:
        raise Stop(f"{name}: the value is empty; nothing was changed")

    async def work() -> str:
        owner = await _repository(where, repository)
        await _vault(where).set(owner, environment, name, value)
        return owner

    click.echo(f"{name} is set for {_place(_kept(work), environment)}")


@secret.command("list", epilog="\b\nExamples:\n  trueup secret list\n  trueup secret list -e production -o json")
@scope
@output_option
def list_(repository: str, environment: str, state: str | None, output: str) -> None:
    """The names that are set. Values are never shown."""
    where = layout(state)

    async def work() -> tuple[str, ...]:
        return await _vault(where).names(await _repository(where, repository), environment)

    names = _kept(work)
    emit(names, output, lambda found, console: console.print("\n".join(found) or "no secret is set"))


@secret.command(epilog="\b\nExamples:\n  trueup secret remove TOKEN\n  trueup secret remove TOKEN -e production")
@click.argument("name")
@scope
def remove(name: str, repository: str, environment: str, state: str | None) -> None:
    """Forget a secret."""
    where = layout(state)

    async def work() -> tuple[str, bool]:
        owner = await _repository(where, repository)
        return owner, await _vault(where).remove(owner, environment, name)

    owner, was = _kept(work)
    if not was:
        raise Unknown(f"no secret {name!r} for {_place(owner, environment)}; see: trueup secret list")
    click.echo(f"{name} is removed for {_place(owner, environment)}")


def _place(owner: str, environment: str) -> str:
    return f"{owner}, environment {environment}" if environment else owner


def _value(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True, err=True))
    return sys.stdin.read().removesuffix("\n")


def _vault(where: Layout) -> FileVault:
    from trueup.drivers.secrets.vault import FileVault
    from trueup.store.state import vault_key

    Path(where.root).mkdir(mode=0o711, parents=True, exist_ok=True)
    return FileVault(where.secrets, vault_key(where))


def _kept(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it; what the vault refuses becomes one line."""
    from trueup.drivers.secrets.vault import SecretInvalid, VaultUnreadable

    try:
        return run(work())
    except (SecretInvalid, VaultUnreadable) as error:
        raise Stop(str(error)) from error


async def _repository(where: Layout, given: str) -> str:
    """What a repository's secrets are kept under, from a name, a path, a URL, or none when there is one."""
    from trueup.engine import owners

    watched: tuple[str, ...] = ()
    if Path(where.ledger).exists():
        watched = tuple(s.url for s in (await reading.chronicle(where)).sources.values())
    vault = _vault(where)
    await owners.settle(vault, watched)
    if given:
        url = address_of(given, watched)
        await owners.settle(vault, [url])
        return owners.of(url)
    known = sorted({owners.of(url) for url in watched})
    if len(known) == 1:
        return known[0]
    if not known:
        raise Away("nothing is watched from this state folder yet: name the repository with --repository")
    raise Stop(f"more than one repository is watched: name one with --repository: {', '.join(known)}", exits.USAGE)


def address_of(given: str, watched: Sequence[str]) -> str:
    """The repository that a person means: of those watched by its name or more of it, else by its path or URL."""
    from trueup.core import address

    known = {found.identity: found for found in (address.parse(url)[0] for url in watched)}
    named = [each for each, found in known.items() if given in (found.name, found.slug, each)]
    if len(named) > 1:
        raise Stop(f"{given!r} names more than one repository: write {' or '.join(sorted(named))}", exits.USAGE)
    if named:
        return known[named[0]].url
    path = Path(given).expanduser()
    if path.exists():
        return str(path.resolve())
    try:
        if address.parse(given)[0].scheme != "path":
            return given
    except ValueError as error:
        raise Stop(str(error), exits.USAGE) from error
    raise Unknown(f"no repository {given!r} is watched or on this machine: give its path or its URL")

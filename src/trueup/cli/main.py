"""The program `trueup`: finds a command, loads only that one, and turns every error into one line.

Nothing heavy is imported here: `trueup --help` costs little more than importing click.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from trueup.cli import exits

# section → command → (module:function, what it does). The order is the order of `trueup --help`.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "up": ("trueup.cli.up:up", "Watch a repository and make what runs equal to what Git says."),
        "down": ("trueup.cli.down:down", "Stop and remove what Trueup made on this machine."),
        "demo": ("trueup.cli.demo:demo", "See the whole loop on this machine, under load."),
        "doctor": ("trueup.cli.doctor:doctor", "What is missing on this machine, and the command that mends it."),
    },
    "Look at a repository": {
        "check": ("trueup.cli.repository:check", "Name each fault of a repository at its line, with what to do."),
        "inspect": ("trueup.cli.repository:inspect", "What was found in a repository and how it hangs together."),
        "render": ("trueup.cli.render:render", "Print the objects that a folder states, as they would be applied."),
        "plan": ("trueup.cli.repository:plan", "The exact difference that a commit would make."),
    },
    "Look at what runs": {
        "status": ("trueup.cli.look:status", "What runs, how well, and what it waits for."),
        "history": ("trueup.cli.look:history", "The rollouts: commit, digest, outcome, duration, who."),
        "why": ("trueup.cli.look:why", "From an object back to its commit and author."),
        "logs": ("trueup.cli.logs:logs", "Logs of a pipeline's job or of running containers."),
        "wait": ("trueup.cli.wait:wait", "Wait until what a commit states runs and is healthy."),
        "get": ("trueup.cli.cluster:get", "An object as the cluster has it."),
        "tree": ("trueup.cli.cluster:tree", "What was applied to a cluster, down to pods."),
        "diff": ("trueup.cli.cluster:diff", "What on a cluster differs from what was applied."),
        "events": ("trueup.cli.cluster:events", "The cluster's events of what was applied."),
        "health": ("trueup.cli.health:health", "Judge objects as they were read from a Kubernetes cluster."),
    },
    "Act": {
        "sync": ("trueup.cli.act:sync", "Compare and repair now."),
        "refresh": ("trueup.cli.act:refresh", "Look at the remote repository now."),
        "retry": ("trueup.cli.act:retry", "Run what failed, or a held sync, again."),
        "terminate": ("trueup.cli.act:terminate", "Stop a sync or a run."),
        "approve": ("trueup.cli.act:approve", "Allow the held changes of a plan, and only these."),
        "rollback": ("trueup.cli.act:rollback", "Go back to an earlier commit until the next push."),
        "remove": ("trueup.cli.act:remove", "Take an application away, with its objects or without."),
        "pause": ("trueup.cli.act:pause", "Roll nothing out for a while."),
        "resume": ("trueup.cli.act:resume", "End a pause or a rollback."),
        "ci": ("trueup.cli.ci:ci", "List, run, cancel pipelines and read their logs."),
    },
    "Keep": {
        "secret": ("trueup.cli.secret:secret", "Secrets for pipelines and builds, encrypted at rest."),
        "ledger": ("trueup.cli.ledger:ledger", "Verify, export and trim the record of what happened."),
        "completion": ("trueup.cli.completion:completion", "A script that completes commands in your shell."),
    },
}

EPILOG = """\b
Examples:
  trueup check .                        what is wrong with this repository
  trueup up .                           run it, and keep it equal to Git
  trueup up https://git.example/shop    the same from a remote
  trueup status                         what runs, how well
  trueup why deployment/web             back to the commit and the person

Exit codes: docs/exit-codes.md, or `trueup help-exit-codes`."""


def load(where: str) -> click.Command:
    """Import one command: "module:name"."""
    from importlib import import_module

    module, name = where.split(":")
    command = getattr(import_module(module), name)
    assert isinstance(command, click.Command)
    return command


class Program(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                return load(section[cmd_name][0])
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=known, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, about) for name, (_, about) in section.items()])


@click.group(cls=Program, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", metavar="DIR", help="The folder that holds everything Trueup keeps. [env: TRUEUP_STATE]")
@click.version_option(None, "-V", "--version", package_name="trueup", message="trueup %(version)s")
@click.pass_context
def program(ctx: click.Context, state: str | None) -> None:
    """GitOps, whole: from a push to a healthy service, and back by a commit when it is bad."""
    ctx.obj = state


@program.command("help-exit-codes", hidden=True)
def help_exit_codes() -> None:
    """Print what each exit code means."""
    for code, meaning in exits.MEANING.items():
        click.echo(f"{code:>4}  {meaning}")


def fail(line: str, code: int) -> NoReturn:
    from trueup.cli.clean import clean

    click.echo(f"trueup: {clean(line)}", err=True)
    sys.exit(code)


def main() -> NoReturn:
    """Run the program. Every error is one line on stderr; TRUEUP_DEBUG=1 shows where it came from."""
    try:
        code = program.main(prog_name="trueup", standalone_mode=False)
    except click.exceptions.Abort:
        fail("stopped", exits.INTERRUPTED)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "trueup"
        fail(f"{error.format_message()} (see: {command} --help)", exits.USAGE)
    except click.ClickException as error:
        fail(error.format_message(), exits.FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(exits.DONE)
    except KeyboardInterrupt:
        fail("stopped", exits.INTERRUPTED)
    # The program's outer edge: whatever comes must end as one line, never as a traceback.
    except Exception as error:
        if os.environ.get("TRUEUP_DEBUG"):
            raise
        from trueup.cli.errors import explain

        fail(*explain(error))
    sys.exit(code if isinstance(code, int) else exits.DONE)

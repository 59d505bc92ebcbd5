"""The program's edge: help, nearest names, one-line errors, exit codes, no colour where none is wanted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from trueup.cli import exits
from trueup.cli.errors import Away, explain
from trueup.cli.main import COMMANDS, load, program

DOCS = Path(__file__).parents[2] / "docs"


def every(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from every(child, f"{path} {name}")
    yield path, command


LEAVES = [
    found
    for section in COMMANDS.values()
    for name, (where, _) in section.items()
    for found in every(load(where), f"trueup {name}")
]


def trueup(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRUEUP_")}
    return subprocess.run(
        [sys.executable, "-m", "trueup.cli", *args], capture_output=True, text=True, env={**clean, **env}, timeout=60
    )


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[path for path, _ in LEAVES])
def test_every_command_has_examples_and_is_documented(path: str, command: click.Command) -> None:
    text = (command.help or "") + (command.epilog or "")
    assert "Examples:" in text, f"{path} --help shows no example"
    used = re.findall(rf"(?:^|[\s(\"|]){re.escape(path)}\b", text)
    assert used, f"the examples of {path} do not use it"
    assert f"`{path}`" in (DOCS / "cli.md").read_text(), f"docs/cli.md does not tell of `{path}`"


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[path for path, _ in LEAVES])
def test_every_option_has_a_help(path: str, command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("command", ["status", "history", "why", "logs", "check", "inspect", "plan", "doctor"])
def test_reading_commands_speak_json(command: str) -> None:
    found = program.get_command(click.Context(program), command)
    assert found is not None
    assert any("--output" in p.opts for p in found.params), f"trueup {command} has no --output"


def test_every_exit_code_is_documented() -> None:
    text = (DOCS / "exit-codes.md").read_text()
    for code, meaning in exits.MEANING.items():
        assert f"| {code} | {meaning} |" in text


def test_a_wrong_command_or_option_names_the_nearest() -> None:
    for args, nearest in (
        (["statsu"], "status"),
        (["status", "--outptu", "json"], "--output"),
        (["secret", "lst"], "list"),
    ):
        done = trueup(*args)
        assert done.returncode == exits.USAGE
        assert nearest in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_an_error_is_one_line_and_has_its_code(tmp_path: Path) -> None:
    done = trueup("status", "--state", str(tmp_path))
    assert (done.returncode, done.stdout) == (exits.AWAY, "")
    assert done.stderr.count("\n") == 1 and "run `trueup up` first" in done.stderr


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    assert "Traceback" in trueup("status", "--state", str(tmp_path), TRUEUP_DEBUG="1").stderr


def test_the_state_folder_is_found_by_option_environment_and_xdg(tmp_path: Path) -> None:
    for number, (args, env) in enumerate(
        (
            (["status", "--state", "{}"], {}),
            (["--state", "{}", "status"], {}),
            (["status"], {"TRUEUP_STATE": "{}"}),
            (["status"], {"XDG_STATE_HOME": "{}"}),
        )
    ):
        folder = str(tmp_path / str(number))
        done = trueup(*(a.format(folder) for a in args), **{k: v.format(folder) for k, v in env.items()})
        assert folder in done.stderr


def test_a_fault_of_ours_is_called_one() -> None:
    line, code = explain(KeyError("x"))
    assert code == exits.BUG and line.startswith("internal error: KeyError") and "TRUEUP_DEBUG=1" in line


def test_what_a_driver_raises_keeps_its_words() -> None:
    from trueup.ports import LedgerFull, SourceError

    assert explain(SourceError("the remote said no")) == ("the remote said no", exits.AWAY)
    assert explain(LedgerFull("no room left:\nfree some"))[0] == "no room left: free some"
    assert explain(Away("not here")) == ("not here", exits.AWAY)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['trueup', '--help']; from trueup.cli.main import main\ntry:\n main()\n"
    code += "except SystemExit: pass\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = set(done.stdout.rpartition("\n")[0].split() + done.stdout.split())
    assert "click" in loaded
    assert not loaded & {"rich", "aiohttp", "msgspec", "asyncio", "cryptography", "yaml", "platformdirs", "sqlite3"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_that_shell(shell: str) -> None:
    done = trueup("completion", shell)
    assert done.returncode == 0 and "_TRUEUP_COMPLETE" in done.stdout


def test_completion_knows_the_commands() -> None:
    env = {"_TRUEUP_COMPLETE": "bash_complete", "COMP_WORDS": "trueup sta", "COMP_CWORD": "1"}
    assert "plain,status" in trueup(**env).stdout


def test_the_commands_page_is_what_the_commands_say() -> None:
    root = DOCS.parent
    done = subprocess.run(
        [sys.executable, "scripts/cli-docs", "--check"], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr

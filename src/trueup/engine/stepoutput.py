"""Takes a step's output line by line: what is a command to the runner is done, the rest goes to the log."""

from __future__ import annotations

from trueup.core.pipeline import Command, Dialect
from trueup.engine.joblog import JobLog

LONGEST_LINE = 65536
TAIL_BYTES = 4096
KEPT = 1000  # outputs and variables that one step may set by its output
_SHOWN = {"error": "error", "warning": "warning", "notice": "notice"}


class StepOutput:
    """One step's output. `write` takes bytes as they come."""

    def __init__(self, log: JobLog, dialect: Dialect) -> None:
        self._log, self._dialect = log, dialect
        self._held = b""
        self._paused_until = b""
        self.outputs: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.path: list[str] = []
        self.first_error = ""
        self.tail = b""  # what it said last

    def write(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        if self._log.full:
            return  # a flood costs no more than its reading
        held = self._held + data
        end = held.rfind(b"\n") + 1
        if end and b"::" not in held:  # the usual case, without a look at each line
            self._log.write(held[:end])
            self._held = held[end:]
            return
        if b"\n" not in data and len(held) <= LONGEST_LINE:
            self._held = held
            return
        lines = held.split(b"\n")
        self._held = lines.pop()
        if len(self._held) > LONGEST_LINE:
            lines.append(self._held)
            self._held = b""
            self._pass(lines, last=b"")
        else:
            self._pass(lines, last=b"\n")

    def close(self) -> None:
        if self._held:
            self._pass([self._held], last=b"")
        self._held = b""

    def _pass(self, lines: list[bytes], last: bytes) -> None:
        plain: list[bytes] = []
        for at, line in enumerate(lines):
            end = b"\n" if at < len(lines) - 1 else last
            command = self._command(line)
            if command is None:
                plain.append(line + end)
            else:
                self._log.write(b"".join(plain))
                plain = []
                self._do(command)
        if plain:
            self._log.write(b"".join(plain))

    def _command(self, line: bytes) -> Command | None:
        stripped = line.strip()
        if not stripped.startswith(b"::"):
            return None
        if self._paused_until:
            if stripped == b"::" + self._paused_until + b"::":
                self._paused_until = b""
            return None
        return self._dialect.command(stripped)

    def _do(self, command: Command) -> None:
        match command.name:
            case "mask":
                self._log.masker.add(command.value)
            case "output" if len(self.outputs) < KEPT:
                self.outputs[command.key] = command.value
            case "path" if len(self.path) < KEPT:
                self.path.append(command.value)
            case "env":
                self._log.say("warning: ::set-env:: is not accepted; write to the environment file instead")
            case "stop-commands":
                self._paused_until = command.value.encode()
            case "error" | "warning" | "notice":
                self._show(command)
            case "group":
                self._log.say(f"▸ {command.value}")
            case "debug" | "endgroup" | "save-state" | "state" | "echo" | "add-matcher" | "remove-matcher":
                return
            case _:
                self._log.say(f"::{command.name}::{command.value}")

    def _show(self, command: Command) -> None:
        where = f"{command.key}: " if ":" in command.key else ""
        text = f"{where}{command.value}"
        self._log.say(f"{_SHOWN[command.name]}: {text}")
        if command.name == "error" and not self.first_error:
            self.first_error = " ".join(text.split())[:300]

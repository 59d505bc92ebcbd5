"""Log lines as JSON: one object a line, as they come. Pure but for the file it writes to."""

from __future__ import annotations

import re
from typing import Protocol

import msgspec
from msgspec import Struct

_JOB = re.compile(r"=== (\S.*)")
_POD = re.compile(r"([a-z0-9][a-z0-9.-]*) \| (.*)")
_TIMED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) (.*)")


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> object: ...


class Line(Struct, frozen=True):
    of: str  # the job or the pod; "" when there is only one
    time: str  # of a job's line, UTC; "" for a container's, which has none of ours
    text: str


class AsJson:
    """A sink that writes each whole line as an object; `end` writes what had no newline. `jobs`: a run's log."""

    def __init__(self, out: Sink, *, jobs: bool) -> None:
        self._out, self._jobs, self._rest, self._of = out, jobs, b"", ""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.decode(errors="replace"))

    def flush(self) -> None:
        self._out.flush()

    def end(self) -> None:
        if self._rest:
            self.write(b"\n")
        self.flush()

    def _line(self, text: str) -> None:
        if self._jobs and (job := _JOB.fullmatch(text)):
            self._of = job[1]
            return
        of, time = self._of, ""
        if self._jobs and (timed := _TIMED.fullmatch(text)):
            time, text = timed[1], timed[2]
        if not self._jobs and (pod := _POD.fullmatch(text)):
            of, text = pod[1], pod[2]
        self._out.write(msgspec.json.encode(Line(of, time, text)) + b"\n")

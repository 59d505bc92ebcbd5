"""The exit codes, one meaning each; docs/exit-codes.md holds the same table. Imports nothing heavy."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
AWAY: Final = 3
WAITS: Final = 4
UNKNOWN: Final = 5
BUG: Final = 70
INTERRUPTED: Final = 130

MEANING: Final = {
    DONE: "done; or, with --exit-code, all is well",
    FAILED: "what was asked about is bad: errors found, a run failed, a ledger broken, something is degraded",
    USAGE: "the command line is wrong",
    AWAY: "something needed is not there: no `trueup up` runs here, a remote or a tool cannot be reached",
    WAITS: "nothing is broken, but it waits: held, paused, still in progress, or it needs a yes",
    UNKNOWN: "nothing has this name: object, commit, run, source or secret",
    BUG: "a fault in Trueup itself; TRUEUP_DEBUG=1 shows where",
    INTERRUPTED: "stopped by Ctrl-C",
}

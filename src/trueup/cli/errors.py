"""What a command raises to end with one line and an exit code, and how other errors become such a line."""

from __future__ import annotations

from trueup.cli import exits


class Stop(Exception):
    """End the command with this line on stderr and this exit code (see `exits`)."""

    def __init__(self, message: str, code: int = exits.FAILED) -> None:
        super().__init__(message)
        self.code = code


class Away(Stop):
    """Something needed is not there; the message says what to start or mend."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exits.AWAY)


class Unknown(Stop):
    """Nothing has this name."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exits.UNKNOWN)


# By name, so that a one-line error costs no import of the drivers: class name → exit code.
EXPECTED = {
    "SourceError": exits.AWAY,
    "TargetDown": exits.AWAY,
    "BuilderDown": exits.AWAY,
    "RendererDown": exits.AWAY,
    "LedgerFull": exits.AWAY,
    "StateBusy": exits.AWAY,
    "RegistryDown": exits.AWAY,
    "LedgerDamaged": exits.FAILED,
    "RecordsDamaged": exits.FAILED,
    "KeyUnreadable": exits.FAILED,
    "VaultUnreadable": exits.FAILED,
    "NotUsable": exits.FAILED,
    "WayRefused": exits.FAILED,
    "BundleRefused": exits.FAILED,
    "NotLeft": exits.FAILED,
    "ObjectInvalid": exits.FAILED,
    "BuildFailed": exits.FAILED,
    "Conflict": exits.WAITS,
}


def explain(error: Exception) -> tuple[str, int]:
    """One line for a person, and the exit code. An error we did not foresee is called a fault of ours."""
    text = " ".join(str(error).split())
    if isinstance(error, Stop):
        return str(error), error.code
    for kind in type(error).__mro__:
        if kind.__name__ in EXPECTED:
            return text, EXPECTED[kind.__name__]
    if isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        return explain(error.exceptions[0])
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror.lower()}:{where}" if where else text, exits.AWAY
    name = type(error).__name__
    return f"internal error: {name}: {text} (TRUEUP_DEBUG=1 shows where; please report it)", exits.BUG

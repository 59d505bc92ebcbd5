"""What the play needs of this machine: Debian packages, installed when they are missing, and said so."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from trueup.demo.command import Failed, must
from trueup.engine.doctor import install_command, missing_packages

INSTALL_S = 900.0
UPDATE_S = 300.0
POLICY = Path("/usr/sbin/policy-rc.d")


async def prepare(environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """As root: install the packages whose programs are missing. Raises Failed, with the command that would mend it."""
    missing = missing_packages()
    if not missing:
        say("every program Trueup works with is on this machine")
        return
    if shutil.which("apt-get") is None:
        raise Failed(f"this is not Debian or Ubuntu; install these by your package manager: {' '.join(missing)}")
    command = install_command(missing)
    say(f"missing on this machine, installing: {command}")
    quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    await must(["apt-get", "update", "-qq"], environ=quiet, timeout_s=UPDATE_S)
    with no_daemons():
        await must(command.split(), environ=quiet, timeout_s=INSTALL_S)
    if still := missing_packages():
        raise Failed(f"apt-get ended well, and yet these are missing: {' '.join(still)}; try: {install_command(still)}")


@contextlib.contextmanager
def no_daemons() -> Iterator[None]:
    """A package must not start its own daemon: Trueup starts what it needs, in its state folder.

    Source: invoke-rc.d(8), "policy-rc.d", exit code 101."""
    if POLICY.exists():
        yield
        return
    with tempfile.NamedTemporaryFile("w", dir=POLICY.parent, prefix="policy-", delete=False) as file:
        file.write("#!/bin/sh\nexit 101\n")
    made = Path(file.name)
    made.chmod(0o755)
    made.rename(POLICY)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)

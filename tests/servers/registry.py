"""A real registry for tests, on an address that others on this machine can reach. Debian's docker-registry."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

START_S = 20.0
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}}}
http: {{addr: "{address}"}}
"""


@contextlib.contextmanager
def registry(folder: Path, address: str) -> Iterator[str]:
    """Serves at `address` ("10.0.0.1:5000"), without TLS and passwords."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no registry to test with: apt-get install docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yml").write_text(CONFIG.format(data=folder / "data", address=address))
    argv = ["setpriv", "--pdeathsig", "KILL", program, "serve", str(folder / "config.yml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        end_s = time.monotonic() + START_S
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < end_s, (folder / "log").read_text()[-500:]
            time.sleep(0.05)  # another process's socket has no event
        yield address
    finally:
        process.kill()
        process.wait(20)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/v2/", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False

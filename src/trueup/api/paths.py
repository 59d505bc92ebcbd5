"""A unix socket's address is at most 107 bytes; a state folder's path may be longer. Linux only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LONGEST_BYTES = 107  # Source: unix(7), sun_path, without the closing zero


@contextlib.contextmanager
def reachable(socket: str) -> Iterator[str]:
    """A path to the same socket that fits: through the folder's descriptor when its own is too long.

    Holds only while the context is open: connect or bind inside it."""
    if len(os.fsencode(socket)) <= LONGEST_BYTES:
        yield socket
        return
    folder = os.open(Path(socket).parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{Path(socket).name}"
    finally:
        os.close(folder)

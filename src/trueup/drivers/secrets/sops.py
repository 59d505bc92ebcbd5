"""Files that SOPS encrypted, opened by SOPS' own libraries in a process of its own: `trueup-sops` (folder `sops/`).

The process gets keys and files on stdin, answers once and ends; it opens no file, makes no connection and starts no
program. Keys are in no argument, no environment and no file of ours. Cloud key services are not asked.
Source: SOPS v3.13 README, "Encrypting using age", "Test with the dev PGP key"; the names of the keys are SOPS' own
where it has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from trueup.core.sealed import Fault, Opened, format_of
from trueup.ports import NoKey

NAMES = ("SOPS_AGE_KEY", "SOPS_AGE_SSH_PRIVATE_KEY", "SOPS_PGP_KEY")
FILES = {f"{name}_FILE": name for name in NAMES}
TIMEOUT_S = 60.0
MAX_BYTES = 128 << 20
KEY_BYTES = 1 << 20

Values = Callable[[str], Awaitable[Mapping[str, str]]]  # of a source: name → text


class _File(Struct, frozen=True):
    path: str
    format: str
    data: bytes


class _Request(Struct, frozen=True):
    age: str
    ssh: str
    pgp: str
    files: tuple[_File, ...]


class _Opened(Struct, frozen=True):
    data: bytes | None = None
    fault: str = ""
    fix: str = ""
    named: str = ""
    no_key: bool = False


class _Answer(Struct, frozen=True):
    fault: str = ""
    opened: tuple[_Opened, ...] | None = None


class Sops:
    """The port `Unsealer`. `program` None when it was never built; `values` gives a source's secrets."""

    def __init__(self, program: Path | None, values: Values, *, uid: int = 0) -> None:
        self._program, self._values, self._uid = program, values, uid

    async def open(self, source: str, files: Mapping[str, bytes]) -> Opened:
        """Raises NoKey."""
        if not files:
            return {}
        if self._program is None:
            raise NoKey(f"{_named(files)} encrypted by SOPS, and trueup-sops is not there: build it with `make sops`")
        keys = await keys_of(await self._values(source))
        asked = _Request(
            keys.get("SOPS_AGE_KEY", ""),
            keys.get("SOPS_AGE_SSH_PRIVATE_KEY", ""),
            keys.get("SOPS_PGP_KEY", ""),
            tuple(_File(path, format_of(path), data) for path, data in files.items()),
        )
        answer = await self._ask(self._program, asked)
        if answer.fault:
            raise NoKey(f"{_named(files)} encrypted by SOPS, and a key is not usable: {answer.fault}")
        opened = dict(zip(files, answer.opened or (), strict=True))
        for path, one in opened.items():
            if one.no_key:
                raise NoKey(f"{path}: encrypted by SOPS, and {one.fault}. {one.fix}")
        return {path: _result(one) for path, one in opened.items()}

    async def _ask(self, program: Path, asked: _Request) -> _Answer:
        argv = [str(program), *([f"--uid={self._uid}"] if self._uid and os.geteuid() == 0 else [])]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env={"GOTRACEBACK": "none"}, cwd="/", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise NoKey(f"cannot start {program}: {error.strerror}: build it with `make sops`") from error
        body = msgspec.json.encode(asked)
        try:
            said, _ = await asyncio.wait_for(process.communicate(len(body).to_bytes(4, "big") + body), TIMEOUT_S)
            return msgspec.json.decode(said[4:], type=_Answer)
        except (TimeoutError, ConnectionError, msgspec.DecodeError):
            raise NoKey(f"{program} gave no answer: rebuild it with `make sops`") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def _result(one: _Opened) -> bytes | Fault:
    return Fault(one.fault, one.fix, one.named) if one.fault else one.data or b""


def _named(files: Mapping[str, bytes]) -> str:
    first, *more = files
    return f"{first} and {len(more)} more are" if more else f"{first} is"


async def keys_of(values: Mapping[str, str]) -> Mapping[str, str]:
    """The text of each key: kept as it is, or in the file that another value names. Raises NoKey."""
    found = {name: values[name] for name in NAMES if values.get(name)}
    for setting, name in FILES.items():
        if name not in found and values.get(setting):
            found[name] = await asyncio.to_thread(_read, setting, values[setting])
    return found


def _read(setting: str, path: str) -> str:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read(KEY_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise NoKey(f"{setting}: cannot read {path}: {error.strerror}") from error

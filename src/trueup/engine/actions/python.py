"""actions/setup-python: `python` and `pip` of the asked version on PATH, in a virtual environment of the job.

Nothing is downloaded: the version is looked for in the job's image and in the tool cache. A stand-in is said aloud.
"""

from __future__ import annotations

import re
import shlex

from trueup.engine.beneath import read_file
from trueup.engine.running import ActionFailed, Use
from trueup.engine.stepoutput import StepOutput

_ASKED = re.compile(r"(?:pypy|graalpy)?[-v]*(\d+)(?:\.(\d+|x))?(?:\.(?:\d+|x))?.*")
_FIND = """
try() {
    command -v "$1" >/dev/null 2>&1 || return 1
    "$1" -c 'import sys, venv; print("found", sys.executable, *sys.version_info[:3])' 2>/dev/null
}
for name in %(names)s; do try "$name" && exit 0; done
for name in %(globs)s; do [ -x "$name" ] && try "$name" && exit 0; done
if command -v uv >/dev/null 2>&1; then
    found=$(UV_PYTHON_DOWNLOADS=never uv python find %(asked)s 2>/dev/null) && try "$found" && exit 0
fi
exit 44
"""
# The interpreter's own pip serves the environment too: unpacking another one takes seconds of every job.
_MAKE = """
python=%(python)s folder=%(folder)s
if "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip --system-site-packages "$folder"
    for name in pip pip3; do
        printf '#!/bin/sh\\nexec "%%s/bin/python" -m pip "$@"\\n' "$folder" > "$folder/bin/$name"
        chmod +x "$folder/bin/$name"
    done
else
    "$python" -m venv "$folder"
fi
"""


async def setup(use: Use) -> int:
    """Outputs: python-version, python-path. Fails with what to do when the version is not there."""
    asked = _asked(use)
    found = await _find(use, asked)
    if found is None and asked != "3":
        if not use.running.order.stand_ins:
            raise ActionFailed(
                f"Python {asked} is not in the job's image or the tool cache: use `container: python:{asked}`, "
                "add it to the tool cache, or allow stand-ins"
            )
        found = await _find(use, "3")
        if found:
            use.say(
                f"notice: asked for Python {asked}; not available offline; running on {found[1].rpartition('.')[0]}"
            )
    if found is None:
        raise ActionFailed("the job's image has no Python with venv: use `container:` with one that has")
    return await _environment(use, *found)


def _asked(use: Use) -> str:
    text = use.get("python-version")
    if not text and (file := use.get("python-version-file", ".python-version")):
        data = read_file(use.running.place.workspace, file, 65536) or b""
        text = _from_file(file, data.decode("utf-8", "replace"))
    first = next((line.strip() for line in text.splitlines() if line.strip()), "3")
    match = _ASKED.fullmatch(first.lstrip("^~>=< "))
    if match is None or first.lower().startswith(("pypy", "graalpy")):
        raise ActionFailed(f"actions/setup-python: python-version {first!r} is not offered: write e.g. '3.12'")
    minor = match[2]
    return match[1] if minor in (None, "x") or first.startswith((">", "^")) else f"{match[1]}.{minor}"


def _from_file(name: str, text: str) -> str:
    if name.endswith(".toml"):
        match = re.search(r'requires-python\s*=\s*["\']([^"\']+)', text)
        return match[1] if match else ""
    return next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")


async def _find(use: Use, asked: str) -> tuple[str, str] | None:
    """(path, version) of an interpreter, or None."""
    plain = asked == "3"
    names = ["python3", "python"] if plain else [f"python{asked}"]
    globs = (
        ""
        if plain
        else f"/opt/tools/Python/{asked}.*/*/bin/python3 /opt/tools/{asked}.*/bin/python3 /usr/local/bin/python3"
    )
    script = _FIND % {"names": " ".join(names), "globs": globs or '""', "asked": shlex.quote(asked)}
    said = _Said(use)
    running = use.running
    code = await running.program(("sh", "-c", script), running.environment(use.env), output=said)
    match = re.search(r"^found (\S+) (\d+) (\d+) (\d+)$", said.text, re.MULTILINE)
    if code or match is None:
        return None
    version = ".".join(match.groups()[1:])
    return (match[1], version) if plain or version.startswith(f"{asked}.") else None


class _Said(StepOutput):
    """Keeps what a script of ours prints instead of showing it."""

    def __init__(self, use: Use) -> None:
        super().__init__(use.running.log, use.running.tools.dialect)
        self.text = ""

    def write(self, data: bytes) -> None:
        self.text = (self.text + data.decode("utf-8", "replace"))[:65536]

    def close(self) -> None:
        return


async def _environment(use: Use, interpreter: str, version: str) -> int:
    running = use.running
    folder = running.sandbox.see(running.place.folder / "temp") + f"/python-{version}-{running.count}"
    script = _MAKE % {"python": shlex.quote(interpreter), "folder": shlex.quote(folder)}
    if await use.sh(script):
        raise ActionFailed(
            f"Python {version} of the job's image cannot make a virtual environment: add python3-venv to it"
        )
    running.added_path.insert(0, f"{folder}/bin")
    running.env = {**running.env, "pythonLocation": folder, "VIRTUAL_ENV": folder, "Python3_ROOT_DIR": folder}
    use.outputs.update({"python-version": version, "python-path": f"{folder}/bin/python", "cache-hit": "false"})
    use.say(f"Python {version} in {folder}")
    return 0

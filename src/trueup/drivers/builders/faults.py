"""Whose fault a failed build is: the tools' own words, sorted into the Dockerfile's and the world's. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trueup.core.dockerfile import Dockerfile, Instruction

# (what the tool says, what to do). The first that matches decides.
_ALWAYS_WORLD: tuple[tuple[str, str], ...] = (
    (
        r"no space left on device|disk quota exceeded",
        "the disk is full: free some space",
    ),
    (r"read-only file system.*(containers/storage|/registry)", "the storage is read-only: look at `dmesg`"),
    (r"input/output error", "the disk has errors: look at `dmesg`"),
    (r"cannot allocate memory", "the machine is out of memory: stop something, or add memory"),
    (
        r"^Error: .*(identifier is not a (container|layer|image)|container not known|layer not known)",
        "somebody removed what was being built with (`buildah rm -a`, `podman system prune`): it is built again",
    ),
)
_NETWORK: tuple[tuple[str, str], ...] = (
    (
        r"unauthorized|authentication required|access denied|denied: |\b401\b|\b403\b",
        "no right: docker login",
    ),
    (r"toomanyrequests|\b429\b|rate limit", "the registry limits requests: wait, or log in"),
    (
        r"x509:|tls: |certificate (verify failed|signed by unknown)",
        "add its CA to the host's",
    ),
    (
        r"no such host|name resolution|server misbehaving|could not resolve",
        "look at the DNS",
    ),
    (
        r"connection refused|connection reset|no route to host|network is unreachable",
        "look whether it runs",
    ),
    (
        r"i/o timeout|timeout|timed out|deadline exceeded|unexpected eof",
        "look at the network",
    ),
    (r"\b50[0234]\b|service unavailable|bad gateway|internal server error", "wait"),
)
# Only words of fetching tools: a test in the Dockerfile that meets a refused connection is the Dockerfile's fault.
_FETCHING = re.compile(
    r"NewConnectionError|ProxyError|ConnectTimeoutError|NameResolutionError|SSLCertVerificationError"
    r"|Temporary failure (in name resolution|resolving)|Failed to fetch http|Could not connect to .*:\d+ \("
    r"|curl: \((5|6|7|28|35|52|56|60)\)|wget: unable to resolve|unable to access '?https?://"
    r"|npm (ERR!|error) (code )?(network|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENOTFOUND|ECONNRESET)"
    r"|dial tcp .*(refused|timeout|no such host)|\[Errno -?\d+\] (Temporary failure|Network is unreachable)"
)
_STEP = re.compile(r"^(?:\[(\d+)/\d+\] )?STEP (\d+)/\d+: (.*)$")
_NOT_ITS_OWN = ("Error: ", "STEP ", "time=", "-->", "subprocess exited", "exit status")
_LOGGED = re.compile(r'time="?[^"]*"? level=\w+ msg="(.*)"\s*\Z')
_STATUS = re.compile(r"exit status (\d+)")


def world(lines: Sequence[str], *, fetching: bool = False) -> str:
    """Why the world is to blame, with what to do; "" when it is not. `fetching`: the tool itself was talking to a
    registry when it failed."""
    said = "\n".join(line for line in lines[-60:])
    for pattern, advice in _ALWAYS_WORLD:
        if found := _line(pattern, lines):
            return f"{found}: {advice}"
    if fetched := _FETCHING.search(said):
        line = next(line for line in said.splitlines() if fetched[0] in line)
        return f"{plain(line)}: a step could not reach the network; try again when it can"
    if fetching:
        for pattern, advice in _NETWORK:
            if found_line := _line(pattern, lines):
                return f"{found_line}: {advice}"
    return ""


def _line(pattern: str, lines: Sequence[str]) -> str:
    compiled = re.compile(pattern, re.IGNORECASE)
    return next((plain(line) for line in reversed(lines[-60:]) if compiled.search(line)), "")


def plain(line: str, length: int = 300) -> str:
    """The message of a line, out of `time=… level=… msg="…"`; the end of a long one, for the reason stands there."""
    if found := _LOGGED.match(line):
        line = found[1].replace('\\"', '"')
    line = line.strip().removeprefix("Error: ")
    return line if len(line) <= length else "…" + line[-length:]


def failed_step(lines: Sequence[str], dockerfile: Dockerfile) -> Instruction | None:
    """The instruction that was under way when buildah stopped."""
    last = next((found for line in reversed(lines) if (found := _STEP.match(line))), None)
    if last is None:
        return None
    stage = int(last[1]) - 1 if last[1] else len(dockerfile.stages) - 1
    step = int(last[2]) - 1
    word = last[3].partition(" ")[0].upper()
    for index in (stage, *range(len(dockerfile.stages))):
        if index < len(dockerfile.stages) and step < len(dockerfile.stages[index].instructions):
            instruction: Instruction = dockerfile.stages[index].instructions[step]
            if instruction.word == word:
                return instruction
    return None


def reason(lines: Sequence[str], dockerfile: Dockerfile) -> str:
    """One line for a person: Dockerfile:line, the instruction, the last thing it said."""
    step = failed_step(lines, dockerfile)
    said = next((line.strip() for line in reversed(lines) if line.startswith("Error: ")), "")
    told = [
        line.strip() for line in lines if line.strip() and not line.startswith(("Error: ", "STEP ", "time=", "-->"))
    ]
    own = next((line for line in reversed(told) if not line.startswith(("[", "subprocess exited", "exit status"))), "")
    if step is None:
        return f"{dockerfile.file}: {said.removeprefix('Error: ')[:400] or own[:400] or 'the build failed'}"
    head = f"{dockerfile.file}:{step.line}: {step.word} {step.rest[:120]}".rstrip()
    code = _STATUS.search(said)
    if step.word == "RUN":
        tail = f" failed (exit {code[1]})" if code else " failed"
        return head + tail + (f": {own[:300]}" if own else "")
    return f"{head}: {_inner(said)[:300]}"


def _inner(said: str) -> str:
    """buildah's message without the STEP it repeats."""
    return re.sub(r'^Error: building at STEP ".*?": ', "", said).removeprefix("Error: ")

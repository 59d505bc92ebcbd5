"""Dockerfiles as data: instructions with their lines, the images they stand on, the files they read.

Pure: text in, records out. What buildah cannot read (heredocs) is rewritten here into what it can.
Source: Docker documentation, "Dockerfile reference" (syntax 1.7); moby/buildkit `frontend/dockerfile/parser`.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct

from trueup.core.model import Place

LONGEST_VALUE = 65536
WORDS = frozenset(
    [
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ]
)
PLATFORM_ARGS = {
    "TARGETPLATFORM": "linux/amd64",
    "TARGETOS": "linux",
    "TARGETARCH": "amd64",
    "TARGETVARIANT": "",
    "BUILDPLATFORM": "linux/amd64",
    "BUILDOS": "linux",
    "BUILDARCH": "amd64",
    "BUILDVARIANT": "",
}
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*\Z")
_HEREDOC = re.compile(r"(?<![<\w])(\d*)<<(-?)(['\"]?)([A-Za-z_][A-Za-z0-9_.]*)\3(?![<])")
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=((?:\"[^\"]*\"|'[^']*'|\\.|\S)*))?(?:\s+|\Z)")
# instructions whose variables are expanded. Source: Dockerfile reference, "Environment replacement"
EXPANDED = frozenset({"ADD", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"})
_VARIABLE = re.compile(r"\\\$|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-+])([^}]*))?\})")


class DockerfileInvalid(Exception):
    """The Dockerfile cannot be read; `place` is the line and the text says what to do."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place


class Heredoc(Struct, frozen=True):
    name: str
    body: str  # tabs already stripped for "<<-"
    quoted: bool  # no variable is expanded in it
    strip: bool = False


class Instruction(Struct, frozen=True):
    """`word` upper case; `rest` its text with continuations joined and flags removed; lines count from 1."""

    word: str
    rest: str
    line: int
    end: int  # last line, heredocs included
    flags: tuple[tuple[str, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    def flag(self, name: str) -> str:
        return next((value for key, value in self.flags if key == name), "")


class Stage(Struct, frozen=True):
    index: int
    image: str  # as written, variables expanded
    name: str  # lower case, "" without AS
    base: int  # the stage it builds on, -1 when an image
    instructions: tuple[Instruction, ...]  # FROM first


class Base(Struct, frozen=True):
    """An image from outside that the build needs."""

    image: str
    line: int


class Dockerfile(Struct, frozen=True):
    file: str
    stages: tuple[Stage, ...]
    instructions: tuple[Instruction, ...]
    escape: str = "\\"


# --- reading ---------------------------------------------------------------------------------------


def read(text: str, file: str = "Dockerfile", args: Mapping[str, str] | None = None) -> Dockerfile:
    """Parse; `args` are the build arguments given. Raises DockerfileInvalid."""
    text = text.removeprefix("\ufeff")
    lines = text.splitlines()
    escape = _escape(lines, file)
    instructions = tuple(_instructions(lines, file, escape))
    if not instructions:
        raise DockerfileInvalid(Place(file), "no instruction: a Dockerfile begins with FROM <image>")
    return Dockerfile(file, _stages(instructions, file, args or {}), instructions, escape)


def _escape(lines: Sequence[str], file: str) -> str:
    for number, line in enumerate(lines, 1):
        found = _DIRECTIVE.match(line.strip())
        if not found:
            return "\\"
        if found[1].lower() == "escape":
            if found[2] not in ("\\", "`"):
                raise DockerfileInvalid(Place(file, number), f"escape={found[2]}: only \\ or ` can be the escape")
            return found[2]
    return "\\"


def _instructions(lines: Sequence[str], file: str, escape: str) -> list[Instruction]:
    found: list[Instruction] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        start, (text, at) = at, _logical_line(lines, at, escape)
        word, rest = [*text.strip().split(None, 1), "", ""][:2]
        if not word:
            continue  # a continuation of nothing
        word = word.upper()
        place = Place(file, start + 1)
        if word not in WORDS:
            raise DockerfileInvalid(place, f"{word[:40]} is not an instruction (one of {', '.join(sorted(WORDS))})")
        flags, rest = (
            _flags(rest.strip()) if word in ("FROM", "RUN", "COPY", "ADD", "HEALTHCHECK") else ((), rest.strip())
        )
        heredocs: tuple[Heredoc, ...] = ()
        if word in ("RUN", "COPY", "ADD") and not rest.startswith("["):
            heredocs, at = _heredocs(rest, lines, at, place)
        found.append(Instruction(word, rest, start + 1, at, flags, heredocs))
    return found


def _logical_line(lines: Sequence[str], at: int, escape: str) -> tuple[str, int]:
    """One instruction's text: continuations joined, comments and blank lines between them left out."""
    ends = re.compile(re.escape(escape) + r"[ \t]*\Z")
    parts: list[str] = []
    while at < len(lines):
        line = lines[at]
        at += 1
        if parts and (not line.strip() or line.lstrip().startswith("#")):
            continue
        if not ends.search(line):
            parts.append(line)
            break
        parts.append(ends.sub("", line))
    return "".join(parts).replace("\t", " ") if len(parts) == 1 else "".join(parts), at


def _flags(rest: str) -> tuple[tuple[tuple[str, str], ...], str]:
    flags: list[tuple[str, str]] = []
    while found := _FLAG.match(rest):
        flags.append((found[1], (found[2] or "").strip("\"'")))
        rest = rest[found.end() :]
    return tuple(flags), rest


def _heredocs(rest: str, lines: Sequence[str], at: int, place: Place) -> tuple[tuple[Heredoc, ...], int]:
    heredocs: list[Heredoc] = []
    for _, dash, quote, name in _HEREDOC.findall(rest):
        body: list[str] = []
        while True:
            if at >= len(lines):
                raise DockerfileInvalid(place, f"the heredoc <<{name} has no closing line {name}")
            line = lines[at].lstrip("\t") if dash else lines[at]
            at += 1
            if line == name:
                break
            body.append(line + "\n")
        heredocs.append(Heredoc(name, "".join(body), bool(quote), bool(dash)))
    return tuple(heredocs), at


def _stages(instructions: Sequence[Instruction], file: str, args: Mapping[str, str]) -> tuple[Stage, ...]:
    known: dict[str, str] = dict(PLATFORM_ARGS)
    begun: list[Stage] = []  # without their instructions
    bodies: list[list[Instruction]] = []
    named: dict[str, int] = {}  # the newest stage of a name so far
    for instruction in instructions:
        if instruction.word == "FROM":
            stage = _stage(instruction, len(begun), named, file, known)
            begun.append(stage)
            bodies.append([instruction])
            if stage.name:
                named[stage.name] = stage.index
        elif begun:
            bodies[-1].append(instruction)
        elif instruction.word == "ARG":
            known.update(_arg(instruction.rest, known, args))
        else:
            raise DockerfileInvalid(Place(file, instruction.line), f"{instruction.word} stands before the first FROM")
    if not begun:
        raise DockerfileInvalid(Place(file), "no FROM: a Dockerfile begins with FROM <image>")
    return tuple(
        Stage(each.index, each.image, each.name, each.base, tuple(body))
        for each, body in zip(begun, bodies, strict=True)
    )


def _stage(
    instruction: Instruction, index: int, named: Mapping[str, int], file: str, known: Mapping[str, str]
) -> Stage:
    words = instruction.rest.split()
    place = Place(file, instruction.line)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise DockerfileInvalid(place, f"FROM {instruction.rest[:80]}: write FROM <image> [AS <name>]")
    image = expand(words[0].strip("\"'"), known)
    if not image:
        raise DockerfileInvalid(place, f"FROM {words[0]} is empty: give the ARG before it a default, or --build-arg")
    name = words[2].lower() if len(words) == 3 else ""
    return Stage(index, image, name, named.get(image.lower(), -1), ())


def _arg(rest: str, known: Mapping[str, str], args: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in _words(rest):
        name, given, default = word.partition("=")
        if name in args:
            found[name] = args[name]
        elif given:
            found[name] = expand(default, {**known, **found})
    return found


def _declared(rest: str, known: Mapping[str, str], args: Mapping[str, str]) -> dict[str, str]:
    """Every name that an ARG of a stage declares, with its value; one that nobody gave a value is empty."""
    names = [word.partition("=")[0] for word in _words(rest)]
    return {**{name: known.get(name, "") for name in names}, **_arg(rest, known, args)}


def expand(text: str, known: Mapping[str, str]) -> str:
    """Variables as a Dockerfile has them: $X, ${X}, ${X:-default}, ${X:+other}; unknown is empty.

    What variables of variables grow to is cut off at LONGEST_VALUE characters: nothing has such a name."""
    room = LONGEST_VALUE

    def value(found: re.Match[str]) -> str:
        nonlocal room
        given = said(found)[:room]
        room -= len(given)
        return given

    def said(found: re.Match[str]) -> str:
        if found[0] == "\\$":
            return "$"
        name = found[1] or found[2]
        now = known.get(name, "")
        there = bool(now) if (found[3] or "").startswith(":") else name in known
        if not found[3]:
            return now
        other = expand(found[4], known)
        return (now if there else other) if found[3].endswith("-") else (other if there else "")

    return _VARIABLE.sub(value, text)


def _words(rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError:
        return rest.split()


# --- what it needs ---------------------------------------------------------------------------------


def needed(dockerfile: Dockerfile, target: str = "") -> tuple[Stage, ...]:
    """The stages that `target` (name or number, "" the last) is made from, itself last. Raises DockerfileInvalid."""
    names, count = _names(dockerfile), len(dockerfile.stages)
    last = _find(names, target, count) if target else count - 1
    if last is None:
        known = ", ".join(stage.name or str(stage.index) for stage in dockerfile.stages[:20])
        raise DockerfileInvalid(Place(dockerfile.file), f"no stage {target!r}: there are {known}")
    wanted: set[int] = set()
    todo = [last]
    while todo:
        index = todo.pop()
        if index in wanted:
            continue
        wanted.add(index)
        stage = dockerfile.stages[index]
        todo += [stage.base] if stage.base >= 0 else []
        todo += [found for name, _ in _froms(stage) if (found := _find(names, name, index)) is not None]
    return tuple(stage for stage in dockerfile.stages if stage.index in wanted)


def _names(dockerfile: Dockerfile) -> Mapping[str, Sequence[int]]:
    """Name → the stages that have it, in order."""
    found: dict[str, list[int]] = {}
    for stage in dockerfile.stages:
        if stage.name:
            found.setdefault(stage.name, []).append(stage.index)
    return found


def _find(names: Mapping[str, Sequence[int]], name: str, before: int) -> int | None:
    """The newest of the first `before` stages that `name` (or number) means."""
    if name.isdecimal() and name.isascii():
        return int(name) if len(name) < 9 and int(name) < before else None
    same = names.get(name.lower(), ())
    at = bisect.bisect_left(same, before)
    return same[at - 1] if at else None


def _froms(stage: Stage) -> list[tuple[str, int]]:
    """Stages or images that COPY --from and RUN --mount=…,from= name, with their lines."""
    found = [(i.flag("from"), i.line) for i in stage.instructions if i.word in ("COPY", "ADD") and i.flag("from")]
    for instruction in stage.instructions:
        for options in _mounts(instruction):
            if options.get("from"):
                found.append((options["from"], instruction.line))
    return found


def _mounts(instruction: Instruction) -> list[dict[str, str]]:
    if instruction.word != "RUN":
        return []
    return [
        {key: value for key, _, value in (part.partition("=") for part in text.split(","))}
        for name, text in instruction.flags
        if name == "mount"
    ]


def bases(dockerfile: Dockerfile, target: str = "") -> tuple[Base, ...]:
    """Images from outside that the build reads, in order, each once; "scratch" is none."""
    found: dict[str, Base] = {}
    names = _names(dockerfile)
    for stage in needed(dockerfile, target):
        if stage.base < 0 and stage.image != "scratch":
            found.setdefault(stage.image, Base(stage.image, stage.instructions[0].line))
        for name, line in _froms(stage):
            if _find(names, name, stage.index) is None and name != "scratch":
                found.setdefault(name, Base(name, line))
    return tuple(found.values())


def secrets(dockerfile: Dockerfile, target: str = "") -> tuple[tuple[str, int, bool], ...]:
    """(id, line, required) of every RUN --mount=type=secret."""
    found: list[tuple[str, int, bool]] = []
    for stage in needed(dockerfile, target):
        for instruction in stage.instructions:
            for options in _mounts(instruction):
                if options.get("type") == "secret":
                    name = options.get("id") or options.get("target", "").rpartition("/")[2]
                    found.append((name, instruction.line, options.get("required") in ("", "true", "1")))
    return tuple(found)


def sources(dockerfile: Dockerfile, target: str = "", args: Mapping[str, str] | None = None) -> tuple[str, ...] | None:
    """Patterns of the context's files that the build can see (Go's filepath.Match); None: all of them."""
    found: set[str] = set()
    given = {**PLATFORM_ARGS, **(args or {})}
    outer = _outer(dockerfile, given)
    for stage in needed(dockerfile, target):
        known: dict[str, str] = {}
        for instruction in stage.instructions:
            if instruction.word == "ARG":
                known.update({k: v for k, v in {**PLATFORM_ARGS, **outer}.items() if k in _words(instruction.rest)})
                known.update(_arg(instruction.rest, known, given))
            if any(m.get("type", "bind") == "bind" and not m.get("from") for m in _mounts(instruction)):
                return None
            if instruction.word not in ("COPY", "ADD") or instruction.flag("from"):
                continue
            for source in _copied(instruction):
                if _unknown(source, known):
                    return None
                path = expand(source, known).lstrip("/")
                if "://" in path or path.startswith("git@"):
                    continue
                if path.strip("./") == "" or ".." in path.split("/"):
                    return None
                found.add(path.removeprefix("./").rstrip("/"))
    return tuple(sorted(found))


def _copied(instruction: Instruction) -> list[str]:
    if instruction.rest.startswith("["):
        try:
            words = [str(word) for word in json.loads(instruction.rest)]
        except ValueError:
            words = _words(instruction.rest)
    else:
        words = _words(instruction.rest)
    return [word for word in words[:-1] if not _HEREDOC.match(word)]


def _unknown(text: str, known: Mapping[str, str]) -> bool:
    """Whether a variable stands in it whose value only the base image's ENV can tell."""
    return any((m[1] or m[2]) and (m[1] or m[2]) not in known for m in _VARIABLE.finditer(text))


# --- rewriting for buildah -------------------------------------------------------------------------


class Rewritten(Struct, frozen=True):
    text: str  # as many lines as before, so that a line number still points to the source
    files: tuple[tuple[str, bytes], ...]  # to be laid into the context: the bodies of COPY heredocs


def rewrite(
    text: str, dockerfile: Dockerfile, images: Mapping[str, str], args: Mapping[str, str] | None = None
) -> Rewritten:
    """The same Dockerfile with its outside images named as in `images`, and heredocs in a form that buildah 1.28
    reads (its own support came in 1.33). Raises DockerfileInvalid for the few heredocs that cannot be told.

    `args` are the build's own. buildah 1.28 finds layers again by an instruction's text and would take LABEL, ENV and
    their like with an ARG's variable from a build with another value of it: behind the first such variable stands one
    more, never set, whose name follows from the values (exit: a buildah that counts the values in)."""
    lines = text.removeprefix("\ufeff").splitlines()
    files: list[tuple[str, bytes]] = []
    outer = _outer(dockerfile, args or {})
    for stage in dockerfile.stages:
        shell = ["/bin/sh", "-c"]
        values: dict[str, str] = {}
        for instruction in stage.instructions:
            if instruction.word == "SHELL":
                shell = [str(word) for word in json.loads(instruction.rest)]
            old = "\n".join(lines[instruction.line - 1 : instruction.end])
            if instruction.word == "ARG":
                values.update(_declared(instruction.rest, {**PLATFORM_ARGS, **outer, **values}, args or {}))
                new = _argument(instruction, outer)
            else:
                new = _rewritten(instruction, stage, dockerfile, images, shell, files)
            if instruction.word in EXPANDED and not instruction.heredocs and values:
                new = _marked(new or old, values)
            if new is not None and new != old:
                blank = [""] * (instruction.end - instruction.line - new.count("\n"))
                lines[instruction.line - 1 : instruction.end] = [*new.split("\n"), *blank]
    return Rewritten("\n".join(lines) + "\n", tuple(files))


def _marked(text: str, values: Mapping[str, str]) -> str:
    """The instruction with `${TRUEUP_…}` behind the first variable of an ARG that is expanded."""
    for found in _VARIABLE.finditer(text):
        name = found[1] or found[2]
        if name in values and not _single_quoted(text[: found.start()]):
            told = json.dumps(sorted(values.items())).encode()
            return f"{text[: found.end()]}${{TRUEUP_{hashlib.sha256(told).hexdigest()[:16]}}}{text[found.end() :]}"
    return text


def _single_quoted(before: str) -> bool:
    """Whether what follows stands between single quotes, where nothing is expanded."""
    quote = ""
    for found in re.finditer(r"\\.|['\"]", before):
        if found[0] in ("'", '"') and quote in ("", found[0]):
            quote = "" if quote else found[0]
    return quote == "'"


def _argument(instruction: Instruction, outer: Mapping[str, str]) -> str | None:
    """`ARG X` with the value that an ARG before the first FROM gave it."""
    words: list[str] = []
    for word in _words(instruction.rest):
        name, given, default = word.partition("=")
        if not given and name in outer and outer[name].isprintable():
            words.append(f"{name}={_quoted(outer[name])}")
        else:
            words.append(f"{name}={_quoted(default, keep='$')}" if given else name)
    changed = any(name.partition("=")[0] in outer for name in words)
    return f"ARG {' '.join(words)}" if changed else None


def _quoted(value: str, keep: str = "") -> str:
    return '"' + re.sub(r'["\\$`]', lambda found: found[0] if found[0] in keep else "\\" + found[0], value) + '"'


def _outer(dockerfile: Dockerfile, args: Mapping[str, str]) -> dict[str, str]:
    """The values of the ARGs that stand before the first FROM."""
    found: dict[str, str] = {}
    for instruction in dockerfile.instructions:
        if instruction.word == "FROM":
            break
        found.update(_arg(instruction.rest, {**PLATFORM_ARGS, **found}, args))
    return found


def _rewritten(
    instruction: Instruction,
    stage: Stage,
    dockerfile: Dockerfile,
    images: Mapping[str, str],
    shell: Sequence[str],
    files: list[tuple[str, bytes]],
) -> str | None:
    """One instruction's new line, or None to leave it alone."""
    if instruction.word == "FROM":
        named = images.get(stage.image) if stage.base < 0 else None
        if named is None:
            return None
        tail = f" AS {stage.name}" if stage.name else ""
        return f"FROM {_said(instruction.flags)}{named}{tail}"
    flags = tuple(
        (key, _from_in(value, images) if key == "mount" else images.get(value, value) if key == "from" else value)
        for key, value in instruction.flags
        if key != "link"  # how layers are stored, not what is in them; buildah does not know it
    )
    if instruction.heredocs and instruction.word == "RUN":
        return f"RUN {_said(flags)}{json.dumps([*shell, _script(instruction)])}"
    if instruction.heredocs:
        return f"{instruction.word} {_said(flags)}{_laid(instruction, dockerfile, files)}"
    if flags != instruction.flags:
        return f"{instruction.word} {_said(flags)}{instruction.rest}"
    return None


def _said(flags: Sequence[tuple[str, str]]) -> str:
    return "".join(f"--{key}={value} " if value else f"--{key} " for key, value in flags)


def _from_in(mount: str, images: Mapping[str, str]) -> str:
    parts = (part.partition("=") for part in mount.split(","))
    return ",".join(f"{k}{eq}{images.get(v, v) if k == 'from' else v}" for k, eq, v in parts)


def _script(instruction: Instruction) -> str:
    first = instruction.heredocs[0]
    alone = len(instruction.heredocs) == 1 and _HEREDOC.fullmatch(instruction.rest.strip())
    if alone and first.body.startswith("#!"):
        interpreter = first.body.splitlines()[0][2:].strip()
        return f"{interpreter} /dev/fd/3 3<<'{first.name}'\n{first.body}{first.name}\n"
    if alone:
        return first.body
    bodies = "".join(f"{h.body}{h.name}\n" for h in instruction.heredocs)
    return f"{instruction.rest}\n{bodies}"


def _laid(instruction: Instruction, dockerfile: Dockerfile, files: list[tuple[str, bytes]]) -> str:
    words = _words(instruction.rest)
    for number, word in enumerate(words):
        found = _HEREDOC.match(word)
        if not found:
            continue
        heredoc = next(h for h in instruction.heredocs if h.name == found[4])
        if "$" in heredoc.body and not heredoc.quoted:
            place = Place(dockerfile.file, instruction.line)
            raise DockerfileInvalid(
                place, f"variables in <<{heredoc.name} cannot be expanded: write <<'{heredoc.name}'"
            )
        path = f".trueup-heredoc/{instruction.line}/{heredoc.name}"
        files.append((path, heredoc.body.encode()))
        words[number] = path
    return json.dumps(words)

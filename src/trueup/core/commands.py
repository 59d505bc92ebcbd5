"""The commands that pipeline files would run, with their lines: GitHub, GitLab, Jenkins. Never runs or expands any."""

from __future__ import annotations

import bisect
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

from trueup.core.found import Command, ImageBuild
from trueup.core.model import Json, Place
from trueup.core.objects import dig
from trueup.core.yamldoc import Doc, Node, PathStep, node_at


def github_commands(doc: Doc) -> Iterator[Command]:
    """`run:` of every step, of jobs and of a file that is only steps."""
    for path, where, step in github_steps(doc):
        if isinstance(step.get("run"), str):
            yield from _of_node(doc, (*path, "run"), where)


def github_steps(doc: Doc) -> Iterator[tuple[tuple[PathStep, ...], str, dict[str, Json]]]:
    """(path, "job test", step) of every step."""
    body = doc.body if isinstance(doc.body, dict) else {}
    jobs = body.get("jobs")
    lists: list[tuple[tuple[PathStep, ...], str]] = [(("steps",), "")]
    lists += [(("jobs", str(job), "steps"), f"job {job}") for job in (jobs if isinstance(jobs, dict) else ())]
    for path, where in lists:
        steps = dig(body, path)
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if isinstance(step, dict):
                yield (*path, index), where, step


def gitlab_commands(doc: Doc) -> Iterator[Command]:
    """`script`, `before_script` and `after_script` of every job."""
    for job, body in doc.body.items() if isinstance(doc.body, dict) else ():
        for key in ("before_script", "script", "after_script"):
            lines = dig(body, (key,))
            if isinstance(lines, str):
                yield from _of_node(doc, (job, key), _gitlab_place(job))
            for index, line in enumerate(lines if isinstance(lines, list) else ()):
                if isinstance(line, str):
                    yield from _of_node(doc, (job, key, index), _gitlab_place(job))


def _gitlab_place(job: str) -> str:
    """Source: GitLab Docs, "CI/CD YAML syntax reference", default; "Hide a job"."""
    return "every job" if job == "default" else f"template {job}" if job.startswith(".") else f"job {job}"


_SH = re.compile(
    r"""\b(?:sh|bat)\s*+\(?\s*+(?:script:\s*+)?(?:'''(?P<a>.*?)'''|\"\"\"(?P<b>.*?)\"\"\"|'(?P<c>[^'\n]*)'|"(?P<d>[^"\n]*)")""",
    re.DOTALL,
)
_STAGE = re.compile(r"""stage\s*\(\s*['"]([^'"\n]*)['"]""")


def jenkins_commands(text: str, file: str) -> Iterator[Command]:
    """`sh '…'` steps of a Jenkinsfile, each with the stage it stands in."""
    starts = [found.start() for found in _STAGE.finditer(text)]
    names = ["", *jenkins_stages(text)]
    line, counted = 1, 0
    for found in _SH.finditer(text):
        which = next(name for name in "abcd" if found.group(name) is not None)
        line += text.count("\n", counted, found.start(which))
        counted = found.start(which)
        stage = names[bisect.bisect(starts, found.start())]
        yield from split_lines(found.group(which), Place(file, line), f"stage {stage}" if stage else "")


def jenkins_stages(text: str) -> tuple[str, ...]:
    return tuple(found.group(1) for found in _STAGE.finditer(text))


def _of_node(doc: Doc, path: Iterable[PathStep], where: str) -> Iterator[Command]:
    node = node_at(doc.root, path)
    if node is not None and isinstance(node.value, str):
        yield from split_lines(node.value, Place(doc.file, _first_line(node), node.column), where)


def _first_line(node: Node) -> int:
    return node.line + (1 if node.style in ("|", ">") else 0)


def split_lines(text: str, place: Place, where: str = "") -> Iterator[Command]:
    """One Command per line, `\\` continuations joined, comments and blank lines left out."""
    waiting, start = "", 0
    for number, line in enumerate(text.split("\n")):
        waiting, start = (waiting + " " + line.strip(), start) if waiting else (line.strip(), number)
        if waiting.endswith("\\"):
            waiting = waiting[:-1].rstrip()
            continue
        if waiting and not waiting.startswith("#"):
            yield Command(Place(place.file, place.line + start, place.column if start == 0 else 0), waiting, where)
        waiting = ""
    if waiting and not waiting.startswith("#"):
        yield Command(Place(place.file, place.line + start), waiting, where)


# --- what commands mean ----------------------------------------------------------------------------

_SEPARATORS = {"&&", "||", ";", "|", "&"}
_PREFIXES = {"sudo", "time", "exec", "command", "then", "do", "else", "if", "!", "-", "+"}


def calls(text: str) -> list[list[str]]:
    """The simple commands of a line as words, quotes removed, leading `sudo` and assignments dropped."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    try:
        for word in lexer:
            if word in _SEPARATORS:
                found.append([])
            else:
                found[-1].append(word)
    except ValueError:  # an open quote: a line of a longer construct
        found = [text.split()]
    return [words for words in map(_without_prefix, found) if words]


def _without_prefix(words: list[str]) -> list[str]:
    at = 0
    while at < len(words) and (words[at] in _PREFIXES or re.match(r"[A-Za-z_]\w*=", words[at])):
        at += 1
    return words[at:]


# `docker build` options that take no value. Source: Docker CLI reference, `docker buildx build`
_FLAGS = frozenset({
    "--push", "--load", "--no-cache", "--pull", "-q", "--quiet", "--rm", "--force-rm", "--compress", "--squash",
    "--debug", "-D", "--check", "--disable-content-trust",
})  # fmt: skip


def image_build(words: list[str], place: Place) -> ImageBuild | None:
    """The build that `docker build …` (or buildx, podman, buildah) asks for; None for other commands."""
    rest = _build_arguments(words)
    if rest is None:
        return None
    tags: list[str] = []
    dockerfile = context = ""
    at = 0
    while at < len(rest):
        name, equals, value = rest[at].partition("=")
        if not name.startswith("-"):
            context = rest[at]
        elif name not in _FLAGS:
            if not equals:
                at += 1
                value = rest[at] if at < len(rest) else ""
            tags += [value] if name in ("-t", "--tag") else []
            dockerfile = value if name in ("-f", "--file") else dockerfile
        at += 1
    return ImageBuild(tuple(tags), path_in_repository(context), _dockerfile(context, dockerfile), place)


def _dockerfile(context: str, file: str) -> str:
    if file:
        return path_in_repository(file)
    known = path_in_repository(context)
    return joined(known, "Dockerfile") if known else ""


def _build_arguments(words: list[str]) -> list[str] | None:
    for start in (["docker", "build"], ["docker", "buildx", "build"], ["docker", "image", "build"],
                  ["podman", "build"], ["buildah", "build"], ["buildah", "bud"]):  # fmt: skip
        if words[: len(start)] == start:
            return words[len(start) :]
    return None


_TAGS_OF = re.compile(r"\$\{\{\s*+steps\.([\w-]++)\.outputs\.tags\s*+\}\}")


def action_build(
    step: dict[str, Json], place: Place, images: Mapping[str, tuple[str, ...]] | None = None
) -> ImageBuild | None:
    """The build of a `docker/build-push-action` step. `images`: what `metadata_images` of its file says."""
    if not _uses(step, "docker/build-push-action"):
        return None
    given = _inputs(step)
    context = given.get("context", ".")
    written = tuple(tag.strip() for tag in re.split(r"[\n,]", given.get("tags", "")) if tag.strip())
    tags: list[str] = []
    for tag in written:
        of = _TAGS_OF.fullmatch(tag)
        tags += (images or {}).get(of.group(1), (tag,)) if of else (tag,)
    return ImageBuild(tuple(tags), path_in_repository(context), _dockerfile(context, given.get("file", "")), place)


def metadata_images(steps: Iterable[dict[str, Json]]) -> dict[str, tuple[str, ...]]:
    """id of a `docker/metadata-action` step → the images that its tags are of."""
    found: dict[str, tuple[str, ...]] = {}
    for step in steps:
        if isinstance(id := step.get("id"), str) and _uses(step, "docker/metadata-action"):
            lines = re.split(r"[\n,]", _inputs(step).get("images", ""))
            found[id] = found.get(id, ()) + tuple(line.strip() for line in lines if line.strip())
    return found


def _uses(step: dict[str, Json], action: str) -> bool:
    uses = step.get("uses")
    return isinstance(uses, str) and uses.lower().startswith(f"{action}@")


def _inputs(step: dict[str, Json]) -> dict[str, str]:
    given = step.get("with")
    return {k: str(v) for k, v in given.items() if v is not None} if isinstance(given, dict) else {}


_DOCKER_BUILD = re.compile(
    r"""\bdocker\.build\s*+\(?\s*+(?:"(?P<a>[^"\n]+)"|'(?P<b>[^'\n]+)')(?:\s*+,\s*+(?:"(?P<c>[^"\n]*)"|'(?P<d>[^'\n]*)'))?"""
)


def jenkins_builds(text: str, file: str) -> Iterator[ImageBuild]:
    """`docker.build("image", "-f file context")` of the Docker Pipeline plugin.

    Source: Jenkins Handbook, "Using Docker with Pipeline", "Building containers"."""
    for found in _DOCKER_BUILD.finditer(text):
        words = split_words(found["c"] or found["d"] or ".")
        place = Place(file, text.count("\n", 0, found.start()) + 1)
        if build := image_build(["docker", "build", "-t", found["a"] or found["b"], *words], place):
            yield build


_ASSIGNED = re.compile(
    r"""^[ \t]*+(?:(?:def|String)[ \t]++)?(\w++)[ \t]*+=[ \t]*+(?:"([^"\n]*)"|'([^'\n]*)')[ \t]*+;?[ \t]*+$""",
    re.MULTILINE,
)


def jenkins_variables(text: str) -> Iterator[dict[str, Json]]:
    """`NAME = 'text'` of an `environment` block or a script."""
    for found in _ASSIGNED.finditer(text):
        yield {found.group(1): found.group(2) or found.group(3) or ""}


def split_words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an open quote
        return text.split()


def path_in_repository(path: str) -> str:
    """ "./app/" → "app", "." → "."; unknown (variables, URLs, paths that lead out) → ""."""
    if not path or "$" in path or "://" in path or path.startswith(("/", "git@")):
        return ""
    clean = posixpath.normpath(path)
    return "" if clean.startswith("..") else clean


def joined(context: str, name: str) -> str:
    return name if context in ("", ".") else f"{context}/{name}"

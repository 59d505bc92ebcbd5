"""actions/checkout: the commit's files in the workspace, and its `.git` for steps that ask git."""

from __future__ import annotations

import asyncio
import posixpath
import shlex
from pathlib import Path

from trueup.engine.running import ActionFailed, Use
from trueup.ports import History

# In the sandbox, by the steps' own user: our git never runs where steps have written.
_GIT = """
cd %(target)s
command -v git >/dev/null || exit 0
git config --global --add safe.directory '*'
if [ -d .git ]; then git reset --quiet; fi
"""


async def checkout(use: Use) -> int:
    """Write the run's commit. Another repository or ref is refused by name. Raises SourceError."""
    running = use.running
    facts = running.facts
    if (other := use.get("repository")) and other.lower() != facts.repository.lower():
        raise ActionFailed(f"actions/checkout: another repository ({other}) is not offered; only {facts.repository}")
    ref = use.get("ref")
    if ref and ref not in (facts.commit, facts.ref, facts.ref.removeprefix("refs/heads/")):
        raise ActionFailed(
            f"actions/checkout: another ref ({ref}) is not offered; a run has one commit, {facts.commit[:8]}"
        )
    for name in ("submodules", "lfs"):
        if use.get(name, "false").lower() not in ("false", ""):
            raise ActionFailed(f"actions/checkout: {name} are not fetched; commit the files themselves")
    target = posixpath.normpath(posixpath.join(running.sandbox.inside, use.get("path", ".")))
    if not (target + "/").startswith(running.sandbox.inside + "/"):
        raise ActionFailed(f"actions/checkout: path {use.get('path')!r} leads out of the workspace")
    code = await _files(use, target)
    use.outputs.update(commit=facts.commit, ref=facts.ref)
    return code or await use.sh(_GIT % {"target": shlex.quote(target)})


async def _files(use: Use, target: str) -> int:
    """Straight into an untouched workspace; else beside it, then copied by the steps' own user."""
    running = use.running
    workspace = running.place.workspace
    untouched = target == running.sandbox.inside and running.count == 1
    into = workspace if untouched else running.place.folder / "control" / f"checkout-{running.count}"
    await asyncio.to_thread(into.mkdir, exist_ok=True)
    for note in await running.order.source.checkout(running.facts.commit, into):
        use.say(f"notice: {note}")
    await _history(use, into)
    use.say(f"{running.facts.repository} at {running.facts.commit}")
    if untouched:
        await running.sandbox.own(workspace)
        return 0
    return await use.sh(_replace(running.sandbox.see(into), target))


async def _history(use: Use, into: Path) -> None:
    """The commit's `.git`, from a source that has one; made beside, so that no hook or setting of a step counts."""
    running, facts = use.running, use.running.facts
    source = running.order.source
    if not isinstance(source, History):
        return
    depth = int(use.get("fetch-depth", "1")) if use.get("fetch-depth", "1").isdigit() else 1
    beside = running.place.folder / f"git-{running.count}"
    await asyncio.to_thread(beside.mkdir)
    branch = facts.ref.removeprefix("refs/heads/")
    await source.history(facts.commit, beside, branch=branch, depth=depth)
    await asyncio.to_thread((beside / ".git").rename, into / ".git")


def _replace(source: str, target: str) -> str:
    quoted = shlex.quote(target)
    return (
        f"mkdir -p {quoted} && find {quoted} -mindepth 1 -maxdepth 1 -exec rm -rf {{}} + "
        f"&& cp -a --no-preserve=ownership {shlex.quote(source)}/. {quoted}/"
    )

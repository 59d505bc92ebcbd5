"""What definitions of a repository are made from elsewhere, fetched, pinned for the commit and laid beside it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from trueup.core.model import Finding, Severity
from trueup.core.render import Folders
from trueup.core.resolve import BESIDE, Away, Resolved, elsewhere, resolve_one
from trueup.core.text import shown
from trueup.engine.expansion import Expanded
from trueup.engine.pins import FOLDER_NAME
from trueup.engine.remotes import Beside
from trueup.ports import Given, RemoteRefused, SourceError

MOST = 200  # repositories and charts


async def lay_beside(expanded: Expanded, given: Given, beside: Beside) -> tuple[Expanded, Given]:
    """Every application with what it is made from elsewhere at hand. Raises SourceError."""
    mounts: dict[Away, str] = {}
    refused: dict[Away, str] = {}
    wanted = [elsewhere(one.stated, expanded.definitions, expanded.repository) for one in expanded.resolved]
    for each in dict.fromkeys(away for one in wanted for away in one):
        if len(mounts) >= MOST:
            refused[each] = f"definitions here are made from more than {MOST} repositories and charts"
            continue
        try:
            given, mounts[each] = await beside.mount(each, given)
        except RemoteRefused as error:
            refused[each] = str(error)
        except SourceError as error:
            if (given.pins or given.name) != FOLDER_NAME:
                raise
            refused[each] = str(error)  # a folder as it stands is only looked at: what cannot be reached is told
    repository = structs.replace(expanded.repository, folders=given.folders, mounts=mounts)
    whole = structs.replace(expanded, repository=repository)
    resolved = tuple(
        _resolved(one, away, whole, refused) if away else one
        for one, away in zip(expanded.resolved, wanted, strict=True)
    )
    return structs.replace(whole, resolved=resolved), given


def _resolved(one: Resolved, away: tuple[Away, ...], expanded: Expanded, refused: Mapping[Away, str]) -> Resolved:
    wrong = tuple(
        Finding(
            Severity.ERROR, "definition-not-served", one.stated.place, shown(refused[each].rstrip(".")),
            "Correct the address, the revision or the version.",
        )
        for each in away
        if each in refused
    )  # fmt: skip
    if wrong:
        return structs.replace(one, application=None, findings=wrong)
    return resolve_one(one.stated, expanded.definitions, expanded.repository)


def without_beside(folders: Folders) -> Folders:
    """A commit's own files, without what was laid beside them."""
    if not folders.is_folder(BESIDE):
        return folders
    return Folders({path: entry for path, entry in folders.tree.items() if not path.startswith(f"{BESIDE}/")})

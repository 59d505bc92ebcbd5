"""Brings the images that were built here to where a cluster's nodes can pull them, and names them so there.

In this order: the registry that a setting names; the one that the manifest names, where a pipeline has pushed to it or
this machine has an account for it; the embedded one, when every node is this machine. Git is never told of another
name than its own.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct, structs

from trueup.core.model import Object
from trueup.core.objects import body_hash, undotted
from trueup.core.reference import ReferenceInvalid, mirror_path, parse, split
from trueup.drivers.builders.auth import Account
from trueup.drivers.builders.index import Entry
from trueup.ports import BuilderDown, TargetDown

log = logging.getLogger("trueup")

TAG = "trueup-"


class RegistryInvalid(ValueError):
    """The text of --image-registry names no registry; the message says what is expected."""


class RegistrySetting(Struct, frozen=True):
    """ "registry.example:5000/team": where built images are pushed to. `secure` False: plain HTTP."""

    host: str
    prefix: str = ""
    secure: bool = True

    def repository(self, repository: str) -> str:
        """What the manifests' repository is called there: below the prefix, its own registry left out."""
        parsed = parse(repository)
        if parsed.domain == self.host and (not self.prefix or parsed.path.startswith(f"{self.prefix}/")):
            return parsed.repository
        return "/".join(filter(None, (self.host, self.prefix, parsed.path)))


def read_setting(text: str) -> RegistrySetting:
    """ "[http://]HOST[:PORT][/PREFIX]". Raises RegistryInvalid."""
    plain = text.startswith("http://")
    where = text.removeprefix("http://").removeprefix("https://").rstrip("/")
    host, _, prefix = where.partition("/")
    try:
        parsed = parse(f"{where}/image")
    except ReferenceInvalid as error:
        raise RegistryInvalid(f"--image-registry {text!r}: {error}; write HOST[:PORT][/PREFIX]") from error
    if parsed.domain != host:
        raise RegistryInvalid(
            f"--image-registry {text!r}: {host!r} is no host name with a dot or a port; write it whole"
        )
    return RegistrySetting(host, prefix, not plain and not host.startswith(("127.", "localhost")))


class Store(Protocol):
    """The builder, as far as images are delivered by it. Errors are BuilderDown."""

    async def account(self, repository: str) -> Account | None: ...

    async def deliver(self, name: str, digest: str, path: str, *, account: Account | None, secure: bool) -> None: ...


class Built(Protocol):
    def built(self, digest: str) -> Entry | None: ...

    def pushed(self, repository: str, digest: str) -> bool: ...


class Route(Struct, frozen=True):
    """How an image gets to the nodes. `push`: it has to be pushed to `repository` first."""

    repository: str  # as the applied object names it
    push: bool = False
    secure: bool = True


class Unreachable(Struct, frozen=True):
    """The nodes cannot get an image of this registry, and what to do about it."""

    registry: str
    reason: str

    def __str__(self) -> str:
        return (
            f"the cluster's nodes cannot pull what was built here for {self.registry}: {self.reason}. Log in to "
            f"{self.registry} on this machine (podman login {self.registry}), let the pipeline push it, or give a "
            "registry that this machine pushes to and the nodes pull from: --image-registry HOST/PREFIX"
        )


class Delivery:
    """`here`: "" when every node is this machine, else why the embedded registry is out of their reach."""

    def __init__(
        self,
        setting: RegistrySetting | None,
        index: Built,
        store: Store,
        embedded: Callable[[], Awaitable[str]],
        here: Callable[[], Awaitable[str]],
    ) -> None:
        self._setting, self._index, self._store, self._embedded, self._here = setting, index, store, embedded, here
        self._done: set[tuple[str, str]] = set()  # (repository, digest) pushed by this process
        self._one = asyncio.Lock()

    async def route(self, repository: str, digest: str) -> Route | Unreachable:
        """How an image that was built here gets to the nodes. Raises BuilderDown, TargetDown."""
        if self._setting is not None:
            return Route(self._setting.repository(repository), True, self._setting.secure)
        if self._index.pushed(repository, digest):
            return Route(repository)
        if await self._store.account(repository) is not None:
            return Route(repository, True, not repository.startswith(("127.", "localhost")))
        reason = await self._here()
        if reason:
            return Unreachable(parse(repository).domain, reason)
        return Route(f"{await self._embedded()}/{mirror_path(repository)}")

    async def named(self, objects: Sequence[Object]) -> tuple[Object, ...]:
        """The objects with each image that was built here under the name that nodes pull it by."""
        return tuple([await self._named(each) for each in objects])

    async def _named(self, each: Object) -> Object:
        names: dict[str, str] = {}
        for use in each.images:
            repository, tag, digest = split(use.text)
            if digest and await asyncio.to_thread(self._index.built, digest) is not None:
                try:
                    route = await self.route(parse(repository).repository, digest)
                except BuilderDown as error:
                    raise TargetDown(str(error)) from error
                if isinstance(route, Route) and route.repository != parse(repository).repository:
                    names[use.path] = f"{route.repository}{f':{tag}' if tag else ''}@{digest}"
        return renamed(each, names) if names else each

    async def bring(self, objects: Sequence[Object]) -> None:
        """Push what has to be pushed for these objects. Raises TargetDown, with what to do."""
        for repository, digest in sorted({(split(u.text)[0], split(u.text)[2]) for o in objects for u in o.images}):
            entry = await asyncio.to_thread(self._index.built, digest) if digest else None
            if entry is not None:
                try:
                    await self._bring(parse(repository).repository, entry)
                except BuilderDown as error:
                    raise TargetDown(f"{error}; it is tried again") from error

    async def _bring(self, repository: str, entry: Entry) -> None:
        if self._setting is not None and self._setting.repository(repository) == repository:
            route: Route | Unreachable = Route(repository, True, self._setting.secure)
        elif repository.startswith(f"{await self._embedded()}/"):
            route = Route(repository)
        else:
            route = await self.route(repository, entry.digest)
        if isinstance(route, Unreachable):
            raise TargetDown(str(route))
        async with self._one:
            if route.push and (route.repository, entry.digest) not in self._done:
                await self._push(route, entry)
                self._done.add((route.repository, entry.digest))

    async def _push(self, route: Route, entry: Entry) -> None:
        """Once a process, for an image may have been removed there. What was pushed before is enough for nodes when the
        registry does not answer us now. Raises BuilderDown."""
        name = f"{route.repository}:{TAG}{entry.digest.partition(':')[2][:12]}"
        try:
            account = await self._store.account(route.repository)
            await self._store.deliver(name, entry.digest, entry.path, account=account, secure=route.secure)
        except BuilderDown as error:
            if not await asyncio.to_thread(self._index.pushed, route.repository, entry.digest):
                raise
            log.warning("not pushed again", extra={"image": name, "reason": str(error)})


def renamed(each: Object, names: dict[str, str]) -> Object:
    """The object with these images (path → reference) instead of its own."""
    body = copy.deepcopy(each.body)
    for path, text in names.items():
        *above, last = undotted(path)
        at = body
        for step in above:
            at = at[step]
        at[last] = text
    uses = tuple(structs.replace(u, text=names.get(u.path, u.text)) for u in each.images)
    return structs.replace(each, body=body, hash=body_hash(body), images=uses)


async def own_addresses() -> frozenset[str]:
    """The addresses of this machine's interfaces but loopback. Source: ip-address(8), -json."""
    process = await asyncio.create_subprocess_exec(
        "ip", "-json", "address", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await asyncio.wait_for(process.communicate(), 10.0)
    found = json.loads(out or b"[]")
    listed = (a for link in found if link.get("ifname") != "lo" for a in link.get("addr_info") or ())
    return frozenset(str(a["local"]) for a in listed if "local" in a)

"""Charts where Helm finds them: a repository with an index.yaml, or an OCI registry. Every archive by its digest.

Source: Helm docs, "Chart Repository Guide" (index.yaml, relative urls, digest) and "Use OCI-based registries"; OCI
distribution-spec v1.1, "Pulling manifests", "Pulling blobs", "Listing tags"; Distribution docs, "Token Authentication".
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec
import yaml

from trueup.core.model import Json
from trueup.core.semver import InvalidRange, Version, read_range, version
from trueup.drivers.sources.web import Answer, Web, is_here, shown
from trueup.ports import Archive, RemoteRefused, SourceError

LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_NEXT = re.compile(r'<([^>]+)>;\s*rel="?next"?')
PAGES = 50


class Charts:
    def __init__(self, web: Web) -> None:
        self._web = web

    async def find(self, repository: str, name: str, versions: str) -> Archive:
        """Raises RemoteRefused, SourceError."""
        if repository.startswith("oci://"):
            return await _Registry(self._web, f"{repository.rstrip('/')}/{name}").find(name, versions)
        if repository.startswith(("https://", "http://")):
            return await self._indexed(repository.rstrip("/") + "/", name, versions)
        raise RemoteRefused(
            f"{repository or 'no repository'} for chart {name}: only https://, http://, oci:// and file:// are fetched"
        )

    async def _indexed(self, repository: str, name: str, versions: str) -> Archive:
        answer = _ok(await self._web.get(urljoin(repository, "index.yaml")))
        index = await asyncio.to_thread(_index, answer)
        entries = [e for e in index.get(name) or () if isinstance(e, dict) and isinstance(e.get("version"), str)]
        if not entries:
            raise RemoteRefused(f"{shown(repository)} has no chart {name}")
        chosen = _newest({e["version"]: e for e in reversed(entries)}, name, versions, shown(repository))
        urls = chosen.get("urls")
        if not isinstance(urls, list) or not urls or not isinstance(urls[0], str):
            raise RemoteRefused(f"{shown(repository)} names no address of chart {name} {chosen['version']}")
        where = urljoin(repository, urls[0])
        own = urlsplit(where).netloc == urlsplit(repository).netloc
        data = _ok(await self._web.get(where, login=own)).body
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        stated = str(chosen.get("digest") or "").removeprefix("sha256:").lower()
        if stated and f"sha256:{stated}" != digest:
            raise RemoteRefused(f"{shown(where)} is not what {shown(repository)} says: its digest is another one")
        return Archive(name, chosen["version"], data, digest)


def _index(answer: Answer) -> dict[str, Any]:
    try:
        read = yaml.load(answer.body, Loader=yaml.CSafeLoader)  # the safe loader, in C
    except yaml.YAMLError:
        read = None
    entries = read.get("entries") if isinstance(read, dict) else None
    if not isinstance(entries, dict):
        raise RemoteRefused(f"{shown(answer.url)} is no index of charts")
    return entries


def _newest(found: Mapping[str, Any], name: str, versions: str, where: str) -> Any:
    """The entry of an exact version, else of the newest that the range holds."""
    if versions in found:
        return found[versions]
    try:
        wanted = read_range(versions)
    except InvalidRange as error:
        raise RemoteRefused(f"chart {name}: {error}") from None
    fit = [(v, text) for text in found if (v := version(text)) is not None and wanted.holds(v)]
    if not fit:
        newest = max((v for text in found if (v := version(text)) is not None), default=Version(0, text="none"))
        raise RemoteRefused(f"{where} has no chart {name} of version {versions or 'any'}; its newest is {newest.text}")
    return found[max(fit, key=lambda pair: pair[0])[1]]


def _ok(answer: Answer) -> Answer:
    if answer.status in (401, 403):
        raise RemoteRefused(
            f"{shown(answer.url)} wants a login ({answer.status}): `trueup secret set TRUEUP_REMOTE_LOGINS`"
        )
    if answer.status in (404, 410):
        raise RemoteRefused(f"{shown(answer.url)} is not there ({answer.status})")
    if answer.status != 200:
        raise SourceError(f"{shown(answer.url)} answered {answer.status}. Do: try again later.")
    return answer


class _Registry:
    """One repository of an OCI registry, `oci://host/path`."""

    def __init__(self, web: Web, address: str) -> None:
        parts = urlsplit(address)
        scheme = "http" if is_here(parts.hostname or "") else "https"
        self._web, self._shown = web, f"{parts.netloc}{parts.path}"
        self._base, self._path = f"{scheme}://{parts.netloc}/v2{parts.path}", parts.path.strip("/")
        self._token = ""

    async def find(self, name: str, versions: str) -> Archive:
        tags = {versions.replace("+", "_")} if _exact(versions) else await self._tags()
        tag: str = _newest({t.replace("_", "+"): t for t in tags}, name, versions, self._shown)
        manifest = await self._get(f"manifests/{quote(tag, safe='')}", {"Accept": MANIFEST})
        stated = manifest.headers.get("docker-content-digest", "")
        if stated.startswith("sha256:") and stated != f"sha256:{hashlib.sha256(manifest.body).hexdigest()}":
            raise RemoteRefused(f"{self._shown}:{tag} is not what its registry says: its digest is another one")
        layer = _layer(manifest, f"{self._shown}:{tag}")
        data = (await self._get(f"blobs/{layer}", {})).body
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != layer:
            raise RemoteRefused(f"{self._shown}:{tag} is not what its manifest says: its digest is another one")
        return Archive(name, tag.replace("_", "+"), data, layer)

    async def _tags(self) -> set[str]:
        found: set[str] = set()
        at = "tags/list"
        for _ in range(PAGES):
            answer = await self._get(at, {})
            listed = _json(answer).get("tags")
            found.update(t for t in listed or () if isinstance(t, str))
            more = _NEXT.search(answer.headers.get("link", ""))
            if more is None:
                break
            at = f"tags/list?{urlsplit(more.group(1)).query}"
        return found

    async def _get(self, at: str, headers: Mapping[str, str]) -> Answer:
        url = f"{self._base}/{at}"
        answer = await self._web.get(url, {**headers, **self._bearer()}, login=not self._token)
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status == 401 and challenge.lower().startswith("bearer") and not self._token:
            self._token = await self._ask(dict(_CHALLENGE.findall(challenge)))
            answer = await self._web.get(url, {**headers, **self._bearer()}, login=False)
        return _ok(answer)

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    async def _ask(self, challenge: Mapping[str, str]) -> str:
        """A token of the service that the registry names, with the registry's own login."""
        asked = {"service": challenge.get("service", ""), "scope": f"repository:{self._path}:pull"}
        realm = challenge.get("realm", "")
        login = self._web.login_of(self._base)
        headers = {"Authorization": login} if login and realm.startswith("https://") else {}
        answer = _ok(await self._web.get(f"{realm}?{urlencode(asked)}", headers, login=False))
        token = _json(answer).get("token") or _json(answer).get("access_token")
        if not isinstance(token, str):
            raise SourceError(f"{shown(realm)} gave no token. Do: check the login of {self._shown}.")
        return token


def _exact(versions: str) -> bool:
    found = version(versions)
    return found is not None and versions.removeprefix("v").count(".") >= 2


def _json(answer: Answer) -> dict[str, Json]:
    try:
        read = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        read = None
    if not isinstance(read, dict):
        raise SourceError(f"{shown(answer.url)} answered no JSON. Do: check that it is a registry.")
    return read


def _layer(manifest: Answer, where: str) -> str:
    layers = _json(manifest).get("layers")
    for one in layers if isinstance(layers, list) else ():
        if isinstance(one, dict) and one.get("mediaType") == LAYER:
            digest = str(one.get("digest", ""))
            if re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                return digest
    raise RemoteRefused(f"{where} is no chart: none of its layers is {LAYER}")

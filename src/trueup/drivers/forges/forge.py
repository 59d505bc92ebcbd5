"""What forges have in common: the records of a report and of a push, and one careful POST. No product's words here."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
from msgspec import Struct

from trueup.core.address import Address
from trueup.core.model import Oid
from trueup.ports import CommitState, SourceError

DESCRIPTION_LIMIT = 140  # GitHub's; the others take more
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Account(Struct, frozen=True, kw_only=True):
    """Where and as whom commit states are reported."""

    address: Address  # of the repository
    token: str
    environment: str = "default"
    base_url: str = ""  # of the API, when it is not the product's usual one for that host
    target_url: str = ""  # what a person opens from the state
    timeout_s: float = 15.0
    pauses_s: tuple[float, ...] = (1.0, 5.0)  # between attempts, when the forge is down

    def __repr__(self) -> str:
        return f"Account({self.address.url!r}, ***)"

    @property
    def context(self) -> str:
        return f"trueup/{self.environment}"

    @property
    def site(self) -> str:
        """ "https://git.example.org": where the forge's pages are. An ssh address says nothing of another port."""
        scheme = self.address.scheme if self.address.scheme in ("http", "https") else "https"
        port = f":{self.address.port}" if self.address.port and scheme == self.address.scheme else ""
        return f"{scheme}://{self.address.host}{port}"


class Push(Struct, frozen=True):
    """What a webhook says: this branch of this repository moved. Only a reason to fetch, never a fact."""

    urls: tuple[str, ...]  # every address the forge gives for the repository
    branch: str
    after: Oid  # "" when the branch was deleted


Headers: TypeAlias = Mapping[str, str]  # names in any case: aiohttp's CIMultiDict, or lower-case keys


class Forge(Struct, frozen=True, kw_only=True):
    """One product: how to tell it, to report to it, and to trust its webhooks."""

    hosts: tuple[str, ...]  # names, or first or second labels, by which its addresses are known
    report_to: Callable[[Account], CommitState]
    sends: Callable[[Headers], bool]  # whether a request claims to come from it
    verify: Callable[[Headers, bytes, str], bool]  # by the secret; constant time
    push: Callable[[Headers, bytes], Push | None]  # None: another event. Raises ValueError when unreadable


class Post(Struct, frozen=True, kw_only=True):
    """One request to a forge's API."""

    url: str
    headers: tuple[tuple[str, str], ...]
    json: Mapping[str, str]
    scope: str  # what the token must be allowed, in the product's words


def one_line(reason: str) -> str:
    text = " ".join(reason.split())
    return text if len(text) <= DESCRIPTION_LIMIT else text[: DESCRIPTION_LIMIT - 1] + "…"


def check(account: Account) -> None:
    """Raises ValueError for an account that cannot work, or whose token would travel in the clear."""
    url = account.base_url or account.site
    if not account.address.host and not account.base_url:
        raise ValueError(f"{account.address.url} is no address on a forge: give the API's base URL")
    if url.startswith("http://") and urlsplit(url).hostname not in _LOOPBACK:
        raise ValueError(f"a token is not sent to {url} over plain http: use https")


async def post(account: Account, request: Post, accepts: Callable[[int, str], bool]) -> None:
    """POST until the forge took it, within the account's attempts. Raises SourceError that says what to do.

    `accepts`: whether this status and body mean that the state stands."""
    for pause_s in (*account.pauses_s, None):
        status, said = await _once(account, request)
        if accepts(status, said):
            return
        if pause_s is None or not (status in (0, 408, 429) or status >= 500):
            raise SourceError(_failure(request, status, said.replace(account.token, "***")))
        await asyncio.sleep(pause_s)


async def _once(account: Account, request: Post) -> tuple[int, str]:
    """(status, body); status 0 when there was no answer."""
    timeout = aiohttp.ClientTimeout(total=account.timeout_s)
    try:
        # trust_env: aiohttp applies a company's proxy and no_proxy rules itself.
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            headers = dict(request.headers) | {"User-Agent": "trueup"}
            async with session.post(
                request.url, json=dict(request.json), headers=headers, allow_redirects=False
            ) as answer:
                text = (await answer.content.read(4096)).decode(errors="replace")
                return answer.status, answer.headers.get("Location", "") or text
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return 0, f"{type(error).__name__}: {error}"


def _failure(request: Post, status: int, said: str) -> str:
    return f"cannot report the commit's state to {request.url}: {_reason(request, status, said)}"


def _reason(request: Post, status: int, said: str) -> str:
    words = " ".join(said.split())[:200]
    if status in (401, 403):
        return f"the token is not accepted ({status}: {words}). Do: give one with {request.scope}."
    if 300 <= status < 400:
        return f"the repository moved to {words}. Do: use its new address."
    if status in (400, 404, 422):
        return f"the forge does not know the repository or commit ({status}: {words}). Do: check address and token."
    return (
        f"it is down or cannot be reached ({status or 'no answer'}: {words}). Do: nothing; the next state is sent anew."
    )


# --- webhooks --------------------------------------------------------------------------------------


def header(headers: Headers, name: str) -> str:
    return headers.get(name) or headers.get(name.lower()) or ""


def same(a: str | bytes, b: str | bytes) -> bool:
    """Compared in constant time, whatever the two hold."""
    one, two = (x.encode(errors="replace") if isinstance(x, str) else x for x in (a, b))
    return hmac.compare_digest(one, two)


def signed(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def payload(headers: Headers, body: bytes) -> dict[str, Any]:
    """The JSON of a webhook, also when it is sent as a form (`payload=`). Raises ValueError."""
    if header(headers, "Content-Type").startswith("application/x-www-form-urlencoded"):
        body = parse_qs(body.decode(errors="replace")).get("payload", [""])[0].encode()
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise ValueError("no JSON object")
    return decoded


def push_of(event: Mapping[str, Any], url_keys: tuple[str, ...], *holders: str) -> Push | None:
    """A push to a branch, from `ref` and `after` and from the addresses in `holders`. None for tags and the like."""
    ref, after = event.get("ref"), event.get("after")
    if not isinstance(ref, str) or not isinstance(after, str) or not ref.startswith("refs/heads/"):
        return None
    found = [held.get(key) for name in holders if isinstance(held := event.get(name), dict) for key in url_keys]
    urls = tuple(dict.fromkeys(url for url in found if isinstance(url, str) and url))
    return Push(urls, ref.removeprefix("refs/heads/"), after.strip("0") and after)

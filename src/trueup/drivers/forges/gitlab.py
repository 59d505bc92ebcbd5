"""GitLab, the company's and self-managed.

Source: docs.gitlab.com, "Commits API: set commit pipeline status"; "Webhooks: push events, secret token, signing
tokens" (19.0; signatures as in Standard Webhooks 1.0).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import quote

from trueup.core.model import Oid
from trueup.drivers.forges.forge import (
    Account,
    Forge,
    Headers,
    Post,
    Push,
    check,
    header,
    one_line,
    payload,
    post,
    push_of,
    same,
)

_STATES = {"pending": "pending", "success": "success", "failure": "failed"}
_URLS = ("git_http_url", "git_ssh_url", "http_url", "ssh_url", "url", "web_url", "homepage")


class GitLab:
    """A `ports.CommitState`."""

    def __init__(self, account: Account) -> None:
        check(account)
        self._account = account
        self._base = account.base_url.rstrip("/") or f"{account.site}/api/v4"

    async def report(self, commit: Oid, state: str, reason: str) -> None:
        account = self._account
        request = Post(
            url=f"{self._base}/projects/{quote(account.address.slug, safe='')}/statuses/{commit}",
            headers=(("PRIVATE-TOKEN", account.token),),
            json={"state": _STATES[state], "description": one_line(reason), "name": account.context}
            | ({"target_url": account.target_url} if account.target_url else {}),
            scope="the scope api and the role Developer",
        )
        await post(account, request, lambda status, said: status == 201 or _stands(state, status, said))


def _stands(state: str, status: int, said: str) -> bool:
    """GitLab refuses "pending" for what is pending already (gitlab-org/gitlab#25807)."""
    return status == 400 and state == "pending" and "Cannot transition status via :enqueue from :pending" in said


def sends(headers: Headers) -> bool:
    return bool(header(headers, "X-Gitlab-Event"))


def verify(headers: Headers, body: bytes, secret: str) -> bool:
    """By the signature when there is one, else by the secret token, which GitLab sends as it is."""
    if given := header(headers, "webhook-signature"):
        message = f"{header(headers, 'webhook-id')}.{header(headers, 'webhook-timestamp')}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.new(_key(secret), message, hashlib.sha256).digest()).decode()
        return any(same(one, wanted) for one in given.split(" "))
    return same(header(headers, "X-Gitlab-Token"), secret)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return secret.encode()


def push(headers: Headers, body: bytes) -> Push | None:
    if header(headers, "X-Gitlab-Event") not in ("Push Hook", "System Hook"):
        return None
    event = payload(headers, body)
    return push_of(event, _URLS, "project", "repository") if event.get("object_kind") == "push" else None


FORGE = Forge(hosts=("gitlab.com", "gitlab"), report_to=GitLab, sends=sends, verify=verify, push=push)

"""Gitea and Forgejo (Codeberg).

Source: docs.gitea.com 1.22, "Webhooks"; API `POST /repos/{owner}/{repo}/statuses/{sha}` (CreateStatusOption).
"""

from __future__ import annotations

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
    signed,
)


class Gitea:
    """A `ports.CommitState`."""

    def __init__(self, account: Account) -> None:
        check(account)
        self._account = account
        self._base = account.base_url.rstrip("/") or f"{account.site}/api/v1"

    async def report(self, commit: Oid, state: str, reason: str) -> None:
        account = self._account
        request = Post(
            url=f"{self._base}/repos/{account.address.slug}/statuses/{commit}",
            headers=(("Authorization", f"token {account.token}"),),
            json={"state": state, "description": one_line(reason), "context": account.context}
            | ({"target_url": account.target_url} if account.target_url else {}),
            scope="the scope write:repository",
        )
        await post(account, request, lambda status, _: status == 201)


def sends(headers: Headers) -> bool:
    return bool(header(headers, "X-Gitea-Event") or header(headers, "X-Forgejo-Event"))


def verify(headers: Headers, body: bytes, secret: str) -> bool:
    given = header(headers, "X-Gitea-Signature") or header(headers, "X-Forgejo-Signature")
    return same(given, signed(body, secret))


def push(headers: Headers, body: bytes) -> Push | None:
    if (header(headers, "X-Gitea-Event") or header(headers, "X-Forgejo-Event")) != "push":
        return None
    return push_of(payload(headers, body), ("clone_url", "ssh_url", "html_url"), "repository")


FORGE = Forge(
    hosts=("gitea.com", "codeberg.org", "gitea", "forgejo"), report_to=Gitea, sends=sends, verify=verify, push=push
)

"""GitHub and GitHub Enterprise Server.

Source: docs.github.com, REST API 2022-11-28, "Commit statuses"; "Validating webhook deliveries"; "push" payload.
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


class GitHub:
    """A `ports.CommitState`."""

    def __init__(self, account: Account) -> None:
        check(account)
        self._account = account
        on_site = "https://api.github.com" if account.address.host == "github.com" else f"{account.site}/api/v3"
        self._base = account.base_url.rstrip("/") or on_site

    async def report(self, commit: Oid, state: str, reason: str) -> None:
        account = self._account
        request = Post(
            url=f"{self._base}/repos/{account.address.slug}/statuses/{commit}",
            headers=(
                ("Authorization", f"Bearer {account.token}"),
                ("Accept", "application/vnd.github+json"),
                ("X-GitHub-Api-Version", "2022-11-28"),
            ),
            json={"state": state, "description": one_line(reason), "context": account.context}
            | ({"target_url": account.target_url} if account.target_url else {}),
            scope="write access to commit statuses (classic tokens: repo:status)",
        )
        await post(account, request, lambda status, _: status == 201)


def sends(headers: Headers) -> bool:
    return bool(header(headers, "X-GitHub-Event"))


def verify(headers: Headers, body: bytes, secret: str) -> bool:
    return same(header(headers, "X-Hub-Signature-256"), f"sha256={signed(body, secret)}")


def push(headers: Headers, body: bytes) -> Push | None:
    if header(headers, "X-GitHub-Event") != "push":
        return None
    return push_of(payload(headers, body), ("clone_url", "ssh_url", "git_url", "html_url"), "repository")


FORGE = Forge(hosts=("github.com", "github", "ghe"), report_to=GitHub, sends=sends, verify=verify, push=push)

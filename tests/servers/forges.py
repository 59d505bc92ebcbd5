"""Forges for tests: a loopback server that takes commit states as GitHub, GitLab or Gitea does, and signs webhooks.

async with forge_server("github", token="t") as forge:
    Account(address=parse("https://github.com/acme/app.git")[0], token="t", base_url=forge.base_url)
    forge.states["<commit>"]["trueup/default"] == ("success", "healthy")
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

# Bodies as the products' documentation shows them, cut to what matters.
# Sources: docs.github.com "Webhook events and payloads"; docs.gitlab.com "Webhook events"; docs.gitea.com "Webhooks".
PUSHES: dict[str, dict[str, Any]] = {
    "github": {
        "ref": "refs/heads/main",
        "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "after": "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5",
        "created": False,
        "deleted": False,
        "forced": False,
        "repository": {
            "id": 186853002,
            "full_name": "Codertocat/Hello-World",
            "html_url": "https://github.com/Codertocat/Hello-World",
            "git_url": "git://github.com/Codertocat/Hello-World.git",
            "ssh_url": "git@github.com:Codertocat/Hello-World.git",
            "clone_url": "https://github.com/Codertocat/Hello-World.git",
        },
        "pusher": {"name": "Codertocat"},
    },
    "gitlab": {
        "object_kind": "push",
        "event_name": "push",
        "before": "95790bf891e76fee5e1747ab589903a6a1f80f22",
        "after": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
        "ref": "refs/heads/master",
        "checkout_sha": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
        "project_id": 15,
        "project": {
            "id": 15,
            "web_url": "http://example.com/mike/diaspora",
            "git_ssh_url": "git@example.com:mike/diaspora.git",
            "git_http_url": "http://example.com/mike/diaspora.git",
            "path_with_namespace": "mike/diaspora",
        },
        "repository": {"name": "Diaspora", "url": "git@example.com:mike/diaspora.git"},
        "total_commits_count": 4,
    },
    "gitea": {
        "ref": "refs/heads/develop",
        "before": "28e1879d029cb852e4844d9c718537df08844e03",
        "after": "bffeb74224043ba2feb48d137756c8a9331c449a",
        "repository": {
            "id": 140,
            "full_name": "gitea/webhooks",
            "html_url": "http://localhost:3000/gitea/webhooks",
            "ssh_url": "ssh://gitea@localhost:2222/gitea/webhooks.git",
            "clone_url": "http://localhost:3000/gitea/webhooks.git",
        },
    },
}


def hook(product: str, body: bytes, secret: str, event: str = "push") -> dict[str, str]:
    """The headers with which this product sends this body. `gitlab-signed` is GitLab with a signing token."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    kind = {"Content-Type": "application/json"}
    if product == "github":
        return kind | {"X-GitHub-Event": event, "X-Hub-Signature-256": f"sha256={digest}"}
    if product == "gitea":  # which sends GitHub's headers too
        return kind | {"X-GitHub-Event": event, "X-Gitea-Event": event, "X-Gitea-Signature": digest}
    titled = {"X-Gitlab-Event": f"{event.title()} Hook"} | kind
    if product == "gitlab":
        return titled | {"X-Gitlab-Token": secret}
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, b"msg_1.1700000000." + body, hashlib.sha256).digest()).decode()
    return titled | {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": f"v1,{signature}",
    }


def push_body(product: str, *, urls: Mapping[str, str] | None = None, branch: str = "", after: str = "") -> bytes:
    """The documented push, or the same of another repository (`{"clone_url": …}`), branch or commit."""
    body = json.loads(json.dumps(PUSHES[product]))
    body["ref"] = f"refs/heads/{branch}" if branch else body["ref"]
    body["after"] = after or body["after"]
    body["project" if product == "gitlab" else "repository"] |= dict(urls or {})
    return json.dumps(body).encode()


@dataclass
class ForgeServer:
    """`states`: commit → context → (state, description). `fail_with` answers every request with that status, as often
    as `failures` says (-1: always)."""

    product: str
    token: str = "t0ken"
    known: set[str] | None = None  # commits; None: all
    fail_with: int = 0
    failures: int = -1
    port: int = 0
    states: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # path, JSON

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{_BASES[self.product]}"

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append((request.raw_path, body))
        if self.fail_with and self.failures:
            self.failures -= 1
            return web.json_response({"message": "out of order"}, status=self.fail_with)
        if not self._authentic(request):
            return web.json_response({"message": "Bad credentials"}, status=401)
        return self._state(request.match_info["commit"], body)

    def _authentic(self, request: web.Request) -> bool:
        wanted = {"github": f"Bearer {self.token}", "gitea": f"token {self.token}"}.get(self.product)
        if wanted:
            return request.headers.get("Authorization") == wanted
        return request.headers.get("PRIVATE-TOKEN") == self.token

    def _state(self, commit: str, body: dict[str, str]) -> web.Response:
        if self.known is not None and commit not in self.known:
            return web.json_response({"message": f"No commit found for SHA: {commit}"}, status=422)
        if body["state"] not in _STATES[self.product] or len(body.get("description", "")) > 140:
            return web.json_response({"message": "Validation Failed"}, status=422)
        context = body["name" if self.product == "gitlab" else "context"]
        before = self.states.get(commit, {}).get(context)
        if self.product == "gitlab" and before and before[0] == body["state"] == "pending":
            reason = "Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition)"
            return web.json_response({"message": reason}, status=400)
        self.states.setdefault(commit, {})[context] = (body["state"], body.get("description", ""))
        return web.json_response({"id": 1, "state": body["state"]}, status=201)


_BASES = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
_STATES = {
    "github": {"error", "failure", "pending", "success"},
    "gitlab": {"pending", "running", "success", "failed", "canceled", "skipped"},
    "gitea": {"pending", "success", "error", "failure", "warning"},
}


@asynccontextmanager
async def forge_server(product: str, *, token: str = "t0ken") -> AsyncIterator[ForgeServer]:
    server = ForgeServer(product, token)
    app = web.Application()
    if product == "gitlab":
        app.router.add_post("/api/v4/projects/{project}/statuses/{commit}", server.answer)
    else:
        app.router.add_post(_BASES[product] + "/repos/{owner}/{repo}/statuses/{commit}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()

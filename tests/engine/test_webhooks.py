"""Webhooks over HTTP: who is let in, what wakes a fetch, what is ignored."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import TestClient, TestServer

from servers.forges import PUSHES, hook, push_body
from trueup.core.address import same_repository
from trueup.drivers.forges import FORGES, Push
from trueup.engine.webhooks import LIMIT_BYTES, webhook_app

SECRET = "It's a Secret to Everybody"
SIGNING = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
SENDERS = [("github", SECRET), ("gitea", SECRET), ("gitlab", SECRET), ("gitlab-signed", SIGNING)]


@dataclass
class Endpoint:
    client: TestClient
    secrets: list[str] = field(default_factory=lambda: ["another", SECRET, SIGNING])
    pushes: list[Push] = field(default_factory=list)

    async def post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        async with self.client.post("/hooks", data=io.BytesIO(body), headers=headers) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made: list[Endpoint] = []
    app = webhook_app(lambda: made[0].secrets, lambda push: made[0].pushes.append(push))
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        made.append(Endpoint(client))
        yield made[0]


def body_of(sender: str) -> bytes:
    return push_body(sender.removesuffix("-signed"))


@pytest.mark.parametrize(("sender", "secret"), SENDERS)
async def test_a_documented_push_wakes_its_branch(sender: str, secret: str, endpoint: Endpoint) -> None:
    body = body_of(sender)
    assert await endpoint.post(body, hook(sender, body, secret)) == (202, "fetching\n")
    (push,) = endpoint.pushes
    wanted = PUSHES[sender.removesuffix("-signed")]
    assert push.branch == wanted["ref"].removeprefix("refs/heads/")
    assert push.after == wanted["after"]
    cloned = {
        "github": ("https://github.com/Codertocat/Hello-World.git", "git@github.com:Codertocat/Hello-World"),
        "gitlab": ("http://example.com/mike/diaspora.git", "ssh://git@example.com/mike/diaspora"),
        "gitea": ("http://localhost:3000/gitea/webhooks", "ssh://gitea@localhost:2222/gitea/webhooks.git"),
    }[sender.removesuffix("-signed")]
    for url in cloned:
        assert any(same_repository(url, candidate) for candidate in push.urls)


@pytest.mark.parametrize(("sender", "secret"), SENDERS)
async def test_a_changed_body_or_another_secret_is_turned_away_without_a_word(
    sender: str, secret: str, endpoint: Endpoint
) -> None:
    body = body_of(sender)
    wrong = "whsec_" + base64.b64encode(b"no").decode()
    assert await endpoint.post(body, hook(sender, body, wrong)) == (401, "")
    if sender != "gitlab":  # whose plain token does not cover the body
        assert await endpoint.post(body + b" ", hook(sender, body, secret)) == (401, "")
    unsigned = {name: value for name, value in hook(sender, body, secret).items() if name.endswith("-Event")}
    assert await endpoint.post(body, unsigned) == (401, "")
    endpoint.secrets = ["", "other"]
    assert await endpoint.post(body, hook(sender, body, secret)) == (401, "")
    assert endpoint.pushes == []


async def test_without_a_secret_nobody_is_let_in_with_an_empty_one(endpoint: Endpoint) -> None:
    endpoint.secrets = [""]
    for sender in ("github", "gitea", "gitlab"):
        body = body_of(sender)
        assert await endpoint.post(body, hook(sender, body, "")) == (401, "")


async def test_gitlab_adds_its_id_and_timestamp_headers_to_unsigned_hooks_too(endpoint: Endpoint) -> None:
    body = body_of("gitlab")
    headers = hook("gitlab", body, SECRET) | {"webhook-id": "msg_1", "webhook-timestamp": "1700000000"}
    assert (await endpoint.post(body, headers))[0] == 202


async def test_a_signed_hook_of_gitlab_is_not_let_in_by_its_plain_token(endpoint: Endpoint) -> None:
    body = body_of("gitlab")
    headers = hook("gitlab", body, SECRET) | {"webhook-signature": "v1,AAAA"}
    assert (await endpoint.post(body, headers))[0] == 401


async def test_one_of_two_signatures_suffices_while_a_token_is_rotated(endpoint: Endpoint) -> None:
    body = body_of("gitlab")
    headers = hook("gitlab-signed", body, SIGNING)
    headers["webhook-signature"] = "v1,b2xk " + headers["webhook-signature"]
    assert (await endpoint.post(body, headers))[0] == 202


@pytest.mark.parametrize(("sender", "secret"), SENDERS)
async def test_other_events_are_ignored(sender: str, secret: str, endpoint: Endpoint) -> None:
    ping = json.dumps({"zen": "Keep it logically awesome.", "object_kind": "issue"}).encode()
    assert await endpoint.post(ping, hook(sender, ping, secret, "issues")) == (200, "ignored\n")
    product = sender.removesuffix("-signed")
    tag = json.dumps(PUSHES[product] | {"ref": "refs/tags/v1", "object_kind": "tag_push"}).encode()
    assert await endpoint.post(tag, hook(sender, tag, secret)) == (200, "ignored\n")
    assert endpoint.pushes == []


async def test_a_deleted_branch_wakes_too(endpoint: Endpoint) -> None:
    body = push_body("github", after="0" * 40)
    assert (await endpoint.post(body, hook("github", body, SECRET)))[0] == 202
    assert endpoint.pushes[0].after == ""


async def test_a_replay_only_wakes_again(endpoint: Endpoint) -> None:
    body = body_of("github")
    for _ in range(2):
        assert (await endpoint.post(body, hook("github", body, SECRET)))[0] == 202
    assert endpoint.pushes[0] == endpoint.pushes[1]


async def test_github_sends_forms_by_default(endpoint: Endpoint) -> None:
    body = urlencode({"payload": body_of("github").decode()}).encode()
    headers = hook("github", body, SECRET) | {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await endpoint.post(body, headers))[0] == 202
    assert endpoint.pushes[0].branch == "main"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 5000, b'{"object_kind": 1}'])
async def test_an_unreadable_body_is_refused(body: bytes, endpoint: Endpoint) -> None:
    for sender, secret in SENDERS:
        status, _ = await endpoint.post(body, hook(sender, body, secret))
        assert status == (200 if body.startswith(b'{"') else 400)
    assert endpoint.pushes == []


@pytest.mark.parametrize("change", [{"ref": 1}, {"after": None}, {"repository": [], "project": "x"}])
async def test_fields_of_the_wrong_kind_break_nothing(change: dict[str, object], endpoint: Endpoint) -> None:
    for sender, secret in SENDERS:
        body = json.dumps(PUSHES[sender.removesuffix("-signed")] | change).encode()
        assert (await endpoint.post(body, hook(sender, body, secret)))[0] in (200, 202)


async def test_too_large_a_body_is_not_read(endpoint: Endpoint) -> None:
    body = b" " * (LIMIT_BYTES + 1)
    assert (await endpoint.post(body, hook("github", body, SECRET)))[0] == 413


async def test_only_posts_to_hooks_are_taken(endpoint: Endpoint) -> None:
    async with endpoint.client.get("/hooks") as answer:
        assert answer.status == 405
    async with endpoint.client.post("/") as answer:
        assert answer.status == 404


async def test_a_stranger_is_turned_away(endpoint: Endpoint) -> None:
    assert await endpoint.post(b"{}", {"Content-Type": "application/json"}) == (401, "")


def test_the_signature_is_the_one_of_githubs_documentation() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert FORGES["github"].verify({"X-Hub-Signature-256": signature}, b"Hello, World!", SECRET)
    assert not FORGES["github"].verify({"X-Hub-Signature-256": signature}, b"Hello, World?", SECRET)

"""The client on a real API server, and what it makes of one that is overloaded, away or strict."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from msgspec.structs import replace

from cluster.control import TOKEN, Control, encoded
from cluster.play import Admin
from trueup.core.kubeconfig import Access, User, resolve
from trueup.drivers.targets.kubernetes.client import Account, ApiError, Call, Client, Gone
from trueup.ports import TargetDown

pytestmark = pytest.mark.integration
Answers = Callable[[web.Request], web.StreamResponse]
WHOAMI = Call(
    method="POST",
    path="/apis/authentication.k8s.io/v1/selfsubjectreviews",
    body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
)


def reached(control: Control, user: dict[str, Any]) -> Client:
    access = resolve([(str(control.root / "test.kubeconfig"), orjson.dumps(control.config(user)))])
    return Client(access, os.environ)


async def who(client: Client) -> str:
    try:
        return str((await client.send(WHOAMI))["status"]["userInfo"]["username"])
    finally:
        await client.close()


async def test_a_client_certificate(control: Control) -> None:
    certificate, key = control.certificate("ann", ("system:masters",))
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    assert await who(reached(control, user)) == "ann"


async def test_a_token_file_that_rotates(control: Control, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("expired")
    client = reached(control, {"tokenFile": str(file)})
    with pytest.raises(ApiError) as caught:
        await client.send(WHOAMI)
    assert caught.value.status == 401
    file.write_text(TOKEN)
    assert await who(client) == "admin"


async def test_an_exec_plugin_is_asked_once_while_its_answer_holds(control: Control, tmp_path: Path) -> None:
    plugin = tmp_path / "login"
    status = {"token": TOKEN, "expirationTimestamp": "2100-01-01T00:00:00Z"}
    answer = orjson.dumps({"apiVersion": "client.authentication.k8s.io/v1", "status": status}).decode()
    plugin.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho '{answer}'\n")
    plugin.chmod(0o755)
    given = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
    client = reached(control, {"exec": given})
    for _ in range(3):
        await client.send(WHOAMI)
    assert await who(client) == "admin"
    assert (tmp_path / "asked").read_text() == "asked\n"


async def test_an_exec_plugin_that_is_missing_says_its_hint(control: Control) -> None:
    given = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/login", "installHint": "get it"}
    client = reached(control, {"exec": given})
    with pytest.raises(TargetDown, match=r"/nowhere/login cannot be run: .*; get it"):
        await who(client)


async def test_a_call_acts_as_another_account(control: Control, access: Access) -> None:
    client = Client(access, os.environ)
    found = await client.send(replace(WHOAMI, account=Account("deployer", ("a", "b"))))
    assert found["status"]["userInfo"]["username"] == "deployer"
    assert {"a", "b"} <= set(found["status"]["userInfo"]["groups"])
    await client.close()


async def test_pages_give_every_item_once(access: Access, admin: Admin, space: str) -> None:
    root = f"/api/v1/namespaces/{space}/configmaps"
    for n in range(7):
        await admin.create(root, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"p{n}"}})
    names = [i["metadata"]["name"] async for i, _ in admin.client.pages(root, limit="2")]
    assert [n for n in names if n.startswith("p")] == [f"p{n}" for n in range(7)]


@asynccontextmanager
async def server(answer: Answers) -> AsyncIterator[Client]:
    """A stand-in that answers as overloaded servers and proxies do."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    client = Client(Access(name="stand-in", server=f"http://{host}:{port}", user=User(token="t")), {})
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


async def test_overload_is_waited_out_as_long_as_the_server_asks() -> None:
    seen: list[float] = []

    def answer(request: web.Request) -> web.Response:
        seen.append(asyncio.get_running_loop().time())
        if len(seen) == 1:
            return web.json_response({"kind": "Status", "code": 429}, status=429, headers={"Retry-After": "1"})
        return web.json_response({"ok": len(seen)}, status=200 if len(seen) > 2 else 503)

    async with server(answer) as client:
        assert await client.get("/x") == {"ok": 3}
    assert seen[1] - seen[0] >= 0.75


async def test_a_refusal_is_not_asked_again() -> None:
    async with server(lambda _: web.json_response({"message": "no", "reason": "Forbidden"}, status=403)) as client:
        with pytest.raises(ApiError, match="no") as caught:
            await client.get("/x")
        assert (caught.value.status, caught.value.reason, client.calls["GET"]) == (403, "Forbidden", 1)


@pytest.mark.parametrize("late", [False, True])
async def test_a_version_no_longer_kept_is_said(late: bool) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    event = orjson.dumps({"type": "ERROR", "object": gone}) + b"\n"
    answer = web.Response(body=event) if late else web.json_response(gone, status=410)
    async with server(lambda _: answer) as client:
        with pytest.raises(Gone, match="too old"):
            _ = [event async for event in client.watch("/x", resourceVersion="1")]


async def test_an_event_of_any_size_is_read_whole() -> None:
    object = {"kind": "X", "data": "d" * 3_000_000}
    lines = b"".join(orjson.dumps({"type": "ADDED", "object": {**object, "n": n}}) + b"\n" for n in range(3))
    async with server(lambda _: web.Response(body=lines)) as client:
        assert [(t, o["n"]) async for t, o in client.watch("/x") if t != "OPEN"] == [
            ("ADDED", 0),
            ("ADDED", 1),
            ("ADDED", 2),
        ]

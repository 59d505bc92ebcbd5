"""The socket of a running `trueup up`. Only its own user and root are let in; who asks is who the kernel says.

POST /v1/do      one tagged request (core.requests) → Reply
GET  /v1/now     Now
GET  /v1/events  ?after=POSITION&follow=1 → NDJSON of Told
GET  /v1/logs    ?run=&job=&application=&object=&follow=&tail= → text
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web
from msgspec import Raw

from trueup.api.paths import reachable
from trueup.api.records import Follows, Pages, Serving, Told
from trueup.core.ledger import export_line
from trueup.core.model import Principal
from trueup.core.requests import Reply, Request
from trueup.core.running import LogQuery, NoSuchLog

BODY_BYTES = 64 * 1024
_encode = msgspec.json.Encoder().encode
_request: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_CREDENTIALS = struct.Struct("3i")

PRINCIPAL = web.RequestKey("principal", Principal)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serve(path: str, serving: Serving, pages: Pages, follows: Follows) -> AsyncIterator[None]:
    """Answer on the socket at `path` while the context is open. The state folder's lock guards the path: a file
    that a killed process left behind is replaced."""
    runner = web.AppRunner(application(serving, pages, follows), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(path) as address:
            mask = os.umask(0o177)
            try:
                listener.bind(address)
            finally:
                os.umask(mask)
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()
        listener.close()
        Path(path).unlink(missing_ok=True)


def application(serving: Serving, pages: Pages, follows: Follows) -> web.Application:
    async def do(request: web.Request) -> web.StreamResponse:
        try:
            asked = _request.decode(await request.read())
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return _json(Reply(False, f"this request is not understood: {error}; is the other trueup newer?"), 400)
        return _json(await serving.perform(asked, request[PRINCIPAL]))

    async def now(_: web.Request) -> web.StreamResponse:
        return _json(await serving.now())

    async def events(request: web.Request) -> web.StreamResponse:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            return _json(Reply(False, f"after={after} is no position: a whole number from 0"), 400)
        response = await _stream(request, "application/x-ndjson")
        await _send_events(response, pages, follows, int(after), "follow" in request.query)
        return response

    async def logs(request: web.Request) -> web.StreamResponse:
        try:
            query = msgspec.convert(dict(request.query), LogQuery, strict=False)
        except msgspec.ValidationError as error:
            return _json(Reply(False, str(error)), 400)
        async with contextlib.aclosing(serving.logs(query)) as lines:
            try:
                first = await anext(lines, b"")
            except NoSuchLog as error:
                return _json(Reply(False, str(error)), 404)
            response = await _stream(request, "text/plain")
            with contextlib.suppress(ConnectionResetError):  # whoever asked has seen enough
                await response.write(first)
                async for line in lines:
                    await response.write(line)
                await response.write_eof()
            return response

    app = web.Application(client_max_size=BODY_BYTES, middlewares=[_let_in])
    app.add_routes(
        [
            web.post("/v1/do", do),
            web.get("/v1/now", now),
            web.get("/v1/events", events),
            web.get("/v1/logs", logs),
        ]
    )
    return app


@web.middleware
async def _let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    uid = _peer(request)
    if uid is None or uid not in (0, os.getuid()):
        return _json(Reply(False, f"uid {uid} may not speak with this trueup: run as the user who started it"), 403)
    request[PRINCIPAL] = Principal(f"uid:{uid} ({_user(uid)})", "socket")
    return await handler(request)


def _peer(request: web.Request) -> int | None:
    """Source: unix(7), SO_PEERCRED: pid, uid, gid of who connected."""
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "unknown"


async def _send_events(response: web.StreamResponse, pages: Pages, follows: Follows, after: int, follow: bool) -> None:
    # Asked for before the first page is read, so that nothing falls between; what it yields is only a wake-up.
    news = follows.follow() if follow else None
    with contextlib.suppress(ConnectionResetError):
        while True:
            while page := await pages.page(after):
                after = page[-1][0]
                lines = [_encode(Told(position, Raw(export_line(entry).strip()))) for position, entry in page]
                await response.write(b"\n".join(lines) + b"\n")
            if news is None or await anext(news, None) is None:
                break
        await response.write_eof()


async def _stream(request: web.Request, kind: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    return response


def _json(record: object, status: int = 200) -> web.Response:
    return web.Response(body=_encode(record), content_type="application/json", status=status)

"""Takes the forges' webhooks. A genuine one only wakes a fetch, so that a replayed payload decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from aiohttp import web

from trueup.drivers.forges import FORGES, Forge, Push

LIMIT_BYTES = 1 << 20
_BODY_TIMEOUT_S = 10.0

OnPush = Callable[[Push], None]


def webhook_app(secrets: Callable[[], Sequence[str]], on_push: OnPush) -> web.Application:
    """POST /hooks: 202 a push, woken; 200 another event, ignored; 401 not signed with any of `secrets`, without a
    word more; 400 unreadable; 408, 413 too slow, too large. GET /hooks says 405.

    `secrets` is asked at each request; without any, nothing is taken."""
    app = web.Application(client_max_size=LIMIT_BYTES)

    async def take(request: web.Request) -> web.Response:
        return await _take(request, secrets(), on_push)

    app.router.add_post("/hooks", take)
    return app


async def _take(request: web.Request, secrets: Sequence[str], on_push: OnPush) -> web.Response:
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError:
        return web.Response(status=408)
    forge = next((forge for forge in FORGES.values() if forge.sends(request.headers)), None)
    if forge is None or not _genuine(forge, request, body, secrets):
        return web.Response(status=401)
    try:
        push = forge.push(request.headers, body)
    except ValueError as error:
        return web.Response(status=400, text=f"{error}\n")
    if push is None:
        return web.Response(text="ignored\n")
    on_push(push)
    return web.Response(status=202, text="fetching\n")


def _genuine(forge: Forge, request: web.Request, body: bytes, secrets: Sequence[str]) -> bool:
    """By any of the secrets. An empty one would let everybody in, and counts for nothing."""
    return any(forge.verify(request.headers, body, secret) for secret in secrets if secret)

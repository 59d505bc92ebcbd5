"""The agent's verbs over HTTP on its socket. Thin: decode, call, encode."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version as installed

import msgspec
from aiohttp import web

from trueup.agent import wire
from trueup.agent.agent import Agent, Invalid
from trueup.agent.logs import logs
from trueup.agent.pod import Pod
from trueup.agent.podman import EngineError
from trueup.agent.store import StoreError
from trueup.core.model import Ref

BEAT_S = 15.0
BODY_BYTES = 64 << 20


def application(agent: Agent, down: Callable[[wire.DownAsk], Awaitable[str]]) -> web.Application:
    """The routes. `down` stops everything and ends the agent; its answer is what was done."""
    handlers = _Handlers(agent, down)
    app = web.Application(client_max_size=BODY_BYTES, middlewares=[_errors])
    app.add_routes(
        [
            web.get("/v1/hello", handlers.hello),
            web.get("/v1/overview", handlers.overview),
            web.get("/v1/applications/{application}/live", handlers.live),
            web.get("/v1/applications/{application}/judge", handlers.judge),
            web.post("/v1/applications/{application}/apply", handlers.apply),
            web.post("/v1/applications/{application}/delete", handlers.delete),
            web.get("/v1/applications/{application}/logs", handlers.logs),
            web.get("/v1/watch", handlers.watch),
            web.post("/v1/down", handlers.down),
        ]
    )
    return app


Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _errors(request: web.Request, handler: Handle) -> web.StreamResponse:
    """422: the objects' own fault. 503: the machine's. The body is the message."""
    try:
        return await handler(request)
    except Invalid as error:
        return web.Response(status=422, text=str(error))
    except (StoreError, EngineError) as error:
        return web.Response(status=503, text=str(error))
    except msgspec.ValidationError as error:
        return web.Response(status=400, text=f"{request.path}: {error}")


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


class _Handlers:
    def __init__(self, agent: Agent, down: Callable[[wire.DownAsk], Awaitable[str]]) -> None:
        self._agent, self._down = agent, down

    async def hello(self, request: web.Request) -> web.Response:
        return _json(wire.Hello(wire.VERSION, os.getpid(), self._agent.layout.id, installed("trueup")))

    async def overview(self, request: web.Request) -> web.Response:
        return _json(self._agent.overview())

    async def live(self, request: web.Request) -> web.Response:
        return _json(self._agent.read(request.match_info["application"]))

    async def judge(self, request: web.Request) -> web.Response:
        return _json(self._agent.judge(request.match_info["application"]))

    async def apply(self, request: web.Request) -> web.Response:
        ask = msgspec.json.decode(await request.read(), type=wire.ApplyAsk)
        await self._agent.apply(request.match_info["application"], ask.candidate, ask.objects, ask.accepted)
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        ask = msgspec.json.decode(await request.read(), type=wire.DeleteAsk)
        await self._agent.delete(request.match_info["application"], ask.refs)
        return web.Response(status=204)

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """One JSON line per move; an empty line now and then, so that a broken connection is noticed."""
        moves = self._agent.watch(int(request.query.get("after", "0")))
        return await _stream(request, (msgspec.json.encode(move) + b"\n" async for move in moves), beat=b"\n")

    async def logs(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        pods = self._chosen(request.match_info["application"], query.get("ref", ""))
        works = self._works(request.match_info["application"])
        if not pods and query.get("ref") and not any(query["ref"] in (str(w), w.name) for w in works):
            there = ", ".join(sorted(map(str, works))) or "nothing that runs"
            return web.Response(status=404, text=f"there is: {there}")
        lines = logs(self._agent.podman, pods, int(query.get("tail", "-1")), query.get("follow") == "true")
        return await _stream(request, lines, beat=b"")

    def _chosen(self, application: str, ref: str) -> list[Pod]:
        """By "deployment/web", a pod's name, or "" for all of the application."""
        return [
            p
            for p in self._agent.pods()
            if p.application == application and ref in ("", p.name, str(p.row.workload), p.row.workload.name)
        ]

    def _works(self, application: str) -> list[Ref]:
        held = ((ref, work.held) for ref, work in self._agent.workloads.items())
        return [ref for ref, body in held if body is not None and body.application == application]

    async def down(self, request: web.Request) -> web.Response:
        ask = msgspec.json.decode(await request.read() or b"{}", type=wire.DownAsk)
        return web.Response(text=await self._down(ask))


async def _stream(request: web.Request, pieces: AsyncIterator[bytes], *, beat: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    following = asyncio.ensure_future(anext(pieces, None))
    try:
        while True:
            done, _ = await asyncio.wait((following,), timeout=BEAT_S)
            if not done:
                await response.write(beat)
                continue
            piece = following.result()
            if piece is None:
                break
            await response.write(piece)
            following = asyncio.ensure_future(anext(pieces, None))
    except (ConnectionResetError, EngineError):
        pass  # whoever asked has gone, or the container has
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return response

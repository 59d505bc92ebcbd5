"""Notifications by webhook: signed, repeated within bounds, never an error for who sends."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from trueup.drivers.notify import NOTIFY, WebhookSettings


@dataclass
class Receiver:
    url: str = ""
    answers: list[int] = field(default_factory=list)  # then 204
    got: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((await request.read(), dict(request.headers)))
        return web.Response(status=self.answers.pop(0) if self.answers else 204)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/s3cret-path", receiver.take)
    async with TestServer(app, host="127.0.0.1") as server:
        receiver.url = str(server.make_url("/s3cret-path"))
        yield receiver


def settings(receiver: Receiver) -> WebhookSettings:
    return WebhookSettings(url=receiver.url, pauses_s=(0.01, 0.01))


async def test_a_notification_is_one_signed_post(receiver: Receiver) -> None:
    await NOTIFY["webhook"](replace(settings(receiver), secret="k3y")).send("web failed", {"state": "failure"})
    ((body, headers),) = receiver.got
    assert json.loads(body) == {"title": "web failed", "state": "failure"}
    digest = hmac.new(b"k3y", body, hashlib.sha256).hexdigest()
    assert headers["X-Trueup-Signature-256"] == f"sha256={digest}"
    assert headers["Content-Type"] == "application/json"


async def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    await NOTIFY["webhook"](settings(receiver)).send("web recovered", {})
    assert "X-Trueup-Signature-256" not in receiver.got[0][1]


async def test_a_receiver_that_stumbles_is_asked_again_with_the_same_delivery(receiver: Receiver) -> None:
    receiver.answers = [503, 429]
    await NOTIFY["webhook"](settings(receiver)).send("web failed", {})
    assert len(receiver.got) == 3
    assert len({headers["X-Trueup-Delivery"] for _, headers in receiver.got}) == 1


@pytest.mark.parametrize(("answers", "attempts"), [([500] * 9, 3), ([404] * 9, 1)])
async def test_it_is_given_up_within_bounds_and_never_raises(
    answers: list[int], attempts: int, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = answers
    with caplog.at_level(logging.WARNING):
        await NOTIFY["webhook"](settings(receiver)).send("web failed", {})
    assert len(receiver.got) == attempts
    assert "notification not delivered" in caplog.text
    assert "s3cret-path" not in caplog.text


async def test_nobody_there_is_no_error() -> None:
    await NOTIFY["webhook"](WebhookSettings(url="http://127.0.0.1:9/", pauses_s=())).send("web failed", {})


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="https or http"):
        NOTIFY["webhook"](WebhookSettings(url="hooks.example.org"))
    assert "s3cret" not in repr(WebhookSettings(url="https://x/s3cret", secret="s3cret"))

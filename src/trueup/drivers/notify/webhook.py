"""Notifies by one POST of JSON, signed when a secret is given. Tries again within bounds, and never raises."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping

import aiohttp
import msgspec
from msgspec import Struct

_log = logging.getLogger(__name__)


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """`pauses_s`: between attempts; their number bounds the attempts."""

    url: str
    secret: str = ""
    timeout_s: float = 10.0
    pauses_s: tuple[float, ...] = (1.0, 5.0, 30.0)

    def __repr__(self) -> str:
        return "WebhookSettings(***)"  # the URLs of chat services are secrets themselves


class Webhook:
    """A `ports.Notify`.

    The body is `{"title": …, **body}`. `X-Trueup-Delivery` is the same for the same notification, so that a receiver
    that got it twice can tell; `X-Trueup-Signature-256` is "sha256=" and the hex HMAC-SHA256 of the body by the secret.
    Whoever calls sends transitions only: one notification on failure, one on recovery."""

    def __init__(self, settings: WebhookSettings) -> None:
        if not settings.url.startswith(("https://", "http://")):
            raise ValueError("the notification webhook needs an https or http URL")
        self._settings = settings

    async def send(self, title: str, body: Mapping[str, str]) -> None:
        data = msgspec.json.encode({"title": title, **body})
        headers = self._headers(data)
        said = ""
        for pause_s in (*self._settings.pauses_s, None):
            status, said = await self._once(data, headers)
            if 200 <= status < 300:
                return
            if pause_s is None or not (status in (0, 408, 429) or status >= 500):
                break
            await asyncio.sleep(pause_s)
        _log.warning("notification not delivered", extra={"title": title, "said": said})

    def _headers(self, data: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "trueup",
            "X-Trueup-Delivery": hashlib.sha256(data).hexdigest()[:32],
        }
        if self._settings.secret:
            signature = hmac.new(self._settings.secret.encode(), data, hashlib.sha256).hexdigest()
            headers["X-Trueup-Signature-256"] = f"sha256={signature}"
        return headers

    async def _once(self, data: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """(status, what was said); status 0 when there was no answer."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        try:
            # trust_env: aiohttp applies a company's proxy and no_proxy rules itself.
            async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
                async with session.post(self._settings.url, data=data, headers=dict(headers)) as answer:
                    return answer.status, f"{answer.status} {answer.reason}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, type(error).__name__

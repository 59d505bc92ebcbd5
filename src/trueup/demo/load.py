"""Send HTTP requests at a fixed rate and count the ones that were lost. Never retries, never slows down.

A request is lost when it gets no answer, an answer other than 2xx, or a body shorter than announced.

    python -m trueup.demo.load http://127.0.0.1:8080/ --rate 300 --seconds 10 [--no-keep-alive] [--slow PATH]
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import signal
import sys
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Tally:
    """What became of the requests. `reasons`: why some were lost; `times_s`: how long each answered one took."""

    sent: int = 0
    answered: int = 0
    reopened: int = 0  # keep-alive connections found closed by the other side before they were used again
    reasons: collections.Counter[str] = field(default_factory=collections.Counter)
    times_s: list[float] = field(default_factory=list)
    bodies: collections.Counter[bytes] = field(default_factory=collections.Counter)

    @property
    def lost(self) -> int:
        return sum(self.reasons.values())

    def quantile_ms(self, share: float) -> float:
        times = sorted(self.times_s)
        return times[min(len(times) - 1, int(len(times) * share))] * 1000 if times else 0.0

    def summary(self) -> dict[str, object]:
        return {
            "sent": self.sent,
            "answered": self.answered,
            "lost": self.lost,
            "reopened": self.reopened,
            "p50_ms": round(self.quantile_ms(0.5), 2),
            "p99_ms": round(self.quantile_ms(0.99), 2),
            "reasons": dict(self.reasons),
            "answers": {body.decode(errors="replace"): count for body, count in self.bodies.most_common(100)},
        }

    def __str__(self) -> str:
        why = "".join(f"\n  lost {count}: {reason}" for reason, count in self.reasons.most_common(8))
        return (
            f"requests {self.sent}, answered {self.answered}, lost {self.lost}, reopened {self.reopened}, "
            f"p50 {self.quantile_ms(0.5):.1f} ms, p99 {self.quantile_ms(0.99):.1f} ms{why}"
        )


class Lost(Exception):
    """An answer came, and it was not the one asked for."""


class Load:
    """A generator over one host. With `keep_alive`, idle connections are used again, the longest idle one first."""

    def __init__(self, url: str, *, keep_alive: bool, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._path = parts.path or "/"
        self._keep_alive = keep_alive
        self._timeout_s = timeout_s
        self._idle: collections.deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = collections.deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.tally = Tally()

    async def run(self, *, rate: float, until: asyncio.Event, path: str = "") -> Tally:
        """Start `rate` requests a second until the event is set, then wait for the ones in flight."""
        began, count = time.perf_counter(), 0
        while not until.is_set():
            due = int((time.perf_counter() - began) * rate)
            while count < due:
                count += 1
                self.start(path)
            await asyncio.sleep(max(0.0, began + (count + 1) / rate - time.perf_counter()))
        await self.settle()
        return self.tally

    def start(self, path: str = "") -> None:
        task = asyncio.create_task(self._one(path or self._path))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        while self._tasks:
            await asyncio.gather(*list(self._tasks))
        while self._idle:
            self._idle.popleft()[1].close()

    async def _one(self, path: str) -> None:
        self.tally.sent += 1
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._exchange(path)
        except TimeoutError:
            self.tally.reasons[f"no answer within {self._timeout_s:g} s"] += 1
        except (OSError, Lost, asyncio.IncompleteReadError, ValueError) as error:
            self.tally.reasons[f"{type(error).__name__}: {error}"] += 1
        else:
            self.tally.answered += 1
            self.tally.bodies[body[:40]] += 1
            self.tally.times_s.append(time.perf_counter() - began)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.popleft()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            self.tally.reopened += 1
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    async def _exchange(self, path: str) -> bytes:
        reader, writer = await self._connection()
        kept = False
        try:
            how = "keep-alive" if self._keep_alive else "close"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: {how}\r\n\r\n".encode())
            await writer.drain()
            status, headers = await _head(reader)
            body = await _body(reader, headers)
            kept = self._keep_alive and headers.get("connection", "").lower() != "close"
            if not 200 <= status < 300:
                raise Lost(f"status {status} {body[:80]!r}")
            return body
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = text.rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return int(first.split(" ")[1]), headers


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _chunks(reader)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read(-1)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


async def main() -> int:
    """Exit code 1 when a request was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=10, help="or until SIGTERM, whichever is first")
    parser.add_argument("--json", action="store_true", help="one object a line instead of text")
    parser.add_argument("--no-keep-alive", action="store_true")
    parser.add_argument(
        "--slow", default="", metavar="PATH", help="a path that takes long, requested beside the others"
    )
    parser.add_argument("--slow-rate", type=float, default=2)
    args = parser.parse_args()
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(args.seconds, over.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    loads = [Load(args.url, keep_alive=not args.no_keep_alive)]
    runs = [loads[0].run(rate=args.rate, until=over)]
    if args.slow:
        loads.append(Load(args.url, keep_alive=not args.no_keep_alive))
        runs.append(loads[1].run(rate=args.slow_rate, until=over, path=args.slow))
    await asyncio.gather(*runs)
    for load in loads:
        print(json.dumps(load.tally.summary()) if args.json else load.tally)
    return 1 if any(load.tally.lost for load in loads) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

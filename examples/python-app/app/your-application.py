"""A small web application: a greeting, its version, health for whoever watches it, and metrics.

Plain WSGI, served by gunicorn. On SIGTERM gunicorn stops taking connections and finishes the requests in flight.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

VERSION = "1.0.0"
GREETING = os.environ.get("GREETING", "Hello")
MAX_SLOW_SECONDS = 30.0

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Answer = tuple[str, str, str]  # status, content type, body


class Metrics:
    """Counts of requests by path and status, in Prometheus' text format."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._seconds = 0.0

    def add(self, path: str, status: str, seconds: float) -> None:
        key = (path if path in ROUTES else "other", status.split()[0])
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            self._seconds += seconds

    def text(self) -> str:
        with self._lock:
            counts, seconds = dict(self._counts), self._seconds
        lines = ["# TYPE http_requests_total counter"]
        lines += [f'http_requests_total{{path="{p}",status="{s}"}} {n}' for (p, s), n in sorted(counts.items())]
        lines += ["# TYPE http_request_seconds_total counter", f"http_request_seconds_total {seconds:.6f}"]
        return "\n".join(lines) + "\n"


metrics = Metrics()


def home(query: dict[str, list[str]]) -> Answer:
    return "200 OK", "text/plain", f"{GREETING} from version {VERSION} on {socket.gethostname()}\n"


def healthz(query: dict[str, list[str]]) -> Answer:
    """The process answers: a reason not to restart it."""
    return "200 OK", "text/plain", "ok\n"


def readyz(query: dict[str, list[str]]) -> Answer:
    """It can serve: a reason to send it requests."""
    return "200 OK", "text/plain", "ready\n"


def version(query: dict[str, list[str]]) -> Answer:
    return "200 OK", "application/json", json.dumps({"version": VERSION, "host": socket.gethostname()}) + "\n"


def slow(query: dict[str, list[str]]) -> Answer:
    """Take as long as asked: /slow?seconds=5."""
    try:
        seconds = float(query.get("seconds", ["1"])[0])
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_SLOW_SECONDS:
        return "400 Bad Request", "text/plain", f"seconds must be a number from 0 to {MAX_SLOW_SECONDS:g}\n"
    time.sleep(seconds)
    return "200 OK", "text/plain", f"slept {seconds:g} s\n"


def prometheus(query: dict[str, list[str]]) -> Answer:
    return "200 OK", "text/plain; version=0.0.4", metrics.text()


ROUTES: dict[str, Callable[[dict[str, list[str]]], Answer]] = {
    "/": home,
    "/healthz": healthz,
    "/readyz": readyz,
    "/version": version,
    "/slow": slow,
    "/metrics": prometheus,
}


def answer(method: str, path: str, query: dict[str, list[str]]) -> Answer:
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", "text/plain", "only GET is answered\n"
    route = ROUTES.get(path)
    return route(query) if route else ("404 Not Found", "text/plain", f"nothing at {path}\n")


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI entry point: gunicorn your-application:app"""
    began = time.monotonic()
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
    status, content_type, text = answer(method, path, parse_qs(environ.get("QUERY_STRING", "")))
    body = text.encode()
    metrics.add(path, status, time.monotonic() - began)
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [] if method == "HEAD" else [body]

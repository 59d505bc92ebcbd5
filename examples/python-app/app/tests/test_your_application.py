"""What the application answers, asked as a WSGI server asks."""

from __future__ import annotations

import json
from types import ModuleType
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest


def get(application: ModuleType, path: str, method: str = "GET") -> tuple[str, str]:
    """(status line, body)"""
    environ: dict[str, object] = {}
    setup_testing_defaults(environ)
    path, _, query = path.partition("?")
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    seen: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> object:
        seen.append(status)
        return lambda data: None

    answer = validator(application.app)(environ, start_response)
    try:
        return seen[0] if seen else "", b"".join(answer).decode()
    finally:
        answer.close()


def test_home_greets_with_its_version(application: ModuleType) -> None:
    status, body = get(application, "/")
    assert status == "200 OK"
    assert body.startswith("Hello from version ")
    assert application.VERSION in body


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_it_is_healthy_and_ready(application: ModuleType, path: str) -> None:
    assert get(application, path)[0] == "200 OK"


def test_version_is_json(application: ModuleType) -> None:
    assert json.loads(get(application, "/version")[1])["version"] == application.VERSION


def test_slow_takes_as_long_as_asked_within_limits(application: ModuleType) -> None:
    assert get(application, "/slow?seconds=0") == ("200 OK", "slept 0 s\n")
    for wrong in ("nan", "-1", "1e9", "soon"):
        assert get(application, f"/slow?seconds={wrong}")[0] == "400 Bad Request"


def test_unknown_paths_and_methods_are_refused(application: ModuleType) -> None:
    assert get(application, "/nothing")[0] == "404 Not Found"
    assert get(application, "/", "POST")[0] == "405 Method Not Allowed"


def test_metrics_count_requests(application: ModuleType) -> None:
    get(application, "/")
    get(application, "/nothing")
    body = get(application, "/metrics")[1]
    assert 'http_requests_total{path="/",status="200"}' in body
    assert 'http_requests_total{path="other",status="404"}' in body

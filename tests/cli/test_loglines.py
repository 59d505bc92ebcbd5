"""Log lines as JSON, however they are cut on their way."""

from __future__ import annotations

import io
import json

import pytest

from trueup.cli.loglines import AsJson

JOBS = (
    b"=== test\n2026-11-25T20:10:58.572Z \xe2\x94\x80 Run pytest\nfree | text\n"
    b"=== image\n2026-11-25T20:11:15.128Z COMMIT"
)
PODS = b"web-1 | serving 9\n| odd\nweb-2 | a | b\n"


def said(data: bytes, step: int, *, jobs: bool) -> list[tuple[str, str, str]]:
    out = io.BytesIO()
    lines = AsJson(out, jobs=jobs)
    for at in range(0, len(data), step):
        lines.write(data[at : at + step])
    lines.end()
    return [(o["of"], o["time"], o["text"]) for o in map(json.loads, out.getvalue().splitlines())]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_runs_log(step: int) -> None:
    assert said(JOBS, step, jobs=True) == [
        ("test", "2026-11-25T20:10:58.572Z", "─ Run pytest"),
        ("test", "", "free | text"),
        ("image", "2026-11-25T20:11:15.128Z", "COMMIT"),
    ]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_what_containers_print(step: int) -> None:
    assert said(PODS, step, jobs=False) == [("web-1", "", "serving 9"), ("", "", "| odd"), ("web-2", "", "a | b")]

"""A user's own rules of health in the render worker: Lua as Argo CD runs it, CEL as Flux does; and their limits."""

from __future__ import annotations

from typing import Any

import pytest

from trueup.core.health.rules import Cel, Lua, Rule, Said
from trueup.core.model import Place
from trueup.drivers.renderers.worker import RenderFailed, Workers

pytestmark = pytest.mark.integration
HERE = Place("argocd-cm.yaml", 4)


async def by(workers: Workers, how: Lua | Cel, body: Any) -> Said:
    (said,) = await workers.judge([Rule("example.org/Widget", how, HERE)], [(0, body)])
    return said


UP = {"kind": "Widget", "metadata": {"name": "a", "generation": 2}, "spec": {"size": 3}, "status": {"phase": "Up"}}


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ('return {status = "Healthy"}', "Healthy", ""),
        ('hs = {}\nhs.status = "Degraded"\nhs.message = obj.status.phase\nreturn hs', "Degraded", "Up"),
        ('return {status = "Progressing", message = obj.spec.size .. "/4"}', "Progressing", "3/4"),
        ('return {status = "healthy"}', "Unknown", "Lua returned an invalid health status"),
        ('return {message = "no status"}', "Unknown", "Lua returned an invalid health status"),
        ('for i, c in ipairs({"Suspended"}) do return {status = c} end', "Suspended", ""),
        ('for k, v in pairs(obj.status) do return {status = "Healthy", message = k .. v} end', "Healthy", "phaseUp"),
        ('local os = require("os")\nreturn {status = "Healthy", message = os.date("!%Y", 0)}', "Healthy", "1970"),
        ('print("said") return {status = "Healthy"}', "Healthy", ""),
        ('table.insert(obj, "x") return {status = "Healthy", message = obj[1]}', "Healthy", "x"),
        ('if obj.status.missing == nil then return {status = "Healthy"} end', "Healthy", ""),
    ],
)
async def test_lua(workers: Workers, script: str, status: str, message: str) -> None:
    said = await by(workers, Lua(script), UP)
    assert (said.fault, said.status, said.message) == ("", status, message)


@pytest.mark.parametrize(
    ("script", "line", "words"),
    [
        ("\nreturn {status = obj.nothing.there}", 2, "attempt to index a non-table object(nil)"),
        ("return {", 0, "it ends too early"),
        ("hs = = 1", 1, "syntax error"),
        ('return "Healthy"', 0, "returns a string, not a table"),
        ("local a = 1", 0, "returns a nil, not a table"),
        ("error('no idea')", 1, "no idea"),
        ("while true do end", 0, "took more than 1s"),
        ("local function f() return f() + 1 end return f()", 1, "stack overflow"),
        # what reaches outside is not there
        ('return {status = "Healthy", message = io.open("/etc/passwd"):read()}', 1, "attempt to index"),
        ('return {status = dofile("/etc/passwd")}', 1, "attempt to call a non-function"),
        ('return {status = loadfile("/etc/passwd")}', 1, "attempt to call a non-function"),
        ('return {status = require("io")}', 1, "module io not found"),
        ('os.execute("true")', 1, "attempt to call a non-function"),
        ('os.exit(1)', 1, "attempt to call a non-function"),
        ('return {status = os.getenv("HOME")}', 1, "attempt to call a non-function"),
        # not open unless asked for, as in Argo CD
        ('return {status = string.upper("x")}', 1, "attempt to index"),
        ('return {status = debug.getinfo(1)}', 1, "attempt to index"),
    ],
)  # fmt: skip
async def test_lua_that_fails_says_where(workers: Workers, script: str, line: int, words: str) -> None:
    said = await by(workers, Lua(script), UP)
    assert said.status == ""
    assert words in said.fault
    assert said.line == line


async def test_open_libraries_reach_nothing_outside(workers: Workers) -> None:
    said = await by(workers, Lua('return {status = string.gsub("healthy", "^h", "H")}', open=True), UP)
    assert said.status == "Healthy"
    for name in ("io", "debug", "channel"):
        said = await by(workers, Lua(f"return {{status = {name}.x}}", open=True), UP)
        assert "attempt to index" in said.fault


async def test_rules_of_one_request_see_nothing_of_each_other(workers: Workers) -> None:
    rules = [Rule("a", Lua('seen = "yes" return {status = "Healthy"}'), HERE),
             Rule("b", Lua('return {status = "Healthy", message = seen}'), HERE)]  # fmt: skip
    said = await workers.judge(rules, [(0, UP), (1, UP), (0, UP), (1, UP)])
    assert [s.message for s in said] == ["", "", "", ""]


async def test_memory_without_an_end_costs_the_request_and_not_the_pool(workers: Workers) -> None:
    endless = Lua("local t = {} for i = 1, 1e9 do t[i] = {i, i, i, i, tostring(i)} end return t")
    try:
        said = await by(workers, endless, UP)
        assert "took more than" in said.fault
    except RenderFailed as failed:
        assert "memory" in failed.message
    assert (await by(workers, Lua('return {status = "Healthy"}'), UP)).status == "Healthy"


READY = "status.conditions.exists(e, e.type == 'Ready' && e.status == 'True')"


def with_status(**status: Any) -> dict[str, Any]:
    return {**UP, "status": status}


@pytest.mark.parametrize(
    ("rule", "status", "said"),
    [
        (Cel(READY), {"conditions": [{"type": "Ready", "status": "True"}]}, "Healthy"),
        (Cel(READY), {"conditions": [{"type": "Ready", "status": "False"}]}, "Progressing"),
        (Cel("true", failed="status.phase == 'Bad'"), {"phase": "Bad"}, "Degraded"),
        (Cel("true", in_progress="status.phase == 'Bad'", failed="status.phase == 'Bad'"), {"phase": "Bad"},
         "Progressing"),
        (Cel("true"), {"observedGeneration": 1}, "Progressing"),
        (Cel("true"), {"observedGeneration": 2}, "Healthy"),
        (Cel("status.?phase.orValue('') == ''"), {}, "Healthy"),
        (Cel("status.size + 1 == 4 && spec.size == 3"), {"size": 3}, "Healthy"),
        (Cel("status.share < 1"), {"share": 0.5}, "Healthy"),
        (Cel("status.names.split(',').size() == 2"), {"names": "a,b"}, "Healthy"),
        (Cel("kind == 'Widget' && metadata.name == 'a'"), {}, "Healthy"),
    ],
)  # fmt: skip
async def test_cel(workers: Workers, rule: Cel, status: dict[str, Any], said: str) -> None:
    got = await by(workers, rule, with_status(**status))
    assert (got.fault, got.status) == ("", said)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Cel("status.missing == 1"), "`current`: no such key: missing"),
        (Cel("status.phase"), "`current` gives string, neither true nor false"),
        (Cel("status.("), "`current` is no CEL"),
        (Cel("true", failed="nothing(1)"), "`failed`"),
        (Cel("[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, "
             "[1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, "
             "[1,2,3,4,5,6,7,8,9,10].all(g, [1,2,3,4,5,6,7,8,9,10].all(h, a+b+c+d+e+f+g+h > 0))))))))"),
         "cost limit exceeded"),
    ],
)  # fmt: skip
async def test_cel_that_fails(workers: Workers, rule: Cel, words: str) -> None:
    got = await by(workers, rule, with_status(phase="Up"))
    assert got.status == ""
    assert words in got.fault

"""Whether requests are in flight, when HAProxy does not say so at once: what is not told is never taken for none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trueup.agent import haproxy_cli as cli
from trueup.agent.haproxy_config import server_prefix
from trueup.agent.haproxy_process import paths_of
from trueup.agent.network import Loopback
from trueup.agent.proxy import Proxy
from trueup.core.layout import Layout

HEAD = "# pxname,svname,qcur,scur,mode,stot,econ,ttime,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,\n"
PROC = "#<PID> <type> <reloads> <uptime>\n7 master 0 [failed: 0] 0d00h00m10s\n# workers\n8 worker 0 0d00h00m10s\n"


def stat(current: int) -> str:
    return f"{HEAD}web,{server_prefix('web-1')}8080,0,{current},http,1,0,5,0,1,0,0,0,0,\n"


@asynccontextmanager
async def master(path: Path, answers: Sequence[str]) -> AsyncIterator[list[str]]:
    """A master's socket that gives each `show stat` the next answer, the last one for ever."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        if "show proc" in line:
            writer.write(PROC.encode())
        else:
            asked.append(line)
            writer.write(answers[min(len(asked), len(answers)) - 1].encode())
        await writer.drain()
        writer.close()

    path.parent.mkdir(parents=True, exist_ok=True)
    server = await asyncio.start_unix_server(serve, path)
    try:
        yield asked
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("answer", ["", "Can't find the target CLI!\n"])
async def test_a_worker_that_says_nothing_of_its_servers_is_an_error(tmp_path: Path, answer: str) -> None:
    async with master(tmp_path / "m.sock", [answer]):
        with pytest.raises(cli.ProxyError, match="did not say what is in flight"):
            await cli.loads(str(tmp_path / "m.sock"), 8)


async def test_a_replica_is_drained_only_when_two_answers_say_so(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    answers = [stat(2), "Can't find the target CLI!\n", "", "", stat(1), stat(0), stat(0)]
    async with master(Path(paths_of(layout).master), answers) as asked:
        assert await Proxy(layout, Loopback("127.91.250.0/28")).drained("web-1", 20.0)
        assert len(asked) == len(answers)


async def test_silence_is_not_drained(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    async with master(Path(paths_of(layout).master), [""]):
        assert not await Proxy(layout, Loopback("127.91.250.0/28")).drained("web-1", 0.3)

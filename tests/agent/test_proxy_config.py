"""HAProxy's configuration, its answers and the commands that bring it in step; without HAProxy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trueup.agent.haproxy_cli import (
    Load,
    Server,
    View,
    batches,
    changes,
    parse_loads,
    parse_servers,
    parse_workers,
    removals,
)
from trueup.agent.haproxy_config import Paths, bound, mark, render, server_name
from trueup.agent.proxy_model import Backend, Bind, Listener
from trueup.agent.proxy_stats import Totals, VersionStats, add

PATHS = Paths("/s/haproxy.cfg", "/s/m.sock", "/s/w.sock", "/s/p.sock", "/s/pid", "/s/log", user="haproxy")
ONE = Backend("one", "10.0.1.1", {"http": 8080}, True, False, "v1")
TWO = Backend("two", "10.0.1.2", {"http": 8080}, False, False, "v2")


def listener(*backends: Backend, port: int = 80, affinity_s: int = 0, mode: str = "http") -> Listener:
    binds = (Bind("10.0.0.1", port, "edge"), Bind("0.0.0.0", 30000, ""))
    return Listener(
        "default:web:http", "default/web", port, mode, binds, affinity_s, tuple((b, 8080) for b in backends)
    )


def test_the_file_holds_servers_as_they_are_now() -> None:
    text = render([listener(ONE, TWO)], PATHS, "edge-1")
    assert "  server one:v1 10.0.1.1:8080\n" in text
    assert "  server two:v2 10.0.1.2:8080 disabled\n" in text
    assert "backend .next:default:web:http\n  mode http\n  server next 10.0.0.1:80\n" in text
    assert bound(text) == {Bind("10.0.0.1", 80, "edge"), Bind("0.0.0.0", 30000, "")}


def test_only_requests_with_a_safe_method_are_ever_sent_again() -> None:
    text = render([listener(ONE)], PATHS, "edge-1")
    assert "  retry-on conn-failure empty-response\n" in text
    assert "  http-request disable-l7-retry unless { method GET HEAD OPTIONS TRACE }\n" in text
    plain = render([listener(ONE, mode="tcp")], PATHS, "edge-1")
    assert "empty-response" not in plain and "disable-l7-retry" not in plain


def test_only_what_needs_a_reload_changes_the_mark() -> None:
    base = mark([listener(ONE)], "edge-1")
    assert mark([listener(ONE, TWO)], "edge-1") == base
    assert mark([listener(ONE, port=81)], "edge-1") != base
    assert mark([listener(ONE, affinity_s=60)], "edge-1") != base
    assert mark([listener(ONE, mode="tcp")], "edge-1") != base
    assert mark([listener(ONE)], "edge-2").split(".")[0] == base.split(".")[0]
    assert mark([listener(ONE)], "edge-2") != base


def test_a_worker_in_step_is_told_nothing() -> None:
    servers = (
        Server("default:web:http", "one:v1", "10.0.1.1", 8080, in_maint=False),
        Server("default:web:http", "two:v2", "10.0.1.2", 8080, in_maint=True),
    )
    view = View(frozenset({"default:web:http"}), servers)
    assert changes([listener(ONE, TWO)], view) == []
    assert removals([listener(ONE, TWO)], view) == []


def test_servers_are_closed_before_they_are_deleted() -> None:
    servers = (Server("default:web:http", "gone:v0", "10.0.1.9", 8080, in_maint=False),)
    view = View(frozenset({"default:web:http"}), servers)
    assert changes([listener()], view) == ["set server default:web:http/gone:v0 state maint"]
    assert removals([listener()], view) == []


BACKENDS = st.lists(
    st.builds(
        Backend,
        id=st.sampled_from(["a", "b", "c"]),
        address=st.sampled_from(["10.0.1.1", "10.0.1.2"]),
        ports=st.just({"http": 8080}),
        ready=st.booleans(),
        draining=st.booleans(),
    ),
    max_size=3,
    unique_by=lambda backend: backend.id,
)


@given(BACKENDS, BACKENDS)
def test_the_commands_lead_from_any_state_to_any_other(before: list[Backend], after: list[Backend]) -> None:
    empty: dict[str, Server] = {}
    state = obey(obey(empty, [listener(*before)]), [listener(*after)])
    serving = {name: server.address for name, server in state.items() if not server.in_maint}
    assert serving == {server_name(b): b.address for b in after if b.serves}
    assert set(state) == {server_name(b) for b in after}


def obey(state: dict[str, Server], desired: list[Listener]) -> dict[str, Server]:
    """What HAProxy does with the commands."""
    name = "default:web:http"
    state = dict(state)
    for command in changes(desired, View(frozenset({name}), tuple(state.values()))):
        words = command.split()
        server = words[2].partition("/")[2]
        if words[0] == "add":
            assert server not in state
            address, _, port = words[3].partition(":")
            state[server] = Server(name, server, address, int(port), in_maint=True)
        else:
            old = state[server]
            if words[3] == "addr":
                state[server] = Server(name, server, words[4], int(words[6]), old.in_maint)
            else:
                state[server] = Server(name, server, old.address, old.port, words[4] == "maint")
    for command in removals(desired, View(frozenset({name}), tuple(state.values()))):
        removed = state.pop(command.partition("/")[2])
        assert removed.in_maint
    assert changes(desired, View(frozenset({name}), tuple(state.values()))) == []
    return state


def test_long_lists_of_commands_are_cut_to_what_a_line_holds() -> None:
    commands = [f"@!1 add server default:web:http/web-{n}:v1 10.0.0.{n}:8080" for n in range(500)]
    made = batches(commands)
    assert [command for batch in made for command in batch] == commands
    assert max(len(";".join(batch)) for batch in made) <= 8000
    assert batches([]) == []


def test_reads_the_process_list() -> None:
    text = """#<PID>          <type>          <reloads>       <uptime>        <version>
31703           master          3 [failed: 1]   0d00h00m05s     2.6.12-1+deb12u4
# workers
31790           worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
31708           worker          2               0d00h00m05s     2.6.12-1+deb12u4
31750           worker          1               0d00h00m05s     2.6.12-1+deb12u4
# programs

"""
    found = parse_workers(text)
    assert (found.master, found.pids, found.failed) == (31703, (31790, 31750, 31708), 1)


def test_reads_servers_and_counters() -> None:
    state = (
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port\n"
        "2 default:web:http 1 one:v1 10.0.1.1 2 0 8080\n2 default:web:http 2 two:v2 10.0.1.2 0 5 8080\n"
        "3 .next:default:web:http 1 next 10.0.0.1 2 0 80\n"
    )
    assert parse_servers(state) == [
        Server("default:web:http", "one:v1", "10.0.1.1", 8080, False),
        Server("default:web:http", "two:v2", "10.0.1.2", 8080, True),
    ]
    assert parse_servers("1\n") == []
    csv = (
        "# pxname,svname,qcur,scur,stot,econ,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,ttime,mode,\n"
        "default:web:http,one:v1,0,2,9,0,0,5,0,1,2,0,12,http,\n"
        "default:web:raw,one:v1,1,1,9,3,,,,,,,40,tcp,\n"
        ".next:default:web:http,next,0,1,9,0,0,5,0,1,2,0,12,http,\n"
    )
    assert parse_loads(csv) == [
        Load("default:web:http", "one:v1", 2, 8, 2, 12),
        Load("default:web:raw", "one:v1", 2, 9, 3, 40),
    ]


def test_totals_grow_over_new_workers_and_new_servers_of_the_same_name() -> None:
    def look(requests: int, errors: int = 0) -> list[Load]:
        return [Load("default:web:http", "one:v1", 0, requests, errors, 100)]

    totals = add(Totals(), {7: look(10, 1)})
    totals = add(totals, {7: look(15, 1), 8: look(5)})
    totals = add(totals, {8: look(5)})
    totals = add(totals, {8: look(2, 2)})  # deleted and added again
    assert totals.sums == {("default", "web", "v1"): VersionStats("default", "web", "v1", 22, 3, 2.2)}

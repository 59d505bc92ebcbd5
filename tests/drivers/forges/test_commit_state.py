"""The contract of every forge: commit states arrive, and what goes wrong is told with what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from servers.forges import ForgeServer, forge_server
from trueup.core.address import parse
from trueup.drivers.forges import FORGES, Account, detect
from trueup.drivers.forges.forge import one_line
from trueup.ports import CommitState, SourceError

COMMIT = "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5"
ADDRESS = parse("ssh://git@127.0.0.1:2222/acme/web/app.git")[0]


@pytest.fixture(params=sorted(FORGES))
async def forge(request: pytest.FixtureRequest) -> AsyncIterator[ForgeServer]:
    async with forge_server(request.param) as server:
        yield server


def account(forge: ForgeServer) -> Account:
    slug = "acme/web/app" if forge.product == "gitlab" else "acme/app"
    address = parse(f"ssh://git@127.0.0.1:2222/{slug}.git")[0]
    return Account(
        address=address, token=forge.token, environment="live", base_url=forge.base_url, pauses_s=(0.01, 0.01)
    )


def states_of(account: Account, forge: ForgeServer) -> CommitState:
    return FORGES[forge.product].report_to(account)


async def test_each_state_arrives_under_our_context(forge: ForgeServer) -> None:
    states = states_of(account(forge), forge)
    failure = "failed" if forge.product == "gitlab" else "failure"
    for state, seen in (("pending", "pending"), ("success", "success"), ("failure", failure)):
        await states.report(COMMIT, state, f"{state}\nfor a reason")
        assert forge.states[COMMIT] == {"trueup/live": (seen, f"{state} for a reason")}


async def test_the_same_state_twice_is_no_failure(forge: ForgeServer) -> None:
    states = states_of(account(forge), forge)
    await states.report(COMMIT, "pending", "building")
    await states.report(COMMIT, "pending", "building")
    assert len(forge.requests) == 2


async def test_long_reasons_are_cut_where_the_forge_would_refuse_them(forge: ForgeServer) -> None:
    await states_of(account(forge), forge).report(COMMIT, "failure", "é" * 500)
    assert forge.states[COMMIT]["trueup/live"][1] == "é" * 139 + "…"


async def test_the_project_is_named_as_the_product_wants_it_and_links_are_given(forge: ForgeServer) -> None:
    await states_of(replace(account(forge), target_url="https://up.example/1"), forge).report(COMMIT, "success", "")
    path, body = forge.requests[0]
    wanted = {
        "github": f"/api/v3/repos/acme/app/statuses/{COMMIT}",
        "gitea": f"/api/v1/repos/acme/app/statuses/{COMMIT}",
        "gitlab": f"/api/v4/projects/acme%2Fweb%2Fapp/statuses/{COMMIT}",
    }
    assert path == wanted[forge.product]
    assert body["target_url"] == "https://up.example/1"


async def test_a_refused_token_is_named_with_the_right_it_needs_and_not_shown(forge: ForgeServer) -> None:
    states = states_of(replace(account(forge), token="wr0ng"), forge)
    with pytest.raises(SourceError, match=r"token is not accepted \(401.*Do: give one with") as error:
        await states.report(COMMIT, "success", "")
    assert "wr0ng" not in str(error.value)
    assert len(forge.requests) == 1


async def test_an_unknown_commit_is_named(forge: ForgeServer) -> None:
    forge.known = set()
    with pytest.raises(SourceError, match="does not know the repository or commit"):
        await states_of(account(forge), forge).report(COMMIT, "success", "")


async def test_a_forge_that_stumbles_is_asked_again(forge: ForgeServer) -> None:
    forge.fail_with, forge.failures = 502, 2
    await states_of(account(forge), forge).report(COMMIT, "success", "")
    assert forge.states[COMMIT]["trueup/live"][0] == "success"


async def test_a_forge_that_is_down_is_given_up_within_bounds(forge: ForgeServer) -> None:
    forge.fail_with = 503
    with pytest.raises(SourceError, match=r"down or cannot be reached \(503"):
        await states_of(account(forge), forge).report(COMMIT, "success", "")
    assert len(forge.requests) == 3


async def test_nobody_there(forge: ForgeServer) -> None:
    nobody = replace(account(forge), base_url="http://127.0.0.1:9", pauses_s=())
    with pytest.raises(SourceError, match="no answer"):
        await states_of(nobody, forge).report(COMMIT, "success", "")


@pytest.mark.parametrize("product", sorted(FORGES))
def test_a_token_is_not_sent_in_the_clear(product: str) -> None:
    address = parse("http://git.example.org/acme/app")[0]
    with pytest.raises(ValueError, match="plain http"):
        FORGES[product].report_to(Account(address=address, token="t"))
    with pytest.raises(ValueError, match="plain http"):  # the host that is spoken to counts, not the repository's
        here = parse("http://127.0.0.1/acme/app")[0]
        FORGES[product].report_to(Account(address=here, token="t", base_url="http://forge.example.org"))
    FORGES[product].report_to(Account(address=parse("/srv/app")[0], token="t", base_url="http://127.0.0.1:3000"))
    assert "s3cret" not in repr(Account(address=address, token="s3cret"))


@pytest.mark.parametrize(
    ("url", "product"),
    [
        ("https://github.com/acme/app", "github"),
        ("git@github.com:acme/app.git", "github"),
        ("https://github.acme.example/a/b", "github"),
        ("git@gitlab.com:a/b/c.git", "gitlab"),
        ("ssh://git@git.gitlab.acme.example:22/a/b", "gitlab"),
        ("https://codeberg.org/a/b", "gitea"),
        ("https://gitea.example.org/a/b", "gitea"),
        ("https://git.example.org/a/b", None),
        ("/srv/github/app", None),
        ("", None),
    ],
)
def test_the_product_is_told_by_the_host(url: str, product: str | None) -> None:
    assert detect(url) == product


def test_one_line() -> None:
    assert one_line(" a\n\n b ") == "a b"

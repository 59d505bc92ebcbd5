"""`Git` against real servers: smart HTTP and ssh on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from servers.git import ENVIRONMENT, HttpServer, Repo, SshServer
from trueup.drivers.sources.credentials import Credentials, HostCredentials, SshKey, Token
from trueup.drivers.sources.git import Git, Settings
from trueup.ports import Pushed, Raced, Refused, SourceError

pytestmark = pytest.mark.integration
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOST = HostCredentials()
SECRET = "gh/p=s3cret&token"


def git_at(url: str, tmp_path: Path, credentials: Credentials = HOST, **environment: str) -> Git:
    settings = Settings(
        url=url, folder=tmp_path / "clone", environment=ENVIRONMENT | environment, credentials=credentials
    )
    return Git(settings)


async def round_trip(git: Git, repo: Repo) -> None:
    """Fetch, commit, push, and what the remote holds afterwards."""
    first = repo.commit({"a": "1"})
    async with git:
        assert await git.fetch() == {"main": first}
        assert await git.may_push("main") is None
        ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
        assert await git.push("main", ours, expect=first) == Pushed(ours)
        assert repo.head() == ours
        assert repo.read(ours, "a") == b"2"
        theirs = repo.commit({"b": "3"})
        again = await git.make_commit(ours, {"a": b"4"}, "Late\n", when=WHEN)
        assert await git.push("main", again, expect=ours) == Raced(theirs)
        assert repo.head() == theirs


async def test_http_round_trip(repo: Repo, git_http: HttpServer, tmp_path: Path) -> None:
    await round_trip(git_at(git_http.url("acme/app.git"), tmp_path), repo)


async def test_ssh_round_trip(repo: Repo, git_ssh: SshServer, tmp_path: Path) -> None:
    key = SshKey(str(git_ssh.client_key), str(git_ssh.known_hosts))
    await round_trip(git_at(git_ssh.url("acme/app.git"), tmp_path, key), repo)


async def test_a_token_opens_the_remote(repo: Repo, git_http: HttpServer, tmp_path: Path) -> None:
    git_http.login = ("x-access-token", SECRET)
    await round_trip(git_at(git_http.url("acme/app.git"), tmp_path, Token(SECRET)), repo)


async def test_a_login_in_the_address_is_used_and_never_shown(repo: Repo, git_http: HttpServer, tmp_path: Path) -> None:
    git_http.login = ("ann", "secret word")
    git = git_at(git_http.url("acme/app.git", "ann:secret%20word"), tmp_path)
    assert git.address.url == git_http.url("acme/app.git")
    await round_trip(git, repo)
    for path in (tmp_path / "clone").rglob("*"):
        if path.is_file():
            assert b"secret" not in path.read_bytes()


async def test_our_token_goes_before_the_machines_own_helper_and_is_not_stored_by_it(
    repo: Repo, git_http: HttpServer, tmp_path: Path
) -> None:
    store = tmp_path / "credentials"
    store.write_text(f"http://ann:wrong@127.0.0.1:{git_http.port}\n")
    config = tmp_path / "gitconfig"
    config.write_text(f"[credential]\n\thelper = store --file {store}\n")
    git_http.login = ("x-access-token", SECRET)
    git = git_at(git_http.url("acme/app.git"), tmp_path, Token(SECRET), GIT_CONFIG_GLOBAL=str(config))
    await round_trip(git, repo)
    assert store.read_text() == f"http://ann:wrong@127.0.0.1:{git_http.port}\n"


async def test_the_machines_credential_helper_is_used(repo: Repo, git_http: HttpServer, tmp_path: Path) -> None:
    store = tmp_path / "credentials"
    store.write_text(f"http://ann:right@127.0.0.1:{git_http.port}\n")
    config = tmp_path / "gitconfig"
    config.write_text(f"[credential]\n\thelper = store --file {store}\n")
    git_http.login = ("ann", "right")
    await round_trip(git_at(git_http.url("acme/app.git"), tmp_path, GIT_CONFIG_GLOBAL=str(config)), repo)


@pytest.mark.parametrize("credentials", [HostCredentials(), Token("wrong-s3cret")])
async def test_authentication_is_named_without_the_secret(
    credentials: Credentials, repo: Repo, git_http: HttpServer, tmp_path: Path
) -> None:
    git_http.login = ("x-access-token", SECRET)
    async with git_at(git_http.url("acme/app.git"), tmp_path, credentials) as git:
        with pytest.raises(SourceError, match=r"wants credentials, or refused.*TRUEUP_GIT_TOKEN") as error:
            await git.fetch()
    assert "s3cret" not in str(error.value)


async def test_who_may_read_but_not_push_is_told_before_the_first_deployment(
    repo: Repo, git_http: HttpServer, tmp_path: Path
) -> None:
    git_http.push_login = ("x-access-token", SECRET)
    first = repo.commit({"a": "1"})
    async with git_at(git_http.url("acme/app.git"), tmp_path) as git:
        refused = await git.may_push("main")
        assert isinstance(refused, Refused)
        assert "write access" in refused.reason
        ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
        assert isinstance(await git.push("main", ours, expect=first), Refused)


async def test_a_remote_that_is_down_is_named_and_comes_back(repo: Repo, git_http: HttpServer, tmp_path: Path) -> None:
    first = repo.commit({"a": "1"})
    async with git_at(git_http.url("acme/app.git"), tmp_path) as git:
        await git_http.stop()
        with pytest.raises(SourceError, match="down or cannot be reached"):
            await git.fetch()
        await git_http.start()
        git_http.fail_with = 503
        with pytest.raises(SourceError, match=r"down or cannot be reached.*503"):
            await git.fetch()
        git_http.fail_with = 0
        assert await git.fetch() == {"main": first}
        ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
        await git_http.stop()
        with pytest.raises(SourceError, match="cannot push main"):
            await git.push("main", ours, expect=first)
        assert await git.tree(first)  # what is here stays readable


async def test_a_remote_that_never_answers_ends_by_its_limit(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.git"
        settings = Settings(url=url, folder=tmp_path / "clone", environment=ENVIRONMENT, fetch_timeout_s=0.5)
        async with Git(settings) as git:
            with pytest.raises(SourceError, match=r"no answer within 0\.5 s"):
                await git.fetch()


async def test_no_such_repository(git_http: HttpServer, tmp_path: Path) -> None:
    async with git_at(git_http.url("acme/none.git"), tmp_path) as git:
        with pytest.raises(SourceError, match="no such repository"):
            await git.fetch()


async def test_a_hook_of_the_server_refuses_in_its_own_words(
    repo: Repo, git_http: HttpServer, git_ssh: SshServer, tmp_path: Path
) -> None:
    first = repo.commit({"a": "1"})
    repo.refuse("GH006: Protected branch update failed for refs/heads/main.")
    key = SshKey(str(git_ssh.client_key), str(git_ssh.known_hosts))
    for git in (
        git_at(git_http.url("acme/app.git"), tmp_path / "h"),
        git_at(git_ssh.url("acme/app.git"), tmp_path / "s", key),
    ):
        async with git:
            await git.fetch()
            assert await git.may_push("main") is None  # only a real push meets a hook
            ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
            refused = await git.push("main", ours, expect=first)
            assert isinstance(refused, Refused)
            assert "GH006: Protected branch update failed" in refused.reason
            assert "protection rules" in refused.reason


async def test_an_unknown_host_key_says_which_command(repo: Repo, git_ssh: SshServer, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    key = SshKey(str(git_ssh.client_key), str(tmp_path / "empty"))
    async with git_at(git_ssh.url("acme/app.git"), tmp_path, key) as git:
        with pytest.raises(SourceError, match=f"not known.*ssh-keyscan -p {git_ssh.port} 127.0.0.1"):
            await git.fetch()


async def test_a_changed_host_key_is_never_believed(repo: Repo, git_ssh: SshServer, tmp_path: Path) -> None:
    repo.commit({"a": "1"})
    key = SshKey(str(git_ssh.client_key), str(git_ssh.known_hosts))
    async with git_at(git_ssh.url("acme/app.git"), tmp_path, key) as git:
        await git.fetch()
        await git_ssh.new_host_key()
        with pytest.raises(SourceError, match=r"somebody is in between.*ssh-keygen -R"):
            await git.fetch()


async def test_an_ssh_key_that_is_not_accepted(repo: Repo, git_ssh: SshServer, tmp_path: Path) -> None:
    import asyncssh

    stranger = tmp_path / "stranger"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(stranger)
    stranger.chmod(0o600)
    key = SshKey(str(stranger), str(git_ssh.known_hosts))
    async with git_at(git_ssh.url("acme/app.git"), tmp_path, key) as git:
        with pytest.raises(SourceError, match=r"did not accept the ssh key.*deploy key"):
            await git.fetch()


async def test_a_read_only_deploy_key_is_refused(repo: Repo, git_ssh: SshServer, tmp_path: Path) -> None:
    repo.commit({"a": "1"})
    git_ssh.read_only = True
    key = SshKey(str(git_ssh.client_key), str(git_ssh.known_hosts))
    async with git_at(git_ssh.url("acme/app.git"), tmp_path, key) as git:
        await git.fetch()
        refused = await git.may_push("main")
        assert isinstance(refused, Refused)
        assert "marked as read only" in refused.reason


async def test_the_ssh_agent_is_used(repo: Repo, git_ssh: SshServer, tmp_path: Path) -> None:
    import asyncssh

    repo.commit({"a": "1"})
    agent = await asyncssh.connect_agent(str(await _agent(tmp_path)))
    try:
        await agent.add_keys([str(git_ssh.client_key)])
        ssh = f"ssh -o UserKnownHostsFile={git_ssh.known_hosts}"
        git = git_at(
            git_ssh.url("acme/app.git"), tmp_path, GIT_SSH_COMMAND=ssh, SSH_AUTH_SOCK=str(tmp_path / "agent.sock")
        )
        async with git:
            assert await git.fetch() == {"main": repo.head()}
    finally:
        agent.close()
        await agent.wait_closed()
        _end_agent(tmp_path)


async def _agent(tmp_path: Path) -> Path:
    import asyncio

    path = tmp_path / "agent.sock"
    process = await asyncio.create_subprocess_exec("ssh-agent", "-a", str(path), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    pid = out.decode().partition("SSH_AGENT_PID=")[2].partition(";")[0]
    (tmp_path / "agent.pid").write_text(pid)
    return path


def _end_agent(tmp_path: Path) -> None:
    import os
    import signal

    os.kill(int((tmp_path / "agent.pid").read_text()), signal.SIGTERM)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here; it runs as root in CI")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_is_named_and_mended_by_room(repo: Repo, small_disk: Path, tmp_path: Path) -> None:
    first = repo.commit({"a": os.urandom(100_000)})
    async with Git(Settings(url=repo.url, folder=small_disk / "clone", environment=ENVIRONMENT)) as git:
        await git.fetch()
        head = repo.commit({"b": os.urandom(500_000)})
        filler = small_disk / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(4 << 20))
        with pytest.raises(SourceError, match="disk is full"):
            await git.fetch()
        with pytest.raises(SourceError, match=r"(disk is full|No space left).*free some space"):
            await git.make_commit(first, {"c": os.urandom(100_000)}, "Ours\n", when=WHEN)
        with pytest.raises(SourceError, match=r"No space left.*free some space"):
            await git.checkout(first, small_disk / "work")
        filler.unlink()
        assert await git.fetch() == {"main": head}

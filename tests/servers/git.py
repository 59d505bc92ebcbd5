"""Git repositories and servers for tests: people who push, hooks that refuse, smart HTTP and ssh on loopback.

repo = Repo(tmp_path / "acme/app.git")
first = repo.commit({"app.py": "print(1)"})
async with http_server(tmp_path, login=("ann", "secret")) as server:
    url = server.url("acme/app.git")
"""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
from aiohttp import web

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}
ANN = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "Ann"), ("EMAIL", "ann@example.org"))
}
EXECUTABLE, SYMLINK, SUBMODULE = 0o100755, 0o120000, 0o160000

Content = str | bytes | tuple[int, str | bytes] | None  # bytes of a file, (mode, bytes or commit id), None: removed


class Repo:
    """A bare repository on disk, and people who change it directly, as if they had pushed. No work tree, no waiting."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._clock = 1_700_000_000
        if not (path / "HEAD").exists():
            path.mkdir(parents=True, exist_ok=True)
            self.git("init", "--quiet", "--bare", "--initial-branch=main", "--template=", ".")
            self.git("config", "http.receivepack", "true")

    @property
    def url(self) -> str:
        return str(self.path)

    def git(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            ["git", *args], cwd=self.path, input=stdin, env=ENVIRONMENT | ANN | dict(env or {}), capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode(errors="surrogateescape").strip()

    def head(self, branch: str = "main") -> str | None:
        out = self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        return out or None

    def commit(
        self,
        files: Mapping[str, Content],
        message: str = "Change",
        *,
        branch: str = "main",
        parent: str | None = None,
        merge: Sequence[str] = (),
        author: str = "Ann <ann@example.org>",
    ) -> str:
        """One commit on `parent` (default: the branch's head), the branch moved to it (by force when need be)."""
        parent = parent if parent is not None else self.head(branch)
        oid = self.make(files, message, parent=parent, merge=merge, author=author)
        self.move(branch, oid)
        return oid

    def make(
        self,
        files: Mapping[str, Content],
        message: str = "Change",
        *,
        parent: str | None = None,
        merge: Sequence[str] = (),
        author: str = "Ann <ann@example.org>",
    ) -> str:
        """A commit that no branch names yet."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            if parent:
                self.git("read-tree", parent, env=env)
            lines = self._lines(files, Path(scratch))
            self.git("update-index", "-z", "--replace", "--index-info", stdin=lines, env=env)
            tree = self.git("write-tree", env=env)
        return self.commit_tree(tree, message, parents=[p for p in (parent, *merge) if p], author=author)

    def commit_tree(self, tree: str, message: str, *, parents: Sequence[str] = (), author: str = "") -> str:
        self._clock += 60
        name, _, email = (author or "Ann <ann@example.org>").rstrip(">").partition(" <")
        env = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email}
        env |= {f"GIT_{role}_DATE": f"{self._clock} +0000" for role in ("AUTHOR", "COMMITTER")}
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return self.git("commit-tree", *flags, tree, stdin=message.encode(), env=env)

    def _lines(self, files: Mapping[str, Content], scratch: Path) -> bytes:
        """For `git update-index -z --index-info`; all contents are hashed by one process."""
        entries = {
            path: content if isinstance(content, tuple) else (0o100644, content) for path, content in files.items()
        }
        contents = {path: data for path, (mode, data) in entries.items() if data is not None and mode != SUBMODULE}
        for number, data in enumerate(contents.values()):
            (scratch / f"{number}").write_bytes(data.encode() if isinstance(data, str) else data)
        names = "".join(f"{scratch}/{number}\n" for number in range(len(contents)))
        hashed = self.git("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names.encode())
        oids = dict(zip(contents, hashed.splitlines(), strict=True))
        lines = b""
        for path, (mode, data) in entries.items():
            oid = oids.get(path) or (str(data) if data is not None else "0" * 40)
            lines += f"{mode if data is not None else 0:o} {oid}\t".encode() + os.fsencode(path) + b"\0"
        return lines

    def blob(self, data: str | bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=data.encode() if isinstance(data, str) else data)

    def raw_tree(self, entries: Sequence[tuple[int, str, str]]) -> str:
        """A tree object as hostile as wanted: (mode, name, oid), neither sorted nor checked."""
        raw = b"".join(f"{mode:o} {name}".encode() + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
        return self.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw)

    def move(self, branch: str, oid: str) -> None:
        self.git("update-ref", f"refs/heads/{branch}", oid)

    def delete(self, branch: str) -> None:
        self.git("update-ref", "-d", f"refs/heads/{branch}")

    def read(self, commit: str, path: str) -> bytes:
        done = subprocess.run(
            ["git", "cat-file", "blob", f"{commit}:{path}"], cwd=self.path, env=ENVIRONMENT, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def log(self, branch: str = "main") -> list[str]:
        """Subjects, newest first."""
        return self.git("log", "--format=%s", f"refs/heads/{branch}", "--").splitlines()

    def hook(self, name: str, script: str) -> None:
        """A hook of the server (`pre-receive`, `update`, `post-receive`); "" takes it away."""
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        if not script:
            path.unlink(missing_ok=True)
            return
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def refuse(self, words: str = "this branch is protected") -> None:
        """Every push is declined by a hook from now on, with these words."""
        self.hook("pre-receive", f"echo {shlex.quote(words)} >&2; exit 1")

    def accept(self) -> None:
        self.hook("pre-receive", "")


# --- smart HTTP ----------------------------------------------------------------------------------


@dataclass
class HttpServer:
    """git http-backend behind loopback HTTP. `login`: basic authentication asked of everyone, or `push_login` only of
    those who push. `fail_with`: every answer has this status, until it is 0 again."""

    root: Path
    login: tuple[str, str] | None = None
    push_login: tuple[str, str] | None = None
    fail_with: int = 0
    port: int = 0
    seen: list[str] = field(default_factory=list)  # "GET /acme/app.git/info/refs"
    _runner: web.AppRunner | None = None

    def url(self, path: str, login: str = "") -> str:
        return f"http://{login}{'@' if login else ''}127.0.0.1:{self.port}/{path}"

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Connections are refused from here until `start`; the port stays the same."""
        if self._runner:
            await self._runner.cleanup()
        self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path_qs}")
        if self.fail_with:
            return web.Response(status=self.fail_with)
        pushing = "git-receive-pack" in request.path_qs
        wanted = self.login or (self.push_login if pushing else None)
        if wanted and request.headers.get("Authorization") != _basic(*wanted):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        return await self._backend(request, wanted[0] if wanted else "anyone")

    async def _backend(self, request: web.Request, user: str) -> web.StreamResponse:
        env = ENVIRONMENT | {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": user,
            "REMOTE_ADDR": "127.0.0.1",
        }
        body = await request.read()
        out, _ = await _run(["git", "http-backend"], env, body)
        head, _, content = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        headers.pop("Content-Length", None)
        return web.Response(status=status, headers=headers, body=content)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def _run(argv: Sequence[str], env: Mapping[str, str], stdin: bytes) -> tuple[bytes, bytes]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env)
    return await process.communicate(stdin)


@asynccontextmanager
async def http_server(
    root: Path, *, login: tuple[str, str] | None = None, push_login: tuple[str, str] | None = None
) -> AsyncIterator[HttpServer]:
    """Serves every repository under `root`."""
    server = HttpServer(root, login, push_login)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


# --- ssh -----------------------------------------------------------------------------------------


@dataclass
class SshServer:
    """An ssh server that runs git-upload-pack and git-receive-pack under `root`, for the holder of `client_key`."""

    root: Path
    folder: Path  # keys and known_hosts
    read_only: bool = False
    port: int = 0
    client_key: Path = Path()
    known_hosts: Path = Path()
    _host_key: asyncssh.SSHKey | None = None
    _server: asyncssh.SSHAcceptor | None = None

    def url(self, path: str) -> str:
        return f"ssh://git@127.0.0.1:{self.port}/{path}"

    async def start(self) -> None:
        self._host_key = self._host_key or asyncssh.generate_private_key("ssh-ed25519")
        await self._listen()

    async def new_host_key(self) -> None:
        """As after a reinstallation, or with somebody in between."""
        await self.stop()
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        await self._listen(trust=False)

    async def _listen(self, *, trust: bool = True) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519") if not self.client_key.name else None
        if key:
            self.client_key = self.folder / "id_ed25519"
            key.write_private_key(self.client_key)
            self.client_key.chmod(0o600)
            key.write_public_key(self.folder / "authorized_keys")
        assert self._host_key is not None
        self._server = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[self._host_key],
            authorized_client_keys=str(self.folder / "authorized_keys"),
            process_factory=self._serve,
            encoding=None,
            reuse_address=True,
        )
        self.port = self._server.get_port()
        if trust:
            self.known_hosts = self.folder / "known_hosts"
            public = self._host_key.export_public_key().decode().strip()
            self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}\n")

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            await self._server.wait_closed()
        self._server = None

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        words = shlex.split(process.command or "")
        if len(words) != 2 or words[0] not in ("git-upload-pack", "git-receive-pack"):
            process.stderr.write(b"only git is served here\n")
            return process.exit(1)
        if self.read_only and words[0] == "git-receive-pack":
            process.stderr.write(b"ERROR: The key you are authenticating with has been marked as read only.\n")
            return process.exit(1)
        pipe = asyncio.subprocess.PIPE
        path = str(self.root / words[1].lstrip("/"))
        git = await asyncio.create_subprocess_exec(
            "git", words[0].removeprefix("git-"), path, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT
        )
        assert git.stdin and git.stdout and git.stderr
        feeding = asyncio.create_task(_feed(process.stdin, git.stdin))
        await asyncio.gather(_drain(git.stdout, process.stdout), _drain(git.stderr, process.stderr))
        code = await git.wait()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        return process.exit(code)


async def _feed(source: asyncssh.SSHReader[bytes], git: asyncio.StreamWriter) -> None:
    while data := await source.read(1 << 16):
        git.write(data)
        await git.drain()
    git.close()


async def _drain(git: asyncio.StreamReader, to: asyncssh.SSHWriter[bytes]) -> None:
    while data := await git.read(1 << 16):
        to.write(data)
        await to.drain()


@asynccontextmanager
async def ssh_server(root: Path, folder: Path, *, read_only: bool = False) -> AsyncIterator[SshServer]:
    """Serves every repository under `root`; keys go into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    server = SshServer(root, folder, read_only)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()

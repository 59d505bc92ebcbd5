"""Ann and her repository: a bare remote, her clone of it, and the three pushes of the play."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

import trueup
from trueup.demo.command import Failed, must, run

GIT_S = 60.0
PUSHES = 5  # times Ann pulls and pushes again when the branch moved meanwhile
CODE = "app/your-application.py"
_IGNORED = shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.pyc")
_ANN = {
    "GIT_AUTHOR_NAME": "Ann Example",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann Example",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
}


class Edit(Struct, frozen=True):
    """One text of a file becomes another one."""

    file: str
    before: str
    after: str


class Push(Struct, frozen=True):
    """What Ann commits. `version` is what the application calls itself afterwards."""

    subject: str
    version: str
    edits: tuple[Edit, ...] = ()


FIRST = Push("Add the application", "1.0.0")
SECOND = Push(
    "Version 2: say hello louder",
    "2.0.0",
    (
        Edit(CODE, 'VERSION = "1.0.0"', 'VERSION = "2.0.0"'),
        Edit("config/kubernetes-deployment.yaml", "GREETING: Hello\n", "GREETING: HELLO\n"),
    ),
)
# Green in every test, for the tests bring the file along; on the server it is not there.
BROKEN = Push(
    "Version 3: read the feature flags from a file",
    "3.0.0",
    (
        Edit(CODE, 'VERSION = "2.0.0"', 'VERSION = "3.0.0"'),
        Edit(CODE, "import time\n", "import time\nfrom pathlib import Path\n"),
        Edit(
            CODE,
            "MAX_SLOW_SECONDS = 30.0\n",
            "MAX_SLOW_SECONDS = 30.0\n"
            'FLAGS = json.loads(Path(os.environ.get("FLAGS", "/etc/python-app/flags.json")).read_text())\n',
        ),
        Edit("app/tests/conftest.py", "import importlib\n", "import importlib\nimport os\n"),
        Edit(
            "app/tests/conftest.py",
            "    sys.path.insert(",
            '    os.environ["FLAGS"] = str(Path(__file__).with_name("flags.json"))\n    sys.path.insert(',
        ),
        Edit("app/tests/flags.json", "", '{"dark_mode": true}\n'),
    ),
)


def example() -> Path:
    """The packaged copy of examples/python-app, or the checkout's own. Raises Failed."""
    package = Path(trueup.__file__).resolve().parent
    for place in (package / "_examples/python-app", package.parents[1] / "examples/python-app"):
        if (place / "app/Dockerfile").is_file():
            return place
    raise Failed(f"the example is in neither {package} nor the checkout above it: install Trueup again")


class Person:
    """Ann, with her clone in `folder`/ann and the remote in `folder`/remote.git."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.remote, self.clone = folder / "python-app.git", folder / "ann"
        self._environ = {**environ, **_ANN}

    async def begin(self) -> None:
        """An empty remote, and Ann's clone of it with the example in its work tree, not committed yet."""
        await self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        shutil.copytree(example(), self.clone, ignore=_IGNORED)
        await self._git("init", "--quiet", "--initial-branch=main", str(self.clone))
        await self._own("remote", "add", "origin", str(self.remote))
        await self._own("config", "user.name", _ANN["GIT_AUTHOR_NAME"])  # for whoever goes on here after the play
        await self._own("config", "user.email", _ANN["GIT_AUTHOR_EMAIL"])

    async def push(self, push: Push) -> str:
        """Edit, commit, and push on top of whatever the branch has by now; the commit's id."""
        if await self._has_branch():
            await self._own("pull", "--quiet", "--rebase", "origin", "main")
        for edit in push.edits:
            self._edit(edit)
        await self._own("add", "--all")
        await self._own("commit", "--quiet", "--message", push.subject)
        for _ in range(PUSHES):
            ended = await run(self._words("push", "--quiet", "origin", "main"), environ=self._environ, timeout_s=GIT_S)
            if ended.code == 0:
                return await self.head()
            await self._own("pull", "--quiet", "--rebase", "origin", "main")
        raise Failed(f"the remote took no push in {PUSHES} tries: {ended.last}")

    async def head(self) -> str:
        return (await self._own("rev-parse", "HEAD")).strip()

    async def branch_head(self) -> str:
        """The remote's head of main."""
        return (await self._git("--git-dir", str(self.remote), "rev-parse", "refs/heads/main")).strip()

    async def on_branch(self, path: str) -> str:
        """A file as the remote's branch has it now."""
        return await self._git("--git-dir", str(self.remote), "show", f"refs/heads/main:{path}")

    async def subject(self, commit: str) -> str:
        return (await self._git("--git-dir", str(self.remote), "log", "-1", "--format=%s", commit)).strip()

    async def history(self) -> list[str]:
        """One line a commit, newest first."""
        form = ("log", "--format=%h %<(18,trunc)%an %s", "refs/heads/main")
        return (await self._git("--git-dir", str(self.remote), *form)).splitlines()

    def _edit(self, edit: Edit) -> None:
        path = self.clone / edit.file
        text = path.read_text() if edit.before else ""
        if edit.before not in text:
            raise Failed(f"{edit.file} of the example does not hold {edit.before!r} any more")
        path.write_text(text.replace(edit.before, edit.after, 1) if edit.before else edit.after)

    async def _has_branch(self) -> bool:
        words = ["git", "--git-dir", str(self.remote), "rev-parse", "--quiet", "--verify", "refs/heads/main"]
        return (await run(words, environ=self._environ, timeout_s=GIT_S)).code == 0

    def _words(self, *arguments: str) -> list[str]:
        return ["git", "-C", str(self.clone), *arguments]

    async def _own(self, *arguments: str) -> str:
        return await must(self._words(*arguments), environ=self._environ, timeout_s=GIT_S)

    async def _git(self, *arguments: str) -> str:
        return await must(["git", *arguments], environ=self._environ, timeout_s=GIT_S)

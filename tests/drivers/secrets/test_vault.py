"""What every vault promises, and what the encrypted file promises beyond."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from trueup.drivers.secrets import FileVault, MemoryVault
from trueup.drivers.secrets.vault import SecretInvalid, VaultUnreadable

KEY = b"k" * 32
REPOSITORY = "git.example.org/acme/app"


@pytest.fixture(params=["memory", "file"])
def vault(request: Any, tmp_path: Path) -> MemoryVault | FileVault:
    return MemoryVault() if request.param == "memory" else FileVault(str(tmp_path / "secrets.db"), KEY)


class TestContract:
    async def test_an_environments_own_value_stands_over_the_repositorys(self, vault: FileVault) -> None:
        await vault.set(REPOSITORY, "", "TOKEN", "general")
        await vault.set(REPOSITORY, "", "HOST", "db")
        await vault.set(REPOSITORY, "production", "TOKEN", "special")
        await vault.set("another", "production", "OTHER", "x")
        assert await vault.values(REPOSITORY, "production") == {"TOKEN": "special", "HOST": "db"}
        assert await vault.values(REPOSITORY, "staging") == {"TOKEN": "general", "HOST": "db"}
        assert await vault.values(REPOSITORY) == {"TOKEN": "general", "HOST": "db"}
        assert await vault.values("unknown") == {}

    async def test_what_is_kept_under_a_bare_name_is_handed_to_its_owners(self, vault: FileVault) -> None:
        await vault.set("app", "", "TOKEN", "old")
        await vault.set("app", "production", "KEY", "old")
        await vault.set("h/a/app", "", "TOKEN", "own")
        assert not await vault.adopt("app", ())
        assert await vault.adopt("app", ("h/a/app", "h/b/app"))
        assert not await vault.adopt("app", ("h/c/app",))
        assert await vault.values("h/a/app", "production") == {"TOKEN": "own", "KEY": "old"}
        assert await vault.values("h/b/app", "production") == {"TOKEN": "old", "KEY": "old"}
        assert await vault.values("app", "production") == await vault.values("h/c/app") == {}

    async def test_names_are_those_of_one_scope_in_order(self, vault: FileVault) -> None:
        for name in ("B", "A"):
            await vault.set(REPOSITORY, "", name, "1")
        await vault.set(REPOSITORY, "production", "C", "1")
        assert await vault.names(REPOSITORY) == ("A", "B")
        assert await vault.names(REPOSITORY, "production") == ("C",)

    async def test_setting_again_replaces(self, vault: FileVault) -> None:
        await vault.set(REPOSITORY, "", "TOKEN", "old")
        await vault.set(REPOSITORY, "", "TOKEN", "new\nline ✓")
        assert await vault.values(REPOSITORY) == {"TOKEN": "new\nline ✓"}

    async def test_removing_says_whether_there_was_one(self, vault: FileVault) -> None:
        await vault.set(REPOSITORY, "", "TOKEN", "x")
        assert not await vault.remove(REPOSITORY, "production", "TOKEN")
        assert await vault.remove(REPOSITORY, "", "TOKEN")
        assert not await vault.remove(REPOSITORY, "", "TOKEN")
        assert await vault.values(REPOSITORY) == {}


class TestFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "state" / "secrets.db"

    async def test_shows_neither_names_nor_values_and_only_to_its_owner(self, path: Path) -> None:
        await FileVault(str(path), KEY).set(REPOSITORY, "production", "TOKEN", "hunter2")
        content = path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
        assert not [word for word in (b"hunter2", b"TOKEN", b"production", b"acme") if word in content]

    async def test_survives_a_restart_and_lists_environments(self, path: Path) -> None:
        await FileVault(str(path), KEY).set(REPOSITORY, "production", "TOKEN", "x")
        await FileVault(str(path), KEY).set(REPOSITORY, "", "TOKEN", "y")
        again = FileVault(str(path), KEY)
        assert await again.environments(REPOSITORY) == ("", "production")
        assert await again.values(REPOSITORY, "production") == {"TOKEN": "x"}

    async def test_two_writers_lose_nothing(self, path: Path) -> None:
        vaults = [FileVault(str(path), KEY) for _ in range(2)]
        await asyncio.gather(*(vaults[n % 2].set(REPOSITORY, "", f"NAME_{n}", str(n)) for n in range(20)))
        assert len(await vaults[0].names(REPOSITORY)) == 20

    @pytest.mark.parametrize("damage", ["flip", "cut", "strange", "key"])
    async def test_refuses_a_damaged_file_or_another_key_and_leaves_it(self, path: Path, damage: str) -> None:
        await FileVault(str(path), KEY).set(REPOSITORY, "", "TOKEN", "x")
        content = path.read_bytes()
        changed = {
            "flip": content[:-1] + bytes([content[-1] ^ 1]),
            "cut": content[:20],
            "strange": b"SQLite format 3\0",
            "key": content,
        }[damage]
        path.write_bytes(changed)
        vault = FileVault(str(path), b"z" * 32 if damage == "key" else KEY)
        with pytest.raises(VaultUnreadable, match=r"secrets\.db cannot be opened"):
            await vault.values(REPOSITORY)
        with pytest.raises(VaultUnreadable):
            await vault.set(REPOSITORY, "", "TOKEN", "y")
        assert path.read_bytes() == changed

    @pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "github_token", "A\n"])
    async def test_refuses_names_that_a_workflow_cannot_use(self, path: Path, name: str) -> None:
        with pytest.raises(SecretInvalid, match="cannot name a secret"):
            await FileVault(str(path), KEY).set(REPOSITORY, "", name, "x")

    async def test_refuses_a_value_without_bounds(self, path: Path) -> None:
        with pytest.raises(SecretInvalid, match="longer than"):
            await FileVault(str(path), KEY).set(REPOSITORY, "", "BIG", "x" * (1 << 20) + "y")

    async def test_a_draft_left_by_a_crash_changes_nothing(self, path: Path) -> None:
        await FileVault(str(path), KEY).set(REPOSITORY, "", "TOKEN", "x")
        path.with_name("secrets.db.draft").write_bytes(b"half")
        vault = FileVault(str(path), KEY)
        assert await vault.values(REPOSITORY) == {"TOKEN": "x"}
        await vault.set(REPOSITORY, "", "OTHER", "y")
        assert await vault.names(REPOSITORY) == ("OTHER", "TOKEN")

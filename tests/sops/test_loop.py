"""`trueup up` with a Secret that SOPS encrypted, on the real host target, and where its value is then found."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.world import Person
from sops.conftest import AGE, OTHER, Real
from trueup.core.layout import Layout
from trueup.drivers.targets.host import Host

pytestmark = pytest.mark.integration

DEADLINE_S = 90.0
VALUE, LATER = "hunter2-in-the-clear", "swordfish-in-the-clear"
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {GREETING: Hello}\n"
ONLY_DATA = ("--encrypted-regex", "^(data|stringData)$")


def secret(value: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata:\n    name: db\nstringData:\n    password: {value}\n"


def until(what: str, ready: Callable[[], Any], told: Callable[[], str] = lambda: "") -> Any:
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if found := ready():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come within {DEADLINE_S:.0f} s{told()}")


class Shop:
    """One state folder, its repository, and every word that was said."""

    def __init__(self, folder: Path) -> None:
        self.state, self.out, self.said = folder / "state", folder / "out", [""]
        self.person = Person(folder / "git", "shop")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "SOPS_"))}
        self.env = {**clean, "TRUEUP_STATE": str(self.state), "TRUEUP_KEYS": str(folder / "keys")}

    def trueup(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "trueup.cli", *args], capture_output=True, text=True, env=self.env, timeout=120,
            input=stdin,
        )  # fmt: skip
        self.said.append(done.stdout + done.stderr)
        return done

    def status(self) -> dict[str, Any]:
        done = self.trueup("status", "--output", "json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def deployed(self) -> dict[str, Any]:
        """The values of secret/db on the host."""
        (application,) = self.status()["applications"]

        async def read() -> dict[str, Any]:
            host = Host(Layout(str(self.state)))
            try:
                live = await host.read(application["id"])
            finally:
                await host.close()
            return next((o.body for o in live.objects if o.ref.kind == "Secret"), {})

        return asyncio.run(read())

    def tale(self) -> str:
        """What was said last, for a test that fails."""
        return "\n".join(["", *self.said[-2:], self.out.read_text()[-3000:]])

    def leaks(self, *values: str) -> list[str]:
        """Every file of the state folder, and everything said, that holds one of these. The agent's own is left out:
        it must start its containers when nothing else runs."""
        files = (p for p in self.state.rglob("*") if p.is_file() and "agent" not in p.relative_to(self.state).parts)
        found = [str(p) for p in files if any(v.encode() in p.read_bytes() for v in values)]
        words = "".join([*self.said, self.out.read_text()])
        return found + [f"said: {v}" for v in values if v in words]


@pytest.fixture
def shop(tmp_path: Path, built: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    if made.state.exists():
        made.trueup("down", "--data", "--yes")


def test_an_encrypted_secret_runs_and_is_read_nowhere_else(shop: Shop, real: Real) -> None:
    first = real.encrypt("secret.yaml", secret(VALUE), *ONLY_DATA).decode()
    shop.person.push({"config/settings.yaml": CONFIG, "config/secret.yaml": first}, "Say hello")
    shop.trueup("secret", "set", "SOPS_AGE_KEY", "--repository", str(shop.person.remote), stdin=OTHER)
    command = [sys.executable, "-m", "trueup.cli", "up", str(shop.person.remote), "--poll", "1"]
    with shop.out.open("wb") as sink:
        process = subprocess.Popen(command, env=shop.env, stdout=sink, stderr=subprocess.STDOUT)
    try:
        until("what to set", lambda: "trueup secret set SOPS_AGE_KEY" in shop.trueup("status").stdout, shop.tale)
        assert not any(a["objects"] for a in shop.status()["applications"]), "nothing is decided without a key"
        set_ = shop.trueup("secret", "set", "SOPS_AGE_KEY", "--repository", str(shop.person.remote), stdin=AGE)
        assert set_.returncode == 0, set_.stderr
        until("a healthy application", lambda: shop.status().get("summary") == "healthy", shop.tale)
        assert shop.deployed()["stringData"] == {"password": VALUE}

        later = real.encrypt("secret.yaml", secret(LATER), *ONLY_DATA).decode()
        (shop.person.clone / "config/secret.yaml").write_text(later)
        plan = shop.trueup("plan", str(shop.person.clone), "--application", "shop")
        assert "secret/db" in plan.stdout and "(hidden " in plan.stdout, plan.stdout + plan.stderr
        shop.person.push({"config/secret.yaml": later}, "Change the password", pull=False)
        until("the later value", lambda: shop.deployed().get("stringData") == {"password": LATER}, shop.tale)

        shop.person.push({"config/secret.yaml": later.replace("name: db", "name: dc")}, "Rename it by hand", pull=False)
        until(
            "a red commit", lambda: "MAC does not match" in shop.trueup("status").stdout + shop.trueup("history").stdout
        )
        assert shop.deployed()["metadata"]["name"] == "db", "the last green one stays"
        assert not shop.leaks(VALUE, LATER, AGE)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait(timeout=30)
    check = shop.trueup("check", str(shop.person.clone))
    assert "config/secret.yaml" in check.stdout and "encrypted by SOPS" in check.stdout
    assert not shop.leaks(VALUE, LATER, AGE)

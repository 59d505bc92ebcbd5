"""Files that the real `sops` made are opened to the bytes that it would write itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sops.conftest import AGE, AGE_PUBLIC, OTHER, OTHER_PUBLIC, Real, keyed
from trueup.core.sealed import Fault, format_of, is_sealed
from trueup.ports import NoKey

SECRET = """\
# of the shop
apiVersion: v1
kind: Secret
metadata:
    name: db # its name
type: Opaque
stringData:
    # who asks
    password: hunter2
    text: |
        two
        lines
    number: "12"
---
apiVersion: v1
kind: Secret
metadata:
    name: other
data:
    key: aHVudGVyMg==
"""
VALUES = """\
text: plain
empty: ""
nothing: null
int: 42
negative: -7
octal: 0o17
float: 3.25
large: 1e+20
yes: true
"no": false
when: 2026-01-02T03:04:05Z
list:
    - a
    - 1
    - b: 2
    # a comment in a list
    - true
deep:
    er:
        est: |-
            folded
            text
unicode: "žluťoučký ✓"
"""
SAMPLES = {
    "secret.yaml": SECRET,
    "values.yml": VALUES,
    "data.json": '{"a": "hunter2", "n": 1, "f": 1.5, "b": true, "z": null, "l": [1, "x", {"d": 2}], "e": {}}',
    "app.env": "# who\nPASSWORD=hunter2\nEMPTY=\nURL=https://u:p@example.org/?a=b&c=d\nMULTI=a\\nb\n",
    "app.ini": "; first\n[db]\npassword = hunter2\nport = 5432\n\n[other]\nkey = value\n",
    "key.pem": "-----BEGIN KEY-----\nabc\n-----END KEY-----\n",
    "bytes.bin": b"\x00\x01\xfe\xff hunter2 \r\n",
}
PARTIAL = (
    "encrypted_regex: '^(data|stringData)$'",
    "unencrypted_regex: '^(apiVersion|kind|metadata|type)$'",
    "encrypted_suffix: word",
    "unencrypted_suffix: Data",
    "encrypted_regex: '^(data|stringData)$', mac_only_encrypted: true",
    "unencrypted_comment_regex: who",
    "encrypted_comment_regex: who",
)


@pytest.mark.parametrize("name", sorted(SAMPLES))
async def test_each_format_is_opened_as_sops_opens_it(name: str, built: Path, real: Real) -> None:
    data = real.encrypt(name, SAMPLES[name])
    assert is_sealed(name, data)
    assert b"hunter2" not in data
    opened = await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {name: data})
    assert opened[name] == real.decrypt(name, data)
    if format_of(name) == "binary":
        assert opened[name] == (SAMPLES[name].encode() if isinstance(SAMPLES[name], str) else SAMPLES[name])


@pytest.mark.parametrize("rule", PARTIAL)
async def test_partial_encryption_is_opened_as_sops_opens_it(rule: str, built: Path, real: Real) -> None:
    data = real.encrypt("secret.yaml", SECRET, rule=rule)
    opened = await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {"secret.yaml": data})
    assert isinstance(opened["secret.yaml"], bytes)
    assert opened["secret.yaml"] == real.decrypt("secret.yaml", data)


def exported(real: Real, fingerprint: str) -> str:
    home = ["gpg", "--homedir", str(real.folder / "gpg"), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
    argv = [*home, "--export-secret-keys", "--armor", fingerprint]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def ssh_key(folder: Path) -> tuple[str, str]:
    """(public, private)"""
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id")]
    subprocess.run(made, check=True, capture_output=True)
    return " ".join((folder / "id.pub").read_text().split()[:2]), (folder / "id").read_text()


async def test_a_pgp_key_opens_what_was_encrypted_for_it(built: Path, real: Real, gpg: str) -> None:
    data = real.encrypt("secret.yaml", SECRET, "--pgp", gpg)
    opened = await keyed(built, SOPS_PGP_KEY=exported(real, gpg)).open("shop", {"secret.yaml": data})
    assert opened["secret.yaml"] == real.decrypt("secret.yaml", data, key="")
    with pytest.raises(NoKey, match=f"pgp {gpg}.*trueup secret set SOPS_PGP_KEY"):
        await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {"secret.yaml": data})


async def test_an_ssh_key_is_an_age_key(built: Path, real: Real, tmp_path: Path) -> None:
    public, private = ssh_key(tmp_path)
    data = real.encrypt("a.yaml", "a: hunter2\n", "--age", public)
    opened = await keyed(built, SOPS_AGE_SSH_PRIVATE_KEY=private).open("shop", {"a.yaml": data})
    assert opened["a.yaml"] == b"a: hunter2\n"


async def test_one_of_several_recipients_and_one_of_several_keys_are_enough(built: Path, real: Real) -> None:
    data = real.encrypt("a.yaml", "a: hunter2\n", "--age", f"{OTHER_PUBLIC},{AGE_PUBLIC}")
    both = {"a.yaml": b"a: hunter2\n"}
    assert await keyed(built, SOPS_AGE_KEY=f"# mine\n\n{AGE}\n").open("shop", {"a.yaml": data}) == both
    assert await keyed(built, SOPS_AGE_KEY=OTHER).open("shop", {"a.yaml": data}) == both
    only = real.encrypt("a.yaml", "a: hunter2\n")
    assert await keyed(built, SOPS_AGE_KEY=f"{OTHER}\n{AGE}").open("shop", {"a.yaml": only}) == both


async def test_shared_keys_need_their_quorum(built: Path, real: Real) -> None:
    groups = f"[{{age: [{AGE_PUBLIC}]}}, {{age: [{OTHER_PUBLIC}]}}]"
    (real.folder / ".sops.yaml").write_text(f"creation_rules:\n  - shamir_threshold: 2\n    key_groups: {groups}\n")
    data = real.encrypt("a.yaml", "a: hunter2\n", "--shamir-secret-sharing-threshold", "2")
    opened = await keyed(built, SOPS_AGE_KEY=f"{AGE}\n{OTHER}").open("shop", {"a.yaml": data})
    assert opened == {"a.yaml": b"a: hunter2\n"}
    with pytest.raises(NoKey, match="keys of 2 of 2 groups are needed"):
        await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {"a.yaml": data})


async def test_a_key_may_stand_in_a_file(built: Path, real: Real, tmp_path: Path) -> None:
    data = real.encrypt("a.yaml", "a: hunter2\n")
    (tmp_path / "keys.txt").write_text(f"# created\n# public key\n{AGE}\n")
    opened = await keyed(built, SOPS_AGE_KEY_FILE=str(tmp_path / "keys.txt")).open("shop", {"a.yaml": data})
    assert opened == {"a.yaml": b"a: hunter2\n"}
    with pytest.raises(NoKey, match="SOPS_AGE_KEY_FILE: cannot read /no/such: No such file"):
        await keyed(built, SOPS_AGE_KEY_FILE="/no/such").open("shop", {"a.yaml": data})


leaves = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12),
    st.integers(-(2**53), 2**53), st.booleans(), st.floats(allow_nan=False, allow_infinity=False, width=32),
)  # fmt: skip
keys = st.text("abcdefgXYZ_-", min_size=1, max_size=6)
trees = st.dictionaries(
    keys, st.recursive(leaves, lambda s: st.lists(s, max_size=3) | st.dictionaries(keys, s, max_size=3)), max_size=4
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees, yaml=st.booleans())
async def test_generated_documents_are_opened_as_sops_opens_them(
    tree: dict[str, object], yaml: bool, built: Path, real: Real
) -> None:
    import orjson

    name = "any.yaml" if yaml else "any.json"
    data = real.encrypt(name, orjson.dumps({"k": "v", **tree}))
    opened = await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {name: data})
    assert opened[name] == real.decrypt(name, data)


# --- what sops rejects -----------------------------------------------------------------------------


def without(data: bytes, start: bytes) -> bytes:
    return b"".join(line for line in data.splitlines(True) if not line.lstrip().startswith(start))


def swapped(data: bytes) -> bytes:
    """The values of `a` and `b` in each other's place."""
    lines = data.splitlines(True)
    a, b = lines[0].partition(b": ")[2], lines[1].partition(b": ")[2]
    return b"".join([b"a: " + b, b"b: " + a, *lines[2:]])


TAMPERED = {
    "a value in the clear": lambda d: b"a: readable\n" + b"".join(d.splitlines(True)[1:]),
    "a value moved to another name": lambda d: d.replace(b"a: ", b"c: ", 1),
    "two values swapped": swapped,
    "a value removed": lambda d: b"".join(d.splitlines(True)[1:]),
    "an unencrypted value changed": lambda d: d.replace(b"open_unencrypted: seen", b"open_unencrypted: sewn"),
    "a value added": lambda d: b"new_unencrypted: x\n" + d,
    "the MAC removed": lambda d: without(d, b"mac:"),
    "the time changed": lambda d: d.replace(b'lastmodified: "20', b'lastmodified: "19'),
    "the suffix changed": lambda d: d.replace(b"unencrypted_suffix: _unencrypted", b"unencrypted_suffix: _b"),
    "a ciphertext changed": lambda d: d.replace(b"data:", b"data:AAAA", 1),
}


@pytest.mark.parametrize("how", sorted(TAMPERED))
async def test_what_was_changed_afterwards_is_refused_as_sops_refuses_it(how: str, built: Path, real: Real) -> None:
    data = TAMPERED[how](real.encrypt("a.yaml", "a: hunter2\nb: swordfish\nopen_unencrypted: seen\n"))
    assert real.decrypt("a.yaml", data) is None
    opened = await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {"a.yaml": data})
    fault = opened["a.yaml"]
    assert isinstance(fault, Fault)
    told = str(fault.finding("a.yaml"))
    assert not [word for word in ("hunter2", "swordfish", "readable", "seen", "sewn", "ENC[") if word in told]


async def test_a_changed_value_is_named(built: Path, real: Real) -> None:
    data = real.encrypt("a.yaml", "a:\n    b: hunter2\n")
    at = data.index(b"ENC[")
    broken = data[:at] + b"readable\n" + data[data.index(b"\n", at) + 1 :]
    fault = (await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {"a.yaml": broken}))["a.yaml"]
    assert isinstance(fault, Fault)
    assert fault.named == "a.b"


async def test_only_the_file_at_fault_is_refused(built: Path, real: Real) -> None:
    good = real.encrypt("a.yaml", "a: hunter2\n")
    opened = await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {"bad.yaml": good + b"x: 1\n", "a.yaml": good})
    assert isinstance(opened["bad.yaml"], Fault)
    assert opened["a.yaml"] == b"a: hunter2\n"


async def test_mac_only_encrypted_lets_the_rest_be_changed_as_sops_does(built: Path, real: Real) -> None:
    data = real.encrypt("a.yaml", "a: hunter2\nopen: seen\n", rule="encrypted_regex: ^a$, mac_only_encrypted: true")
    changed = data.replace(b"open: seen", b"open: sewn")
    assert (await keyed(built, SOPS_AGE_KEY=AGE).open("shop", {"a.yaml": changed}))["a.yaml"] == real.decrypt(
        "a.yaml", changed
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, f"none of the given keys opens it: it is encrypted for age {AGE_PUBLIC}.*trueup secret set SOPS_AGE_KEY"),
        ({"SOPS_AGE_KEY": OTHER}, "none of the given keys opens it"),
        ({"SOPS_AGE_KEY": AGE[:-6]}, "SOPS_AGE_KEY, line 1: a damaged age identity"),
        ({"SOPS_AGE_KEY": "hunter2"}, "SOPS_AGE_KEY, line 1: no age identity"),
        ({"SOPS_AGE_KEY": "AGE-PLUGIN-YUBIKEY-1QQPQYQ"}, "plugins are not served"),
        ({"SOPS_PGP_KEY": "hunter2"}, "SOPS_PGP_KEY is no armored private key"),
        ({"SOPS_AGE_SSH_PRIVATE_KEY": "hunter2"}, "SOPS_AGE_SSH_PRIVATE_KEY is no SSH private key"),
    ],
)
async def test_a_missing_or_bad_key_says_what_to_set_and_quotes_no_key(
    values: dict[str, str], told: str, built: Path, real: Real
) -> None:
    data = real.encrypt("a.yaml", "a: hunter2\n")
    with pytest.raises(NoKey, match=told) as caught:
        await keyed(built, **values).open("shop", {"a.yaml": data})
    assert not [v for v in values.values() if v in str(caught.value)]


async def test_without_the_program_it_says_how_to_get_it() -> None:
    with pytest.raises(NoKey, match=r"a\.yaml is encrypted by SOPS.*make sops"):
        await keyed(None, SOPS_AGE_KEY=AGE).open("shop", {"a.yaml": b"x"})


async def test_nothing_sealed_starts_no_program() -> None:
    assert await keyed(Path("/no/such/program")).open("shop", {}) == {}


# --- hostile input ---------------------------------------------------------------------------------

BOX = b"ENC[AES256_GCM,data:aGk=,iv:YWE=,tag:YmI=,type:str]"
TAIL = b"sops:\n    mac: " + BOX + b'\n    lastmodified: "2026-01-01T00:00:00Z"\n    version: 3.13.3\n'
BOMB = b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n" % (98 + i, 98 + i, *([97 + i] * 9)) for i in range(9)
)
HOSTILE = {
    "aliases that multiply": BOMB + TAIL,
    "a thousand levels": b"a: " + b"[" * 20_000 + b"]" * 20_000 + b"\n" + TAIL,
    "no text": b"\xff\xfe\x00a: " + BOX + b"\n" + TAIL,
    "a key twice": b"a: 1\na: 2\n" + TAIL,
    "keys that are none": b"1: " + BOX + b"\n[a]: b\n" + TAIL,
    "metadata of another shape": b"a: " + BOX + b"\nsops: [1]\n",
    "metadata without keys": b"a: " + BOX + b"\n" + TAIL,
    "a shape of groups": b"a: 1\nsops:\n    key_groups: [[1]]\n    mac: " + BOX + b"\n",
    "a type of bytes": b"a: " + BOX.replace(b"str", b"bytes") + b"\n" + TAIL,
    "no time": b"a: 1\nsops:\n    mac: " + BOX + b"\n    lastmodified: yesterday\n",
    "ten megabytes": b"a: |\n    " + b"x" * (10 << 20) + b"\n" + TAIL,
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
async def test_hostile_files_cost_one_error_and_not_the_others(what: str, built: Path, real: Real) -> None:
    opener, good = keyed(built, SOPS_AGE_KEY=AGE), real.encrypt("good.yaml", "a: hunter2\n")
    try:
        opened = await opener.open("shop", {"bad.yaml": HOSTILE[what], "good.yaml": good})
        assert isinstance(opened["bad.yaml"], Fault)
        assert opened["good.yaml"] == b"a: hunter2\n"
    except NoKey as error:
        assert str(error).startswith("bad.yaml: encrypted by SOPS, and none of the given keys opens it")
        assert (await opener.open("shop", {"good.yaml": good}))["good.yaml"] == b"a: hunter2\n"


# --- the process itself ------------------------------------------------------------------------------


async def test_the_process_writes_no_core_file_and_may_open_nothing(built: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(str(built), "--uid=65534", stdin=pipe, stdout=pipe, env={}, cwd="/")
    try:
        about = Path(f"/proc/{process.pid}")
        async with asyncio.timeout(20):
            while "Seccomp:\t2" not in (status := (about / "status").read_text()):  # noqa: ASYNC110  # no event for it
                await asyncio.sleep(0.01)
        assert "NoNewPrivs:\t1" in status
        core = next(line for line in (about / "limits").read_text().splitlines() if line.startswith("Max core file"))
        assert core.split()[4:6] == ["0", "0"]
        if os.geteuid() == 0:
            assert "Uid:\t65534\t65534\t65534\t65534" in status
            assert (about / "mem").stat().st_uid == 0, "its memory is closed to its own user: PR_SET_DUMPABLE"
    finally:
        process.kill()
        await process.wait()


def test_what_holds_clear_text_writes_no_core_file() -> None:
    code = (
        "import ctypes; from trueup.agent.process import keep_memory_closed as close; "
        "ask = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0); before = ask(); close(); print(before, ask())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "0"]

"""What git and the forges say, as they say it, and what we make of it."""

from __future__ import annotations

import pytest

from trueup.core.address import parse
from trueup.drivers.sources.complaints import explain, is_no_right, is_race, is_world, own_words, refusal, rejection
from trueup.drivers.sources.credentials import (
    HostCredentials,
    SshKey,
    Token,
    base_environment,
    credentials_from,
    mask,
    remote_environment,
)
from trueup.drivers.sources.writing import Signing, signing_from

HTTPS, SSH = parse("https://github.com/acme/app.git")[0], parse("ssh://git@host.example:2222/acme/app.git")[0]


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (
            "fatal: unable to access 'https://github.com/acme/app.git/': Could not resolve host: github.com",
            "the host's name does not resolve",
        ),
        ("ssh: Could not resolve hostname host.example: Name or service not known", "the host's name does not resolve"),
        (
            "fatal: unable to access 'https://github.com/': Failed to connect to github.com port 443 after 2 ms: "
            "Couldn't connect to server",
            "the remote is down",
        ),
        ("ssh: connect to host host.example port 2222: Connection refused\r\nfatal: Could not read from remote "
         "repository.", "the remote is down"),
        ("fatal: the remote end hung up unexpectedly\nfatal: early EOF", "the remote is down"),
        (
            "remote: Support for password authentication was removed on August 13, 2021.\n"
            "fatal: Authentication failed for 'https://github.com/acme/app.git/'",
            "wants credentials",
        ),
        ("remote: HTTP Basic: Access denied. The provided password or token is incorrect", "wants credentials"),
        ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", "wants credentials"),
        ("git@host.example: Permission denied (publickey).\r\nfatal: Could not read from remote repository.",
         "did not accept the ssh key"),
        ("remote: Repository not found.\nfatal: repository 'https://github.com/acme/app.git/' not found",
         "no such repository"),
        (
            "ERROR: The project you were looking for could not be found or you don't have permission to view it.",
            "no such repository",
        ),
        ("No ED25519 host key is known for host.example and you have requested strict checking.\n"
         "Host key verification failed.", "host key is not known"),
        ("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
         "not the one in known_hosts"),
        ("error: unable to write file objects/pack/x: No space left on device\nfatal: index-pack failed",
         "the disk is full"),
        ("fatal: detected dubious ownership in repository at '/srv/app'", "belongs to another user"),
        ("fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none",
         "certificate was not accepted"),
        ("error: object file .git/objects/1a is empty\nfatal: loose object 1a is corrupt", "clone is damaged"),
        ("fatal: mismatched algorithms: client sha1; server sha256", "SHA-256"),
    ],
)  # fmt: skip
def test_every_complaint_is_told_apart_and_says_what_to_do(said: str, means: str) -> None:
    told = explain("fetch from", SSH if "ssh" in said else HTTPS, said, "/state/git/1")
    assert means in told
    assert "Do: " in told
    assert "\n" not in told


def test_an_unknown_complaint_is_passed_on() -> None:
    assert "strange things" in explain("fetch from", HTTPS, "fatal: strange things", "/f")


def test_the_ssh_commands_name_host_and_port() -> None:
    told = explain("fetch from", SSH, "REMOTE HOST IDENTIFICATION HAS CHANGED", "/f")
    assert "ssh-keygen -R '[host.example]:2222'" in told
    assert "ssh-keyscan -p 2222 host.example >> ~/.ssh/known_hosts" in told


@pytest.mark.parametrize(
    ("reason", "said", "kind"),
    [
        ("[rejected] (stale info)", "", "race"),
        ("[rejected] (fetch first)", "", "race"),
        ("[remote rejected] (pre-receive hook declined)", "remote: no", "refused"),
        ("[remote rejected] (protected branch hook declined)", "remote: error: GH006: Protected branch", "refused"),
        ("[remote rejected] (unpacker error)", "error: remote unpack failed: No space left on device", "world"),
        ("[remote rejected] (unpacker error)", "error: remote unpack failed: index-pack abnormal exit", "world"),
        ("[remote rejected] (unpacker error)", "error: insufficient permission for adding an object", "refused"),
        ("[remote failure] (remote failed to report status)", "", "world"),
    ],
)
def test_a_rejected_push_is_sorted(reason: str, said: str, kind: str) -> None:
    assert rejection(f"To x\n!\tabc:refs/heads/main\t{reason}\nDone\n") == reason
    found = "race" if is_race(reason) else "world" if is_world(reason, said) else "refused"
    assert found == kind


@pytest.mark.parametrize(
    "said",
    [
        "remote: Permission to acme/app.git denied to bob.\nfatal: returned error: 403",
        "ERROR: Permission to acme/app.git denied to deploy key",
        "remote: This repository was archived so it is read-only.\nfatal: The requested URL returned error: 403",
        "remote: You are not allowed to push code to this project.",
        "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
    ],
)
def test_no_right_to_push(said: str) -> None:
    assert is_no_right(said)
    assert "Do: " in refusal("main", "", said, HTTPS)


def test_a_lost_connection_is_no_missing_right() -> None:
    assert not is_no_right("fatal: unable to access 'https://x/': Failed to connect to x port 443")


def test_the_remotes_own_words_come_without_hints() -> None:
    said = "remote: Resolving deltas: 100%\nremote: GH013: rule violations\nhint: x\nerror: failed to push some refs"
    assert own_words(said) == "remote: GH013: rule violations"
    assert len(own_words("x" * 5000)) == 300


@pytest.mark.parametrize("text", ["s3/cret", "s3%2Fcret", "eC1hY2Nlc3MtdG9rZW46czMvY3JldA==", "https://ann:pw@host/a"])
def test_no_form_of_a_secret_is_shown(text: str) -> None:
    shown = mask(f"fatal: {text} failed", Token("s3/cret"))
    assert text not in shown
    assert "***" in shown
    assert "s3/cret" not in repr(Token("s3/cret"))


def test_a_token_does_not_travel_in_the_clear() -> None:
    with pytest.raises(ValueError, match="not sent over plain http"):
        remote_environment(parse("http://git.example.org/a.git")[0], Token("t"), "ssh")


def test_a_secret_is_never_an_argument_or_configuration() -> None:
    environment, config = remote_environment(HTTPS, Token("s3cret"), "ssh")
    assert "s3cret" not in str(config)
    assert environment["TRUEUP_GIT_SECRET"] == "s3cret"


def test_ssh_never_asks_and_always_checks_the_host() -> None:
    environment, _ = remote_environment(SSH, SshKey("/keys/a b", "/keys/hosts"), "ssh -F /x")
    command = environment["GIT_SSH_COMMAND"]
    assert command.startswith("ssh -F /x ")
    assert "BatchMode=yes" in command and "StrictHostKeyChecking=yes" in command and "-i '/keys/a b'" in command


def test_credentials_are_named_in_the_environment_or_the_vault() -> None:
    assert credentials_from({}) == HostCredentials()
    assert credentials_from({"TRUEUP_GIT_TOKEN": "t"}) == Token("t")
    assert credentials_from({"TRUEUP_GIT_TOKEN": "t", "TRUEUP_GIT_USERNAME": "ann"}) == Token("t", "ann")
    assert credentials_from({"TRUEUP_GIT_SSH_KEY": "/k"}) == SshKey("/k")
    assert signing_from({}) is None
    assert signing_from({"TRUEUP_GIT_SIGNING_KEY": "/k"}) == Signing("ssh", "/k")
    assert signing_from({"TRUEUP_GIT_SIGNING_KEY": "ABCD"}) == Signing("openpgp", "ABCD")


def test_no_setting_of_ours_reaches_a_hook_of_a_local_remote() -> None:
    assert "TRUEUP_GIT_TOKEN" not in base_environment({"TRUEUP_GIT_TOKEN": "t"})


def test_the_environment_is_freed_of_what_misleads() -> None:
    environment = base_environment({"GIT_DIR": "/x", "GIT_SSL_CAINFO": "/ca", "SSH_ASKPASS": "/x", "PATH": "/bin"})
    assert "GIT_DIR" not in environment and "SSH_ASKPASS" not in environment
    assert environment["GIT_SSL_CAINFO"] == "/ca"
    assert base_environment({"SSL_CERT_FILE": "/company"})["GIT_SSL_CAINFO"] == "/company"

"""The parts of the builder that need no tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from trueup.core import dockerfile as df
from trueup.core import ignore
from trueup.core.reference import tagged
from trueup.core.unspliced import unspliced
from trueup.drivers.builders import context as ctx
from trueup.drivers.builders import faults
from trueup.drivers.builders.base import Recipe, nearest, recipe
from trueup.drivers.builders.outside import CA_INSIDE, LINKS_INSIDE, outside
from trueup.ports import BuildFailed


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("python:3.12-slim", "Python 3.13 from Debian trixie"),
        ("python:3.11-slim-bookworm", "Python 3.11 from Debian bookworm"),
        ("python:3.10.4-slim", "Python 3.11 from Debian bookworm"),
        ("python:3.7-slim", "Python 3.9 from Debian bullseye"),
        ("python:3.14", "Python 3.13 from Debian trixie"),
        ("python:3", "Python 3.13 from Debian trixie"),
        ("python", "Python 3.13 from Debian trixie"),
        ("python:slim", "Python 3.13 from Debian trixie"),
        ("debian:12-slim", "Debian bookworm (minimal)"),
        ("debian:bookworm", "Debian bookworm (minimal)"),
        ("debian", "Debian trixie (minimal)"),
    ],
)
def test_stand_ins(name: str, title: str) -> None:
    made = recipe(tagged(name))
    assert isinstance(made, Recipe)
    assert made.title == title


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("python:3.12-alpine", "not made of Debian packages"),
        ("python:2.7", "Python 2 is in no Debian release"),
        ("node:20", "only for debian and python"),
        ("ghcr.io/acme/python:3.12", "only for debian and python"),
        ("python@sha256:" + "a" * 64, "pinned by digest"),
        ("debian:sid-slim", "no Debian release"),
    ],
)
def test_what_cannot_be_made_honestly_says_why(name: str, says: str) -> None:
    made = recipe(tagged(name))
    assert isinstance(made, str)
    assert says in made


def test_the_full_image_has_build_tools_and_the_slim_one_has_not() -> None:
    full, slim = recipe(tagged("python:3.13")), recipe(tagged("python:3.13-slim"))
    assert isinstance(full, Recipe) and isinstance(slim, Recipe)
    assert "build-essential" in full.packages and "build-essential" not in slim.packages
    assert full.key != slim.key
    assert nearest((3, 12)) == (3, 13)


def test_outside_takes_only_what_leads_outside(tmp_path: Path) -> None:
    bundle, wheels = tmp_path / "ca.crt", tmp_path / "wheels"
    bundle.write_text("x")
    wheels.mkdir()
    (wheels / "a.whl").write_text("x")
    host = {"https_proxy": "http://p:1", "PIP_FIND_LINKS": str(wheels), "AWS_SECRET_ACCESS_KEY": "no", "HOME": "/root"}
    way = outside(host, bundle, "[global]\nindex-url = https://i/simple\n[install]\nuser = yes\n")
    env = dict(way.env)
    assert env["PIP_INDEX_URL"] == "https://i/simple"
    assert env["SSL_CERT_FILE"] == CA_INSIDE
    assert env["PIP_FIND_LINKS"] == LINKS_INSIDE
    assert env["https_proxy"] == "http://p:1"
    assert not {"AWS_SECRET_ACCESS_KEY", "HOME"} & set(env)
    assert set(way.mounts) == {(str(bundle), CA_INSIDE), (str(wheels), LINKS_INSIDE)}
    assert outside({}, None, "not [ a conf").env == ()


DOCKERFILE = df.read("FROM a AS one\nRUN one\nFROM b\nARG X\n\nRUN pip install -r x\nCOPY y /y\n", "app/Dockerfile")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "[2/2] STEP 3/4: RUN pip install -r x\nERROR: No matching distribution found for flask2\n"
            'subprocess exited with status 1\nError: building at STEP "RUN pip install -r x": exit status 1',
            "app/Dockerfile:6: RUN pip install -r x failed (exit 1): ERROR: No matching distribution found for flask2",
        ),
        (
            '[1/2] STEP 2/2: RUN one\nError: building at STEP "RUN one": while running runtime: exit status 127',
            "app/Dockerfile:2: RUN one failed (exit 127)",
        ),
        (
            '[2/2] STEP 4/4: COPY y /y\nError: building at STEP "COPY y /y": copier: stat: "/y": no such file',
            'app/Dockerfile:7: COPY y /y: copier: stat: "/y": no such file',
        ),
        ("Error: something odd", "app/Dockerfile: something odd"),
    ],
)
def test_the_reason_names_the_line(said: str, expected: str) -> None:
    lines = said.split("\n")
    assert faults.world(lines) == ""
    assert faults.reason(lines, DOCKERFILE) == expected


@pytest.mark.parametrize(
    "line",
    [
        "Error: writing blob: write /var/lib/containers/x: no space left on device",
        'Error: building at STEP "COPY x .": deleting build container "dda": identifier is not a container',
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)': /simple/flask/",
        "E: Failed to fetch http://example.org/x  Could not resolve 'example.org'",
        "curl: (6) Could not resolve host: example.org",
        "npm ERR! code EAI_AGAIN",
        "fatal: unable to access 'https://example.org/x/': timed out",
    ],
)
def test_the_world_is_recognised_in_a_steps_own_words(line: str) -> None:
    assert faults.world(["STEP 2/2: RUN x", line, "Error: exit status 1"])


@pytest.mark.parametrize(
    "line",
    ["ConnectionRefusedError: [Errno 111] refused", "401 != 200", "timeout in test_slow", "identifier is not a layer"],
)
def test_a_failing_test_is_not_the_worlds_fault(line: str) -> None:
    assert faults.world(["STEP 2/2: RUN pytest", line, "Error: exit status 1"]) == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            'time="2026-01-01T00:00:00Z" level=fatal msg="x: dial tcp 1.2.3.4:443: connect: connection refused"',
            "refused",
        ),
        ("Error: unauthorized: authentication required", "docker login"),
        ("Error: x509: certificate signed by unknown authority", "CA"),
        ("Error: received unexpected HTTP status: 503 Service Unavailable", "wait"),
    ],
)
def test_a_tool_that_talks_to_a_registry(line: str, says: str) -> None:
    told = faults.world([line], fetching=True)
    assert says in told
    assert not told.startswith("time=")


def test_our_own_splice_does_not_change_the_key() -> None:
    def read(data: bytes, path: str = "k8s/a.yaml") -> bytes:
        return unspliced(path, data, ("app",))

    before = b"  - image: 'ghcr.io/acme/app:1'\n    image: redis:7\n"
    after = b"  - image: 'ghcr.io/acme/app:abc@sha256:" + b"a" * 64 + b"'\n    image: redis:7\n"
    assert read(before) == read(after)
    assert read(before) != read(before.replace(b"redis:7", b"redis:8"))
    assert read(b"image: acme/myapp:1") == b"image: acme/myapp:1"
    labels = b"apiVersion: v1\nkind: Pod\nmetadata: {labels: {name: app, version: '1'}}\n"
    assert read(labels) != read(labels.replace(b"'1'", b"'2'"))


def test_neither_does_a_splice_into_a_kustomization_or_values() -> None:
    bare = "resources: [a.yaml]\n"
    ours = "images:\n- name: acme/app\n  newTag: v2\n  digest: sha256:abc\n"
    other = "images:\n- name: acme/app\n  newTag: v2\n- name: redis\n  newTag: '7'\n"
    read = [unspliced("deploy/kustomization.yaml", (bare + more).encode(), ("app",)) for more in ("", ours, other)]
    assert read[0] == read[1] != read[2]
    values = "image: {repository: acme/app, tag: %s}\nredis: {repository: redis, tag: %s}\n"
    pairs = (("v1", "a7"), ("v2@sha256:ab", "a7"), ("v2", "a8"))
    told = [unspliced("values.yaml", (values % pair).encode(), ("app",)) for pair in pairs]
    assert told[0] == told[1] != told[2]


def test_look_is_the_same_with_and_without_a_copy(tmp_path: Path) -> None:
    context = tmp_path / "w/app"
    (context / "deep/er").mkdir(parents=True)
    (context / "deep/er/f").write_text("1")
    (context / "deep/x.log").write_text("1")
    (context / "run").write_text("2")
    (context / "run").chmod(0o755)
    (context / "l").symlink_to("run")
    selection = ctx.Selection(ignore.rules("**/*.log"))
    seen = ctx.look(tmp_path / "w", context, selection)
    assert ctx.look(tmp_path / "w", context, selection, tmp_path / "copy", 5) == seen
    copied = sorted(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*"))
    assert copied == ["deep", "deep/er", "deep/er/f", "l", "run"]
    assert (tmp_path / "copy/run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "copy/deep/er/f").stat().st_mtime == 5
    (context / "run").chmod(0o644)
    assert ctx.look(tmp_path / "w", context, selection) != seen


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w/out").symlink_to("/etc")
    for path in ("out", "../", "out/ssl"):
        with pytest.raises(BuildFailed, match="leads out of the workspace"):
            ctx.look(tmp_path / "w", tmp_path / "w" / path, ctx.Selection())
    (tmp_path / "w/in").symlink_to("real")
    (tmp_path / "w/real").mkdir()
    assert ctx.look(tmp_path / "w", tmp_path / "w/in", ctx.Selection()).entries == 0

"""The tags that docker/metadata-action makes, from its README's own tables and what workflows commonly say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from trueup.core.pipeline import Facts
from trueup.engine.actions.metadata import DEFAULT, tags
from trueup.engine.running import ActionFailed

COMMIT = "860c1904a1ce19322e91ac35af1ab07466440c37"
TIME_S = 1_616_716_800  # 2021-03-26T00:00:00Z
SEMVER = "type=semver,pattern={{version}}\ntype=semver,pattern={{major}}.{{minor}}"
FACTS = Facts(
    run="run/1", attempt=1, number=1, workflow="ci", file="ci.yml", repository="acme/app", url="https://git.example/a",
    commit=COMMIT, ref="refs/heads/main", default_branch="main", actor="ann", event="push", message="m", secrets={},
)  # fmt: skip


def made(rules: str, ref: str = "refs/heads/main", flavor: str = "") -> list[str]:
    return tags(rules, flavor, replace(FACTS, ref=ref), TIME_S)


@pytest.mark.parametrize(
    ("rules", "ref", "expected"),
    [
        (DEFAULT, "refs/heads/main", ["main"]),
        (DEFAULT, "refs/heads/releases/v1", ["releases-v1"]),
        (DEFAULT, "refs/tags/v1.2.3", ["v1.2.3", "latest"]),
        ("type=sha", "refs/heads/main", ["sha-860c190"]),
        ("type=sha,format=long", "refs/heads/main", [f"sha-{COMMIT}"]),
        ("type=sha,prefix={{branch}}-", "refs/heads/my/branch", ["my-branch-860c190"]),
        ("type=sha,prefix=", "refs/heads/main", ["860c190"]),
        ("type=raw,value=latest,enable={{is_default_branch}}", "refs/heads/main", ["latest"]),
        ("type=raw,value=latest,enable={{is_default_branch}}", "refs/heads/dev", []),
        ("type=raw,value=latest,enable=", "refs/heads/main", []),
        ("{{branch}}-{{sha}}", "refs/heads/main", ["main-860c190"]),
        ("type=raw,value={{date 'YYYYMMDD-HHmmss'}}", "refs/heads/main", ["20210326-000000"]),
        ("type=raw,value={{date 'YYYY.MM' tz='Asia/Tokyo'}}", "refs/heads/main", ["2021.03"]),
        ("type=edge", "refs/heads/main", ["edge"]),
        ("type=edge\ntype=edge,branch=dev", "refs/heads/other", []),
        (SEMVER, "refs/heads/main", []),
        (SEMVER, "refs/tags/v1.2.3", ["1.2.3", "1.2", "latest"]),
        (SEMVER, "refs/tags/v2.0.8-beta.67", ["2.0.8-beta.67"]),
        ("type=semver,pattern=v{{major}},value=1.2.3", "refs/heads/main", ["v1"]),
        ("type=match,pattern=v(.*),group=1", "refs/heads/main", []),
        ("type=schedule", "refs/heads/main", []),
        ("stable", "refs/heads/main", ["stable"]),
        ("type=sha\ntype=raw,value=x\ntype=ref,event=branch", "refs/heads/main", ["main", "x", "sha-860c190"]),
        ("type=sha,priority=many", "refs/heads/main", ["sha-860c190"]),
        ("type=sha,priority=700\ntype=ref,event=branch", "refs/heads/main", ["sha-860c190", "main"]),
    ],
)  # fmt: skip
def test_tags(rules: str, ref: str, expected: list[str]) -> None:
    assert made(rules, ref) == expected


def test_flavor_is_of_every_tag() -> None:
    assert made("type=ref,event=branch", flavor="latest=true\nprefix=p-\nsuffix=-s") == ["p-main-s", "latest"]
    assert made("x", flavor="latest=true\nprefix=p-,onlatest=true") == ["p-x", "p-latest"]


def test_what_is_not_offered_is_named() -> None:
    with pytest.raises(ActionFailed, match="type=match"):
        made("type=match,pattern=(a+)+$,value=aaaa")

from __future__ import annotations

import pytest

from trueup.core.dockercli import Build, Images, Inspect, LogIn, LogOut, Push, Refusal, Say, Tag, parse


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("build -t a:1 .", Build(context=".", tags=("a:1",))),
        ("build . -t a:1 --tag b:2", Build(context=".", tags=("a:1", "b:2"))),
        (
            "buildx build --push -ta:1 -f d/Dockerfile app",
            Build(context="app", file="d/Dockerfile", tags=("a:1",), push=True),
        ),
        ("--debug image build --target=prod .", Build(context=".", target="prod")),
        ("build --build-arg A=1 --build-arg B .", Build(context=".", args=(("A", "1"), ("B", None)))),
        ("build --label org.x=y=z --load --progress plain .", Build(context=".", labels=(("org.x", "y=z"),))),
        ("build --secret id=n,src=.npmrc .", Build(context=".", secrets=(("n", "file", ".npmrc"),))),
        ("build --secret id=n .", Build(context=".", secrets=(("n", "env", "n"),))),
        ("build --secret id=n,env=TOK .", Build(context=".", secrets=(("n", "env", "TOK"),))),
        (
            "buildx build --platform linux/amd64,linux/arm64 --platform linux/s390x .",
            Build(context=".", notes=("built for linux/amd64 only, not for linux/arm64, linux/s390x",)),
        ),
        ("build --platform linux/amd64 -q --iidfile i .", Build(context=".", quiet=True, id_file="i")),
        ("build -o type=registry --cache-from type=gha .", Build(context=".", push=True)),
        ("build --push=false .", Build(context=".")),
        ("build --no-cache .", Build(context=".", notes=("--no-cache changes nothing here",))),
        ("tag a b:1", Tag("a", "b:1")),
        ("push -q a:1", Push("a:1")),
        ("push --all-tags a", Push("a", all_tags=True)),
        ("login -u ann -p pw ghcr.io", LogIn("ghcr.io", "ann", "pw")),
        ("login --username=ann --password-stdin https://index.docker.io/v1/", LogIn("docker.io", "ann", None)),
        ("logout", LogOut("docker.io")),
        ("images -q", Images(quiet=True)),
        ("image inspect --format={{.Id}} a", Inspect("a", "{{.Id}}")),
    ],
)
def test_parse(line: str, expected: object) -> None:
    assert parse(line.split()) == expected


@pytest.mark.parametrize(
    "line", ["version", "info", "--version", "", "buildx create --use", "pull a", "system prune -f", "context ls", "ps"]
)
def test_harmless_words_get_an_answer(line: str) -> None:
    assert isinstance(parse(line.split()), Say)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("run -v /:/host alpine", "docker run is not offered in a pipeline: run the command as a step"),
        ("buildx bake", "docker buildx bake is not offered"),
        ("buildx imagetools create x", "buildx imagetools"),
        ("--host tcp://x run a", "docker run is not offered"),
        ("build", "one folder, not 0"),
        ("build a b", "one folder, not 2"),
        ("build https://example.org/x.git", "only a folder of the workspace"),
        ("build -f - .", "must stand in the workspace"),
        ("build --network host .", "--network host"),
        ("build --output type=local,dest=/ .", "--output"),
        ("build -o /tmp .", "--output"),
        ("build --platform linux/arm64,linux/s390x .", "this machine builds linux/amd64 only"),
        ("build --add-host a:1 .", "--add-host"),
        ("build --tag", "needs a value"),
        ("build --secret src=x .", "id=NAME"),
        ("push", "needs 1 name"),
        ("push --sign a", "--sign"),
        ("login -u ann", "password-stdin"),
        ("login --fancy", "--fancy"),
    ],
)
def test_the_rest_is_refused_by_name(line: str, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse(line.split())
    assert says in str(caught.value)

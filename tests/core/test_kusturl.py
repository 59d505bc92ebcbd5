"""What Kustomize takes for a repository, its path and ref. Facts of its own table (internal/git/repospec_test.go)."""

from __future__ import annotations

import pytest

from trueup.core.kusturl import Base, File, read

TABLE = """
https://git-codecommit.us-east-2.amazonaws.com/someorg/somerepo/somedir | https://git-codecommit.us-east-2.amazonaws.com/someorg/somerepo | somedir |
https://fabrikops2.visualstudio.com/someorg/somerepo?ref=master | https://fabrikops2.visualstudio.com/someorg/somerepo | | master
http://github.com/someorg/somerepo/somedir | https://github.com/someorg/somerepo | somedir |
git@github.com:someorg/somerepo/somedir | git@github.com:someorg/somerepo | somedir |
github.com/someorg/somerepo/somedir | https://github.com/someorg/somerepo | somedir |
http://github.com/someorg/somerepo.git/somedir | https://github.com/someorg/somerepo.git | somedir |
git@gitlab2.sqtools.ru:infra/kubernetes/thanos-base.git?ref=v0.1.0 | git@gitlab2.sqtools.ru:infra/kubernetes/thanos-base.git | | v0.1.0
git@bitbucket.org/company/project.git//path?ref=branch | git@bitbucket.org/company/project.git | path | branch
ssh://git@bitbucket.org/company/project.git//path?ref=branch | ssh://git@bitbucket.org/company/project.git | path | branch
https://itfs.mycompany.com/collection/project/_git/somerepos/somedir?version=v1.0.0 | https://itfs.mycompany.com/collection/project/_git/somerepos | somedir | v1.0.0
git::https://itfs.mycompany.com/collection/project/_git/somerepos | https://itfs.mycompany.com/collection/project/_git/somerepos | |
git@github.com/someorg/somerepo/somepath | git@github.com:someorg/somerepo | somepath |
https://github.com/kubernetes-sigs/kustomize//examples/multibases/dev/?ref=v1.0.6 | https://github.com/kubernetes-sigs/kustomize | examples/multibases/dev | v1.0.6
ssh://git@github.com/kubernetes-sigs/kustomize//examples/multibases/dev?ref=v1.0.6 | git@github.com:kubernetes-sigs/kustomize | examples/multibases/dev | v1.0.6
https://example.org/path/to/repo//examples/multibases/dev | https://example.org/path/to/repo | examples/multibases/dev |
https://authority/org/repo/?ref=includes_git/for_some_reason | https://authority/org/repo | | includes_git/for_some_reason
https://authority/org/repo?version=master&ref=v1.0.0 | https://authority/org/repo | | v1.0.0
file:///a/b/c/someRepo?ref=someBranch | file:///a/b/c/someRepo | | someBranch
ssh://git@ssh.github.com:443/YOUR-USERNAME/YOUR-REPOSITORY.git | ssh://git@ssh.github.com:443/YOUR-USERNAME/YOUR-REPOSITORY.git | |
git@gitlab.com/user:name/YOUR-REPOSITORY.git/path | git@gitlab.com/user:name/YOUR-REPOSITORY.git | path |
https://username@dev.azure.com/org/project/_git/repo//path/to/kustomization/root | https://username@dev.azure.com/org/project/_git/repo | path/to/kustomization/root |
ssh://org-12345@github.com/kubernetes-sigs/kustomize | org-12345@github.com:kubernetes-sigs/kustomize | |
https://gist.github.com/bc7947cb727d7f9217e7862d961a1ffd.git | https://gist.github.com/bc7947cb727d7f9217e7862d961a1ffd.git | |
"""  # noqa: E501  # a table


@pytest.mark.parametrize("row", [line for line in TABLE.splitlines() if line])
def test_an_address_is_taken_apart_as_kustomize_does(row: str) -> None:
    text, url, path, ref = (part.strip() for part in row.split("|"))
    found = read(text)
    assert isinstance(found, Base)
    assert (found.url, found.path, found.ref) == (url, path, ref)


@pytest.mark.parametrize("text", ["base", "../base", "./web.yaml", "/abs", "some/deep/path", "gh:org/repo", "a.git/b"])
def test_what_is_of_this_repository_is_no_address(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    "url", ["https://example.org/a/b/web.yaml", "http://example.org/web.json?x=1", "https://example.org/web"]
)
def test_a_file_is_named_by_its_ending_or_by_what_is_no_repository(url: str) -> None:
    assert read(url) == File(url)


@pytest.mark.parametrize("text", ["https://host/org/repo//../x", "https://host/org/repo//a/../../x"])
def test_a_path_does_not_leave_its_repository(text: str) -> None:
    assert not isinstance(read(text), Base)


@pytest.mark.parametrize(
    ("query", "timeout_s", "submodules"),
    [("", 27, True), ("timeout=61", 61, True), ("timeout=1m1s", 61, True), ("timeout=0", 27, True),
     ("timeout=-1", 27, True), ("timeout=x", 27, True), ("timeout=1500ms", 1.5, True), ("submodules=0", 27, False),
     ("submodules=false", 27, False), ("submodules=", 27, True), ("submodules=x", 27, True)],
)  # fmt: skip
def test_the_query_says_how_long_and_whether_with_submodules(query: str, timeout_s: float, submodules: bool) -> None:
    found = read(f"https://host/org/repo?{query}")
    assert isinstance(found, Base)
    assert (found.timeout_s, found.submodules) == (timeout_s, submodules)

"""Runs as users see them: order, conditions, outputs, failures and their reasons, cancelling, going on after a kill."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

import pytest
from msgspec import structs

from engine.ci_parts import COMMIT, Ci, one_job
from servers.git import Repo
from trueup.core.model import BuiltImage, Outcome, TestCount
from trueup.drivers.builders.memory import MemoryBuilder
from trueup.drivers.formats import github_schema
from trueup.drivers.sources.git import Git, Settings
from trueup.engine.actions import ACTIONS
from trueup.engine.running import Limits
from trueup.ports import BuildRequest, Conflict, Output


@pytest.fixture
def ci(tmp_path: Path) -> Ci:
    return Ci(tmp_path)


def test_every_action_that_the_format_accepts_can_be_run() -> None:
    assert set(github_schema.ACTIONS) == set(ACTIONS)


async def test_a_run_checks_out_and_passes(ci: Ci) -> None:
    ci.files.files = {"app/hello.txt": "hello"}
    steps = "- uses: actions/checkout@v4\n- run: cat app/hello.txt; echo; echo $GITHUB_SHA ${{ github.ref_name }} $CI"
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.outcome is Outcome.SUCCESS
    assert ci.lines("a")[-3:] == ["hello", f"{COMMIT} main true", "success"]
    assert await ci.facts() == ["RunCreated", "JobStarted", "JobFinished", "RunFinished"]
    assert not (Path(ci.layout.workspaces) / "1" / "a").exists()


async def test_a_failing_step_names_itself_and_stops_the_rest(ci: Ci) -> None:
    steps = "- name: Compile\n  run: exit 3\n- run: echo never\n"
    steps += "- if: always()\n  run: echo cleanup\n- if: failure()\n  run: echo sorry"
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert (result.outcome, result.reason) == (Outcome.FAILURE, "a: Compile: exit 3")
    shown = ci.lines("a")
    assert "cleanup" in shown and "sorry" in shown and "never" not in shown


FLOW = """
on: push
jobs:
  a:
    runs-on: x
    outputs: {v: '${{ steps.s.outputs.v }}'}
    steps: [{id: s, run: 'echo v=42 >> $GITHUB_OUTPUT'}]
  b:
    needs: a
    runs-on: x
    steps: [{run: 'test ${{ needs.a.outputs.v }} = 42'}]
  bad:
    runs-on: x
    steps: [{run: 'false'}]
  skipped:
    needs: bad
    runs-on: x
    steps: [{run: 'echo no'}]
  cleanup:
    needs: [b, bad]
    if: always() && needs.bad.result == 'failure'
    runs-on: x
    steps: [{run: 'true'}]
  never:
    if: github.ref == 'refs/heads/dev'
    runs-on: x
    steps: [{run: 'true'}]
"""


async def test_needs_outputs_and_conditions(ci: Ci) -> None:
    result = await ci.pipelines.run(ci.request(FLOW))
    assert result.outcome is Outcome.FAILURE
    assert await ci.jobs() == {
        "a": "success",
        "b": "success",
        "bad": "failure",
        "skipped": "skipped",
        "cleanup": "success",
        "never": "skipped",
    }


async def test_a_matrix_runs_each_leg_and_failing_fast_ends_the_others(ci: Ci) -> None:
    matrix = "    strategy: {matrix: {v: [1, 2, 3]}}\n"
    await ci.pipelines.run(ci.request(one_job("- run: echo leg ${{ matrix.v }} of ${{ strategy.job-total }}", matrix)))
    assert await ci.jobs() == {"a (1)": "success", "a (2)": "success", "a (3)": "success"}
    assert "leg 2 of 3" in ci.lines("a (2)")
    steps = "- run: if [ ${{ matrix.v }} = 1 ]; then exit 1; else sleep 60; fi"
    result = await ci.pipelines.run(ci.request(one_job(steps, matrix), run="run/2"))
    assert result.outcome is Outcome.FAILURE
    assert await ci.jobs("run/2") == {"a (1)": "failure", "a (2)": "cancelled", "a (3)": "cancelled"}


async def test_continue_on_error_for_steps_and_jobs(ci: Ci) -> None:
    steps = "- id: s\n  run: exit 1\n  continue-on-error: true\n"
    steps += "- run: test ${{ steps.s.outcome }}-${{ steps.s.conclusion }} = failure-success"
    assert (await ci.pipelines.run(ci.request(one_job(steps)))).outcome is Outcome.SUCCESS
    text = one_job("- run: exit 1", "    continue-on-error: true\n") + (
        "  b:\n    needs: a\n    runs-on: x\n    steps: [{run: 'test ${{ needs.a.result }} = success'}]\n"
    )
    result = await ci.pipelines.run(ci.request(text, run="run/2"))
    assert result.outcome is Outcome.SUCCESS
    assert await ci.jobs("run/2") == {"a": "failure", "b": "success"}


async def test_environment_at_every_level_and_files_of_commands(ci: Ci) -> None:
    text = """
on: push
env: {A: one, B: '${{ github.repository }}'}
defaults: {run: {working-directory: sub}}
jobs:
  a:
    runs-on: x
    env: {A: two, C: '${{ env.B }}!'}
    steps:
      - run: mkdir sub
        working-directory: .
      - run: |
          printf 'X=1\\nY<<E\\nl1\\nl2\\nE\\n' >> $GITHUB_ENV
          mkdir bin; printf '#!/bin/sh\\necho tool' > bin/mytool; chmod +x bin/mytool
          echo "$PWD/bin" >> $GITHUB_PATH
          echo '# Summary' >> $GITHUB_STEP_SUMMARY
          echo 'GITHUB_SHA=forged' >> $GITHUB_ENV
      - run: echo "$A $B $C $X $Y $D $(mytool) $GITHUB_SHA"; pwd
        env: {D: '${{ env.X }}${{ env.A }}'}
"""
    await ci.pipelines.run(ci.request(text))
    shown = "\n".join(ci.lines("a"))
    assert f"two acme/shop acme/shop! 1 l1\nl2 1two tool {COMMIT}" in shown
    assert "/sub" in shown
    assert "GITHUB_SHA cannot be set" in shown


async def test_shells(ci: Ci) -> None:
    steps = (
        "- run: false | true; echo default-has-no-pipefail\n"
        "- run: import sys; print('python', sys.version_info[0])\n  shell: python3 {0}\n"
        "- run: echo $0 sh\n  shell: sh\n"
        "- run: false | true; echo never\n  shell: bash"
    )
    await ci.pipelines.run(ci.request(one_job(steps)))
    shown = ci.lines("a")
    assert "default-has-no-pipefail" in shown and "python 3" in shown and "never" not in shown


JUNIT = """<testsuite><testcase classname="tests.test_a" name="test_x"><failure message="assert 1 == 2 hunter22"/>
</testcase><testcase name="ok"/></testsuite>"""


async def test_a_report_is_read_into_the_event_and_is_the_reason(ci: Ci) -> None:
    ci.files.files = {"report": JUNIT}
    steps = '- uses: actions/checkout@v4\n- name: Test\n  run: cp report "${PYTEST_ADDOPTS##*=}"; exit 1'
    result = await ci.pipelines.run(ci.request(one_job(steps), secrets={"S": "hunter22"}))
    finished = (await ci.pipelines.state("run/1")).jobs["a"]
    first = "tests/test_a.py::test_x: assert 1 == 2 ***"
    assert finished.tests == TestCount(passed=1, failed=1, first_failure=first)
    assert result.reason == f"a: Test: {first}"


async def test_a_report_that_the_workflow_names_itself_is_found(ci: Ci) -> None:
    ci.files.files = {"sub/r": JUNIT}
    steps = "- uses: actions/checkout@v4\n- run: 'cp r out.xml; : pytest --junitxml=out.xml'\n  working-directory: sub"
    await ci.pipelines.run(ci.request(one_job(steps)))
    tests = (await ci.pipelines.state("run/1")).jobs["a"].tests
    assert tests is not None and tests.failed == 1


async def test_secrets_are_masked_however_they_are_printed(ci: Ci) -> None:
    key = "-----BEGIN-----\nc2VjcmV0bGluZQ\n-----END-----"
    secret = "p4ssw0rd-of-the-shop"
    steps = """
- run: |
    echo "$S"; printf 'p4ssw0rd'; printf -- '-of-the-shop\\n'; echo "$S" | base64; echo "user:$S" | base64
    echo "$K"; echo "::add-mask::dynamic-one"; echo dynamic-one
    echo "v=$S" >> $GITHUB_OUTPUT
  id: s
  env: {S: '${{ secrets.PASSWORD }}', K: '${{ secrets.KEY }}'}
- run: echo ${{ steps.s.outputs.v }} | rev
"""
    extra = "    outputs: {leak: '${{ steps.s.outputs.v }}', fine: x}\n"
    await ci.pipelines.run(ci.request(one_job(steps, extra), secrets={"PASSWORD": secret, "KEY": key}))
    shown = ci.log("a")
    for leak in (secret, base64.b64encode(secret.encode()).decode().rstrip("="), "c2VjcmV0bGluZQ", "dynamic-one"):
        assert leak not in shown
    assert "***" in shown
    record = (await ci.pipelines.state("run/1")).jobs["a"].outputs
    data = await ci.records.get(record)
    assert data is not None and secret.encode() not in data and b'"fine":"x"' in data


async def test_annotations_become_the_reason(ci: Ci) -> None:
    steps = "- run: |\n    echo '::group::Details'\n    echo '::error file=app.py,line=3::it broke'\n    exit 1"
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.reason.endswith("app.py:3: it broke")
    assert "▸ Details" in ci.lines("a")


async def test_a_step_without_end_is_ended_by_its_limit(ci: Ci) -> None:
    steps = "- name: Hang\n  run: while :; do sleep 1; done\n  timeout-minutes: 0.01\n- if: always()\n  run: echo after"
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert (result.outcome, result.reason) == (Outcome.FAILURE, "a: Hang: ended after its time limit (timeout-minutes)")
    assert "after" in ci.lines("a")


async def test_a_flood_is_cut_and_said(tmp_path: Path) -> None:
    ci = Ci(tmp_path, limits=Limits(log_bytes=100_000))
    steps = "- run: head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end"
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.outcome is Outcome.SUCCESS
    assert "the log is longer than 100000 bytes" in ci.log("a")
    assert len(ci.log("a")) < 101_000


async def until(condition: object, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # type: ignore[operator]  # noqa: ASYNC110  # a file and a ledger have no Event
            await asyncio.sleep(0.01)


async def test_cancel_ends_the_step_and_still_cleans_up(ci: Ci) -> None:
    steps = "- run: echo begun; sleep 600\n- run: echo never\n- if: always()\n  run: echo cleanup ${{ job.status }}"
    more = "  b:\n    needs: a\n    runs-on: x\n    steps: [{run: 'true'}]\n"
    more += "  c:\n    needs: a\n    if: always()\n    runs-on: x\n    steps: [{run: echo told}]\n"
    running = asyncio.create_task(ci.pipelines.run(ci.request(one_job(steps) + more)))

    async def begun() -> bool:
        path = ci.pipelines.log_path("run/1", "a")
        return path.exists() and "begun" in ci.log("a")

    await until(begun)
    assert await ci.pipelines.cancel("run/1", "a newer push")
    result = await running
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "a newer push")
    assert await ci.jobs() == {"a": "cancelled", "b": "cancelled", "c": "success"}
    assert "told" in ci.lines("c")
    assert "cleanup cancelled" in ci.lines("a") and "never" not in ci.lines("a")
    assert not await ci.pipelines.cancel("run/1", "again")


async def test_a_cancel_that_came_while_nothing_ran_holds(ci: Ci) -> None:
    request = ci.request(one_job("- run: sleep 600"))
    running = asyncio.create_task(ci.pipelines.run(request))

    async def created() -> bool:
        return "RunCreated" in await ci.facts()

    await until(created)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    again = ci.again()
    assert await again.cancel("run/1", "not wanted")
    assert (await again.run(request)).outcome is Outcome.CANCELLED


async def test_after_a_kill_ended_jobs_stay_and_begun_ones_are_done_again(ci: Ci, tmp_path: Path) -> None:
    gate, counted = tmp_path / "gate", tmp_path / "counted"
    build = "echo FROM scratch > Dockerfile; docker build -t app ."
    text = f"""
on: push
jobs:
  first:
    runs-on: x
    outputs: {{v: '${{{{ steps.s.outputs.v }}}}'}}
    steps: [{{id: s, run: 'echo first >> {counted}; echo v=kept >> $GITHUB_OUTPUT; {build}'}}]
  second:
    needs: first
    runs-on: x
    steps:
      - run: |
          test ! -e left; touch left; echo second ${{{{ needs.first.outputs.v }}}} >> {counted}
          test -e {gate} || sleep 600
"""
    request = ci.request(text)
    running = asyncio.create_task(ci.pipelines.run(request))

    async def second_begun() -> bool:
        return counted.exists() and "second" in counted.read_text()

    await until(second_begun)
    running.cancel()  # nothing is recorded any more, as after a kill
    await asyncio.gather(running, return_exceptions=True)
    assert await ci.facts() == ["RunCreated", "JobStarted", "JobFinished", "JobStarted"]
    gate.touch()
    result = await ci.again().run(request)
    assert result.outcome is Outcome.SUCCESS
    assert counted.read_text().split("\n") == ["first", "second kept", "second kept", ""]
    assert [image.repository for image, _ in result.images] == ["app"]
    assert ci.builder.builds == 1
    assert (await ci.pipelines.run(request)).outcome is Outcome.SUCCESS  # finished: answered from the ledger
    assert counted.read_text().count("first") == 1


async def test_running_the_failed_jobs_again_keeps_the_others(ci: Ci, tmp_path: Path) -> None:
    counted = tmp_path / "n"
    text = (
        one_job(f"- run: echo x >> {counted}")
        + f"  b:\n    runs-on: x\n    steps: [{{run: 'test -e {tmp_path}/ok'}}]\n"
    )
    assert (await ci.pipelines.run(ci.request(text))).outcome is Outcome.FAILURE
    (tmp_path / "ok").touch()
    result = await ci.pipelines.run(ci.request(text, run="run/2", previous="run/1"))
    assert result.outcome is Outcome.SUCCESS
    assert counted.read_text() == "x\n"


async def test_one_run_is_run_once_at_a_time(ci: Ci) -> None:
    request = ci.request(one_job("- run: sleep 600"))
    running = asyncio.create_task(ci.pipelines.run(request))

    async def begun() -> bool:
        return "JobStarted" in await ci.facts()

    await until(begun)
    with pytest.raises(Conflict):
        await ci.pipelines.run(request)
    await ci.pipelines.cancel("run/1", "enough")
    await running


async def test_a_group_ends_the_older_run(ci: Ci) -> None:
    head = "concurrency: {group: '${{ github.ref }}', cancel-in-progress: true}\n"
    first = asyncio.create_task(ci.pipelines.run(ci.request(head + one_job("- run: sleep 600"))))

    async def begun() -> bool:
        return "JobStarted" in await ci.facts()

    await until(begun)
    second = await ci.pipelines.run(ci.request(head + one_job("- run: 'true'"), run="run/2"))
    assert second.outcome is Outcome.SUCCESS
    assert (await first).outcome is Outcome.CANCELLED


async def test_the_machines_faults_are_errors(ci: Ci) -> None:
    text = one_job("- uses: actions/checkout@v4\n- run: docker build -t app .")
    ci.local.down = "podman is not there: run `trueup doctor`"
    result = await ci.pipelines.run(ci.request(text))
    assert (result.outcome, result.reason) == (Outcome.ERROR, "a: podman is not there: run `trueup doctor`")
    ci.local.down, ci.files.down = "", "the remote is down"
    assert (await ci.pipelines.run(ci.request(text, run="run/2"))).outcome is Outcome.ERROR
    ci.files.down, ci.builder.down = "", "the registry is down"
    result = await ci.pipelines.run(ci.request(text, run="run/3"))
    assert (result.outcome, result.reason) == (Outcome.ERROR, "a: the registry is down")


class HangingBuilder(MemoryBuilder):
    async def build(self, request: BuildRequest, output: Output) -> tuple[BuiltImage, bool]:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("limit", ["", "  timeout-minutes: 0.005\n"])
async def test_a_build_without_end_is_ended_too(tmp_path: Path, limit: str) -> None:
    ci = Ci(tmp_path)
    ci.builder = HangingBuilder()
    ci.again()
    steps = f"- uses: docker/build-push-action@v6\n  with: {{tags: app}}\n{limit}- if: always()\n  run: echo after"
    running = asyncio.create_task(ci.pipelines.run(ci.request(one_job(steps))))

    async def begun() -> bool:
        path = ci.pipelines.log_path("run/1", "a")
        return path.exists() and "build-push" in ci.log("a")

    await until(begun)
    if not limit:
        await ci.pipelines.cancel("run/1", "enough")
    assert (await running).outcome is (Outcome.FAILURE if limit else Outcome.CANCELLED)
    assert "after" in ci.lines("a")


async def test_a_container_image_that_does_not_exist_is_the_repositorys_fault(ci: Ci) -> None:
    ci.local.missing = "no image nope:1"
    result = await ci.pipelines.run(ci.request(one_job("- run: 'true'", "    container: nope:1\n")))
    assert (result.outcome, result.reason) == (Outcome.FAILURE, "a: no image nope:1")


async def test_docker_commands_build_and_second_writers_are_recorded(ci: Ci) -> None:
    ci.files.files = {"app/Dockerfile": "FROM scratch\n"}
    steps = """
- uses: actions/checkout@v4
- uses: docker/login-action@v3
  with: {registry: ghcr.io, username: ann, password: '${{ secrets.TOKEN }}'}
- run: |
    docker build -t ghcr.io/acme/app:$GITHUB_SHA app
    docker push ghcr.io/acme/app:$GITHUB_SHA
    kubectl apply -f config/
"""
    result = await ci.pipelines.run(ci.request(one_job(steps), secrets={"TOKEN": "tok-en-12345"}))
    assert result.outcome is Outcome.SUCCESS, ci.log("a")
    assert [(image.repository, image.tag) for image, _ in result.images] == [("ghcr.io/acme/app", COMMIT)]
    assert [intent.command for intent in result.intents] == ["kubectl apply -f config/"]
    assert await ci.pipelines.images("run/1") == result.images


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("docker build -t app nowhere", "docker: nowhere/Dockerfile: no such Dockerfile in the workspace"),
        ("docker build -t app /etc && echo never", "docker: '/etc' is outside the workspace"),
        ("kubectl delete pod --all", "kubectl delete"),
        ("docker run app ls || true\n    echo now something else; seq 9999; exit 3", "exit 3"),
        ("docker build -t app /etc || { echo '::error::no image'; exit 4; }", "no image"),
    ],
)
async def test_what_a_docker_command_was_refused_for_is_the_reason(ci: Ci, script: str, reason: str) -> None:
    result = await ci.pipelines.run(ci.request(one_job(f"- name: Image\n  run: |\n    {script}")))
    assert result.outcome is Outcome.FAILURE
    assert result.reason.startswith(f"a: Image: {reason}"), result.reason


async def test_a_login_without_an_account_leaves_images_in_the_embedded_registry(ci: Ci) -> None:
    """Most workflows name secrets.GITHUB_TOKEN, which nobody but GitHub hands out."""
    ci.files.files = {"app/Dockerfile": "FROM scratch\n"}
    steps = """
- uses: actions/checkout@v4
- uses: docker/login-action@v3
  with: {registry: ghcr.io, username: '${{ github.actor }}', password: '${{ secrets.GITHUB_TOKEN }}'}
- run: echo "${{ secrets.GITHUB_TOKEN }}" | docker login ghcr.io -u "$GITHUB_ACTOR" --password-stdin
- run: docker login -u ${{ secrets.HUB_USER }} -p ${{ secrets.HUB_PASSWORD }}
- uses: docker/build-push-action@v6
  with: {context: app, push: true, tags: 'ghcr.io/acme/app:1'}
"""
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.outcome is Outcome.SUCCESS, ci.log("a")
    assert ci.log("a").count("notice: no account for ghcr.io") == 2
    assert "notice: no account for docker.io" in ci.log("a")


async def test_the_build_actions(ci: Ci) -> None:
    ci.files.files = {"app/Dockerfile": "FROM scratch\n"}
    steps = """
- uses: actions/checkout@v4
- uses: docker/setup-qemu-action@v3
- uses: docker/setup-buildx-action@v3
- id: meta
  uses: docker/metadata-action@v5
  with:
    images: ghcr.io/acme/app
    tags: |
      type=sha
      type=ref,event=branch
      type=raw,value=stable
      type=semver,pattern={{version}}
- id: build
  uses: docker/build-push-action@v6
  with: {context: app, push: true, tags: '${{ steps.meta.outputs.tags }}', labels: '${{ steps.meta.outputs.labels }}'}
- run: echo "${{ steps.meta.outputs.tags }}" ${{ steps.build.outputs.digest }}
"""
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.outcome is Outcome.SUCCESS, ci.log("a")
    assert {image.tag for image, _ in result.images} == {f"sha-{COMMIT[:7]}", "main", "stable"}
    assert len(ci.builder.pushes) == 3


MONOREPO = """
on: push
env: {REGISTRY: ghcr.io, OWNER: acme}
jobs:
  changes:
    runs-on: ubuntu-latest
    outputs: {services: '${{ steps.list.outputs.services }}'}
    steps:
      - uses: actions/checkout@v4
      - id: list
        run: echo "services=$(cd services && printf '"%s",' * | sed 's/,$//; s/.*/[&]/')" >> "$GITHUB_OUTPUT"
  image:
    runs-on: ubuntu-latest
    needs: [changes]
    strategy:
      matrix:
        service: ${{ fromJSON(needs.changes.outputs.services) }}
        include:
          - {service: orders, context: .}
          - {service: web, context: services/web}
    steps:
      - uses: actions/checkout@v4
      - id: meta
        uses: docker/metadata-action@v5
        with:
          images: ${{ env.REGISTRY }}/${{ env.OWNER }}/shop-${{ matrix.service }}
          tags: |
            type=raw,value=latest,enable={{is_default_branch}}
            type=sha,prefix={{branch}}-
      - uses: docker/build-push-action@v6
        with:
          context: ${{ matrix.context }}
          file: services/${{ matrix.service }}/Dockerfile
          push: true
          tags: ${{ steps.meta.outputs.tags }}
          secrets: |
            license=${{ secrets.LICENSE }}
  notify:
    needs: [image]
    if: ${{ !cancelled() }}
    runs-on: ubuntu-latest
    steps: [{run: 'test "${{ needs.image.result }}" = success'}]
"""


async def test_a_matrix_that_an_earlier_job_made_builds_each_image_of_a_monorepo(ci: Ci) -> None:
    ci.files.files = {f"services/{name}/Dockerfile": f"FROM scratch\nLABEL a={name}\n" for name in ("orders", "web")}
    result = await ci.pipelines.run(ci.request(MONOREPO, secrets={"LICENSE": "lic-1234"}))
    assert result.outcome is Outcome.SUCCESS, await ci.jobs()
    assert sorted(f"{image.repository}:{image.tag}" for image, _ in result.images) == [
        f"ghcr.io/acme/shop-{name}:{tag}" for name in ("orders", "web") for tag in ("latest", f"main-{COMMIT[:7]}")
    ]
    assert await ci.jobs() == {
        "changes": "success",
        "image (orders, .)": "success",
        "image (web, services/web)": "success",
        "notify": "success",
    }


async def test_artifacts_pass_between_jobs_and_the_cache_between_runs(ci: Ci) -> None:
    text = """
on: push
jobs:
  make:
    runs-on: x
    steps:
      - {id: c, uses: actions/cache@v4, with: {path: deps, key: 'k-${{ github.ref_name }}'}}
      - run: 'mkdir -p deps out/sub; echo ${{ steps.c.outputs.cache-hit }}-$(cat deps/d || true)'
      - run: 'echo dep > deps/d; echo hi > out/sub/f'
      - {uses: actions/upload-artifact@v4, with: {name: dist, path: out}}
  take:
    needs: make
    runs-on: x
    steps:
      - {uses: actions/download-artifact@v4, with: {name: dist, path: got}}
      - run: cat got/sub/f
      - {uses: actions/download-artifact@v4, with: {name: other}}
"""
    result = await ci.pipelines.run(ci.request(text))
    assert "hi" in ci.lines("take")
    assert result.reason.endswith("there is no artifact 'other'; this run has kept: dist")
    assert "false-" in ci.lines("make")
    await ci.pipelines.run(ci.request(text, run="run/2"))


@pytest.mark.integration
async def test_setup_python_says_when_it_stands_in(ci: Ci) -> None:
    steps = "- uses: actions/setup-python@v5\n  with: {python-version: '3.2'}\n"
    steps += "- run: python -c 'import sys; print(sys.prefix)'; pip --version"
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.outcome is Outcome.SUCCESS, ci.log("a")
    assert "asked for Python 3.2; not available offline; running on 3." in ci.log("a")
    assert "/temp/python-3." in ci.log("a")


async def test_setup_python_fails_when_nothing_may_stand_in(tmp_path: Path) -> None:
    ci = Ci(tmp_path, stand_ins=False)
    result = await ci.pipelines.run(
        ci.request(one_job("- uses: actions/setup-python@v5\n  with: {python-version: '3.2'}"))
    )
    assert result.outcome is Outcome.FAILURE
    assert "`container: python:3.2`" in result.reason


async def test_an_action_of_the_repository_itself(ci: Ci) -> None:
    ci.files.files = {
        ".github/actions/greet/action.yml": """
inputs: {who: {required: true}, how: {default: hello}}
outputs: {said: {value: '${{ steps.s.outputs.said }}'}}
runs:
  using: composite
  steps:
    - {id: s, shell: bash, run: 'echo "said=${{ inputs.how }} ${{ inputs.who }}" >> $GITHUB_OUTPUT'}
"""
    }
    steps = "- uses: actions/checkout@v4\n- id: g\n  uses: ./.github/actions/greet\n  with: {who: bob}\n"
    steps += "- run: echo [${{ steps.g.outputs.said }}]"
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.outcome is Outcome.SUCCESS, ci.log("a")
    assert "[hello bob]" in ci.lines("a")
    steps = "- uses: actions/checkout@v4\n- uses: ./.github/actions/greet"
    assert "'who'" in (await ci.pipelines.run(ci.request(one_job(steps), run="run/2"))).reason


async def test_an_expression_that_cannot_be_evaluated_is_the_repositorys_fault(ci: Ci) -> None:
    result = await ci.pipelines.run(ci.request(one_job("- run: echo ${{ fromJSON('{') }}")))
    assert result.outcome is Outcome.FAILURE
    assert ".github/workflows/ci.yml:6" in result.reason and "no JSON" in result.reason


async def test_an_action_that_calls_itself_is_ended(ci: Ci) -> None:
    ci.files.files = {"a/action.yml": "runs: {using: composite, steps: [{uses: ./a}]}"}
    result = await ci.pipelines.run(ci.request(one_job("- uses: actions/checkout@v4\n- uses: ./a")))
    assert result.outcome is Outcome.FAILURE
    assert "more than 10 deep" in result.reason


async def test_actions_that_multiply_end_with_the_jobs_time(ci: Ci) -> None:
    for level in range(9):
        steps = ", ".join([f"{{uses: ./a{level + 1}}}"] * 9)
        ci.files.files[f"a{level}/action.yml"] = f"runs: {{using: composite, steps: [{steps}]}}"
    ci.files.files["a9/action.yml"] = "runs: {using: composite, steps: [{shell: sh, run: 'true'}]}"
    text = one_job("- uses: actions/checkout@v4\n- uses: ./a0", "    timeout-minutes: 0.01\n")
    result = await ci.pipelines.run(ci.request(text))
    assert result.outcome is Outcome.FAILURE
    assert "timeout-minutes" in result.reason


@pytest.mark.parametrize(
    "script",
    [
        "rm $GITHUB_OUTPUT; ln -s /etc/passwd $GITHUB_OUTPUT",
        "rm $GITHUB_ENV; mkfifo $GITHUB_ENV",
        "rm $GITHUB_OUTPUT; mkdir $GITHUB_OUTPUT",
        "head -c 3000000 /dev/zero > $GITHUB_ENV",
        "echo nonsense > $GITHUB_OUTPUT",
    ],
)
async def test_hostile_command_files_are_refused(ci: Ci, script: str) -> None:
    result = await ci.pipelines.run(ci.request(one_job(f"- run: {script}")))
    assert result.outcome is Outcome.FAILURE
    assert "$GITHUB_" in result.reason


async def test_a_hostile_report_is_not_followed(ci: Ci) -> None:
    steps = '- run: ln -s /etc/passwd "${PYTEST_ADDOPTS##*=}"\n'
    steps += '- run: echo "<!DOCTYPE x [<!ENTITY a \'b\'>]><testsuite/>" > "${PYTEST_ADDOPTS##*=}"'
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.outcome is Outcome.SUCCESS
    assert (await ci.pipelines.state("run/1")).jobs["a"].tests is None


async def test_following_gives_the_log_live_and_later(ci: Ci, tmp_path: Path) -> None:
    steps = f"- run: echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo two"
    running = asyncio.create_task(ci.pipelines.run(ci.request(one_job(steps))))

    async def begun() -> bool:
        return ci.pipelines.log_path("run/1", "a").exists()

    await until(begun)
    seen = b""
    async for piece in ci.pipelines.follow("run/1", "a"):
        seen += piece
        if b"one" in seen and not running.done():
            (tmp_path / "go").touch()
    await running
    assert seen == ci.log("a").encode()
    assert b"two" in seen
    assert b"".join([piece async for piece in ci.again().follow("run/1", "a")]) == seen


async def test_slots_bound_what_runs_at_once(tmp_path: Path) -> None:
    ci = Ci(tmp_path, slots=1)
    steps = f"- run: mkdir {tmp_path}/alone && sleep 0.05 && rmdir {tmp_path}/alone"
    result = await ci.pipelines.run(ci.request(one_job(steps, "    strategy: {matrix: {v: [1, 2, 3]}}\n")))
    assert result.outcome is Outcome.SUCCESS


async def test_a_full_disk_is_the_machines_fault(ci: Ci) -> None:
    Path(ci.layout.root).mkdir(parents=True)
    Path(ci.layout.workspaces).symlink_to("/dev/full")
    result = await ci.pipelines.run(ci.request(one_job("- run: 'true'")))
    assert result.outcome is Outcome.ERROR
    assert os.path.islink(ci.layout.workspaces)


async def test_git_in_a_job_knows_the_commit(ci: Ci, repo: Repo, tmp_path: Path) -> None:
    first = repo.commit({"a.txt": "one"})
    second = repo.commit({"a.txt": "two", "b.txt": "new"})
    source = Git(Settings(url=str(repo.path), folder=tmp_path / "clone.git", environment={"PATH": os.environ["PATH"]}))
    await source.fetch()
    steps = """
- uses: actions/checkout@v4
- run: git rev-parse HEAD; git status --porcelain; git log --oneline | wc -l; git branch --show-current
- uses: actions/checkout@v4
  with: {path: again, fetch-depth: 0}
- run: git log --format=%H | tail -1; cat a.txt
  working-directory: again
"""
    request = ci.request(one_job(steps))
    facts = structs.replace(request.facts, commit=second)
    result = await ci.pipelines.run(structs.replace(request, source=source, facts=facts))
    await source.close()
    assert result.outcome is Outcome.SUCCESS, ci.log("a")
    shown = ci.lines("a")
    assert second in shown and first in shown and "two" in shown
    at = shown.index(second)
    assert shown[at + 1 : at + 3] == ["1", "main"]

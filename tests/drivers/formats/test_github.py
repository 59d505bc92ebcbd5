"""Workflows as people write them: what is read, and what is said at which line when it cannot be."""

import pytest

from trueup.core.model import Severity
from trueup.core.pipeline import ExpressionError, Facts, Graph, JobView, RunStep, Scope, UseStep
from trueup.drivers.formats import DIALECTS, FORMATS, parse
from trueup.drivers.formats.github import find_cycle

GOOD = b"""\
name: test
on:
  push:
    branches: [main]
    paths-ignore: ['**.md']
  workflow_dispatch:
    inputs:
      level: {default: info}
env:
  GLOBAL: one
defaults:
  run:
    shell: bash
jobs:
  test:
    name: Test on ${{ matrix.python }}
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ['3.11', '3.12']
    outputs:
      made: ${{ steps.make.outputs.made }}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: ${{ matrix.python }}
      - id: make
        name: Make
        run: |
          echo made=it >> $GITHUB_OUTPUT
        working-directory: app
        timeout-minutes: 2
  deploy:
    needs: test
    if: github.ref == 'refs/heads/main'
    runs-on: [self-hosted, linux]
    steps:
      - run: docker build -t app:$GITHUB_SHA .
"""


def graph(text: bytes) -> Graph:
    parsed = parse(".github/workflows/test.yml", text)
    assert parsed is not None
    assert [str(finding) for finding in parsed.findings if finding.severity is Severity.ERROR] == []
    assert parsed.graph is not None
    return parsed.graph


def test_a_workflow_becomes_a_graph() -> None:
    read = graph(GOOD)
    assert read.name == "test"
    assert [trigger.event for trigger in read.triggers] == ["push", "workflow_dispatch"]
    assert read.triggers[0].branches == ("main",)
    assert read.triggers[0].paths_ignore == ("**.md",)
    assert read.triggers[1].inputs == (("level", "info"),)
    assert read.env == (("GLOBAL", "one"),)
    test, deploy = read.jobs
    assert (test.shell, deploy.needs, deploy.runs_on) == ("bash", ("test",), ("self-hosted", "linux"))
    assert test.matrix == {"python": ["3.11", "3.12"]}
    assert isinstance(test.steps[0], UseStep)
    make = test.steps[2]
    assert isinstance(make, RunStep)
    assert (make.id, make.cwd, make.timeout_minutes, make.place.line) == ("make", "app", "2", 28)
    assert make.script == "echo made=it >> $GITHUB_OUTPUT\n"


def test_on_is_a_key_not_a_truth() -> None:
    """YAML 1.1 would read `on` as true."""
    assert graph(b"on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: 'yes'}]\n").triggers[0].event == "push"


def job(body: str, extra: str = "") -> bytes:
    return f"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n{extra}    steps:\n{body}".encode()


STEP = "      - run: 'true'\n"
FAULTS = [
    (b"steps:\n  - run: pytest\n", "workflow-steps-without-jobs", 1),
    (b"name: x\non: push\n", "workflow-no-jobs", 1),
    (b"", "workflow-shape", 0),
    (b"jobs:\n  a:\n    runs-on: x\n    steps: [{run: a}]\n", "workflow-no-trigger", 1),
    (b"on: psuh\njobs:\n  a:\n    runs-on: x\n    steps: [{run: a}]\n", "workflow-unknown-event", 1),
    (b"on: push\njobs:\n  a:\n    steps: [{run: a}]\n", "workflow-no-runner", 3),
    (b"on: push\njobs:\n  a:\n    runs-on: x\n", "workflow-no-steps", 3),
    (b"on: push\njobs:\n  a:\n    runs-on: x\n    stesp: []\n    steps: [{run: a}]\n", "workflow-unknown-key", 5),
    (b"on: push\njobs:\n  1a:\n    runs-on: x\n    steps: [{run: a}]\n", "workflow-job-id", 3),
    (b"on: push\njobs:\n  a:\n    uses: ./.github/workflows/b.yml\n", "workflow-unsupported", 4),
    (b"on: push\njobs:\n  a:\n    runs-on: windows-latest\n    steps: [{run: a}]\n", "workflow-unsupported", 4),
    (job(STEP, "    needs: b\n"), "workflow-needs", 5),
    (job(STEP, "    needs: a\n"), "workflow-needs", 5),
    (job(STEP, "    services:\n      db: {image: postgres}\n"), "workflow-unsupported", 5),
    (job(STEP, "    if: github.reff = 'x'\n"), "workflow-expression", 5),
    (job(STEP, "    strategy:\n      matrix: [a]\n"), "workflow-matrix", 6),
    (job("      - run: a\n        uses: b@v1\n"), "workflow-step", 6),
    (job("      - name: nothing\n"), "workflow-step", 6),
    (job("      - run: a\n        with: {b: c}\n"), "workflow-step", 7),
    (job("      - id: x\n        run: a\n      - id: X\n        run: b\n"), "workflow-step-id", 8),
    (job("      - uses: docker/setup-action@v2\n"), "workflow-unsupported-action", 6),
    (job("      - uses: someone/else@v1\n"), "workflow-unsupported-action", 6),
    (job("      - uses: actions/checkout\n"), "workflow-action", 6),
    (job("      - uses: docker://alpine\n"), "workflow-unsupported", 6),
    (job("      - run: echo ${{ secretss.X }}\n"), "workflow-expression", 6),
    (job("      - run: echo ${{ secrets.X }\n"), "workflow-expression", 6),
    (job("      - run: a\n        shell: bsh\n"), "workflow-shell", 7),
    (job("      - run: a\n        shell: pwsh\n"), "workflow-unsupported", 7),
    (b"on: push\njobs:\n\ta: b\n", "workflow-yaml", 3),
    (b"on: push\non: push\njobs: {}\n", "workflow-yaml", 2),
    (b"\xff\xfe\n", "workflow-yaml", 1),
    (b"a: &a [x]\nb: &b [*a,*a]\n---\nc: d\n", "workflow-yaml", 4),
]


@pytest.mark.parametrize(("text", "rule", "line"), FAULTS)
def test_a_fault_is_named_with_its_line(text: bytes, rule: str, line: int) -> None:
    parsed = parse(".github/workflows/x.yml", text)
    assert parsed is not None
    assert (rule, line) in [(finding.rule, finding.place.line) for finding in parsed.findings]
    assert all(finding.fix for finding in parsed.findings)


def bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "text",
    [bomb(9), b"a: &a [*a]\n", b"[" * 20000, b"{a: " * 3000, b"x: " + b"y" * 600_000],
    ids=["aliases", "itself", "lists", "maps", "size"],
)
def test_a_bomb_is_refused_before_it_grows(text: bytes) -> None:
    parsed = parse(".github/workflows/x.yml", text)
    assert parsed is not None
    assert parsed.graph is None
    assert parsed.findings[0].rule == "workflow-yaml"


def test_the_nearest_action_is_named() -> None:
    parsed = parse(".github/workflows/x.yml", job("      - uses: docker/setup-action@v2\n"))
    assert parsed is not None
    assert "docker/setup-buildx-action" in parsed.findings[0].fix


def test_cycles_are_shown_whole() -> None:
    assert find_cycle({"a": ("b",), "b": ("c",), "c": ("b",)}) == ("b", "c", "b")
    assert find_cycle({"a": ("b",), "b": ()}) == ()


def test_files_are_found_by_their_place() -> None:
    places = {
        ".github/workflows/a.yaml": "github",
        ".github/workflows/sub/a.yml": "",
        ".gitlab-ci.yml": "gitlab",
        "Jenkinsfile": "jenkins",
        "ci/Jenkinsfile.release": "jenkins",
        "config/x.yml": "",
    }
    assert {path: next((n for n, f in FORMATS.items() if f.owns(path)), "") for path in places} == places


# --- the dialect -----------------------------------------------------------------------------------

DIALECT = DIALECTS["github"]
FACTS = Facts(
    run="run/1",
    attempt=2,
    number=7,
    workflow="test",
    file=".github/workflows/test.yml",
    repository="acme/shop",
    url="https://git.example.org/acme/shop",
    commit="c" * 40,
    ref="refs/heads/feature/x",
    default_branch="main",
    actor="ann",
    event="push",
)
SCOPE = Scope(contexts={})


def test_variables_and_contexts_agree() -> None:
    view = JobView(facts=FACTS, job="test", workspace="/workspace", temp="/runner")
    variables, github = DIALECT.variables(view), DIALECT.contexts(view)["github"]
    assert variables["GITHUB_SHA"] == github["sha"] == "c" * 40
    assert variables["GITHUB_REF_NAME"] == "feature/x"
    assert variables["GITHUB_REPOSITORY_OWNER"] == "acme"
    assert variables["GITHUB_SERVER_URL"] == "https://git.example.org"
    assert variables["GITHUB_RUN_ATTEMPT"] == "2"
    assert variables["CI"] == "true"
    assert github["event"]["repository"]["full_name"] == "acme/shop"


def legs(matrix: str) -> list[str]:
    text = job(STEP, f"    strategy:\n      matrix: {matrix}\n")
    return [leg.key for leg in DIALECT.legs(graph(text).jobs[0], SCOPE)]


@pytest.mark.parametrize(
    ("matrix", "expect"),
    [
        ("{os: [x, y], v: [1, 2.5]}", ["a (x, 1)", "a (x, 2.5)", "a (y, 1)", "a (y, 2.5)"]),
        ("{os: [x, y], exclude: [{os: x}]}", ["a (y)"]),
        ("{include: [{os: x}, {os: y}]}", ["a (x)", "a (y)"]),
        ("{v: ['${{ fromJSON(''[1, 2]'')[1] }}']}", ["a (2)"]),
        ('"${{ fromJSON(\'{\\"v\\": [1, 2]}\') }}"', ["a (1)", "a (2)"]),
        # the documentation's own example of include
        (
            "{fruit: [apple, pear], animal: [cat, dog], include: [{color: green}, {color: pink, animal: cat},"
            " {fruit: apple, shape: circle}, {fruit: banana}, {fruit: banana, animal: cat}]}",
            [
                "a (apple, cat, pink, circle)",
                "a (apple, dog, green, circle)",
                "a (pear, cat, pink)",
                "a (pear, dog, green)",
                "a (banana)",
                "a (banana, cat)",
            ],
        ),
    ],
)
def test_matrix(matrix: str, expect: list[str]) -> None:
    assert legs(matrix) == expect


def test_a_matrix_has_a_limit() -> None:
    with pytest.raises(ExpressionError, match="more than 256"):
        legs("{a: [1,2,3,4,5,6,7], b: [1,2,3,4,5,6,7], c: [1,2,3,4,5,6,7]}")


def test_output_files() -> None:
    data = b"a=1\nb=x=y\n\nc<<EOF\nline 1\nline=2\nEOF\nd=\r\n"
    assert DIALECT.pairs(data) == {"a": "1", "b": "x=y", "c": "line 1\nline=2", "d": ""}


@pytest.mark.parametrize("data", [b"novalue\n", b"=x\n", b"a<<END\nnever\n"])
def test_a_bad_output_file_names_its_line(data: bytes) -> None:
    with pytest.raises(ExpressionError, match=r"line 1|on line 1"):
        DIALECT.pairs(data)


@pytest.mark.parametrize(
    ("line", "expect"),
    [
        (b"::add-mask::s3cret\n", ("mask", "s3cret", "")),
        (b"::error file=app.py,line=3,title=x::it%25 broke%0Atwice\n", ("error", "it% broke\ntwice", "app.py:3")),
        (b"::set-output name=a::b::c\n", ("output", "b::c", "a")),
        (b"::group::My group", ("group", "My group", "")),
        (b"::endgroup::", ("endgroup", "", "")),
    ],
)
def test_workflow_commands(line: bytes, expect: tuple[str, str, str]) -> None:
    command = DIALECT.command(line)
    assert command is not None
    assert (command.name, command.value, command.key) == expect


@pytest.mark.parametrize("line", [b"plain", b"x ::error::y", b":: ::", b"::notclosed"])
def test_what_is_no_command(line: bytes) -> None:
    assert DIALECT.command(line) is None


def test_shells() -> None:
    assert DIALECT.shell("").argv == ("bash", "-e", "{0}")
    assert DIALECT.shell("bash").argv == ("bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}")
    assert DIALECT.shell("perl -w {0}").argv == ("perl", "-w", "{0}")
    with pytest.raises(ExpressionError):
        DIALECT.shell("fish")


def test_a_composite_action_of_the_repository() -> None:
    made = DIALECT.composite(
        ".github/actions/greet/action.yml",
        b"name: greet\ninputs:\n  who: {required: true}\n  how: {default: hi}\n"
        b"outputs:\n  said: {value: '${{ steps.s.outputs.x }}'}\n"
        b"runs:\n  using: composite\n  steps:\n    - id: s\n      shell: bash\n      run: echo ${{ inputs.who }}\n",
    )
    assert (made.required, made.defaults) == (("who",), (("how", "hi"),))
    assert made.outputs == (("said", "${{ steps.s.outputs.x }}"),)
    with pytest.raises(ExpressionError, match="node20"):
        DIALECT.composite("a/action.yml", b"runs: {using: node20, main: x.js}")

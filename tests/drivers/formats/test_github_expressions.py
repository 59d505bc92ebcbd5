"""The expression language as a table: the examples of GitHub's documentation, its coercions, its limits."""

import math

import pytest

from trueup.core.model import Json
from trueup.core.pipeline import ExpressionError, Scope, Status
from trueup.drivers.formats.github_expressions import condition, evaluate, interpolate, parse, pieces, value

CONTEXTS: dict[str, Json] = {
    "github": {
        "ref": "refs/heads/main",
        "event_name": "push",
        "event": {"issue": {"labels": [{"name": "bug"}, {"name": "help wanted"}]}},
        "Mixed": "x",
    },
    "env": {"CI": "true", "EMPTY": "", "N": "3"},
    "matrix": {"python": 3.12, "os": "debian"},
    "needs": {"build": {"result": "success", "outputs": {"list": '["a","b"]'}}},
    "fruits": [{"name": "apple", "quantity": 1}, {"name": "orange", "quantity": 2}, {"name": "pear", "quantity": 1}],
    "vegetables": {"scallions": {"colors": ["green", "white"]}, "beets": {"leaves": ["purple"]}, "artichoke": {}},
    "list": ["zero", "one"],
}


def run(text: str, status: Status = Status()) -> Json:  # noqa: B008  # frozen
    return evaluate(
        parse(text), Scope(contexts=CONTEXTS, status=status, hash_files=lambda patterns: "+".join(patterns))
    )


TABLE: list[tuple[str, Json]] = [
    # literals
    ("null", None),
    ("false", False),
    ("711", 711.0),
    ("-9.2", -9.2),
    ("0xff", 255.0),
    ("0o17", 15.0),
    ("-2.99e-2", -0.0299),
    (".5", 0.5),
    ("'It''s open source!'", "It's open source!"),
    ("'Mona the Octocat'", "Mona the Octocat"),
    # look-ups
    ("github.ref", "refs/heads/main"),
    ("GITHUB.REF", "refs/heads/main"),
    ("github['ref']", "refs/heads/main"),
    ("github.mixed", "x"),
    ("github.nothing.at.all", None),
    ("nothing.at.all", None),
    ("list[1]", "one"),
    ("list['0x1']", "one"),
    ("list[null]", "zero"),
    ("list[2]", None),
    ("list[-1]", None),
    ("list[NaN]", None),
    ("matrix.python", 3.12),
    ("fruits.*.name", ["apple", "orange", "pear"]),
    ("fruits[*].name", ["apple", "orange", "pear"]),
    ("vegetables.*.colors", [["green", "white"]]),
    ("github.event.issue.labels.*.name", ["bug", "help wanted"]),
    ("env.CI.*", []),
    ("fruits.*.*", ["apple", 1, "orange", 2, "pear", 1]),
    # operators
    ("1 == 1.0", True),
    ("'ABC' == 'abc'", True),
    ("'a' < 'B'", True),
    ("null == 0", True),
    ("null == ''", True),
    ("true == 1", True),
    ("'true' == true", False),
    ("'1' == 1", True),
    ("' 0xff ' == 255", True),
    ("'abc' == 0", False),
    ("NaN == NaN", False),
    ("'x' != NaN", True),
    ("fruits == fruits", True),
    ("fromJSON('[]') == fromJSON('[]')", False),
    ("fromJSON('{}') <= fromJSON('{}')", False),
    ("!true", False),
    ("!''", True),
    ("!!github", True),
    ("1 < 2 && 'yes' || 'no'", "yes"),
    ("false && 'yes' || 'no'", "no"),
    ("'' || 'default'", "default"),
    ("0 || null", None),
    ("1 && 2 || 3", 2.0),
    ("false || false && true", False),
    ("(true || false) && false", False),
    ("!2 < 3", True),
    ("!(2 < 3)", False),
    ("3 < 2 < 1", True),
    ("3 < (2 < 1)", False),
    ("1 == 1 < 1", False),
    ("github.ref == 'refs/heads/main' && github.event_name != 'pull_request'", True),
    # functions
    ("contains('Hello world', 'llo')", True),
    ("contains('Hello world', 'LLO')", True),
    ("contains(github.event.issue.labels.*.name, 'bug')", True),
    ('contains(fromJSON(\'["push", "pull_request"]\'), github.event_name)', True),
    ("contains(list, 'ON')", False),
    ("startsWith('Hello world', 'He')", True),
    ("startswith(github.ref, 'refs/tags/')", False),
    ("endsWith('Hello world', 'ld')", True),
    ("startsWith(123, 12)", True),
    ("format('Hello {0} {1} {2}', 'Mona', 'the', 'Octocat')", "Hello Mona the Octocat"),
    ("format('{{Hello {0} {1} {2}!}}', 'Mona', 'the', 'Octocat')", "{Hello Mona the Octocat!}"),
    ("format('{0}|{1}|{2}|{3}', null, true, 1.50, fruits)", "|true|1.5|Array"),
    ("format('{0}', github)", "Object"),
    ("format('{0} {1}', 1e20, -0)", "1E+20 0"),
    ("join(github.event.issue.labels.*.name, ', ')", "bug, help wanted"),
    ("join(list)", "zero,one"),
    ("join('text', ';')", "text"),
    ("toJSON(matrix)", '{\n  "python": 3.12,\n  "os": "debian"\n}'),
    ("toJSON(1)", "1"),
    ("fromJSON(needs.build.outputs.list)[1]", "b"),
    ('fromJSON(\'{"a": {"B": 1}}\').A.b', 1),
    ("fromJSON(env.N) > 2", True),
    ("hashFiles('**/package-lock.json', 'Gemfile.lock')", "**/package-lock.json+Gemfile.lock"),
    ("case(github.ref == 'refs/heads/main', 'production', 'development')", "production"),
    ("true.x", None),
]


@pytest.mark.parametrize(("text", "expect"), TABLE, ids=[text for text, _ in TABLE])
def test_value(text: str, expect: Json) -> None:
    got = run(text)
    assert got == expect
    assert isinstance(got, bool) == isinstance(expect, bool)


def test_nan_is_a_number_that_equals_nothing() -> None:
    assert math.isnan(run("NaN"))
    assert run("NaN && 1") is not True


ERRORS = [
    ("1 <", "unexpected the end"),
    ("1 2", "unexpected 2"),
    ("> 1", "unexpected >"),
    ("github.()", "unexpected ("),
    ("(1,", "unexpected ,"),
    ("1 = 2", "unexpected '= 2'"),
    ("1 & 2", "unexpected '& 2'"),
    ("'open", "unexpected"),
    ('env.X == "y"', "single quotes"),
    ("nonExistentFunction()", "no function nonExistentFunction()"),
    ("false && startWith('a', 'b')", "did you mean startswith()?"),
    ("contains('a')", "takes 2 to 2 arguments, not 1"),
    ("format('{0')", "single {"),
    ("format('{0}')", "has 0 argument(s)"),
    ("fromJSON('{')", "no JSON"),
    ("", "empty"),
    ("!" * 60 + "true", "deeper than 50"),
    ("a" + ".b" * 60, "deeper than 50"),
    ("(" * 500 + "1" + ")" * 500, "deeper than 50"),
    ("x" * 30000, "longer than"),
]


@pytest.mark.parametrize(("text", "expect"), ERRORS, ids=[text[:30] for text, _ in ERRORS])
def test_what_cannot_be_read_says_where(text: str, expect: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        run(text)
    assert expect in str(raised.value)


GOOD, BAD, STOPPED = Status(), Status(success=False, failure=True), Status(success=False, cancelled=True)
CONDITIONS = [
    ("", GOOD, True),
    ("", BAD, False),
    ("always()", BAD, True),
    ("failure()", BAD, True),
    ("failure()", GOOD, False),
    ("cancelled()", STOPPED, True),
    ("!cancelled()", BAD, True),
    ("success() || failure()", BAD, True),
    ("github.ref == 'refs/heads/main'", GOOD, True),
    ("github.ref == 'refs/heads/main'", BAD, False),
    ("${{ github.ref == 'refs/heads/dev' }}", GOOD, False),
    ("${{ always() && env.CI }}", BAD, True),
    ("true && ${{ false }}", GOOD, True),  # text around an expression makes a text, which is true
    ("${{ false }} ", GOOD, True),
    ("env.EMPTY", GOOD, False),
    ("false", GOOD, False),
]


@pytest.mark.parametrize(("text", "status", "expect"), CONDITIONS)
def test_condition(text: str, status: Status, expect: bool) -> None:
    assert condition(text, Scope(contexts=CONTEXTS, status=status)) is expect


def test_interpolation_keeps_the_rest_and_the_type_of_a_lone_expression() -> None:
    scope = Scope(contexts=CONTEXTS)
    assert interpolate("on ${{ matrix.os }} with ${{ 'a}}b' }}${{ env.none }}.", scope) == "on debian with a}}b."
    assert value("${{ matrix.python }}", scope) == 3.12
    assert value("v${{ matrix.python }}", scope) == "v3.12"
    assert value("plain $VAR ${X}", scope) == "plain $VAR ${X}"


def test_an_expression_without_an_end_is_named() -> None:
    with pytest.raises(ExpressionError, match="does not end"):
        pieces("a ${{ b }")


def test_text_cannot_be_multiplied_without_end() -> None:
    big = "format('" + "{0}" * 100 + "', '" + "x" * 2000 + "')"
    for _ in range(3):
        big = f"format('{'{0}' * 100}', {big})"
    with pytest.raises(ExpressionError, match="more than"):
        run(big)

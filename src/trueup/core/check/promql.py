"""PromQL expressions: doubled braces, functions that do not exist, and whatever else a real parser refuses.

The parser is promql-parser (Rust). Source: prometheus.io/docs/prometheus/3.5/querying, functions and operators.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import promql_parser

from trueup.core.check.rule import Rule, nearest, one_of
from trueup.core.model import Finding, Place, Severity

UNKNOWN = Rule(
    "promql-unknown-function", Severity.WARNING,
    "An expression calls a function that PromQL does not have; the nearest real ones are named.",
)  # fmt: skip
BRACES = Rule("promql-doubled-braces", Severity.WARNING, 'Label matchers stand in doubled braces: `{{job="a"}}`.')
INVALID = Rule("promql-invalid", Severity.WARNING, "An expression is no PromQL: Prometheus refuses the file.")
RULES = (UNKNOWN, BRACES, INVALID)

_FUNCTIONS = """
    abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp clamp_max
    clamp_min cos cosh count_over_time day_of_month day_of_week day_of_year days_in_month deg delta deriv
    double_exponential_smoothing exp first_over_time floor histogram_avg histogram_count histogram_fraction
    histogram_quantile histogram_stddev histogram_stdvar histogram_sum holt_winters hour idelta increase info irate
    label_join label_replace last_over_time ln log10 log2 mad_over_time max_over_time min_over_time minute month pi
    predict_linear present_over_time quantile_over_time rad rate resets round scalar sgn sin sinh sort sort_by_label
    sort_by_label_desc sort_desc sqrt stddev_over_time stdvar_over_time sum_over_time tan tanh time timestamp
    ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time vector year
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
_AGGREGATIONS = "sum avg min max bottomk topk group count count_values stddev stdvar quantile limitk limit_ratio"
AGGREGATIONS = frozenset(_AGGREGATIONS.split())
_KEYWORDS = "by without on ignoring group_left group_right bool and or unless atan2 offset start end"
_WORDS = frozenset(_KEYWORDS.split())
# What people look for under another name
_MEANT = {
    "upsample": ("last_over_time", "avg_over_time", "a subquery such as `[1h:1m]`"),
    "downsample": ("avg_over_time", "last_over_time", "a recording rule"),
    "resample": ("avg_over_time", "last_over_time", "a subquery such as `[1h:1m]`"),
    "interpolate": ("last_over_time", "avg_over_time"),
    "moving_average": ("avg_over_time",),
    "mean": ("avg", "avg_over_time"),
    "average": ("avg", "avg_over_time"),
    "median": ("quantile(0.5, …)", "quantile_over_time"),
    "percentile": ("quantile", "histogram_quantile"),
    "derivative": ("deriv", "rate"),
    "diff": ("delta", "increase"),
    "per_second": ("rate",),
    "if": ("`and`", "`unless`"),
    "log": ("ln", "log2", "log10"),
}  # fmt: skip
MAX_CHARACTERS = 4096
MAX_OPERATORS = 200  # the parser takes the square of them: 4 ms for these, seconds for thousands
MAX_DEPTH = 24
MAX_UNKNOWN = 10  # told of one expression

_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`", re.DOTALL)
_COMMENT = re.compile(r"#[^\n]*")
_CALL = re.compile(r"(?<![\w:$.])([A-Za-z_]\w*)\s*\(")
_GRAFANA = re.compile(r"\$\{?__(?:rate_)?interval(?:_ms)?\}?|\$\{?__range(?:_s|_ms)?\}?|\$__auto|\[\[\w+\]\]")


def findings(text: str, place: Place) -> Iterator[Finding]:
    """What is wrong with one expression whose first line is at `place`. Grafana's variables are allowed for."""
    if len(text) > MAX_CHARACTERS:
        yield INVALID.at(place, f"an expression of {len(text)} characters is not read", "Split it by recording rules.")
        return
    blank = _STRING.sub(lambda m: re.sub(r"[^\n]", "s", m.group()), text)
    blank = _COMMENT.sub(lambda m: " " * len(m.group()), blank)
    doubled = [m.start() for m in re.finditer(r"\{\{", blank)]
    for at in doubled[:1]:
        yield BRACES.at(
            _line(place, text, at), "label matchers stand in doubled braces `{{…}}`",
            "Write single braces: `{status=\"500\"}`. (Doubled ones belong to annotations' templates.)",
        )  # fmt: skip
    unknown = [m for m in _CALL.finditer(blank) if not _known(m.group(1))]
    for found in unknown[:MAX_UNKNOWN]:
        yield _unknown(found.group(1), _line(place, text, found.start(1)))
    if not doubled and not unknown:
        yield from _parsed(text, blank, place)


def _known(word: str) -> bool:
    return word in FUNCTIONS or word.lower() in AGGREGATIONS or word.lower() in _WORDS


def _unknown(name: str, place: Place) -> Finding:
    meant = _MEANT.get(name.lower()) or nearest(name, FUNCTIONS | AGGREGATIONS, 3, 0.6)
    fix = f"Use {one_of(meant)}." if meant else "See the list of functions in Prometheus' documentation."
    return UNKNOWN.at(place, f"PromQL has no function `{name}`", fix)


def _parsed(text: str, blank: str, place: Place) -> Iterator[Finding]:
    plain = re.sub(r"\$\{?\w+(?::\w+)?\}?", "x", _GRAFANA.sub("5m", text)) if "$" in text or "[[" in text else text
    if _too_much(blank):
        yield INVALID.at(place, "the expression is too long or too deep to be read", "Split it by recording rules.")
        return
    try:
        promql_parser.parse(plain.replace("holt_winters(", "double_exponential_smoothing("))
    except ValueError as error:
        if plain == text:  # with variables in it, a refusal may be about what they were replaced by
            yield INVALID.at(
                place, f"no PromQL: {error}", "Correct the expression; `promtool check rules` says the same."
            )


def _too_much(blank: str) -> bool:
    """Judged without strings and comments."""
    depth = deepest = 0
    for character in blank:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    operators = len(re.findall(r"[-+*/%^<>]|\b(?:and|or|unless|atan2)\b|==|!=", blank))
    return deepest > MAX_DEPTH or operators > MAX_OPERATORS


def _line(place: Place, text: str, at: int) -> Place:
    down = text.count("\n", 0, at)
    return Place(place.file, place.line + down, 0 if down else place.column)

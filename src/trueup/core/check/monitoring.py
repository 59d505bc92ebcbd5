"""Prometheus configurations, rule files and Grafana dashboards. Never an ERROR: monitoring is not deployed with the
application, so it must not hold it up."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator

import orjson

from trueup.core.check import promql
from trueup.core.check.rule import Rule, Subject, nearest
from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.yamldoc import Doc, PathStep, YamlFault, node_at

CONFIG = Rule(
    "prometheus-config", Severity.WARNING,
    "A Prometheus configuration has keys or shapes that Prometheus refuses.",
)  # fmt: skip
INLINE_RULES = Rule(
    "prometheus-inline-rules", Severity.WARNING,
    "A Prometheus configuration holds `rules:` itself; rules stand in files of their own, named by `rule_files:`.",
)  # fmt: skip
RULE_FILE = Rule("prometheus-rule-file", Severity.WARNING, "A rule file named by a configuration is not there.")
RULE_SHAPE = Rule(
    "prometheus-rule-shape", Severity.WARNING,
    "A rule is not `alert: Name` or `record: name` with an `expr:` beside it, inside a group.",
)  # fmt: skip
DASHBOARD = Rule("dashboard-not-json", Severity.WARNING, "A dashboard file holds no JSON.")
DASHBOARD_SHAPE = Rule("dashboard-shape", Severity.WARNING, "A dashboard has no title or no panels.")
RULES = (CONFIG, INLINE_RULES, RULE_FILE, RULE_SHAPE, DASHBOARD, DASHBOARD_SHAPE)

# Source: prometheus.io/docs/prometheus/3.5/configuration/configuration
TOP = frozenset({
    "global", "runtime", "rule_files", "scrape_config_files", "scrape_configs", "alerting", "remote_write",
    "remote_read", "storage", "tracing", "otlp",
})  # fmt: skip
# Source: prometheus.io/docs/prometheus/3.5/configuration/recording_rules and alerting_rules
ALERT_KEYS = frozenset({"alert", "expr", "for", "keep_firing_for", "labels", "annotations"})
RECORD_KEYS = frozenset({"record", "expr", "labels"})


_COMMENT = re.compile(rb"\s*(?://[^\n]*|#[^\n]*|/\*(?:[^*]|\*(?!/))*+\*/)")


def check(subject: Subject) -> Iterator[Finding]:
    for path in subject.found.prometheus:
        yield from _each_doc(subject, path, lambda doc: _config(subject, doc))
    for path in subject.found.rules:
        yield from _each_doc(subject, path, _rule_file)
    for path in subject.found.dashboards:
        data = subject.data(path)
        if data is not None:
            yield from _dashboard(path, data)


def _each_doc(subject: Subject, path: str, each: Callable[[Doc], Iterator[Finding]]) -> Iterator[Finding]:
    docs = subject.docs(path)
    if isinstance(docs, YamlFault):
        yield docs.finding(CONFIG.id, CONFIG.severity)
        return
    for doc in docs:
        if isinstance(doc.body, dict):
            yield from each(doc)


# --- Prometheus ------------------------------------------------------------------------------------


def _config(subject: Subject, doc: Doc) -> Iterator[Finding]:
    for key in doc.body:
        if key in ("rules", "alerts", "groups"):
            yield INLINE_RULES.at(
                doc.key_place(key), f"{key}: is no key of Prometheus' configuration",
                "Move the rules to a file of their own, as `groups: [{name: …, rules: […]}]`, and name it: "
                "`rule_files: [rules.yml]`.",
            )  # fmt: skip
            yield from _rules(doc, (key,), doc.body[key])
        elif key not in TOP:
            near = nearest(key, TOP)
            yield CONFIG.at(
                doc.key_place(key), f"{key}: is no key of Prometheus' configuration",
                f"Did you mean {near[0]}?" if near else f"The keys are {', '.join(sorted(TOP))}.",
            )  # fmt: skip
    yield from _scrapes(doc)
    yield from _named_files(subject, doc)


def _scrapes(doc: Doc) -> Iterator[Finding]:
    jobs: dict[str, int] = {}
    listed = doc.body.get("scrape_configs")
    if listed is not None and not isinstance(listed, list):
        yield CONFIG.at(
            doc.place("scrape_configs"), "scrape_configs must be a list", "Begin each job with `- job_name:`."
        )
        return
    for index, job in enumerate(listed or ()):
        place = doc.place("scrape_configs", index)
        name = job.get("job_name") if isinstance(job, dict) else None
        if not name:
            yield CONFIG.at(place, "a scrape configuration has no job_name", "Add `job_name: …`.")
        elif str(name) in jobs:
            message = f"job_name {name!r} is already on line {jobs[str(name)]}"
            yield CONFIG.at(doc.place("scrape_configs", index, "job_name"), message, "Rename one of them.")
        else:
            jobs[str(name)] = place.line


def _named_files(subject: Subject, doc: Doc) -> Iterator[Finding]:
    listed = doc.body.get("rule_files")
    for index, name in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(name, str) or name.startswith("/") or re.search(r"[*?\[]", name):
            continue  # patterns and places on another machine
        if posixpath.normpath(posixpath.join(posixpath.dirname(doc.file), name)) not in subject.tree:
            yield RULE_FILE.at(
                doc.place("rule_files", index), f"the rule file {name} is not beside this file",
                "Correct the path (it counts from this file's folder), or add the file.",
            )  # fmt: skip


def _rule_file(doc: Doc) -> Iterator[Finding]:
    groups = doc.body.get("groups")
    for index, group in enumerate(groups if isinstance(groups, list) else ()):
        if not isinstance(group, dict) or not isinstance(group.get("name"), str):
            yield RULE_SHAPE.at(doc.place("groups", index), "a group has no name", "Add `name: …` to the group.")
            continue
        yield from _rules(doc, ("groups", index, "rules"), group.get("rules"))


def _rules(doc: Doc, path: tuple[PathStep, ...], rules: Json) -> Iterator[Finding]:
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        at = (*path, index)
        if not isinstance(rule, dict):
            yield RULE_SHAPE.at(doc.place(*at), "a rule is no mapping", "Write `- alert: Name` with `expr:` below.")
        elif isinstance(rule.get("alert"), dict):
            yield RULE_SHAPE.at(
                doc.key_place(*at, "alert"), "alert: holds a mapping; it is the alert's name",
                "Write `- alert: Name`, with `expr:`, `for:`, `labels:` and `annotations:` beside it.",
            )  # fmt: skip
            yield from _expression(doc, (*at, "alert", "expr"), rule["alert"].get("expr"))
        elif isinstance(rule.get("rules"), list):
            yield from _rules(doc, (*at, "rules"), rule["rules"])
        else:
            yield from _rule(doc, at, rule)


def _rule(doc: Doc, at: tuple[PathStep, ...], rule: dict[str, Json]) -> Iterator[Finding]:
    kind = [key for key in ("alert", "record") if key in rule]
    if len(kind) != 1:
        yield RULE_SHAPE.at(doc.place(*at), "a rule has neither or both of alert: and record:", "Keep exactly one.")
        return
    for key in rule.keys() - (ALERT_KEYS if kind[0] == "alert" else RECORD_KEYS):
        near = nearest(key, ALERT_KEYS)
        fix = f"Did you mean {near[0]}?" if near else "Remove it."
        yield RULE_SHAPE.at(doc.key_place(*at, key), f"{key}: is no key of a rule", fix)
    if "expr" not in rule:
        yield RULE_SHAPE.at(doc.place(*at), f"the rule {rule[kind[0]]!r} has no expr:", "Add `expr: …`.")
    yield from _expression(doc, (*at, "expr"), rule.get("expr"))


def _expression(doc: Doc, at: tuple[PathStep, ...], text: Json) -> Iterator[Finding]:
    node = node_at(doc.root, at)
    if isinstance(text, str) and node is not None:
        block = node.style in ("|", ">")
        yield from promql.findings(text, Place(doc.file, node.line + block, 0 if block else node.column))


# --- Grafana ---------------------------------------------------------------------------------------


def _dashboard(path: str, data: bytes) -> Iterator[Finding]:
    if not _after_comments(data):
        what = "only a comment" if data.strip() else "empty"
        yield DASHBOARD.at(Place(path, 1), f"the file is {what}, no JSON", "Export the dashboard from Grafana into it.")
        return
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        yield DASHBOARD.at(
            Place(path, error.lineno, error.colno), f"no JSON: {error.msg}", "Export the dashboard from Grafana again.",
        )  # fmt: skip
        return
    board = body.get("dashboard", body) if isinstance(body, dict) else None
    if not isinstance(board, dict) or not isinstance(board.get("title"), str):
        yield DASHBOARD_SHAPE.at(Place(path, 1), "the dashboard has no title", 'Add `"title": …` at the top.')
        return
    if not isinstance(board.get("panels", board.get("rows")), list):
        yield DASHBOARD_SHAPE.at(
            Place(path, 1), "the dashboard has no panels", "Export the dashboard from Grafana again."
        )
        return
    yield from _expressions(board, path, data)


def _after_comments(data: bytes) -> bytes:
    """What is left after leading blanks and comments, none of which JSON has."""
    at = 0
    while found := _COMMENT.match(data, at):
        at = found.end()
    return data[at:].strip()


def _expressions(board: Json, path: str, data: bytes) -> Iterator[Finding]:
    """Iteratively: panels nest in rows. The line is that of the first place where the expression is written."""
    waiting: list[Json] = [board]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            source = value.get("datasource")
            kind = source.get("type") if isinstance(source, dict) else None
            if isinstance(value.get("expr"), str) and kind in (None, "prometheus"):
                at = data.find(orjson.dumps(value["expr"]))
                line = data.count(b"\n", 0, at) + 1 if at >= 0 else 1
                yield from (
                    Finding(f.severity, f.rule, Place(path, line), f.message, f.fix)
                    for f in promql.findings(value["expr"], Place(path, line))
                )

"""Reads JUnit XML into counts. Hostile files are refused: no document types, no entities, no deep nesting."""

from __future__ import annotations

from collections.abc import Iterable
from xml.parsers import expat

from trueup.core.model import TestCount

MAX_BYTES = 64 << 20
MAX_DEPTH = 64
FIRST_FAILURE = 300  # characters kept


class ReportUnreadable(Exception):
    """Not a JUnit report, or one that is not safe to read; the message says why."""


class _Reader:
    """Collects what expat reports. One object per file."""

    def __init__(self) -> None:
        self.passed = self.failed = self.errored = self.skipped = 0
        self.first = ""
        self.depth = 0
        self.case: dict[str, str] | None = None
        self.verdict = "passed"
        self.message = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ReportUnreadable(f"more than {MAX_DEPTH} elements deep")
        if self.depth == 1 and tag not in ("testsuites", "testsuite"):
            raise ReportUnreadable(f"the root element is <{tag}>, not <testsuites>")
        if tag == "testcase":
            self.case, self.verdict, self.message = attributes, "passed", ""
        elif self.case is not None and tag in _VERDICTS and _VERDICTS[tag][1] > _RANK[self.verdict]:
            self.verdict, self.message = _VERDICTS[tag][0], attributes.get("message", "")

    def end(self, tag: str) -> None:
        self.depth -= 1
        if tag != "testcase" or self.case is None:
            return
        setattr(self, self.verdict, getattr(self, self.verdict) + 1)
        if self.verdict in ("failed", "errored") and not self.first:
            self.first = f"{test_id(self.case)}: {_one_line(self.message)}"[:FIRST_FAILURE]
        self.case = None


_VERDICTS = {"skipped": ("skipped", 1), "failure": ("failed", 2), "error": ("errored", 3)}
_RANK = {"passed": 0, "skipped": 1, "failed": 2, "errored": 3}


def read(data: bytes) -> TestCount:
    """Count a report's cases. A case with both a failure and an error (pytest's teardown) is one error.

    Raises ReportUnreadable. Source: pytest docs, "Creating JUnitXML format files" (xunit1 and xunit2).
    """
    if len(data) > MAX_BYTES:
        raise ReportUnreadable(f"larger than {MAX_BYTES >> 20} MiB")
    reader, parser = _Reader(), expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ReportUnreadable(f"not XML: {error}") from error
    return TestCount(
        passed=reader.passed,
        failed=reader.failed,
        errored=reader.errored,
        skipped=reader.skipped,
        first_failure=reader.first,
    )


def _refuse(*_: object) -> None:
    raise ReportUnreadable("it declares a document type or an entity, which JUnit reports do not need")


def total(counts: Iterable[TestCount]) -> TestCount:
    """Several reports as one; the first failure of the first report that has one."""
    whole = TestCount()
    for count in counts:
        whole = TestCount(
            passed=whole.passed + count.passed,
            failed=whole.failed + count.failed,
            errored=whole.errored + count.errored,
            skipped=whole.skipped + count.skipped,
            first_failure=whole.first_failure or count.first_failure,
        )
    return whole


def test_id(case: dict[str, str]) -> str:
    """The name by which pytest runs this case again: "tests/test_app.py::TestHome::test_get"."""
    name, classes = case.get("name", "?"), case.get("classname", "").split(".")
    if file := case.get("file", ""):
        module = file.removesuffix(".py").replace("\\", "/").split("/")
        return "::".join([file, *classes[len(module) :], name])
    cut = next((at for at, part in enumerate(classes) if part[:1].isupper()), len(classes))
    path = "/".join(classes[:cut])
    return "::".join([*([f"{path}.py"] if path else []), *classes[cut:], name])


test_id.__test__ = False  # type: ignore[attr-defined]  # pytest would take an imported one for a test


def _one_line(text: str) -> str:
    return " ".join(text.split())

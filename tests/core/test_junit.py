"""Reports as pytest and others write them, and as nobody should."""

import pytest

from trueup.core.junit import ReportUnreadable, read, total
from trueup.core.model import TestCount

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5">
<testcase classname="tests.test_app" name="test_home" time="0.01"><failure message="assert 500 == 200
  where">def</failure></testcase>
<testcase classname="tests.test_app.TestUser" name="test_get" time="0.0"><error message="boom">x</error></testcase>
<testcase classname="tests.test_app" name="test_skip"><skipped type="pytest.skip" message="no"/></testcase>
<testcase classname="tests.test_app" name="test_a"/><testcase classname="tests.test_app" name="test_b"/>
</testsuite></testsuites>"""


def test_counts_and_the_first_failure() -> None:
    assert read(PYTEST) == TestCount(
        passed=2, failed=1, errored=1, skipped=1, first_failure="tests/test_app.py::test_home: assert 500 == 200 where"
    )


@pytest.mark.parametrize(
    ("case", "id"),
    [
        (b'classname="tests.test_x.TestUser.TestIn" name="test_get"', "tests/test_x.py::TestUser::TestIn::test_get"),
        (b'classname="tests.test_x.TestU" file="tests/test_x.py" name="t[1]"', "tests/test_x.py::TestU::t[1]"),
        (b'name="alone"', "alone"),
    ],
)
def test_a_failure_is_named_as_pytest_runs_it(case: bytes, id: str) -> None:
    report = b"<testsuite><testcase " + case + b'><failure message="m"/></testcase></testsuite>'
    assert read(report).first_failure == f"{id}: m"


def test_a_failure_and_an_error_of_one_case_count_once() -> None:
    both = b'<testsuite><testcase name="t"><failure message="f"/><error message="e"/></testcase></testsuite>'
    assert read(both) == TestCount(errored=1, first_failure="t: e")


@pytest.mark.parametrize(
    "data",
    [
        b"not xml",
        b"",
        b"<html/>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><testsuite>&b;</testsuite>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>',
        b"<testsuite>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</testsuite>",
    ],
)
def test_what_is_not_a_safe_report_is_refused(data: bytes) -> None:
    with pytest.raises(ReportUnreadable):
        read(data)


def test_several_reports_add_up() -> None:
    a, b = TestCount(passed=1), TestCount(failed=2, first_failure="x")
    assert total([a, b]) == TestCount(passed=1, failed=2, first_failure="x")

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from factories_report import (
    HOSTILE_TEXTS,
    a_fail,
    a_finding,
    a_hostile_report,
    a_mixed_report,
    a_pass,
    a_report,
    unmeasured,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_readiness.report import Report
from gpu_readiness.reports import junit
from gpu_readiness.verdict import Reason, Result, Severity, Verdict

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _parsed(report: Report, folder: Path) -> ET.Element:
    return ET.parse(junit.write(report, folder)).getroot()


def _case(result: Result, folder: Path) -> ET.Element:
    case = _parsed(a_report([result]), folder).find(".//testcase")
    assert case is not None
    return case


def test_one_suite_per_node_and_one_case_per_planned_check_in_order(tmp_path: Path) -> None:
    root = _parsed(a_mixed_report(), tmp_path)
    assert [suite.get("name") for suite in root] == ["gpu-a", "gpu-b", "gpu-c", "gpu-d", "gpu-e", "gpu-f"]
    cases = root.findall("testsuite[@name='gpu-f']/testcase")
    assert [case.get("name") for case in cases] == ["gpu.ecc-mode", "gpu.clocks", "driver.host"]
    assert {case.get("classname") for case in cases} == {"gpu-f"}


def test_the_totals_are_the_sums_of_the_suites(tmp_path: Path) -> None:
    root = _parsed(a_mixed_report(), tmp_path)
    for name in ("tests", "failures", "errors", "skipped"):
        assert int(root.get(name, "")) == sum(int(suite.get(name, "")) for suite in root)
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["15", "3", "1", "4"]


def test_a_suite_says_what_its_node_is(tmp_path: Path) -> None:
    suite = _parsed(a_mixed_report(), tmp_path)[5]
    assert {each.get("name"): each.get("value") for each in suite.iter("property")} == {
        "verdict": "not-ready",
        "depth": "smi",
        "standard": "h100-exclusive",
        "first_broken": "gpu.ecc-mode",
        "not_selected": "1",
    }


def test_a_pass_is_a_plain_case(tmp_path: Path) -> None:
    assert len(_case(a_pass("n", "driver.nvml"), tmp_path)) == 0


def test_a_critical_fail_is_a_failure_with_every_finding(tmp_path: Path) -> None:
    (failure,) = _case(a_fail("n", "gpu.ecc-mode", a_finding("GPU-0"), a_finding("GPU-1"), since="Monday"), tmp_path)
    assert failure.tag == "failure"
    assert failure.get("message", "").startswith("failed: GPU-0 ecc.current: expected enabled, observed disabled")
    assert failure.get("message", "").endswith("(and 1 more)")
    assert [line.split(" ")[0] for line in (failure.text or "").splitlines()] == ["GPU-0", "GPU-1", "since"]


def test_a_fail_that_nobody_explained_is_still_a_failure(tmp_path: Path) -> None:
    (failure,) = _case(Result("n", "driver.nvml", Verdict.FAIL, Severity.CRITICAL, Reason.HUNG), tmp_path)
    assert (failure.tag, failure.get("type"), failure.get("message")) == ("failure", "hung", "failed (hung)")


@pytest.mark.parametrize("severity", [Severity.WARNING, Severity.INFO])
def test_a_milder_fail_is_a_plain_case_that_says_so(severity: Severity, tmp_path: Path) -> None:
    result = Result("n", "gpu.clocks", Verdict.FAIL, severity, findings=(a_finding(severity=severity),))
    (output,) = _case(result, tmp_path)
    assert output.tag == "system-out"
    assert (output.text or "").startswith("warned: GPU-0 ecc.current: expected enabled")


def test_a_broken_measurement_is_an_error(tmp_path: Path) -> None:
    result = unmeasured("n", "driver.nvml", Reason.TIMEOUT, "no answer\nwithin 30 s", Verdict.ERROR)
    (error,) = _case(result, tmp_path)
    assert (error.tag, error.get("type")) == ("error", "timeout")
    assert error.get("message") == "error (timeout): no answer within 30 s"
    assert error.text == "no answer\nwithin 30 s"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (unmeasured("n", "driver.nvml", Reason.MISSING, "no file"), "untested (missing): no file"),
        (unmeasured("n", "driver.nvml", Reason.BLOCKED), "untested (blocked)"),
        (Result("n", "gpu.nvlink", Verdict.NOT_APPLICABLE, Severity.CRITICAL), "not-applicable"),
        (Result("n", "gpu.clocks", Verdict.WAIVED, Severity.WARNING, detail="until May"), "waived: until May"),
    ],
)
def test_what_says_nothing_about_the_node_is_skipped(result: Result, message: str, tmp_path: Path) -> None:
    (skipped,) = _case(result, tmp_path)
    assert (skipped.tag, skipped.get("message")) == ("skipped", message)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_text_leaves_the_document_well_formed(text: str, tmp_path: Path) -> None:
    root = _parsed(a_hostile_report(text), tmp_path)
    assert len(root) == 2
    assert len(root.findall(".//testcase")) == 10
    assert not CONTROL.search((tmp_path / "junit.xml").read_text(encoding="utf-8"))


@given(st.text(st.characters() | st.sampled_from("\x1b[]<>&\"'\n\ud800\ufffe")))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_leaves_the_document_well_formed(tmp_path: Path, text: str) -> None:
    assert len(_parsed(a_hostile_report(text), tmp_path).findall(".//failure")) == 2
    assert not CONTROL.search((tmp_path / "junit.xml").read_bytes().decode())


def test_a_report_without_nodes_is_a_document_without_suites(tmp_path: Path) -> None:
    root = _parsed(a_report([]), tmp_path)
    assert (root.get("tests"), len(root)) == ("0", 0)

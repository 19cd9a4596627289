"""junit.xml: one suite per node and one case per check, for CI systems.

What was not measured is `<error>` or `<skipped>`, never a plain case. A failing check that does not make its node
not-ready is a plain case whose output says so, because every CI system turns red on `<failure>`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from junit_xml import TestCase, TestSuite

from gpu_readiness.report import NodeReport, Report
from gpu_readiness.reports.text import clean, xml_text
from gpu_readiness.verdict import Finding, Reason, Result, Severity, Verdict

NAME = "junit.xml"


def write(report: Report, folder: Path) -> Path:
    """Writes junit.xml into `folder`; OSError if it cannot."""
    path = folder / NAME
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_pieces(report))
    return path


def _pieces(report: Report) -> Iterator[str]:
    """The library builds the suites one by one: the tree of a whole large fleet would take gigabytes."""
    counts = Counter(_counted_as(result) for result in report.results if _included(result))
    counts["tests"] = counts.total()
    totals = "".join(f' {name}="{counts[name]}"' for name in ("tests", "failures", "errors", "skipped"))
    yield f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites{totals}>\n'
    for node, results in report.by_node():
        suite = _suite(report, node, results).build_xml_doc()
        ET.indent(suite)
        yield ET.tostring(suite, encoding="unicode") + "\n"
    yield "</testsuites>\n"


def _suite(report: Report, node: NodeReport, results: list[Result]) -> TestSuite:
    name = xml_text(node.name)
    cases = [_case(result, name) for result in results if _included(result)]
    properties = {
        "verdict": node.verdict.value,
        "depth": xml_text(node.depth),
        "standard": xml_text(node.standard),
        "first_broken": xml_text(node.first_broken or ""),
        "not_selected": str(len(results) - len(cases)),
    }
    return TestSuite(name, cases, timestamp=xml_text(report.run.started), properties=properties)


def _included(result: Result) -> bool:
    """A check that the run's depth or gate left out was not planned: its suite says how many there are."""
    return result.reason is not Reason.NOT_SELECTED


def _counted_as(result: Result) -> str:
    match result.verdict:
        case Verdict.FAIL if result.severity is Severity.CRITICAL:
            return "failures"
        case Verdict.ERROR:
            return "errors"
        case Verdict.UNTESTED | Verdict.NOT_APPLICABLE | Verdict.WAIVED:
            return "skipped"
    return "plain"


def _case(result: Result, classname: str) -> TestCase:
    case = TestCase(xml_text(result.check), classname)
    if result.verdict is Verdict.PASS:
        return case
    message, output = _message(result), _output(result)
    match _counted_as(result):
        case "failures":
            case.add_failure_info(message, output or message, result.reason or result.severity.value)
        case "errors":
            case.add_error_info(message, output or message, result.reason)
        case "skipped":
            case.add_skipped_info(message, output)
        case _:
            case.stdout = f"{message}\n{output}" if "\n" in output else message
    return case


def _message(result: Result) -> str:
    """One line that is never empty: the library drops an element that has neither message nor output."""
    label = result.verdict.value
    if result.verdict is Verdict.FAIL:
        label = "failed" if result.severity is Severity.CRITICAL else "warned"
    if result.reason:
        label += f" ({result.reason.value})"
    said = clean(result.detail)
    if not said and result.findings:
        first, *others = result.findings
        said = _line(first) + (f" (and {len(others)} more)" if others else "")
    return f"{label}: {said}" if said else label


def _output(result: Result) -> str:
    """Everything known: the detail with its line breaks, if it has any, and one line per finding."""
    lines = [_line(finding) for finding in result.findings]
    if "\n" in result.detail:
        lines.insert(0, xml_text(result.detail))
    if lines and result.since:
        lines.append(f"since {clean(result.since)}")
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    where = " ".join(clean(part) for part in (finding.subject, finding.field) if part)
    hint = f"; {clean(finding.hint)}" if finding.hint else ""
    source = f" ({clean(finding.source)})" if finding.source else ""
    return f"{where}: expected {clean(finding.expected)}, observed {clean(finding.observed)}{source}{hint}"

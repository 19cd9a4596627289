"""The part of report.md about single nodes, and about nodes of which exactly the same is to be said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gpu_readiness.report import CheckInfo, NodeReport, Report
from gpu_readiness.reports.text import code_cell, code_span, word
from gpu_readiness.verdict import NOT_MEASURED, Finding, NodeVerdict, Reason, Result, Severity, Verdict

_SUBJECTS_SHOWN = 3
_CHECKS_SHOWN = 6
_GAPS_SHOWN = 10
_CELL = 200
_NAME = 253  # the longest name that Kubernetes gives a node


class _Fault(NamedTuple):
    """What findings on several GPUs have in common."""

    check: str
    severity: Severity
    since: str | None
    field: str
    expected: str
    observed: str
    source: str
    hint: str


class _Gap(NamedTuple):
    """Why checks were not measured."""

    verdict: Verdict
    reason: Reason | None
    detail: str


@dataclass(frozen=True, slots=True)
class _Sheet:
    """All that the report says about a node: the subjects of each fault and the checks of each gap."""

    node: NodeReport
    faults: dict[_Fault, list[str]]
    gaps: dict[_Gap, list[str]]


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes whose sheets differ only in the subjects; never empty."""

    sheets: list[_Sheet]

    @property
    def nodes(self) -> list[NodeReport]:
        """In the order of the report."""
        return [sheet.node for sheet in self.sheets]


def grouped(report: Report, *, exact: bool) -> list[NodeGroup]:
    """Every node that is not ready, degraded ones included: the worst first, then the largest group.

    Unless `exact`, nodes also belong together if only the observed values, the times and the details differ.
    """
    found: defaultdict[object, list[_Sheet]] = defaultdict(list)
    for node, results in report.by_node():
        if node.verdict is not NodeVerdict.READY:
            sheet = _sheet(node, results if exact else map(_summarized, results))
            gaps = tuple((gap, *checks) for gap, checks in sheet.gaps.items())
            key = (node.verdict, node.first_broken, node.standard, node.depth, tuple(sheet.faults), gaps)
            found[key].append(sheet)
    worst_first = list(NodeVerdict)
    groups = sorted(found.values(), key=lambda sheets: (worst_first.index(sheets[0].node.verdict), -len(sheets)))
    return [NodeGroup(sheets) for sheets in groups]


def section(group: NodeGroup, checks: Mapping[str, CheckInfo], findings_shown: int, names_shown: int) -> str:
    """Heading, first broken link, table of the faults, and what was not measured."""
    sheet = group.sheets[0]
    node = sheet.node
    state = f"{node.verdict} at depth {word(node.depth)}"
    if len(group.sheets) == 1:
        lines = [f"## {code_span(node.name, _NAME)} is {state}", ""]
    else:
        names = _some([code_span(each.name, _NAME) for each in group.nodes], names_shown)
        lines = [f"## {len(group.sheets)} nodes are {state}", "", f"{names}.", ""]
    lines += [f"{_first_broken(node, checks)}Standard: {code_span(node.standard, _CELL)}.", ""]
    lines += _fault_table(group, findings_shown)
    lines += _gap_list(sheet, findings_shown)
    if not sheet.faults and not sheet.gaps:
        lines += ["Nothing was measured.", ""]
    return "\n".join(lines)


def _summarized(result: Result) -> Result:
    findings = tuple(replace(finding, observed="(see report.json)") for finding in result.findings)
    return replace(result, detail="", findings=findings, since=None)


def _sheet(node: NodeReport, results: Iterable[Result]) -> _Sheet:
    faults: defaultdict[_Fault, list[str]] = defaultdict(list)
    gaps: defaultdict[_Gap, list[str]] = defaultdict(list)
    for result in results:
        if result.verdict is Verdict.FAIL:
            for finding in result.findings or (_bare_finding(result),):
                faults[_fault(result, finding)].append(finding.subject)
        elif result.verdict in NOT_MEASURED and result.planned:
            gaps[_Gap(result.verdict, result.reason, result.detail)].append(result.check)
    return _Sheet(node, dict(faults), dict(gaps))


def _fault(result: Result, finding: Finding) -> _Fault:
    return _Fault(
        check=result.check,
        severity=finding.severity,
        since=result.since,
        field=finding.field,
        expected=finding.expected,
        observed=finding.observed,
        source=finding.source,
        hint=finding.hint,
    )


def _bare_finding(result: Result) -> Finding:
    """A fail that a reader of an old or foreign report finds without a finding still gets its row."""
    observed = result.detail or (result.reason.value if result.reason else "")
    return Finding(result.node, "", "", observed, "", severity=result.severity)


def _first_broken(node: NodeReport, checks: Mapping[str, CheckInfo]) -> str:
    if not node.first_broken:
        return ""
    title = f" ({code_span(checks[node.first_broken].title, _CELL)})" if node.first_broken in checks else ""
    label = "First not measured" if node.verdict is NodeVerdict.UNKNOWN else "First broken link"
    return f"{label}: {code_span(node.first_broken)}{title}. "


def _fault_table(group: NodeGroup, shown: int) -> list[str]:
    faults = list(group.sheets[0].faults)
    if not faults:
        return []
    lines = []
    if shown:
        lines = ["| check | GPU | field | expected | observed | source | hint |", "|---|---|---|---|---|---|---|"]
        lines += [_fault_row(group, fault) for fault in faults[:shown]] + [""]
    if len(faults) > shown:
        lines += [f"… and {len(faults) - shown} more findings in report.json", ""]
    return lines


def _fault_row(group: NodeGroup, fault: _Fault) -> str:
    places = {_where(sheet.node, sheet.faults[fault]) for sheet in group.sheets}
    where = places.pop() if len(places) == 1 else f"{sum(len(sheet.faults[fault]) for sheet in group.sheets)} in all"
    check = code_cell(fault.check, _CELL)
    if fault.severity is not Severity.CRITICAL:
        check += f" ({fault.severity})"
    if fault.since:
        check += f" since {code_cell(fault.since, _CELL)}"
    texts = (fault.field, fault.expected, fault.observed, fault.source, fault.hint)
    return f"| {check} | {where} | {' | '.join(code_cell(text, _CELL) if text else '' for text in texts)} |"


def _where(node: NodeReport, subjects: Sequence[str]) -> str:
    indexes = {gpu.uuid: gpu.index for gpu in node.gpus}
    distinct = list(dict.fromkeys(subjects))
    if len(indexes) > 1 and set(distinct) == set(indexes):
        return f"all {len(indexes)}"
    return _some([_subject(node, subject, indexes) for subject in distinct], _SUBJECTS_SHOWN)


def _subject(node: NodeReport, subject: str, indexes: Mapping[str, int]) -> str:
    if subject in ("", node.name):
        return "the node"
    number = f"{indexes[subject]} " if subject in indexes else ""
    return number + code_cell(subject, _CELL)


def _gap_list(sheet: _Sheet, shown: int) -> list[str]:
    if not sheet.gaps:
        return []
    shown = min(shown, _GAPS_SHOWN)
    lines = ["Not measured:", ""]
    for gap, checks in list(sheet.gaps.items())[:shown]:
        names = _some([code_span(check, _CELL) for check in checks], _CHECKS_SHOWN)
        reason = f" ({gap.reason})" if gap.reason else ""
        detail = f": {code_span(gap.detail, _CELL)}" if gap.detail else ""
        lines.append(f"- {names}: {gap.verdict}{reason}{detail}")
    if len(sheet.gaps) > shown:
        lines.append(f"- … for {len(sheet.gaps) - shown} more reasons, see report.json")
    return [*lines, ""]


def _some(items: Sequence[str], shown: int) -> str:
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more

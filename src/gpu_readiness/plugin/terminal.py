"""What a person reads at the end: the nodes that are not as they should be, and one line that says it all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from gpu_readiness.report import NodeReport, Report
from gpu_readiness.reports.text import clean
from gpu_readiness.summary import NEVER_REACHED
from gpu_readiness.verdict import Finding, NodeVerdict, Result, Severity, Verdict

#: Nodes that are shown one by one; beyond that they are grouped by their first broken link.
MAX_NODES = 12
MAX_FINDINGS = 6
MAX_NAMES = 4
_COLOURS = {
    NodeVerdict.NOT_READY: {"red": True},
    NodeVerdict.UNKNOWN: {"yellow": True},
    NodeVerdict.DEGRADED: {"yellow": True},
    NodeVerdict.READY: {"green": True},
}
_GLYPHS = {NodeVerdict.NOT_READY: "✗", NodeVerdict.UNKNOWN: "?", NodeVerdict.DEGRADED: "!", NodeVerdict.READY: "✓"}


def write(out: pytest.TerminalReporter, report: Report, written: Sequence[Path], *, brief: bool) -> None:
    """The summary of a run."""
    if not brief:
        _nodes(out, report)
        _gaps(out, report)
        _ways(out, report)
        for note in report.notes:
            out.write_line(clean(note))
    out.write_line(_bottom_line(report), bold=True, **_COLOURS[report.word])
    if written and not brief:
        out.write_line("reports: " + "  ".join(str(path) for path in written))


def _nodes(out: pytest.TerminalReporter, report: Report) -> None:
    troubled = [(node, own) for node, own in report.by_node() if node.verdict is not NodeVerdict.READY]
    if not troubled:
        return
    rank = {verdict: index for index, verdict in enumerate(NodeVerdict)}
    troubled.sort(key=lambda each: (rank[each[0].verdict], each[0].name))
    out.ensure_newline()
    out.section("GPU node readiness")
    if len(troubled) <= MAX_NODES:
        for node, own in troubled:
            _node(out, node, own)
    else:
        _groups(out, troubled)


def _gaps(out: pytest.TerminalReporter, report: Report) -> None:
    """What keeps coverage down on nodes that are fit all the same."""
    fit = {node.name for node in report.nodes if node.verdict in (NodeVerdict.READY, NodeVerdict.DEGRADED)}
    gaps: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in report.results:
        if result.planned and not result.measured and result.node in fit:
            gaps[result.check, f"{result.verdict.value} ({result.reason})"].append(result.node)
    for (check, word), names in gaps.items():
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        out.write_line(f"  {check}: {word} on {', '.join(map(clean, names[:MAX_NAMES]))}{more}", yellow=True)


def _ways(out: pytest.TerminalReporter, report: Report) -> None:
    """How the nodes' drivers were asked, and why not by a way that needs fewer rights."""
    found: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for node in report.nodes:
        if node.asked is not None:
            found[node.asked.way, tuple(f"not by {way}: {why}" for way, why in node.asked.not_by)] += 1
    for (way, why), count in found.most_common(MAX_NAMES):
        nodes = f"{count} node{'s' if count > 1 else ''}"
        said = f"the driver of {nodes} was asked by {way}" if way else f"the driver of {nodes} could not be asked"
        out.write_line("; ".join(clean(each) for each in (said, *why)))


def _node(out: pytest.TerminalReporter, node: NodeReport, own: Sequence[Result]) -> None:
    broken = f"  first broken link: {node.first_broken}" if node.first_broken else ""
    out.write_line(
        f"{_GLYPHS[node.verdict]} {clean(node.name)}  {node.verdict.value}{broken}", **_COLOURS[node.verdict]
    )
    names = {gpu.uuid: f"GPU {gpu.index}" for gpu in node.gpus if gpu.uuid}
    blocked: dict[str, int] = defaultdict(int)
    for result in own:
        if result.verdict is Verdict.FAIL or result.verdict is Verdict.WAIVED:
            _findings(out, result, names, node.name)
        elif result.planned and not result.measured:
            if result.reason == "blocked" or result.detail == NEVER_REACHED:
                blocked[result.detail] += 1
            else:
                out.write_line(f"    {result.check}: {result.verdict.value} ({result.reason}): {clean(result.detail)}")
    for detail, count in blocked.items():
        out.write_line(f"    {count} check{'s' if count > 1 else ''} untested: {clean(detail)}")


def _findings(out: pytest.TerminalReporter, result: Result, names: dict[str, str], node: str) -> None:
    waived = " (waived)" if result.verdict is Verdict.WAIVED else ""
    grade = "" if result.severity is Severity.CRITICAL else f" [{result.severity.value}]"
    for (field, expected, observed, hint), found in list(_alike(result.findings).items())[:MAX_FINDINGS]:
        subjects = ", ".join(names.get(each.subject, clean(each.subject)) for each in found if each.subject != node)
        where = f" {_shorten(subjects)}:" if subjects else ""
        out.write_line(
            f"    {result.check}{grade}{waived}:{where} {clean(field)}: "
            f"expected {clean(expected)}, observed {clean(observed)}  ({clean(found[0].source)})"
        )
        if hint:
            out.write_line(f"        → {clean(hint)}")
    hidden = len(_alike(result.findings)) - MAX_FINDINGS
    if hidden > 0:
        out.write_line(f"    {result.check}: and {hidden} more findings in the report")


def _alike(findings: Sequence[Finding]) -> dict[tuple[str, str, str, str], list[Finding]]:
    """Findings that differ in their subject only, together."""
    found: dict[tuple[str, str, str, str], list[Finding]] = defaultdict(list)
    for each in findings:
        found[each.field, each.expected, each.observed, each.hint].append(each)
    return found


def _shorten(names: str) -> str:
    parts = names.split(", ")
    numbers = [part.removeprefix("GPU ") for part in parts]
    if len(parts) > 1 and all(number.isdecimal() for number in numbers):
        return "GPUs " + ", ".join(numbers)
    return names


def _groups(out: pytest.TerminalReporter, troubled: Sequence[tuple[NodeReport, list[Result]]]) -> None:
    groups: dict[tuple[NodeVerdict, str], list[tuple[NodeReport, list[Result]]]] = defaultdict(list)
    for node, own in troubled:
        broken = node.first_broken or next((each.check for each in own if each.verdict is Verdict.FAIL), "")
        groups[node.verdict, broken].append((node, own))
    rank = {verdict: index for index, verdict in enumerate(NodeVerdict)}
    for (verdict, check), members in sorted(groups.items(), key=lambda each: (rank[each[0][0]], -len(each[1]))):
        names = ", ".join(clean(node.name) for node, _ in members[:MAX_NAMES])
        more = f" and {len(members) - MAX_NAMES} more" if len(members) > MAX_NAMES else ""
        count = f"{len(members)} node{'s' if len(members) > 1 else ''}"
        line = f"{_GLYPHS[verdict]} {count} {verdict.value}: {check}: {names}{more}"
        out.write_line(line, **_COLOURS[verdict])
        node, own = members[0]
        example = next((each for each in own if each.check == check), None)
        if example is not None and example.findings:
            first = example.findings[0]
            out.write_line(
                f"    for example {clean(first.field)}: "
                f"expected {clean(first.expected)}, observed {clean(first.observed)}"
            )
        elif example is not None:
            out.write_line(f"    for example {example.verdict.value} ({example.reason}): {clean(example.detail)}")


def _bottom_line(report: Report) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in report.counts().items() if count)
    beyond = {each.check for each in report.results if each.reason == "not-selected"}
    depth = f"at depth {report.run.depth}"
    if beyond:
        depth += f" ({len(beyond)} check{'s' if len(beyond) > 1 else ''} not selected)"
    nodes, gpus, checks = report.coverage_nodes, report.coverage_gpus, report.coverage_checks
    return (
        f"{report.word.value} {depth}: {counts or 'no node'}; measured {nodes.done}/{nodes.planned} nodes, "
        f"{gpus.done}/{gpus.planned} GPUs, {checks.done}/{checks.planned} checks "
        f"({_percent(checks.percent)}); exit {report.exit_code}"
    )


def _percent(percent: float) -> str:
    """Rounded down, so that 100 % means all of it."""
    return f"{int(percent * 10) / 10:g} %"

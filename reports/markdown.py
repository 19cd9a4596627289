"""report.md: for a pull-request comment or a ticket. Worst nodes first, and a fault that nodes share is told once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

from gpu_readiness.report import Report, Share
from gpu_readiness.reports.markdown_nodes import grouped, section
from gpu_readiness.reports.text import code_cell, code_span, word
from gpu_readiness.verdict import NOT_MEASURED, ExitCode, Reason, Result, Severity, Verdict

NAME = "report.md"
#: GitHub refuses a longer comment. It counts characters; counting bytes stays under any such limit.
LIMIT_BYTES = 65_536
_CHECKS_SHOWN = 60
_NOTES_SHOWN = 10
_STANDARDS_SHOWN = 6
#: How many findings and node names a section shows: the first of these that there is room for.
_SHOWN = ((20, 100), (3, 15), (0, 10))

_EXIT_MEANS = {
    ExitCode.READY: "every selected node is good enough",
    ExitCode.NOT_READY: "a node is not good enough",
    ExitCode.UNKNOWN: "a node is unknown, or less was measured than was asked for",
}
_DEPTH_LACKS = {"api": "nvidia-smi", "smi": "a probe"}
_OUTCOMES = ("failed", "warned", "not measured", "waived")


def write(report: Report, folder: Path) -> Path:
    """Writes report.md into `folder`; OSError if it cannot."""
    path = folder / NAME
    path.write_text(render(report), encoding="utf-8", newline="\n")
    return path


def render(report: Report) -> str:
    """The text of report.md, at most LIMIT_BYTES of UTF-8; nodes that find no room are counted in its last line."""
    text, left_out = _page(report, exact=True)
    if left_out:
        summary, still_left_out = _page(report, exact=False)
        if still_left_out < left_out:
            return summary
    return text


def _page(report: Report, *, exact: bool) -> tuple[str, int]:
    """The text, and how many nodes it leaves out."""
    parts = [part for part in (_head(report), _notes(report), _nodes_table(report), _checks_table(report)) if part]
    room = LIMIT_BYTES - sum(map(_size, parts)) - _size(_more(len(report.nodes)))
    groups = grouped(report, exact=exact)
    left_out = sum(len(group.nodes) for group in groups)
    for group in groups:
        texts = (section(group, report.checks, *shown) for shown in _SHOWN)
        fitting = next((text for text in texts if _size(text) <= room), None)
        if fitting is None:
            parts.append(_more(left_out))
            break
        parts.append(fitting)
        room -= _size(fitting)
        left_out -= len(group.nodes)
    return "\n".join(parts), left_out


def _size(part: str) -> int:
    """Bytes of a part with the line break that joins it to the next."""
    return len(part.encode()) + 1


def _more(nodes: int) -> str:
    return f"… and {_count(nodes, 'more node')} in report.json\n"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _head(report: Report) -> str:
    run, counts, total = report.run, report.counts(), len(report.nodes)
    verdict = "; ".join([f"{report.word} at depth {word(run.depth)}", *_not_selected(report)])
    nodes = ", ".join(f"{count} {name}" for name, count in reversed(counts.items()) if count) or "none was judged"
    meaning = _EXIT_MEANS.get(report.exit_code, "the run did not end well")
    standards = [code_span(each.name, 80) for each in run.standards[:_STANDARDS_SHOWN]]
    if len(run.standards) > _STANDARDS_SHOWN:
        standards.append(f"{len(run.standards) - _STANDARDS_SHOWN} more")
    return (
        f"# GPU readiness: {report.word}\n\n"
        f"**{verdict}.** Of {_count(total, 'node')}: {nodes}. Exit code {report.exit_code}: {meaning}.\n\n"
        f"Measured: nodes {_share(report.coverage_nodes)}, GPUs {_share(report.coverage_gpus)}, "
        f"checks {_share(report.coverage_checks)}.\n\n"
        f"Gate {word(run.gate)}, {word(run.source_kind)} {code_span(run.source_name, 200)}, "
        f"{code_span(run.started, 40)} to {code_span(run.finished, 40)}, gpu-readiness {code_span(run.version, 40)}, "
        f"standards: {', '.join(standards) or 'none'}.\n"
    )


def _not_selected(report: Report) -> list[str]:
    """What the run was not asked to look at, as in "9 checks need a probe"."""
    depths = {node.name: node.depth for node in report.nodes}
    lacking: defaultdict[str | None, set[str]] = defaultdict(set)
    for result in report.results:
        if result.reason is Reason.NOT_SELECTED:
            lacking[_need(report, result, depths[result.node])].add(result.check)
    return [f"{_count(len(checks), 'check')} {_verb(len(checks), need)}" for need, checks in lacking.items()]


def _need(report: Report, result: Result, depth: str) -> str | None:
    layer = report.checks[result.check].layer if result.check in report.checks else ""
    if layer in ("driver", "gpu"):
        return _DEPTH_LACKS.get(depth)
    return "a workload" if layer in ("workload", "serving") else None


def _verb(number: int, need: str | None) -> str:
    if need is None:
        return "not selected"
    return f"{'needs' if number == 1 else 'need'} {need}"


def _share(share: Share) -> str:
    """Rounded down, so that 100 % means all."""
    percent = f" ({math.floor(share.percent * 10) / 10:g} %)" if share.planned else ""
    return f"{share.done} of {share.planned}{percent}"


def _notes(report: Report) -> str:
    lines = [f"- {code_span(note, 300)}\n" for note in report.notes[:_NOTES_SHOWN]]
    if len(report.notes) > _NOTES_SHOWN:
        lines.append(f"- … and {len(report.notes) - _NOTES_SHOWN} more notes in report.json\n")
    return "".join(lines)


def _nodes_table(report: Report) -> str:
    counts = report.counts()
    return (
        f"| {' | '.join(counts)} |\n|{'---:|' * len(counts)}\n| {' | '.join(str(each) for each in counts.values())} |\n"
    )


def _checks_table(report: Report) -> str:
    """On how many nodes each check did not pass; of one node its own section says it."""
    if len(report.nodes) < 2:
        return ""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for result in report.results:
        if outcome := _outcome(result):
            counts[result.check][outcome] += 1
    if not counts:
        return ""
    known = [check for check in report.checks if check in counts]
    order = known + [check for check in counts if check not in report.checks]
    lines = [f"| check | {' | '.join(_OUTCOMES)} |", f"|---|{'---:|' * len(_OUTCOMES)}"]
    for check in order[:_CHECKS_SHOWN]:
        numbers = " | ".join(str(counts[check][outcome] or "") for outcome in _OUTCOMES)
        lines += [f"| {code_cell(check, 80)} | {numbers} |"]
    if len(order) > _CHECKS_SHOWN:
        lines.append(f"\n… and {len(order) - _CHECKS_SHOWN} more checks in report.json")
    return "\n".join(lines) + "\n"


def _outcome(result: Result) -> str | None:
    if result.verdict is Verdict.FAIL:
        return "failed" if result.severity is Severity.CRITICAL else "warned"
    if result.verdict in NOT_MEASURED and result.planned:
        return "not measured"
    return "waived" if result.verdict is Verdict.WAIVED else None

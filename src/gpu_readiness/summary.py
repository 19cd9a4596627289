"""What a run amounts to: node by node, and how much of what was planned was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gpu_readiness.declaration import Check
from gpu_readiness.report import AskedInfo, GpuInfo, NodeReport, Share, StandardInfo
from gpu_readiness.verdict import NodeVerdict, Reason, Result, Severity, Verdict, first_broken, node_verdict

#: What is said of a check that was planned and never judged.
NEVER_REACHED = "the run ended before it"


@dataclass(slots=True)
class Judged:
    """What is kept of a node once it was judged."""

    standard: StandardInfo | None = None
    expected_gpus: int | None = None
    gpus: tuple[GpuInfo, ...] = ()
    asked: AskedInfo | None = None
    results: dict[str, Result] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """Nodes and results in the report's order, and the coverage of nodes, GPUs and checks."""

    nodes: list[NodeReport]
    results: list[Result]
    standards: tuple[StandardInfo, ...]
    seen: Share
    gpus: Share
    checks: Share


def summarise(
    done: Mapping[str, Judged],
    plan: Mapping[str, Iterable[str]],
    left_out: Mapping[str, Sequence[str]],
    checks: Sequence[Check],
    depth: str,
) -> Summary:
    """Sum up the nodes of a plan; what was planned and not judged is untested, what was deselected not selected."""
    position = {check.id: index for index, check in enumerate(checks)}
    severity = {check.id: check.severity for check in checks}
    nodes, results = [], []
    standards: dict[str, StandardInfo] = {}
    for name in sorted(plan):
        judged = done.get(name) or Judged()
        own = [judged.results.get(id) or _not_run(name, id, severity[id]) for id in plan[name]]
        own += [_deselected(name, id, severity[id]) for id in left_out.get(name, ())]
        own.sort(key=lambda each: position[each.check])
        nodes.append(_node(name, judged, own, depth))
        results += own
        if judged.standard is not None:
            standards[judged.standard.name] = judged.standard
    planned = [each for each in results if each.planned]
    known = [node for node in nodes if node.verdict is not NodeVerdict.UNKNOWN]
    wanted = sum(max(node.expected_gpus or 0, len(node.gpus)) for node in nodes)
    return Summary(
        nodes=nodes,
        results=results,
        standards=tuple(standards[name] for name in sorted(standards)),
        seen=Share(len(known), len(nodes)),
        gpus=Share(sum(len(node.gpus) for node in known), wanted),
        checks=Share(sum(each.measured for each in planned), len(planned)),
    )


def _node(name: str, judged: Judged, own: Sequence[Result], depth: str) -> NodeReport:
    verdict = node_verdict(own)
    standard = judged.standard.name if judged.standard is not None else "none"
    broken = first_broken(own, verdict)
    return NodeReport(name, standard, verdict, broken, depth, judged.gpus, judged.expected_gpus, judged.asked)


def _not_run(node: str, id: str, severity: Severity) -> Result:
    return Result(node, id, Verdict.UNTESTED, severity, Reason.MISSING, NEVER_REACHED)


def _deselected(node: str, id: str, severity: Severity) -> Result:
    return Result(node, id, Verdict.UNTESTED, severity, Reason.NOT_SELECTED, "deselected")

"""The report model: what a run found, as plain data. Writers read it and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gpu_readiness.verdict import Finding, NodeVerdict, Reason, Result, Severity, Verdict

SCHEMA = "gpu-readiness.report/v1"


@dataclass(frozen=True, slots=True)
class CheckInfo:
    """What a check is: `title` is its docstring's sentence."""

    layer: str
    severity: Severity
    title: str


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """One GPU of a node, as far as anything named it."""

    index: int
    uuid: str
    product: str


@dataclass(frozen=True, slots=True)
class StandardInfo:
    """A standard that nodes were judged by; `digest` is of its resolved content."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class AskedInfo:
    """How a live run asked the node's driver: the way that answered, empty if none did; who; and why not by others."""

    way: str
    by: str
    not_by: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node; `expected_gpus` is what its standard says, None where it says nothing.

    `asked` is None where nobody wrote down how the driver was asked.
    """

    name: str
    standard: str
    verdict: NodeVerdict
    first_broken: str | None
    depth: str
    gpus: tuple[GpuInfo, ...] = ()
    expected_gpus: int | None = None
    asked: AskedInfo | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """`done` of `planned`."""

    done: int
    planned: int

    @property
    def percent(self) -> float:
        """0 to 100; of nothing planned, 0."""
        return 100.0 * self.done / self.planned if self.planned else 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """When, by what and on what."""

    id: str
    started: str
    finished: str
    gate: str
    depth: str
    source_kind: str
    source_name: str
    version: str
    standards: tuple[StandardInfo, ...] = ()


@dataclass(slots=True)
class Report:
    """A whole run. `results` are ordered by node and, within a node, in the order of the checks."""

    run: Run
    exit_code: int
    checks: dict[str, CheckInfo]
    nodes: list[NodeReport]
    results: list[Result]
    coverage_nodes: Share = Share(0, 0)
    coverage_gpus: Share = Share(0, 0)
    coverage_checks: Share = Share(0, 0)
    notes: list[str] = field(default_factory=list)

    @property
    def word(self) -> NodeVerdict:
        """The worst verdict of any node; unknown if there is none."""
        found = {node.verdict for node in self.nodes}
        return next((verdict for verdict in NodeVerdict if verdict in found), NodeVerdict.UNKNOWN)

    def counts(self) -> dict[str, int]:
        """How many nodes have each verdict, best first."""
        found = Counter(node.verdict for node in self.nodes)
        return {verdict.value: found[verdict] for verdict in reversed(NodeVerdict)}

    def by_node(self) -> Iterator[tuple[NodeReport, list[Result]]]:
        """Each node with its own results."""
        own: dict[str, list[Result]] = {node.name: [] for node in self.nodes}
        for result in self.results:
            own[result.node].append(result)
        for node in self.nodes:
            yield node, own[node.name]


def result_to_json(result: Result) -> dict[str, Any]:
    """One entry of `results` in report.json."""
    return {
        "node": result.node,
        "check": result.check,
        "verdict": result.verdict.value,
        "severity": result.severity.value,
        "reason": result.reason.value if result.reason else None,
        "detail": result.detail,
        "since": result.since,
        "findings": [finding_to_json(finding) for finding in result.findings],
    }


def finding_to_json(finding: Finding) -> dict[str, str]:
    """One finding in report.json."""
    return {
        "subject": finding.subject,
        "field": finding.field,
        "expected": finding.expected,
        "observed": finding.observed,
        "source": finding.source,
        "hint": finding.hint,
        "severity": finding.severity.value,
    }


def result_from_json(data: dict[str, Any]) -> Result:
    """The inverse of `result_to_json`; KeyError and ValueError if it is none."""
    return Result(
        node=data["node"],
        check=data["check"],
        verdict=Verdict(data["verdict"]),
        severity=Severity(data["severity"]),
        reason=Reason(data["reason"]) if data["reason"] else None,
        detail=data.get("detail", ""),
        since=data.get("since"),
        findings=tuple(
            Finding(**{**finding, "severity": Severity(finding.get("severity", "critical"))})
            for finding in data["findings"]
        ),
    )

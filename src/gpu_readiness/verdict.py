"""The verdict algebra: what a check, a node and a run can end in, and how one follows from the other.

A check on a node is measured (``pass``, ``fail``, ``waived``), not measured (``untested``, ``error``) or not planned
(``not-applicable``, and ``untested`` with the reason ``not-selected``). What was not measured is never good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a failing check weighs; the order is from worst to mildest."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for critical, 1 for warning, 2 for info."""
        return _RANK[self]


_RANK = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


class Verdict(StrEnum):
    """What a check on a node ends in."""

    PASS = "pass"
    FAIL = "fail"
    UNTESTED = "untested"
    ERROR = "error"
    NOT_APPLICABLE = "not-applicable"
    WAIVED = "waived"


class Reason(StrEnum):
    """Why a check has no measurement (``HUNG`` alone also explains a fail of ``driver.nvml``)."""

    BLOCKED = "blocked"
    BUSY = "busy"
    DENIED = "denied"
    HUNG = "hung"
    MISSING = "missing"
    NO_STANDARD = "no-standard"
    TIMEOUT = "timeout"
    UNPARSABLE = "unparsable"
    UNSUPPORTED = "unsupported"
    NOT_SELECTED = "not-selected"


class NodeVerdict(StrEnum):
    """What a node is, all its checks taken together; the order is from worst to best."""

    NOT_READY = "not-ready"
    UNKNOWN = "unknown"
    DEGRADED = "degraded"
    READY = "ready"


class ExitCode:
    """Exit codes of a run; 2, 3 and 5 are pytest's own."""

    READY = 0
    NOT_READY = 1
    USAGE = 4
    UNKNOWN = 6


#: Reasons that mean that the attempt itself broke; the others mean that there was nothing to read.
ERROR_REASONS = frozenset({Reason.TIMEOUT, Reason.UNPARSABLE, Reason.HUNG})
MEASURED = frozenset({Verdict.PASS, Verdict.FAIL, Verdict.WAIVED})
NOT_MEASURED = frozenset({Verdict.UNTESTED, Verdict.ERROR})


def unmeasured_verdict(reason: Reason) -> Verdict:
    """``error`` if the attempt to measure broke, else ``untested``."""
    return Verdict.ERROR if reason in ERROR_REASONS else Verdict.UNTESTED


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the standard says."""

    subject: str
    field: str
    expected: str
    observed: str
    source: str
    hint: str = ""
    severity: Severity = Severity.CRITICAL


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one check on one node. `detail` says in words what `reason` says in one."""

    node: str
    check: str
    verdict: Verdict
    severity: Severity
    reason: Reason | None = None
    detail: str = ""
    findings: tuple[Finding, ...] = ()
    since: str | None = None

    @property
    def planned(self) -> bool:
        """Whether it counts in coverage: everything but not-applicable and not-selected."""
        return self.verdict is not Verdict.NOT_APPLICABLE and self.reason is not Reason.NOT_SELECTED

    @property
    def measured(self) -> bool:
        """Whether something was read and judged."""
        return self.verdict in MEASURED


def worst_severity(findings: Iterable[Finding], default: Severity) -> Severity:
    """The severity of a result is that of its worst finding."""
    return min((finding.severity for finding in findings), key=lambda each: each.rank, default=default)


def node_verdict(results: Iterable[Result]) -> NodeVerdict:
    """A node that has nothing measured in its favour is unknown, whatever else it lacks."""
    unmeasured = degraded = good = False
    for result in results:
        if result.verdict is Verdict.FAIL:
            if result.severity is Severity.CRITICAL:
                return NodeVerdict.NOT_READY
            degraded = degraded or result.severity is Severity.WARNING
        elif result.verdict is Verdict.PASS or result.verdict is Verdict.WAIVED:
            good = True
        elif result.severity is Severity.CRITICAL and result.planned:
            unmeasured = True
    if unmeasured or not good:
        return NodeVerdict.UNKNOWN
    return NodeVerdict.DEGRADED if degraded else NodeVerdict.READY


def first_broken(results: Sequence[Result], verdict: NodeVerdict) -> str | None:
    """The first critical fail in the order of `results`; of an unknown node, the first critical check not measured."""
    wanted = {NodeVerdict.NOT_READY: (Verdict.FAIL,), NodeVerdict.UNKNOWN: (Verdict.UNTESTED, Verdict.ERROR)}.get(
        verdict, ()
    )
    for result in results:
        if result.severity is Severity.CRITICAL and result.verdict in wanted and result.planned:
            return result.check
    return None


def exit_code(verdicts: Iterable[NodeVerdict], *, covered: float, min_coverage: float, strict: bool = False) -> int:
    """0 ready, 1 not ready, 6 unknown. `covered` and `min_coverage` are percentages; no node at all is unknown."""
    words = set(verdicts)
    if NodeVerdict.NOT_READY in words or (strict and NodeVerdict.DEGRADED in words):
        return ExitCode.NOT_READY
    if NodeVerdict.UNKNOWN in words or not words or covered < min_coverage:
        return ExitCode.UNKNOWN
    return ExitCode.READY

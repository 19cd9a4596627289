"""Judging: a check on a node, its prerequisites first, and what the standard waives or takes away."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from gpu_readiness.declaration import Check, Depth, NotApplicable, Outcome
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.node import Node
from gpu_readiness.verdict import Finding, Reason, Result, Verdict, worst_severity


class Judge:
    """Judges the checks of a run. Results of a node are kept while it is being judged: a check may need another's."""

    def __init__(self, checks: Mapping[str, Check], depth: Depth, today: dt.date) -> None:
        self.checks = checks
        self.depth = depth
        self.today = today

    def judge(self, node: Node, ids: Sequence[str]) -> list[Result]:
        """The results of these checks on one node, in the order given."""
        known: dict[str, Result] = {}
        return [self._result(node, id, known) for id in ids]

    def _result(self, node: Node, id: str, known: dict[str, Result]) -> Result:
        if id not in known:
            known[id] = self._judge(node, self.checks[id], known)
        return known[id]

    def _judge(self, node: Node, check: Check, known: dict[str, Result]) -> Result:
        if check.depth > self.depth:
            detail = f"depth {self.depth.label} does not show it; depth {check.depth.label} does"
            return Result(node.name, check.id, Verdict.UNTESTED, check.severity, Reason.NOT_SELECTED, detail)
        for needed in check.needs:
            blocker = self._blocker(node, needed, known)
            if blocker is not None:
                return Result(
                    node.name, check.id, Verdict.UNTESTED, check.severity, Reason.BLOCKED, f"blocked by {blocker}"
                )
        node.outcome = Outcome(check.severity, check.hint, asserts=check.asserts)
        problem: BaseException | None = None
        try:
            why = node.standard.not_applicable.get(check.id) if node.has_standard else None
            if why is not None:
                raise NotApplicable(why)
            check.function(**{name: _argument(node, name) for name in check.parameters})
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 - a check is anybody's code; pytest's skip is no Exception
            problem = raised
        return self.conclude(node.name, node, check, problem)

    def conclude(self, name: str, node: Node | None, check: Check, problem: BaseException | None) -> Result:
        """The result of a check that ran on a node and ended with `problem`, or None."""
        outcome = node.outcome if node is not None else Outcome(check.severity, check.hint, asserts=check.asserts)
        if isinstance(problem, NotApplicable):
            return Result(name, check.id, Verdict.NOT_APPLICABLE, check.severity, None, str(problem))
        if isinstance(problem, Unmeasured):
            outcome.add_unmeasured(problem)
        elif isinstance(problem, AssertionError):
            said = " ".join(str(problem).split())[:500] or "the assertion failed"
            outcome.findings.append(Finding(name, check.id, check.title, said, "check", check.hint, check.severity))
        elif problem is not None:
            said = f"the check itself broke: {type(problem).__name__}: {problem}"[:500]
            outcome.add_unmeasured(Unmeasured(Reason.UNPARSABLE, said))
        verdict, severity, reason, detail = outcome.end()
        result = Result(name, check.id, verdict, severity, reason, detail, tuple(outcome.findings))
        return self._waive(node, result) if verdict is Verdict.FAIL and node is not None else result

    def _blocker(self, node: Node, needed: str, known: dict[str, Result]) -> str | None:
        """The check at the root of why `needed` does not hold here; None if it holds, or is beyond this depth.

        ``?`` before an id: only its failure blocks, not its absence, because this check has other evidence of its own.
        """
        soft = needed.startswith("?")
        id = needed.removeprefix("?")
        if id not in self.checks:
            return None
        result = self._result(node, id, known)
        if result.verdict is Verdict.FAIL and result.severity.rank == 0:
            return id
        if soft or result.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.WAIVED, Verdict.NOT_APPLICABLE):
            return None
        if result.reason is Reason.BLOCKED:
            return result.detail.removeprefix("blocked by ")
        return None if result.reason is Reason.NOT_SELECTED else id

    def _waive(self, node: Node, result: Result) -> Result:
        if not node.has_standard or not node.standard.waivers:
            return result
        left, until = [], []
        for finding in result.findings:
            waiver = next(
                (
                    each
                    for each in node.standard.waivers
                    if each.until >= self.today
                    and fnmatchcase(result.check, each.check)
                    and any(fnmatchcase(node.name, pattern) for pattern in each.nodes)
                    and (each.field is None or fnmatchcase(finding.field, each.field))
                ),
                None,
            )
            if waiver is None:
                left.append(finding)
            else:
                until.append(f"waived until {waiver.until}: {waiver.reason}")
        if not left:
            return replace(result, verdict=Verdict.WAIVED, detail="; ".join(dict.fromkeys(until)))
        return replace(result, severity=worst_severity(left, result.severity))


def _argument(node: Node, name: str) -> Any:
    if name == "standard":
        return node.standard
    return node.cluster if name == "cluster" else node

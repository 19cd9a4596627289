"""What a check is: a plain function that reads evidence and says what it expects, with an id and a severity."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import (
    Finding,
    Reason,
    Severity,
    Verdict,
    unmeasured_verdict,
    worst_severity,
)

LAYERS = ("driver", "gpu", "runtime", "allocatable", "labels", "telemetry", "workload", "serving", "upgrade")
ATTRIBUTE = "__gpu_readiness_check__"

F = TypeVar("F", bound=Callable[..., None])


class Depth(IntEnum):
    """How far down a run looks; a deeper one sees all that a shallower one does."""

    API = 0
    SMI = 1
    PROBE = 2
    ACTIVE = 3

    @property
    def label(self) -> str:
        """As options and reports spell it."""
        return self.name.lower()


class NotApplicable(Exception):
    """Raised by a check: the standard says that this node has no such thing."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check as registered. `needs`: checks whose failure on a node blocks this one."""

    id: str
    severity: Severity
    title: str
    function: Callable[..., None]
    needs: tuple[str, ...] = ()
    depth: Depth = Depth.API
    hint: str = ""
    parameters: tuple[str, ...] = ()
    asserts: bool = False

    @property
    def layer(self) -> str:
        """The part of the id before the dot."""
        return self.id.split(".", 1)[0]


def check(
    id: str,
    *,
    severity: str = "critical",
    needs: tuple[str, ...] = (),
    depth: str = "api",
    hint: str = "",
) -> Callable[[F], F]:
    """Declare a test function to be a check; its docstring's first paragraph is its title in reports.

    Args:
        id: ``layer.name``; unique over all checks of a run.
        severity: ``critical``, ``warning`` or ``info``; a single expectation can be milder.
        needs: ids of checks whose failure on a node leaves nothing to judge here.
        depth: ``api``, ``smi``, ``probe`` or ``active``: the least depth that has the evidence.
        hint: what to do about a finding that has no hint of its own.

    Raises:
        ValueError: an id without a layer, or an unknown severity or depth.
    """
    if id.count(".") != 1 or not all(id.split(".")):
        raise ValueError(f"check {id!r}: an id is layer.name, like gpu.ecc-mode")

    def declare(function: F) -> F:
        title = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
        if not title:
            raise ValueError(f"check {id}: its docstring is its title in reports, and it has none")
        found = Check(
            id=id,
            severity=Severity(severity),
            title=title,
            function=function,
            needs=needs,
            depth=Depth[depth.upper()],
            hint=hint,
            parameters=tuple(inspect.signature(function).parameters),
            asserts=_asserts(function),
        )
        setattr(function, ATTRIBUTE, found)
        return function

    return declare


def _asserts(function: Callable[..., None]) -> bool:
    """Whether a function has asserts of its own, as Python compiles them or as pytest rewrites them."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    return "AssertionError" in code.co_names or any(
        each.opname == "LOAD_ASSERTION_ERROR" for each in dis.get_instructions(code)
    )


def declared(function: Any) -> Check | None:
    """The check that a function was declared to be, if it was."""
    return getattr(function, ATTRIBUTE, None)


@dataclass(slots=True)
class Outcome:
    """What a check said so far on one node: it collects everything, and ends once."""

    severity: Severity
    hint: str = ""
    findings: list[Finding] = field(default_factory=list)
    unmeasured: list[tuple[Severity, Reason, str]] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    measured: int = 0
    recorded: int = 0
    silent: int = 0
    asserts: bool = False
    touched: bool = False
    reason: Reason | None = None

    def end(self) -> tuple[Verdict, Severity, Reason | None, str]:
        """The verdict, its severity, and the reason with its words where there is no measurement.

        A finding of lower severity never covers something critical that was not measured.
        """
        worst = worst_severity(self.findings, self.severity)
        gap = min(self.unmeasured, key=lambda each: each[0].rank, default=None)
        if self.findings and (gap is None or worst.rank <= gap[0].rank):
            return Verdict.FAIL, worst, self.reason, _list(text for _, _, text in self.unmeasured)
        if gap is not None:
            texts = _list(dict.fromkeys(text for rank, _, text in self.unmeasured if rank is gap[0]))
            return unmeasured_verdict(gap[1]), gap[0], gap[1], texts
        if self.measured:
            return Verdict.PASS, self.severity, None, ""
        if self.silent:
            return Verdict.UNTESTED, self.severity, Reason.NO_STANDARD, "no standard says what this should be"
        if self.beyond:
            return Verdict.UNTESTED, self.severity, Reason.NOT_SELECTED, self.beyond[0]
        if self.recorded:
            return Verdict.NOT_APPLICABLE, self.severity, None, "the standard records this and does not judge it"
        if self.asserts and self.touched:  # plain asserts over evidence that was there, and none of them failed
            return Verdict.PASS, self.severity, None, ""
        return Verdict.UNTESTED, self.severity, Reason.MISSING, "nothing was read"

    def add_unmeasured(self, problem: Unmeasured, severity: Severity | None = None) -> None:
        """Note that something could not be measured."""
        if problem.reason is Reason.NOT_SELECTED:
            self.beyond.append(problem.message)
        else:
            self.unmeasured.append((severity or self.severity, problem.reason, problem.message))


def _list(texts: Any, limit: int = 4) -> str:
    found = list(texts)
    shown = "; ".join(found[:limit])
    return f"{shown}; and {len(found) - limit} more" if len(found) > limit else shown

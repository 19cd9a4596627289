"""One pytest item per check and node: as light as an item can be, for there are hundreds of thousands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import pytest

from gpu_readiness.declaration import Check
from gpu_readiness.reports.text import clean
from gpu_readiness.verdict import Result, Severity, Verdict

if TYPE_CHECKING:
    from gpu_readiness.run import Engine

Outcome = Literal["passed", "failed", "skipped"]
Phase = Literal["setup", "call"]


class CheckKind:
    """What all items of one check share."""

    __slots__ = ("check", "location", "markers", "words")

    def __init__(self, check: Check, path: str) -> None:
        self.check = check
        code = getattr(check.function, "__code__", None)
        self.location = (path, code.co_firstlineno - 1 if code is not None else 0)
        layer, severity = getattr(pytest.mark, check.layer), getattr(pytest.mark, check.severity.value)
        self.markers = [layer.mark, severity.mark, *marks_of(check)]
        self.words = {check.id, check.layer}


class ReadinessItem(pytest.Item):
    """A check on a node. Running it looks its result up; the node is judged when its first result is asked for."""

    def __init__(self, *, kind: CheckKind, node: str, engine: Engine, **values: Any) -> None:
        super().__init__(**values)
        self.kind = kind
        self.node = node
        self.engine = engine
        self.own_markers = kind.markers
        self.extra_keyword_matches = kind.words

    @property
    def keywords(self) -> dict[str, Any]:
        """Names that other plugins look for; made when asked for, because hardly anybody asks."""
        return {self.name: self, **{mark.name: mark for mark in self.own_markers}}

    @keywords.setter
    def keywords(self, value: object) -> None:
        """What pytest would keep for every item is not kept."""

    @property
    def check(self) -> Check:
        """The check."""
        return self.kind.check

    def runtest(self) -> None:
        """Judge the node if it has not been, for runners that call items themselves."""
        self.engine.results_of(self.node)

    def result(self) -> Result:
        """The result of the check on the node."""
        return self.engine.results_of(self.node)[self.check.id]

    def reportinfo(self) -> tuple[str, int, str]:
        """Where the check is defined, and the item's name."""
        return (*self.kind.location, self.name)

    def test_report(self) -> pytest.TestReport:
        """The one report of this item."""
        start = time.time()
        result = self.result()
        stop = time.time()
        outcome, phase = outcome_of(result)
        return pytest.TestReport(
            nodeid=getattr(self, "id", self.nodeid),  # newer pytest takes its own form and need not parse it
            location=(*self.kind.location, self.name),
            keywords={},
            outcome=outcome,
            longrepr=longrepr_of(result, self.kind.location) if outcome != "passed" else None,
            when=phase,
            duration=stop - start,
            start=start,
            stop=stop,
            readiness=result,
            # pytest leaves reports with this attribute out of its FAILURES section; the summary shows them by node.
            _pdbshown=True,
        )


def marks_of(check: Check) -> list[pytest.Mark]:
    """The marks that the check's author gave it."""
    return getattr(check.function, "pytestmark", [])


def outcome_of(result: Result) -> tuple[Outcome, Phase]:
    """How a result looks to pytest and every plugin that listens.

    An error is a failed setup; whatever is neither a measured pass nor a failure is skipped.
    """
    if result.verdict is Verdict.PASS:
        return "passed", "call"
    if result.verdict is Verdict.FAIL and result.severity is Severity.CRITICAL:
        return "failed", "call"
    if result.verdict is Verdict.ERROR:
        return "failed", "setup"
    return "skipped", "call"


def longrepr_of(result: Result, location: tuple[str, int]) -> str | tuple[str, int, str]:
    """What pytest shows of a result that did not pass."""
    lines = [
        f"{each.subject} {each.field}: expected {each.expected}, observed {each.observed} ({each.source})"
        for each in result.findings
    ]
    text = "\n".join(clean(line) for line in lines) or clean(": ".join(filter(None, (result.reason, result.detail))))
    outcome, _ = outcome_of(result)
    return (location[0], location[1], f"{word_of(result)}: {text}") if outcome == "skipped" else text


def word_of(result: Result) -> str:
    """The word that stands for a result on a terminal."""
    if result.verdict is Verdict.FAIL:
        return "failed" if result.severity is Severity.CRITICAL else "warned"
    words = {Verdict.PASS: "passed", Verdict.ERROR: "error", Verdict.NOT_APPLICABLE: "n/a"}
    return words.get(result.verdict, result.verdict.value)


def shown(node: str) -> str:
    """A node's name as part of an item's: what a terminal or a path could stumble over is escaped."""
    return node if node.isprintable() and node.isascii() else node.encode("unicode_escape").decode("ascii")


def items_of(collector: pytest.Collector, name: str, kind: CheckKind, engine: Engine) -> list[ReadinessItem]:
    """The items of one check: one for each node.

    The node id is given as text: newer pytest then takes it apart as it does those of its cache, so that --lf knows it.
    """
    names = {node: f"{name}[{shown(node)}]" for node in engine.nodes_for(kind.check)}
    return [
        ReadinessItem.from_parent(
            collector, name=item, nodeid=f"{collector.nodeid}::{item}", kind=kind, node=node, engine=engine
        )
        for node, item in names.items()
    ]

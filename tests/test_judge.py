from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_readiness import NotApplicable, check
from gpu_readiness.declaration import Check, Depth, Outcome, declared
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.judge import Judge
from gpu_readiness.node import Node
from gpu_readiness.standard import Library, NodeFacts
from gpu_readiness.verdict import Finding, Reason, Result, Severity, Verdict

TODAY = dt.date(2026, 9, 1)


class NoArtefacts:
    """A snapshot with nothing in it."""

    def has(self, node: str, name: str) -> bool:
        return False

    def artefact(self, node: str, name: str, limit: int = 0, *, tail: bool = False) -> bytes:
        raise Unmeasured(Reason.MISSING, f"no {name}", name)


def node() -> Node:
    return Node("gpu-1", None, NoArtefacts(), Depth.SMI)  # type: ignore[arg-type]


def node_with(standard: str, folder: Path) -> Node:
    path = folder / "own.yaml"
    path.write_text(f"name: own\nmatch: {{nodes: ['*']}}\n{standard}")
    found = node()
    facts = NodeFacts("gpu-1", {}, (), (), "plain", "exclusive", False, None)
    found.bind(Library.load((str(path),)).for_node(facts))
    return found


def made(id: str, function: Callable[[Node], None], **declaration: object) -> Check:
    function.__doc__ = "It holds."
    found = declared(check(id, **declaration)(function))  # type: ignore[arg-type]
    assert found is not None
    return found


def judge(*checks: Check, on: Node | None = None, depth: Depth = Depth.SMI) -> dict[str, Result]:
    by_id = {each.id: each for each in checks}
    results = Judge(by_id, depth, TODAY).judge(on or node(), list(by_id))
    assert [each.check for each in results] == list(by_id)
    return {each.check: each for each in results}


def good(node: Node) -> None:
    node.require(True, "f", expected=1, observed=1, source="s")


def bad(node: Node) -> None:
    node.require(False, "f", expected=1, observed=2, source="s")


def mildly_bad(node: Node) -> None:
    node.require(False, "f", expected=1, observed=2, source="s", severity="warning")


def no_evidence(node: Node) -> None:
    raise Unmeasured(Reason.MISSING, "nothing there")


def broken_evidence(node: Node) -> None:
    raise Unmeasured(Reason.UNPARSABLE, "no XML")


def has_no_such_thing(node: Node) -> None:
    raise NotApplicable("the standard says so")


def says_nothing(node: Node) -> None:
    pass


def half(node: Node) -> None:
    good(node)
    raise Unmeasured(Reason.TIMEOUT, "the second GPU did not answer")


def bad_and_then_no_evidence(node: Node) -> None:
    bad(node)
    raise Unmeasured(Reason.MISSING, "the rest")


def mildly_bad_and_a_critical_gap(node: Node) -> None:
    mildly_bad(node)
    node.unmeasured(Reason.DENIED, "ECC")


def breaks(node: Node) -> None:
    raise KeyError("uuid")


def recurses(node: Node) -> None:
    recurses(node)


@pytest.mark.parametrize(
    ("function", "verdict", "severity", "reason", "words"),
    [
        (good, "pass", "critical", None, ""),
        (bad, "fail", "critical", None, ""),
        (mildly_bad, "fail", "warning", None, ""),
        (no_evidence, "untested", "critical", "missing", "nothing there"),
        (broken_evidence, "error", "critical", "unparsable", "no XML"),
        (has_no_such_thing, "not-applicable", "critical", None, "the standard says so"),
        (says_nothing, "untested", "critical", "missing", "nothing was read"),
        (half, "error", "critical", "timeout", "second GPU"),
        (bad_and_then_no_evidence, "fail", "critical", None, "the rest"),
        (mildly_bad_and_a_critical_gap, "untested", "critical", "denied", "ECC"),
        (breaks, "error", "critical", "unparsable", "the check itself broke: KeyError"),
        (recurses, "error", "critical", "unparsable", "the check itself broke: RecursionError"),
    ],
)
def test_how_a_check_ends(
    function: Callable[[Node], None], verdict: str, severity: str, reason: str | None, words: str
) -> None:
    result = judge(made("gpu.it", function))["gpu.it"]
    assert (result.verdict, result.severity, result.reason) == (verdict, severity, reason)
    assert words in result.detail


def test_an_assertion_is_a_finding() -> None:
    def test(node: Node) -> None:
        assert node.name == "other", "is\nnot\tother"

    result = judge(made("gpu.it", test, hint="rename it"))["gpu.it"]
    assert result.verdict == "fail"
    (finding,) = result.findings
    assert finding.observed.startswith("is not other")
    assert finding.hint == "rename it"


def test_interrupts_are_nobodys_verdict() -> None:
    def test(node: Node) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(made("gpu.it", test))


# --- depth and what a check needs ------------------------------------------------------------------------------------


def test_a_deeper_check_is_not_selected_and_not_called() -> None:
    result = judge(made("gpu.it", breaks, depth="probe"))["gpu.it"]
    assert (result.verdict, result.reason) == ("untested", "not-selected")
    assert "depth smi does not show it; depth probe does" in result.detail


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (good, "pass"),
        (mildly_bad, "pass"),  # a warning blocks nothing
        (has_no_such_thing, "pass"),
        (bad, "blocked"),
        (no_evidence, "blocked"),
        (broken_evidence, "blocked"),
        (says_nothing, "blocked"),
        (breaks, "blocked"),
    ],
)
def test_a_check_is_blocked_by_what_it_needs(first: Callable[[Node], None], second: str) -> None:
    result = judge(made("driver.a", first), made("gpu.b", good, needs=("driver.a",)))["gpu.b"]
    assert (result.reason or result.verdict) == second
    if second == "blocked":
        assert result.verdict is Verdict.UNTESTED
        assert result.detail == "blocked by driver.a"


@pytest.mark.parametrize(("first", "second"), [(bad, "blocked"), (no_evidence, "pass"), (good, "pass"), (half, "pass")])
def test_of_a_soft_need_only_the_failure_blocks(first: Callable[[Node], None], second: str) -> None:
    result = judge(made("driver.a", first), made("gpu.b", good, needs=("?driver.a",)))["gpu.b"]
    assert (result.reason or result.verdict) == second


def test_the_root_of_a_chain_is_named_whatever_the_order() -> None:
    chain = [
        made("gpu.c", good, needs=("gpu.b",)),
        made("gpu.b", good, needs=("driver.a",)),
        made("driver.a", bad),
    ]
    for checks in (chain, chain[::-1]):
        assert judge(*checks)["gpu.c"].detail == "blocked by driver.a"


def test_what_the_depth_leaves_out_blocks_nothing() -> None:
    results = judge(made("driver.a", bad, depth="probe"), made("gpu.b", good, needs=("driver.a", "driver.nowhere")))
    assert results["gpu.b"].verdict is Verdict.PASS


def test_a_needed_check_is_judged_once() -> None:
    calls = []

    def counted(node: Node) -> None:
        calls.append(node.name)
        good(node)

    judge(made("driver.a", counted), *(made(f"gpu.b{n}", good, needs=("driver.a",)) for n in range(3)))
    assert calls == ["gpu-1"]


# --- what the standard takes away ------------------------------------------------------------------------------------


WAIVER = "waivers: [{{check: {check}, nodes: [{nodes}], until: {until}, reason: part ordered}}]\n"


@pytest.mark.parametrize(
    ("check_id", "nodes", "until", "verdict"),
    [
        ("gpu.it", "gpu-1", "2026-09-01", "waived"),  # its last day counts
        ("gpu.it", "gpu-1", "2026-08-31", "fail"),
        ("gpu.*", "gpu-*", "2027-01-01", "waived"),
        ("gpu.other", "gpu-1", "2027-01-01", "fail"),
        ("gpu.it", "gpu-2", "2027-01-01", "fail"),
    ],
)
def test_a_waiver_covers_its_check_its_nodes_and_its_days(
    tmp_path: Path, check_id: str, nodes: str, until: str, verdict: str
) -> None:
    on = node_with(WAIVER.format(check=check_id, nodes=nodes, until=until), tmp_path)
    result = judge(made("gpu.it", bad), on=on)["gpu.it"]
    assert result.verdict == verdict
    assert result.findings, "what is waived stays visible"
    if verdict == "waived":
        assert "part ordered" in result.detail
        assert until in result.detail


def test_a_waiver_never_makes_a_measurement(tmp_path: Path) -> None:
    on = node_with(WAIVER.format(check="gpu.it", nodes="gpu-1", until="2027-01-01"), tmp_path)
    assert judge(made("gpu.it", no_evidence), on=on)["gpu.it"].verdict is Verdict.UNTESTED
    assert judge(made("gpu.it", broken_evidence), on=on)["gpu.it"].verdict is Verdict.ERROR


def test_what_a_waiver_leaves_weighs_what_is_left(tmp_path: Path) -> None:
    def test(node: Node) -> None:
        node.require(False, "known", expected=1, observed=2, source="s")
        node.require(False, "other", expected=1, observed=2, source="s", severity="warning")

    waiver = "waivers: [{check: gpu.it, nodes: [gpu-1], field: known, until: 2027-01-01, reason: r}]\n"
    result = judge(made("gpu.it", test), on=node_with(waiver, tmp_path))["gpu.it"]
    assert (result.verdict, result.severity) == ("fail", "warning")


# --- declarations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["", "gpu", "gpu.", ".ecc", "gpu.a.b"])
def test_an_id_is_a_layer_and_a_name(id: str) -> None:
    with pytest.raises(ValueError, match=r"layer\.name"):
        made(id, good)


@pytest.mark.parametrize("wrong", [{"severity": "fatal"}, {"depth": "deep"}])
def test_a_declaration_of_unknown_words_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises((ValueError, KeyError)):
        made("gpu.it", good, **wrong)


def test_a_check_without_a_docstring_has_no_title() -> None:
    def untitled(node: Node) -> None: ...

    with pytest.raises(ValueError, match="title"):
        check("gpu.it")(untitled)


def test_a_finding_never_covers_something_worse_that_was_not_measured() -> None:
    outcome = Outcome(Severity.CRITICAL)
    outcome.findings.append(Finding("g", "f", "e", "o", "s", severity=Severity.WARNING))
    outcome.add_unmeasured(Unmeasured(Reason.MISSING, "counters"), Severity.CRITICAL)
    assert outcome.end()[:3] == (Verdict.UNTESTED, Severity.CRITICAL, Reason.MISSING)


def test_a_gap_that_weighs_less_does_not_hide_a_finding() -> None:
    outcome = Outcome(Severity.CRITICAL)
    outcome.findings.append(Finding("g", "f", "e", "o", "s"))
    outcome.add_unmeasured(Unmeasured(Reason.MISSING, "counters"), Severity.WARNING)
    assert outcome.end()[:3] == (Verdict.FAIL, Severity.CRITICAL, None)
    assert "counters" in outcome.end()[3]


def test_beyond_the_depth_and_nothing_else_is_not_selected() -> None:
    outcome = Outcome(Severity.CRITICAL)
    outcome.add_unmeasured(Unmeasured(Reason.NOT_SELECTED, "needs a probe"))
    assert outcome.end()[:3] == (Verdict.UNTESTED, Severity.CRITICAL, Reason.NOT_SELECTED)
    outcome.measured += 1
    assert outcome.end()[0] is Verdict.PASS

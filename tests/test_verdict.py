from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.verdict import (
    ERROR_REASONS,
    Finding,
    NodeVerdict,
    Reason,
    Result,
    Severity,
    Verdict,
    exit_code,
    first_broken,
    node_verdict,
    unmeasured_verdict,
    worst_severity,
)

C, W, I = Severity.CRITICAL, Severity.WARNING, Severity.INFO  # noqa: E741 - as the DESIGN's table writes them
NUMBERS = count()


def result(verdict: Verdict, severity: Severity = C, reason: Reason | None = None) -> Result:
    return Result("n", f"gpu.check-{next(NUMBERS)}", verdict, severity, reason)


PASS = result(Verdict.PASS)
FAIL = result(Verdict.FAIL)
WARNED = result(Verdict.FAIL, W)
NOTED = result(Verdict.FAIL, I)
UNTESTED = result(Verdict.UNTESTED, C, Reason.MISSING)
BROKE = result(Verdict.ERROR, C, Reason.UNPARSABLE)
WAIVED = result(Verdict.WAIVED)
NOT_THERE = result(Verdict.NOT_APPLICABLE)
NOT_ASKED = result(Verdict.UNTESTED, C, Reason.NOT_SELECTED)
UNTESTED_WARNING = result(Verdict.UNTESTED, W, Reason.MISSING)
BROKE_WARNING = result(Verdict.ERROR, W, Reason.TIMEOUT)


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([PASS], "ready"),
        ([PASS, FAIL], "not-ready"),
        ([PASS, UNTESTED], "unknown"),
        ([PASS, BROKE], "unknown"),
        ([PASS, UNTESTED, FAIL], "not-ready"),
        ([PASS, WARNED], "degraded"),
        ([PASS, WARNED, UNTESTED], "unknown"),
        ([PASS, WARNED, FAIL], "not-ready"),
        ([PASS, NOTED], "ready"),  # information never degrades
        ([PASS, WAIVED], "ready"),
        ([WAIVED], "ready"),  # a waiver is a measurement that somebody answers for
        ([PASS, NOT_THERE], "ready"),
        ([PASS, NOT_ASKED], "ready"),
        ([PASS, UNTESTED_WARNING], "ready"),
        ([PASS, BROKE_WARNING], "ready"),
        ([PASS, WARNED, UNTESTED_WARNING], "degraded"),
        # Nothing speaks for these nodes.
        ([], "unknown"),
        ([NOT_THERE], "unknown"),
        ([NOT_ASKED], "unknown"),
        ([UNTESTED_WARNING], "unknown"),
        ([WARNED], "unknown"),
        ([NOTED], "unknown"),
        ([FAIL], "not-ready"),
    ],
)
def test_a_node_is_what_its_results_make_of_it(results: list[Result], verdict: str) -> None:
    assert node_verdict(results) == verdict


@pytest.mark.parametrize(
    ("results", "broken"),
    [
        ([PASS], None),
        ([PASS, WARNED], None),
        ([PASS, FAIL, result(Verdict.FAIL)], FAIL.check),
        ([UNTESTED, WARNED, FAIL], FAIL.check),  # of a not-ready node the first failure, not the first gap
        ([PASS, NOT_ASKED, UNTESTED_WARNING, BROKE, UNTESTED], BROKE.check),
        ([], None),
        ([WARNED, NOT_ASKED], None),
    ],
)
def test_the_first_broken_link(results: list[Result], broken: str | None) -> None:
    assert first_broken(results, node_verdict(results)) == broken


@pytest.mark.parametrize(
    ("nodes", "covered", "options", "code"),
    [
        (["ready"], 100, {}, 0),
        (["ready", "degraded"], 100, {}, 0),
        (["ready", "degraded"], 100, {"strict": True}, 1),
        (["ready", "not-ready", "unknown"], 50, {}, 1),
        (["ready", "unknown"], 100, {}, 6),
        (["degraded", "unknown"], 100, {"strict": True}, 1),
        (["ready"], 99.9, {}, 6),
        (["ready"], 99.9, {"min_coverage": 99}, 0),
        (["ready"], 99, {"min_coverage": 99}, 0),
        (["unknown"], 100, {"min_coverage": 0}, 6),
        (["not-ready"], 0, {"min_coverage": 100}, 1),
        ([], 100, {}, 6),
        ([], 0, {"min_coverage": 0}, 6),
    ],
)
def test_exit_codes(nodes: list[str], covered: float, options: dict[str, float], code: int) -> None:
    found = exit_code(map(NodeVerdict, nodes), covered=covered, **{"min_coverage": 100.0, **options})  # type: ignore[arg-type]
    assert found == code


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_makes_an_error_only_where_the_attempt_broke(reason: Reason) -> None:
    broke = reason in ("timeout", "unparsable", "hung")
    assert unmeasured_verdict(reason) == ("error" if broke else "untested")
    assert (reason in ERROR_REASONS) is broke


def test_the_words_are_those_of_the_contract() -> None:
    assert list(Verdict) == ["pass", "fail", "untested", "error", "not-applicable", "waived"]
    assert list(NodeVerdict) == ["not-ready", "unknown", "degraded", "ready"]
    assert set(Reason) == {
        *("blocked", "busy", "denied", "hung", "missing"),
        *("no-standard", "timeout", "unparsable", "unsupported", "not-selected"),
    }


@pytest.mark.parametrize(
    ("verdict", "reason", "planned", "measured"),
    [
        (Verdict.PASS, None, True, True),
        (Verdict.FAIL, None, True, True),
        (Verdict.FAIL, Reason.HUNG, True, True),
        (Verdict.WAIVED, None, True, True),
        (Verdict.UNTESTED, Reason.BLOCKED, True, False),
        (Verdict.ERROR, Reason.TIMEOUT, True, False),
        (Verdict.UNTESTED, Reason.NOT_SELECTED, False, False),
        (Verdict.NOT_APPLICABLE, None, False, False),
    ],
)
def test_what_counts_in_coverage(verdict: Verdict, reason: Reason | None, planned: bool, measured: bool) -> None:
    found = result(verdict, C, reason)
    assert (found.planned, found.measured) == (planned, measured)


def test_the_worst_finding_weighs() -> None:
    findings = [Finding("g", "f", "e", "o", "s", severity=each) for each in (I, W)]
    assert worst_severity(findings, C) is W
    assert worst_severity(findings[:1], C) is I
    assert worst_severity([], W) is W


# --- as properties ---------------------------------------------------------------------------------------------------


@st.composite
def any_result(draw: st.DrawFn) -> Result:
    verdict = draw(st.sampled_from(Verdict))
    reasons = [each for each in Reason if unmeasured_verdict(each) is verdict]
    return result(verdict, draw(st.sampled_from(Severity)), draw(st.sampled_from(reasons)) if reasons else None)


results = st.lists(any_result(), max_size=12)
GOOD = ("ready", "degraded")


@given(results, st.randoms())
def test_the_order_of_results_does_not_matter(found: list[Result], random: object) -> None:
    mixed = list(found)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert node_verdict(mixed) is node_verdict(found)


@given(results, any_result())
def test_a_critical_gap_never_makes_a_node_good(found: list[Result], more: Result) -> None:
    verdict = node_verdict([*found, more])
    if more.planned and not more.measured and more.severity is C:
        assert verdict not in GOOD
    if more.verdict is Verdict.FAIL and more.severity is C:
        assert verdict == "not-ready"


@given(results, any_result())
def test_only_a_measurement_makes_a_node_better(found: list[Result], more: Result) -> None:
    order = list(NodeVerdict)
    before, after = node_verdict(found), node_verdict([*found, more])
    if more.verdict not in (Verdict.PASS, Verdict.WAIVED):
        assert order.index(after) <= order.index(before)


@given(results)
def test_a_good_node_has_something_that_speaks_for_it_and_no_critical_gap(found: list[Result]) -> None:
    if node_verdict(found) in GOOD:
        assert any(each.verdict in (Verdict.PASS, Verdict.WAIVED) for each in found)
        assert all(each.measured for each in found if each.severity is C and each.planned)
        assert first_broken(found, node_verdict(found)) is None


@given(results)
def test_a_bad_node_has_a_first_broken_link(found: list[Result]) -> None:
    verdict = node_verdict(found)
    broken = first_broken(found, verdict)
    if verdict == "not-ready":
        (named,) = (each for each in found if each.check == broken)
        assert (named.verdict, named.severity) == ("fail", "critical")


@given(st.lists(st.sampled_from(NodeVerdict)), st.floats(0, 100), st.floats(0, 100), st.booleans())
def test_zero_means_that_every_node_is_good(
    nodes: list[NodeVerdict], covered: float, least: float, strict: bool
) -> None:
    code = exit_code(nodes, covered=covered, min_coverage=least, strict=strict)
    assert code in (0, 1, 6)
    if code == 0:
        assert nodes
        assert set(nodes) <= ({NodeVerdict.READY} if strict else {NodeVerdict.READY, NodeVerdict.DEGRADED})
        assert covered >= least
    assert (code == 1) == ("not-ready" in nodes or (strict and "degraded" in nodes))

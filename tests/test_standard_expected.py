from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.standard import Expected, Order, StandardError
from gpu_readiness.verdict import Severity


@pytest.mark.parametrize(
    ("written", "kind", "text", "good", "bad"),
    [
        (700, "exact", "700", [700, "700", "700.00", 700.0], [699, "700 W", "", True, None]),
        ("1g.10gb", "exact", "1g.10gb", ["1g.10gb"], ["1g.20gb", "1G.10GB"]),
        (True, "exact", "true", [True, "true"], ["True", 1, False]),
        ("enabled", "exact", "enabled", ["enabled", "Enabled"], ["on", "true", True, "disabled"]),
        ("580.105.08", "exact", "580.105.08", ["580.105.08", "v580.105.8"], ["580.105.80", "580.105"]),
        ("v1.34.2", "exact", "v1.34.2", ["1.34.2"], ["v1.34.2-eks-1", "1.34.20"]),
        ("any", "any", "any", [0, "", "x"], [None]),
        ("absent", "absent", "absent", [None], [0, "absent", "N/A"]),
        ("consensus", "consensus", "consensus", [], [1, "consensus", None]),
        ([8, 16], "one-of", "one of 8, 16", [8, "16"], [4, None]),
        (["absent", "<=512"], "one-of", "one of absent, <=512", [None, 0, 512], [513]),
        ([8], "exact", "8", [8], [16]),
        (">=650", "range", ">=650", [650, "650.5"], [649, "650 TFLOPS", None]),
        (">=1 <=5", "range", ">=1 <=5", [1, 5], [0, 6]),
        (">580.65.06", "range", ">580.65.06", ["580.105.08", "581"], ["580.65.06", "580.65.05", "latest"]),
        (">=580", "range", ">=580", ["580.105.08", "580", 581.0], ["575.57.08", "580 or so"]),
        ("580.*", "glob", "580.*", ["580.105.08", "580."], ["58", "5800.1", None]),
        ("700 ±2%", "range", "700 ±2%", [686, 714, "700"], [685, 715]),
        ("700 ±5", "range", "700 ±5", [695, 705], [694, 706]),
        ({"value": 26.562, "tolerance": "±1%"}, "range", "26.562 ±1%", [26.3, "26.562"], [25.0]),
    ],
)
def test_matchers(written: object, kind: str, text: str, good: list[object], bad: list[object]) -> None:
    expected = Expected.of(written)
    assert (expected.kind, expected.text) == (kind, text)
    assert [value for value in good if not expected.accepts(value)] == []
    assert [value for value in bad if expected.accepts(value)] == []


@pytest.mark.parametrize(
    ("written", "good", "bad"),
    [
        ("13.0", ["13.0", 13.0, "13"], ["13.1", "12.9"]),
        (">=12.9", ["12.10", "13.0"], ["12.8"]),
        (">=1.9", ["v1.34.2-gke.100", "1.10"], ["v1.8.9"]),
        ("4.6.0-4.8.3-distroless", ["4.6.0-4.8.3-distroless"], ["4.6.0-4.8.3", "4.6.0"]),
        (">=4.6 <5", ["4.6.0-4.8.3-distroless"], ["4.5.3-4.8.2", "5.0"]),
        ("containerd://1.7.28", ["containerd://1.7.28"], ["containerd://1.7.29"]),
        ("<13", ["12.9", 12], ["13.0", "13"]),
    ],
)
def test_versions_compare_by_their_parts(written: str, good: list[object], bad: list[object]) -> None:
    expected = Expected.of(written, Order.VERSION)
    assert [value for value in good if not expected.accepts(value)] == []
    assert [value for value in bad if expected.accepts(value)] == []


def test_words_compare_without_case() -> None:
    assert Expected.of("Exclusive_Process", Order.WORD).accepts("EXCLUSIVE_PROCESS")
    assert Expected.of("1EB8", Order.WORD).accepts("1eb8")
    assert Expected.of("96.00.*", Order.WORD).accepts("96.00.99.00.01")


def test_what_a_mapping_adds() -> None:
    expected = Expected.of({"value": [1199, 1200], "source": "DCGM", "severity": "warning", "note": "one board"})
    assert expected.text == "one of 1199, 1200"
    assert (expected.source, expected.severity, expected.note) == ("DCGM", Severity.WARNING, "one board")
    assert expected.numbers == (1199, 1200)
    assert Expected.of({"value": "any"}).is_any
    assert Expected.of({"value": "absent"}).is_absent
    assert Expected.of({"value": "consensus"}).is_consensus


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"valu": 1}, "valu: unknown key, did you mean value?"),
        ({"source": "x"}, "value: missing"),
        ({"value": "x", "tolerance": "±1%"}, "'x' is no number that could have one"),
        ({"value": 1, "severity": "fatal"}, "'fatal' is not one of critical, warning, info"),
        ({"value": {"value": 1}}, "is no text, number or list of them"),
        ({"value": 7, "tolerance": "2%"}, "tolerance: '2%' cannot be read"),
        ([], "is no list of texts and numbers"),
        ([[1]], "is no list of texts and numbers"),
        (["any", 1], "any and consensus stand alone"),
        (None, "is no text, number or list of them"),
        (">=", "is no range"),
        (">=1 or 2", "is no range"),
        ("700 ± 2 percent", "has no tolerance that can be read"),
    ],
)
def test_what_cannot_be_read(written: object, said: str) -> None:
    with pytest.raises(StandardError) as problem:
        Expected.of(written)
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text())))
def test_whatever_is_written_or_observed_there_is_no_traceback(value: object) -> None:
    try:
        expected = Expected.of(value)
    except StandardError:
        return
    for seen in (value, 700, "580.105.08", "9" * 10_000, 10**400, None, True, float("nan")):
        assert expected.accepts(seen) in (True, False)


@given(st.integers(-(10**12), 10**12))
def test_a_number_is_itself_however_it_is_spelt(number: int) -> None:
    expected = Expected.of(number)
    assert expected.accepts(number)
    assert expected.accepts(str(number))
    assert expected.accepts(f"{number}.00")
    assert not expected.accepts(number + 1)

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from answers import DAY, NOW, Answers, row, success
from hypothesis import given
from hypothesis import strategies as st
from nodes import h100

from gpu_readiness.evidence.prometheus import Prometheus, parse_prometheus
from gpu_readiness.evidence.prometheus_gpu import Growth
from gpu_readiness.evidence.prometheus_queries import canonical_queries, meaning_of, spellings
from gpu_readiness.evidence.promql import MAX_LENGTH, Query, parse_query, seconds_of
from gpu_readiness.evidence.reading import Unmeasured

ROOT = Path(__file__).parents[1]
TEMP, XIDS, REPLAYS = "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER"
Json = dict[str, Any]


def parsed(document: Any, taken: float | None = None) -> Prometheus:
    return parse_prometheus(json.dumps(document).encode(), taken)


def one(query: str, *rows: Json, kind: str = "vector") -> Prometheus:
    return parsed({query: success(list(rows), kind)})


def refused(document: Any) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(Unmeasured) as raised:
        parse_prometheus(data)
    return raised.value.reason.value


# --- queries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (TEMP, Query(names=frozenset({TEMP}))),
        (
            f'{TEMP}{{Hostname="a}}b", gpu=~"0|1"}}',
            Query(names=frozenset({TEMP}), matched=frozenset({"Hostname", "gpu"})),
        ),
        (f"timestamp ( {TEMP} )", Query(steps=("timestamp",), names=frozenset({TEMP}))),
        (f"max by (UUID) ({TEMP})", Query(steps=("max",), names=frozenset({TEMP}))),
        (f"max({TEMP}) by (UUID, gpu)", Query(steps=("max",), names=frozenset({TEMP}))),
        (f"({TEMP} or {XIDS})", Query(names=frozenset({TEMP, XIDS}))),
        (f"{XIDS}[1h30m]", Query(steps=("range",), names=frozenset({XIDS}), window=5400)),
        (f"{XIDS}[1d:5m] offset 1h", Query(("offset", "range"), frozenset({XIDS}), window=DAY, step=300, offset=3600)),
        (f"{XIDS}[1d:]", Query(("range",), frozenset({XIDS}), window=DAY)),
        (f"{TEMP} > bool 80", Query(steps=("compare",), names=frozenset({TEMP}))),
        ('count_values by (UUID) ("v", x)', Query(("count_values",), frozenset({"x"}), label="v")),
        ('{__name__=~"DCGM_.*"}', Query(matched=frozenset({"__name__"}))),
        ("time()", Query(steps=("time",))),
    ],
)
def test_what_a_query_asks(text: str, query: Query) -> None:
    assert parse_query(text) == query


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(",
        f"{TEMP} {TEMP}",
        f"{TEMP} * 60",
        f"{TEMP} - {XIDS}",
        f"-{TEMP}",
        f"{TEMP} and {XIDS}",
        f"{TEMP} or timestamp({XIDS})",
        f"topk(3, {TEMP})",
        f'label_replace({TEMP}, "a", "b", "c", "d")',
        f"sum without (gpu) ({TEMP})",
        f"{TEMP}[5m",
        f"{TEMP}[5]",
        f"{TEMP}[5m:1m][5m:1m]",
        f"{TEMP} @ 1609746000",
        f"{TEMP}{{gpu}}",
        f'{TEMP}{{gpu="0}}',
        "DROP TABLE; --",
        "(" * 50 + TEMP + ")" * 50,
        "x" * (MAX_LENGTH + 1),
        "\0",
    ],
)
def test_of_other_queries_nothing_is_known(text: str) -> None:
    assert parse_query(text) is None
    assert meaning_of(text) is None


@given(st.text(alphabet="DCGM_()[]{}:,\"'`=~<>! 05mhorbycount_valuesrate", max_size=200))
def test_no_query_breaks_the_reader(text: str) -> None:
    assert parse_query(text) is None or isinstance(parse_query(text), Query)


def test_durations() -> None:
    assert [seconds_of(each) for each in ("90s", "5m", "24h", "7d", "1w", "1h30m", "500ms")] == [
        90,
        300,
        DAY,
        7 * DAY,
        7 * DAY,
        5400,
        0.5,
    ]


@pytest.mark.parametrize(("key", "query"), canonical_queries("24h", 300).items())
def test_every_canonical_query_is_understood_and_leaves_nothing_out(key: str, query: str) -> None:
    meaning = meaning_of(query)
    if key == "time":
        assert meaning is None
        return
    assert meaning is not None
    assert meaning.complete
    assert meaning.topic
    assert meaning.query.window in ({0.0} if key in ("gpus", "xid before", "xid total before") else {float(DAY)})


def test_canonical_queries_ask_for_the_old_and_the_new_names() -> None:
    said = " ".join(canonical_queries("24h", 300).values())
    for name in ("XID_ERROR", "PCIE_REPLAY_TOTAL", "ROW_REMAP_UNCORRECTABLE_TOTAL", "CLOCK_THROTTLE_REASONS"):
        assert f"DCGM_FI_DEV_{name} " in said or f"DCGM_FI_DEV_{name})" in said
    assert spellings("PCIE_REPLAY_COUNTER") == [REPLAYS, "DCGM_FI_DEV_PCIE_REPLAY_TOTAL"]


def test_the_documentation_has_the_canonical_queries() -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    block = re.search(r"```promql\n(.*?)```", page, re.DOTALL)
    assert block is not None
    assert block[1].splitlines() == list(canonical_queries("24h", 300).values())


# --- answers -------------------------------------------------------------------------------------------------


def test_the_answers_to_the_canonical_queries() -> None:
    answers = Answers(h100()).put("replays", 12.04).xid(79).add("reasons", 270, value="1").add("reasons", 18, value="8")
    found = parsed(answers.document())
    gpu, other = found.gpus["GPU-h100-0-0"], found.gpus["GPU-h100-0-1"]
    assert found.asked == NOW
    assert not found.problems
    assert set(found.windows.values()) == {float(DAY)}
    assert (gpu.present, gpu.age, gpu.covered) == (True, 12.0, DAY)
    assert (gpu.hosts, gpu.product) == ({"gpu-1"}, "NVIDIA H100 80GB HBM3")
    assert gpu.growth["PCIE_REPLAY_COUNTER"] == Growth(12.04, DAY)
    assert (gpu.xids, other.xids, other.has_xids) == ({79: 1}, {}, True)
    assert gpu.throttled == {"CLOCKS_EVENT_REASONS": 0.0625}


@pytest.mark.parametrize("label", ["UUID", "uuid", "exported_UUID"])
def test_a_gpu_is_known_by_its_uuid_and_its_node_by_any_label(label: str) -> None:
    labels = {label: "GPU-a", "hostname": "one", "exported_Hostname": "two", "kubernetes_node": "three", "pod": "x"}
    found = one(f"timestamp({TEMP})", row(NOW - 1, **labels))
    assert found.gpus["GPU-a"].hosts == {"one", "two", "three"}


def test_series_without_a_gpu_are_no_gpu() -> None:
    rows = [row(1, gpu="0", Hostname="gpu-1"), row(2, UUID=""), row(3, gpu_uuid="GPU-a", nvlink="0")]
    assert not one("DCGM_FI_DEV_NVLINK_COUNT_RX", *rows).gpus


def test_the_time_of_an_instant_query_is_not_that_of_its_sample() -> None:
    gpu = one(TEMP, row(40, UUID="GPU-a")).gpus["GPU-a"]
    assert (gpu.age, gpu.age_at_most) == (None, 300)
    gpu = one(f"timestamp({TEMP})", row(NOW - 77, UUID="GPU-a")).gpus["GPU-a"]
    assert gpu.age == 77


def test_the_newest_sample_of_several_series_counts() -> None:
    rows = [row(NOW - 200, UUID="GPU-a", GPU_I_ID="1"), row(NOW - 10, UUID="GPU-a", GPU_I_ID="2")]
    assert one(f"timestamp({TEMP})", *rows).gpus["GPU-a"].age == 10


def test_when_it_was_asked_is_what_the_server_says_and_no_later_than_the_snapshot() -> None:
    document = {"time()": success([NOW, str(NOW)], "scalar")} | {TEMP: success([row(1, UUID="GPU-a")])}
    assert parsed(document).asked == NOW
    assert parsed(document, taken=NOW + 600).asked == NOW
    assert parsed(document, taken=NOW + 7200).asked == NOW + 7200
    raw = {f"{TEMP}[10m]": success([{"metric": {"UUID": "GPU-a"}, "values": [[NOW - 30, "40"]]}], "matrix")}
    assert parsed(raw).gpus["GPU-a"].age is None
    assert parsed(raw, taken=NOW).gpus["GPU-a"].age == 30


def test_an_empty_answer_says_that_there_is_nothing_only_if_the_query_left_nothing_out() -> None:
    assert "gpus" in one(TEMP).answered
    assert "gpus" in one(f'{TEMP}{{Hostname="gpu-1"}}').answered
    for query in (f"{TEMP} > 90", f'{TEMP}{{gpu="0"}}', XIDS, "up", "DCGM_FI_DEV_FAN_SPEED"):
        assert "gpus" not in one(query).answered, query
    assert "xid" not in one(XIDS).answered
    assert {"xid", "XID_ERRORS"} <= one(f"{XIDS}[24h]").answered


@pytest.mark.parametrize(
    ("query", "number", "amount"),
    [
        (f"increase({REPLAYS}[24h])", 7, 7),
        ("sum by (UUID) (increase(DCGM_FI_DEV_PCIE_REPLAY_TOTAL[24h]))", 7, 7),
        (f"rate({REPLAYS}[24h])", 0.5, 0.5 * DAY),
        (f"increase({REPLAYS}[24h])", -3, 0),
    ],
)
def test_growth(query: str, number: float, amount: float) -> None:
    assert one(query, row(number, UUID="GPU-a")).gpus["GPU-a"].growth == {"PCIE_REPLAY_COUNTER": Growth(amount, DAY)}


def test_series_of_two_exporters_do_not_add_up() -> None:
    rows = [row(7, UUID="GPU-a", Hostname="a"), row(3, UUID="GPU-a", hostname="a")]
    assert one(f"increase({REPLAYS}[24h])", *rows).gpus["GPU-a"].growth["PCIE_REPLAY_COUNTER"].amount == 7


@pytest.mark.parametrize("number", ["NaN", "+Inf", "1e300"])
def test_what_is_no_number_of_anything_is_not_there(number: str) -> None:
    broken = {"metric": {"UUID": "GPU-a"}, "value": [NOW, number]}
    assert one(f"increase({REPLAYS}[24h])", broken).gpus["GPU-a"].growth == {}
    gpu = one(f"timestamp({TEMP})", broken).gpus["GPU-a"]
    assert (gpu.present, gpu.age, gpu.age_at_most) == (False, None, None)


def test_stretches_of_the_window_add_up() -> None:
    rows = [row(100, UUID="GPU-a", Hostname="exporter-a"), row(88, UUID="GPU-a", Hostname="exporter-b")]
    assert one(f"count_over_time(count by (UUID, Hostname) ({TEMP})[24h:5m])", *rows).gpus["GPU-a"].covered == 188 * 300


def values(metric: str, said: dict[str, float], *, before: tuple[str, ...] = (), **labels: str) -> dict[int, int]:
    document = {
        f'count_over_time(count_values by (UUID) ("v", {metric})[24h:5m])': success(
            [row(steps, UUID="GPU-a", v=value, **labels) for value, steps in said.items()]
        ),
        f'count_values by (UUID) ("v", {metric} offset 24h)': success(
            [row(1, UUID="GPU-a", v=value, **labels) for value in before]
        ),
    }
    return dict(parsed(document).gpus["GPU-a"].xids)


def test_xids_of_the_gauge() -> None:
    assert values(XIDS, {"0": 288}) == {}
    assert values(XIDS, {"0": 200, "31": 44, "79": 44}, before=("0",)) == {31: 1, 79: 1}
    assert values(XIDS, {"79": 288}, before=("79",)) == {}
    assert values(XIDS, {"79": 200, "63": 88}, before=("79",)) == {63: 1}
    assert values("DCGM_FI_DEV_XID_ERROR", {"79": 10}) == {79: 1}


@pytest.mark.parametrize("blank", ["2147483632", "9223372036854775794", "9.223372036854776e+18", "-1", "x", "1e9"])
def test_a_blank_is_no_xid(blank: str) -> None:
    assert values(XIDS, {blank: 288}) == {}


def test_xids_that_the_exporter_counts() -> None:
    windowed = {"xid": "63", "window_size_in_ms": "300000"}
    assert values("DCGM_EXP_XID_ERRORS_COUNT", {"0": 280, "1": 2, "2": 1}, **windowed) == {63: 4}
    assert values("DCGM_EXP_XID_ERRORS_COUNT", {"1": 4}, xid="63", window_size_in_ms="600000") == {63: 2}
    assert values("DCGM_EXP_XID_ERRORS_COUNT", {"0": 288}) == {}
    total = "DCGM_EXP_XID_ERRORS_TOTAL"
    assert values(total, {"3": 288}, before=("3",), xid="63") == {}
    assert values(total, {"3": 200, "5": 88}, before=("3",), xid="63") == {63: 2}
    assert values(total, {"3": 200, "1": 88}, before=("3",), xid="63") == {63: 1}, "the exporter began anew"
    assert values(total, {"2": 88}, xid="63") == {63: 2}, "a series begins with its first XID"
    assert values(total, {"2": 88}, xid="²") == {}


def test_xids_by_other_queries() -> None:
    assert one(f"max_over_time({XIDS}[24h])", row(79, UUID="GPU-a")).gpus["GPU-a"].xids == {79: 1}
    counted = row(1, UUID="GPU-a", xid="79")
    assert one("max_over_time(DCGM_EXP_XID_ERRORS_COUNT[24h])", counted).gpus["GPU-a"].xids == {79: 1}
    changed = one(f"changes({XIDS}[24h])", row(2, UUID="GPU-a"), row(0, UUID="GPU-b"))
    assert [changed.gpus[each].xid_changed for each in ("GPU-a", "GPU-b")] == [True, False]


def test_slowdown_by_mask_event_and_time() -> None:
    reasons = 'count_over_time(count_values by (UUID) ("v", DCGM_FI_DEV_CLOCK_THROTTLE_REASONS)[24h:5m])'
    rows = [row(75, UUID="GPU-a", v="1"), row(20, UUID="GPU-a", v="4"), row(5, UUID="GPU-a", v="72")]
    assert one(reasons, *rows).gpus["GPU-a"].throttled == {"CLOCKS_EVENT_REASONS": 0.05}
    blank = row(5, UUID="GPU-a", v="2147483632")
    assert one(reasons, blank).gpus["GPU-a"].throttled == {}
    spent = one("increase(DCGM_FI_DEV_THERMAL_VIOLATION[24h])", row(864e9, UUID="GPU-a"))
    assert spent.gpus["GPU-a"].throttled == {"THERMAL_VIOLATION": 0.01}


def samples(*values: float, step: int = 60, uuid: str = "GPU-a", **labels: str) -> Json:
    pairs = [[NOW - step * (len(values) - place), str(value)] for place, value in enumerate(values)]
    return {"metric": {"UUID": uuid, **labels}, "values": pairs}


def test_raw_samples_of_a_range() -> None:
    gpu = one(f"{REPLAYS}[1h]", samples(5, 7, 1, 4), kind="matrix").gpus["GPU-a"]
    assert gpu.growth["PCIE_REPLAY_COUNTER"] == Growth(2 + 1 + 3, 180)
    assert gpu.covered == 180
    gpu = one(f"{REPLAYS}[1h]", samples(5, 2147483632, 5), kind="matrix").gpus["GPU-a"]
    assert gpu.growth["PCIE_REPLAY_COUNTER"].amount == 0, "a blank in between is no growth"


def test_raw_samples_with_gaps_cover_less() -> None:
    gpu = one(f"{REPLAYS}[1h]", samples(1, 1, 1, step=600), kind="matrix").gpus["GPU-a"]
    assert gpu.covered == 0


def test_raw_samples_of_xids() -> None:
    def xids(*values: float) -> dict[int, int]:
        return dict(one(f"{XIDS}[1h]", samples(*values), kind="matrix").gpus["GPU-a"].xids)

    assert xids(0, 0, 79, 79) == {79: 1}
    assert xids(79, 79, 79, 79) == {}, "it was there when the window began"
    assert xids(79, 79, 31, 31) == {31: 1}
    late = [samples(0, 0, 0, 0, step=600), samples(79, 79, uuid="GPU-b")]
    assert one(f"{XIDS}[1h]", *late, kind="matrix").gpus["GPU-b"].xids == {79: 1}, "it came with the XID"


def test_a_range_query_looks_back_as_far_as_its_samples_do() -> None:
    found = one(REPLAYS, samples(*range(11)), kind="matrix")
    assert found.windows == {"replay-rate": 600}


def test_pods_that_come_and_go_do_not_break_raw_samples() -> None:
    rows = [samples(0, 0, 0, pod="a"), {"metric": {"UUID": "GPU-a", "pod": "b"}, "values": [[NOW, "79"]]}]
    assert one(f"{XIDS}[1h]", *rows, kind="matrix").gpus["GPU-a"].xids == {79: 1}
    rows = [samples(0, 0, 79), samples(0, 0, 0, GPU_I_ID="1")]
    assert one(f"{XIDS}[1h]", *rows, kind="matrix").gpus["GPU-a"].xids == {79: 1}


# --- what is no answer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        b"\xff",
        b"{",
        b"null",
        b'"text"',
        b"[]",
        b"[" * 100_000,
        b'{"a": {"status": "success", "data": {"resultType": "vector", "result": [' + b"[" * 100_000,
        {"q": None},
        {"q": []},
        {"q": {}},
        {"q": {"status": "ok"}},
        {"status": "success", "data": {"resultType": "vector", "result": []}},
        {"q": {"status": "success"}},
        {"q": {"status": "success", "data": []}},
        {"q": success([], "streams")},
        {"q": {"status": "success", "data": {"resultType": "vector"}}},
        {"q": {"status": "success", "data": {"resultType": "vector", "result": {}}}},
        {"q": success([1])},
        {"q": success([{"value": [NOW, "1"]}])},
        {"q": success([{"metric": []}])},
        {"q": success([{"metric": {"UUID": 7}, "value": [NOW, "1"]}])},
        {"q": success([{"metric": {}}])},
        {"q": success([{"metric": {}, "value": "1"}])},
        {"q": success([{"metric": {}, "value": [NOW]}])},
        {"q": success([{"metric": {}, "value": [NOW, 1]}])},
        {"q": success([{"metric": {}, "value": [str(NOW), "1"]}])},
        {"q": success([{"metric": {}, "value": [True, "1"]}])},
        {"q": success([{"metric": {}, "value": [10**400, "1"]}])},
        {"q": success([{"metric": {}, "value": [NOW, "one"]}])},
        {"q": success([{"metric": {}, "values": {}}], "matrix")},
        {"q": success([{"metric": {}, "values": [[NOW, None]]}], "matrix")},
        {"q": success(["now"], "scalar")},
        {"q": {"status": "error", "errorType": "bad_data", "error": "parse error"}},
        {"q": {"status": "error"}},
        {"q": success([]) | {"warnings": ["store gateway unreachable"]}},
        {"q": success([]) | {"isPartial": True}},
    ],
)
def test_no_answer_is_no_evidence(document: Any) -> None:
    assert refused(document) == "unparsable"


def test_an_empty_file_and_an_empty_object_are_missing() -> None:
    assert refused(b"") == refused(b"  \n") == refused({}) == "missing"


def test_a_timeout_of_prometheus_is_one() -> None:
    assert refused({"q": {"status": "error", "errorType": "timeout", "error": "query timed out"}}) == "timeout"


def test_one_query_that_failed_does_not_take_the_others_along() -> None:
    answers = Answers(h100()).fail("xid total")
    found = parsed(answers.document())
    assert found.problems.keys() == {"xid"}
    assert "xid" not in found.answered
    assert found.gpus["GPU-h100-0-0"].present


def test_notes_about_a_query_and_unknown_keys_are_no_problem() -> None:
    response = success([row(40, UUID="GPU-a")]) | {
        "infos": ["PromQL info: x"],
        "warnings": ["PromQL info: y"],
        "stats": 7,
    }
    assert not parsed({TEMP: response}).problems


def test_histograms_are_passed_over() -> None:
    histogram = {"metric": {"UUID": "GPU-a"}, "histogram": [NOW, {"count": "1"}]}
    assert not one(TEMP, histogram).gpus


def test_a_large_answer_is_read_in_time() -> None:
    rows = [row(NOW - 5, UUID=f"GPU-{number}", Hostname=f"gpu-{number // 8}") for number in range(40_000)]
    started = time.monotonic()
    assert len(one(f"timestamp({TEMP})", *rows).gpus) == 40_000
    assert time.monotonic() - started < 10


DOCUMENT = Answers(h100()).xid(79).document()


@given(st.data())
def test_whatever_is_in_the_file_it_is_read_or_refused(data: st.DataObject) -> None:
    """Put something else in one place of a good file."""
    document = json.loads(json.dumps(DOCUMENT))
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({}) | st.just([[]])
    )
    text = json.dumps(document).encode()
    with suppress(Unmeasured):
        assert isinstance(parse_prometheus(text), Prometheus)

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodes import fails, h100, passes, untested

from gpu_readiness.evidence.probe import SCHEMA, Failure, Probe, parse_probe, reading
from gpu_readiness.evidence.reading import State, Unmeasured
from gpu_readiness.verdict import Reason

SMALLEST: dict[str, Any] = {"schema": SCHEMA, "driver": {}}


def probe(**parts: Any) -> Probe:
    return parse_probe(json.dumps({**SMALLEST, **parts}).encode())


def refused(data: bytes) -> Unmeasured:
    with pytest.raises(Unmeasured) as raised:
        parse_probe(data)
    assert "probe.json" in raised.value.message
    assert "\n" not in raised.value.message
    return raised.value


def test_the_smallest_document_knows_nothing() -> None:
    found = probe()
    assert found.gpus == []
    assert reading(found.driver.version, "driver.version").state is State.ABSENT
    assert reading(found.counts.pci, "count of pci").state is State.ABSENT
    assert reading(found.host.modules, "modules").state is State.ABSENT


@pytest.mark.parametrize("value", ["580.1", 0, 8, 1.5, "", False, True, [], ["nvidia", "nvidia_uvm"]])
def test_a_plain_value_is_kept_as_it_is(value: object) -> None:
    found = probe(host={"kernel": value}).host.kernel
    assert found == value
    assert type(found) is type(value)
    assert reading(found, "kernel").there


@pytest.mark.parametrize("state", ["unsupported", "denied", "broken", "absent"])
def test_a_call_that_failed_is_data(state: str) -> None:
    gpu = {"index": 0, "uuid": "GPU-1", "fields": {"ecc.current": {"state": state, "detail": "NVML says so"}}}
    (found,) = probe(gpus=[gpu]).gpus
    said = reading(found.fields["ecc.current"], "ecc.current")
    assert isinstance(found.fields["ecc.current"], Failure)
    assert (said.value, said.state, said.detail, said.source) == (None, state, "NVML says so", "probe.json")


def test_what_a_later_version_adds_is_let_be() -> None:
    found = probe(invented={"deep": [1]}, gpus=[{"index": 0, "uuid": "GPU-1", "fields": {"invented": 1}, "more": None}])
    assert found.gpus[0].fields["invented"] == 1


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "schema"),
        ({"driver": {}}, "schema"),
        ({"schema": SCHEMA}, "driver"),
        ({**SMALLEST, "schema": "gpu-readiness.probe/v2"}, "schema"),
        ({**SMALLEST, "schema": None}, "schema"),
        ({**SMALLEST, "driver": []}, "driver"),
        ({**SMALLEST, "driver": None}, "driver"),
        ({**SMALLEST, "driver": {"version": {"state": "perfect"}}}, "driver.version"),
        ({**SMALLEST, "driver": {"version": {"major": 580}}}, "driver.version"),
        ({**SMALLEST, "driver": {"hung": "nvmlInit"}}, "driver.hung"),
        ({**SMALLEST, "gpus": {}}, "gpus"),
        ({**SMALLEST, "gpus": None}, "gpus"),
        ({**SMALLEST, "gpus": [{}]}, "gpus.0.index"),
        ({**SMALLEST, "gpus": [{"index": 0}]}, "gpus.0.uuid"),
        ({**SMALLEST, "gpus": [{"index": 0, "uuid": None}]}, "gpus.0.uuid"),
        ({**SMALLEST, "gpus": [{"index": 0, "uuid": "a", "fields": []}]}, "gpus.0.fields"),
        ({**SMALLEST, "gpus": [{"index": 0, "uuid": "a", "fields": {"t": [[1]]}}]}, "gpus.0.fields.t"),
        ({**SMALLEST, "gpus": [{"index": 0, "uuid": "a", "error": "GPU is lost"}]}, "gpus.0.error"),
        ({**SMALLEST, "gpus": [{"index": 0, "uuid": "a", "clock-events": "none"}]}, "gpus.0.clock-events"),
        ([], "probe.json"),
        (None, "probe.json"),
        ("probe", "probe.json"),
    ],
)
def test_a_document_that_is_not_as_the_schema_says_names_the_first_field(document: object, words: str) -> None:
    found = refused(json.dumps(document).encode())
    assert found.reason is Reason.UNPARSABLE
    assert words in found.message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "missing"),
        (b" \n", "missing"),
        (b"{", "unparsable"),
        (b"Traceback (most recent call last):\n", "unparsable"),
        (json.dumps(SMALLEST).encode()[:-1], "unparsable"),
        (json.dumps(SMALLEST).encode() * 2, "unparsable"),
        (b'{"schema": "gpu-readiness.probe/v1", "driver": {"version": NaN}}', "unparsable"),
        (b'{"schema": "gpu-readiness.probe/v1", "driver": ' + b"[" * 100_000, "unparsable"),
        (json.dumps(SMALLEST).encode("utf-16"), "unparsable"),
    ],
)
def test_what_is_no_document(data: bytes, reason: str) -> None:
    assert refused(data).reason == reason


# --- in a node -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["hot", "", True, [], ["34"], {"state": "broken", "detail": "Unknown Error"}, {"state": "denied"}]
)
@pytest.mark.parametrize(
    ("field", "check"),
    [
        ("memory.total", "driver.gpu-identity"),
        ("pcie.width", "gpu.pcie-width"),
        ("power.limit", "gpu.power-limit"),
        ("ecc.volatile.sram-uncorrectable", "gpu.ecc-errors"),
        ("remap.pending", "gpu.memory-repair"),
        ("nvlink.links", "gpu.nvlink"),
        ("inforom.valid", "gpu.inforom"),
        ("ecc.current", "gpu.ecc-mode"),
    ],
)
def test_a_value_of_the_wrong_kind_passes_no_check(field: str, check: str, value: object) -> None:
    fleet = h100().file("nvidia-smi.xml", None).field(field, value)
    assert fleet.judge(check).verdict != "pass"


@pytest.mark.parametrize("value", ["hot", [], {"state": "broken"}, {"state": "denied"}])
def test_a_temperature_that_is_none_passes_no_check(value: object) -> None:
    """Where the margin is missing, the temperature itself is judged."""
    fleet = h100().file("nvidia-smi.xml", None).field("temperature.margin", value).field("temperature", value)
    assert fleet.judge("gpu.temperature").verdict != "pass"


def test_the_probe_counts_before_nvidia_smi_and_does_without_it() -> None:
    fleet = h100().field("ecc.current", "disabled", gpu=1)
    assert fails(fleet.judge("gpu.ecc-mode"), "ecc.current", "disabled")
    assert fails(fleet.file("nvidia-smi.xml", None).judge("gpu.ecc-mode"), "ecc.current", "disabled")


def test_a_field_that_the_probe_lacks_is_read_from_nvidia_smi() -> None:
    fleet = h100().field("ecc.current", None)
    assert passes(fleet.judge("gpu.ecc-mode"))
    assert untested(fleet.file("nvidia-smi.xml", None).judge("gpu.ecc-mode"), "missing", "ecc.current")


@pytest.mark.parametrize("data", [b"{", b"", b'{"schema": "other"}', b"<html/>"])
def test_a_probe_that_cannot_be_read_is_no_reason_to_be_content_with_less(data: bytes) -> None:
    """Depth probe was planned, for the attempt is there: what only a probe shows was not measured."""
    fleet = h100().file("probe.json", data)
    assert fleet.judge("gpu.nvlink").verdict in ("untested", "error")
    assert fleet.judge("gpu.inforom").verdict in ("untested", "error")


def test_a_probe_that_hung_is_a_fault_of_the_driver() -> None:
    fleet = h100()
    fleet.probe["driver"]["hung"] = {"call": "nvmlInit_v2", "text": "no answer", "seconds": 30}
    result = fleet.judge("driver.nvml")
    assert (result.verdict, result.reason) == ("fail", "hung")
    assert "nvmlInit_v2" in result.findings[0].observed


def test_a_gpu_with_an_error_hides_no_other() -> None:
    fleet = h100()
    fleet.probe["gpus"][1]["error"] = {"call": "nvmlDeviceGetTemperature", "text": "GPU is lost"}
    result = fleet.judge("driver.nvml")
    assert fails(result, "nvml", "GPU is lost")
    assert [each.subject for each in result.findings] == [fleet.uuid(1)]


def test_two_gpus_of_one_uuid_are_one_too_few() -> None:
    fleet = h100()
    fleet.probe["gpus"][1]["uuid"] = fleet.uuid(0)
    assert fleet.file("nvidia-smi.xml", None).judge("driver.gpu-count").verdict == "fail"


# --- nothing breaks it -----------------------------------------------------------------------------------------------

KEYS = (
    "schema",
    "driver",
    "counts",
    "host",
    "gpus",
    "index",
    "uuid",
    "fields",
    "error",
    "hung",
    "state",
    "call",
    "text",
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just(SCHEMA),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(KEYS), anything))
def test_no_document_breaks_it(document: dict[str, Any]) -> None:
    for whole in (document, {**SMALLEST, **document}):
        with suppress(Unmeasured):
            parse_probe(json.dumps(whole).encode())


@given(st.binary(max_size=100))
def test_no_bytes_break_it(data: bytes) -> None:
    with suppress(Unmeasured):
        parse_probe(data)

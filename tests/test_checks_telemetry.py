from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from answers import DAY, NOW, Answers, row, success
from nodes import CHECKS, Fleet, a100_mig, fails, h100, judge, not_applicable, passes, shown, untested, warns

from gpu_readiness.evidence.dcgm import RENAMED
from gpu_readiness.evidence.snapshot import open_snapshot
from gpu_readiness.run import Engine, Settings

Json = dict[str, Any]

DCGM = "DCGM_FI_DEV_"
#: Artefacts of an exporter that did not answer with metrics, and what that makes of a check.
NO_SCRAPE = [
    (None, "missing"),
    ("", "missing"),
    ("# HELP up is up\nup 1\n", "missing"),
    ("<html><body>503 Service Unavailable</body></html>", "unparsable"),
    ("OK", "unparsable"),
]


def _rewritten(fleet: Fleet, old: str, new: str) -> Fleet:
    return fleet.file("dcgm.prom", fleet.files["gpu-1"]["dcgm.prom"].replace(old, new))


# --- telemetry.scrape ----------------------------------------------------------------------------------------


def test_scrape_passes_when_the_nodes_own_exporter_answered() -> None:
    assert passes(h100().judge("telemetry.scrape"))


@pytest.mark.parametrize("name", ["nvidia-dcgm-exporter-x7x2p", "localhost"])
def test_scrape_passes_whatever_the_exporter_calls_its_host_unless_that_is_another_node(name: str) -> None:
    assert passes(_rewritten(h100(), 'Hostname="gpu-1"', f'hostname="{name}"').judge("telemetry.scrape"))


@pytest.mark.parametrize("label", ["Hostname", "hostname"])
def test_scrape_fails_when_another_node_answered(label: str) -> None:
    fleet = _rewritten(h100(nodes=2), 'Hostname="gpu-1"', f'{label}="gpu-2"')
    assert fails(fleet.judge("telemetry.scrape"), "hostname", "gpu-2")


def test_scrape_fails_when_there_is_no_series_of_a_gpu() -> None:
    fleet = h100().file("dcgm.prom", 'DCGM_FI_DEV_NVSWITCH_POWER{nvswitch="0",Hostname="gpu-1"} 20\n')
    assert fails(fleet.judge("telemetry.scrape"), "series", "none")


@pytest.mark.parametrize(("content", "reason"), NO_SCRAPE)
def test_scrape_is_untested_or_an_error_without_metrics(content: str | None, reason: str) -> None:
    assert untested(h100().file("dcgm.prom", content).judge("telemetry.scrape"), reason)


def test_scrape_is_untested_when_the_record_says_that_access_was_denied() -> None:
    record = {"reason": "denied", "message": "pods/proxy is forbidden"}
    assert untested(h100().file("dcgm.prom.error", record).judge("telemetry.scrape"), "denied", "forbidden")


def test_scrape_is_not_applicable_where_the_standard_has_no_exporter() -> None:
    fleet = h100().says(telemetry={"exporter": "absent"}).file("dcgm.prom", None)
    assert not_applicable(fleet.judge("telemetry.scrape"))


@pytest.mark.parametrize("check", ["every-gpu", "metrics", "agrees", "health"])
def test_scrape_failing_blocks_what_reads_it(check: str) -> None:
    result = h100().file("dcgm.prom", None).judge(f"telemetry.{check}")
    assert untested(result, "blocked", "telemetry.scrape")


# --- telemetry.every-gpu -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fleet", [h100(), a100_mig()])
def test_every_gpu_passes_when_each_one_and_each_instance_has_series(fleet: Fleet) -> None:
    assert passes(fleet.judge("telemetry.every-gpu"))


def test_every_gpu_fails_for_one_without_series() -> None:
    fleet = h100()
    lines = [line for line in fleet.files["gpu-1"]["dcgm.prom"].splitlines() if fleet.uuid(1) not in line]
    result = fleet.file("dcgm.prom", "\n".join([*lines, ""])).judge("telemetry.every-gpu")
    assert fails(result, "series", "missing")
    assert [each.subject for each in result.findings] == [fleet.uuid(1)]


def test_every_gpu_fails_for_a_stranger() -> None:
    fleet = h100()
    fleet.files["gpu-1"]["dcgm.prom"] += 'DCGM_FI_DEV_GPU_TEMP{gpu="2",UUID="GPU-stranger"} 30\n'
    assert fails(fleet.judge("telemetry.every-gpu"), "UUID", "GPU-stranger")


def test_every_gpu_fails_when_a_mig_instance_has_no_series() -> None:
    fleet = _rewritten(a100_mig(), 'GPU_I_ID="4"', 'GPU_I_ID="3"')
    assert fails(fleet.judge("telemetry.every-gpu"), "GPU_I_ID", "1, 2, 3")


def test_every_gpu_passes_in_spite_of_series_that_are_of_links_and_switches() -> None:
    fleet = h100()
    fleet.files["gpu-1"]["dcgm.prom"] += 'DCGM_FI_DEV_NVLINK_COUNT_RX{nvlink="0",gpu="0",gpu_uuid="GPU-h100-0-0"} 7\n'
    assert passes(fleet.judge("telemetry.every-gpu"))


def test_every_gpu_is_untested_when_the_driver_was_not_asked() -> None:
    assert untested(h100().file("nvidia-smi.xml", None).judge("telemetry.every-gpu"), "blocked", "driver.nvml")


# --- telemetry.metrics ---------------------------------------------------------------------------------------


def test_metrics_passes_when_all_required_ones_are_there() -> None:
    assert passes(h100().judge("telemetry.metrics"))


def test_metrics_passes_with_the_names_that_dcgm_4_6_gave_them() -> None:
    fleet = h100()
    for new, old in RENAMED.items():
        fleet = _rewritten(fleet, f"{DCGM}{old}{{", f"{DCGM}{new}{{")
    assert "BOARD_POWER_WATTS" in fleet.files["gpu-1"]["dcgm.prom"]
    assert passes(fleet.judge("telemetry.metrics"))


def test_metrics_fails_when_one_gpu_lacks_one() -> None:
    fleet = h100().metric(f"{DCGM}POWER_USAGE", None, gpu=1)
    assert fails(fleet.judge("telemetry.metrics"), f"DCGM_FI_DEV_POWER_USAGE of {fleet.uuid(1)}", "missing")


@pytest.mark.parametrize("blank", ["2147483632", "9223372036854775794", "140737488355328", "NaN"])
def test_metrics_fails_when_one_is_blank(blank: str) -> None:
    fleet = h100().metric(f"{DCGM}GPU_TEMP", blank, gpu=1)
    assert fails(fleet.judge("telemetry.metrics"), f"DCGM_FI_DEV_GPU_TEMP of {fleet.uuid(1)}", "blank")


def test_metrics_asks_for_those_that_the_standard_names() -> None:
    fleet = h100().says(telemetry={"metrics": ["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"]})
    assert fails(fleet.judge("telemetry.metrics"), f"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL of {fleet.uuid(0)}", "missing")


@pytest.mark.parametrize(("content", "reason"), NO_SCRAPE)
def test_metrics_is_untested_without_a_scrape(content: str | None, reason: str) -> None:
    assert reason
    assert untested(h100().file("dcgm.prom", content).judge("telemetry.metrics"), "blocked")


# --- telemetry.agrees ----------------------------------------------------------------------------------------


def test_agrees_passes_when_driver_and_memory_are_nvmls() -> None:
    assert passes(h100().judge("telemetry.agrees"))


def test_agrees_passes_without_the_reserved_share_that_older_exporters_leave_out() -> None:
    assert passes(h100().metric(f"{DCGM}FB_RESERVED", None).judge("telemetry.agrees"))


def test_agrees_fails_when_the_exporter_remembers_the_old_driver() -> None:
    fleet = _rewritten(h100(), 'DCGM_FI_DRIVER_VERSION="580.105.08"', 'DCGM_FI_DRIVER_VERSION="570.148.08"')
    assert warns(fleet.judge("telemetry.agrees"), "DCGM_FI_DRIVER_VERSION", "570.148.08")


def test_agrees_warns_when_memory_is_another() -> None:
    fleet = h100().metric(f"{DCGM}FB_FREE", 40000, gpu=1)
    assert warns(fleet.judge("telemetry.agrees"), f"framebuffer of {fleet.uuid(1)}", "40600 MiB")


def test_agrees_is_untested_when_the_scrape_has_nothing_to_compare() -> None:
    fleet = h100().file("dcgm.prom", f'DCGM_FI_DEV_GPU_TEMP{{UUID="{h100().uuid(0)}",gpu="0"}} 30\n')
    result = fleet.judge("telemetry.agrees")
    assert untested(result, "missing")


def test_agrees_is_untested_when_the_driver_was_not_asked() -> None:
    assert untested(h100().file("nvidia-smi.xml", None).judge("telemetry.agrees"), "blocked", "driver.nvml")


# --- telemetry.health ----------------------------------------------------------------------------------------


def test_health_passes_when_the_exporter_shows_xid_0() -> None:
    assert passes(h100().judge("telemetry.health"))


def test_health_passes_when_newer_exporters_have_no_xid_series_at_all() -> None:
    assert passes(h100().metric(f"{DCGM}XID_ERRORS", None).judge("telemetry.health"))


@pytest.mark.parametrize("metric", ["XID_ERRORS", "XID_ERROR"])
def test_health_fails_for_a_fatal_xid(metric: str) -> None:
    fleet = h100().metric(f"{DCGM}XID_ERRORS", None, gpu=1).metric(f"{DCGM}{metric}", 79, gpu=1)
    assert fails(fleet.judge("telemetry.health"), f"health of {fleet.uuid(1)}", "XID 79")


def test_health_reads_the_code_from_the_label_of_counting_metrics() -> None:
    fleet = h100().metric("DCGM_EXP_XID_ERRORS_COUNT", 2, gpu=1, xid="79", window_size_in_ms="300000")
    assert fails(fleet.judge("telemetry.health"), f"health of {fleet.uuid(1)}", "XID 79")


@pytest.mark.parametrize("code", [13, 31, 43, 45])
def test_health_passes_in_spite_of_faults_of_applications(code: int) -> None:
    assert passes(h100().metric(f"{DCGM}XID_ERRORS", code, gpu=1).judge("telemetry.health"))


def test_health_warns_of_an_xid_that_is_neither() -> None:
    fleet = h100().metric(f"{DCGM}XID_ERRORS", 63, gpu=1)
    assert warns(fleet.judge("telemetry.health"), f"health of {fleet.uuid(1)}", "XID 63")


@pytest.mark.parametrize(
    ("metric", "said"), [("ROW_REMAP_FAILURE", "row remapping failed"), ("ECC_DBE_VOL_TOTAL", "double-bit")]
)
def test_health_fails_for_row_remap_failure_and_double_bit_errors(metric: str, said: str) -> None:
    fleet = h100().metric(f"{DCGM}{metric}", 1, gpu=1)
    assert fails(fleet.judge("telemetry.health"), f"health of {fleet.uuid(1)}", said)


def test_health_stands_in_for_the_row_remaps_that_mig_hides() -> None:
    fleet = a100_mig().metric(f"{DCGM}ROW_REMAP_FAILURE", 1, gpu=1)
    assert not_applicable(fleet.judge("gpu.memory-repair"))
    assert fails(fleet.judge("telemetry.health"), f"health of {fleet.uuid(1)}", "row remapping failed")


def test_health_is_untested_when_a_counters_file_of_ones_own_has_no_health_in_it() -> None:
    fleet = h100()
    for metric in ("XID_ERRORS", "ROW_REMAP_FAILURE", "POWER_USAGE"):
        fleet.metric(f"{DCGM}{metric}", None)
    assert untested(fleet.judge("telemetry.health"), "missing", "no health series")


def test_health_never_passes_on_a_scrape_cut_in_the_middle() -> None:
    fleet = h100()
    text = fleet.files["gpu-1"]["dcgm.prom"]
    result = fleet.file("dcgm.prom", text[: len(text) - 1]).judge("telemetry.health")
    assert result.verdict != "pass", shown(result)


# --- telemetry.prometheus ------------------------------------------------------------------------------------

PROMETHEUS = "telemetry.prometheus"
HISTORY = "telemetry.history"
#: A file in place of Prometheus' answers, and what that makes of a check.
NO_ANSWERS = [
    ("", "missing"),
    ("{}", "missing"),
    ("<html><body>503 Service Unavailable</body></html>", "unparsable"),
    ("[]", "unparsable"),
    ({"DCGM_FI_DEV_GPU_TEMP": []}, "unparsable"),
    (success([]), "unparsable"),
    ({"up": {"status": "error", "errorType": "timeout", "error": "query timed out"}}, "timeout"),
    ({"up": {"status": "error", "errorType": "bad_data", "error": "parse error"}}, "unparsable"),
]


def _age(fleet: Fleet, gpu: int = 0) -> str:
    return f"age of the samples of {fleet.uuid(gpu)}"


@pytest.mark.parametrize("fleet", [h100(), a100_mig()])
def test_prometheus_passes_when_it_has_fresh_series_of_every_gpu(fleet: Fleet) -> None:
    assert passes(Answers(fleet).judge(PROMETHEUS))


def test_prometheus_passes_whatever_the_host_is_called_since_uuids_tell() -> None:
    answers = Answers(h100(nodes=2))
    for each in answers.rows("gpus"):
        each["metric"] |= {"Hostname": "nvidia-dcgm-exporter-x7x2p", "exported_Hostname": "gpu-2"}
    assert passes(answers.judge(PROMETHEUS))


def test_prometheus_fails_when_a_gpu_has_no_series() -> None:
    fleet = h100()
    result = Answers(fleet).drop("gpus", gpu=1).judge(PROMETHEUS)
    assert fails(result, f"series of {fleet.uuid(1)}", "missing")
    assert len(result.findings) == 1


def test_prometheus_fails_when_it_answered_and_has_nothing_of_the_node() -> None:
    fleet = h100()
    result = Answers(fleet).drop("gpus").judge(PROMETHEUS)
    assert fails(result, f"series of {fleet.uuid(0)}", "missing")
    assert fails(result, f"series of {fleet.uuid(1)}", "missing")


def test_prometheus_fails_when_samples_are_older_than_the_standard_allows() -> None:
    fleet = h100()
    assert fails(Answers(fleet).put("gpus", NOW - 301, gpu=1).judge(PROMETHEUS), _age(fleet, 1), "301")
    fleet = h100().says(telemetry={"sample-age": "<=60"})
    assert fails(Answers(fleet).put("gpus", NOW - 61, gpu=1).judge(PROMETHEUS), _age(fleet, 1), "61")


def test_prometheus_fails_when_the_answers_are_from_long_before_the_snapshot(tmp_path: Path) -> None:
    fleet = Answers(h100()).into()
    fleet.write(tmp_path)
    (tmp_path / "snapshot.json").write_text(json.dumps({"taken": "2026-08-21T11:00:00Z"}))
    result = judge(tmp_path, fleet.standard, [PROMETHEUS])["gpu-1", PROMETHEUS]
    assert fails(result, _age(fleet), "7212")


def test_prometheus_judges_a_later_day_as_the_day_it_was_asked(tmp_path: Path) -> None:
    fleet = Answers(h100()).into()
    fleet.write(tmp_path)
    (tmp_path / "snapshot.json").write_text(json.dumps({"taken": "2026-08-21T09:00:30Z"}))
    assert passes(judge(tmp_path, fleet.standard, [PROMETHEUS])["gpu-1", PROMETHEUS])


@pytest.mark.parametrize("depth", ["api", "smi"])
def test_prometheus_passes_by_the_exporters_gpus_where_the_driver_was_not_asked(depth: str) -> None:
    fleet = h100().file("nvidia-smi.xml", None)
    assert passes(Answers(fleet).judge(PROMETHEUS, depth=depth))
    assert fails(Answers(fleet).drop("gpus", gpu=1).judge(PROMETHEUS, depth=depth), f"series of {fleet.uuid(1)}", "")


def test_prometheus_fails_for_a_gpu_that_only_the_driver_still_knows() -> None:
    fleet = h100()
    lines = [line for line in fleet.files["gpu-1"]["dcgm.prom"].splitlines() if fleet.uuid(1) not in line]
    answers = Answers(fleet.file("dcgm.prom", "\n".join([*lines, ""]))).drop("gpus", gpu=1)
    assert fails(answers.judge(PROMETHEUS), f"series of {fleet.uuid(1)}", "missing")
    assert passes(answers.judge(PROMETHEUS, depth="api"))


def test_prometheus_counts_by_the_standard_where_nobody_named_a_gpu() -> None:
    fleet = h100().file("nvidia-smi.xml", None).file("dcgm.prom", None)
    assert passes(Answers(fleet).judge(PROMETHEUS))
    assert fails(Answers(fleet).drop("gpus", gpu=1).judge(PROMETHEUS), "series of GPU 2 of 2", "missing")


def test_prometheus_leaves_out_of_an_unfiltered_answer_what_is_another_nodes() -> None:
    fleet = h100(nodes=2).file("nvidia-smi.xml", None).file("dcgm.prom", None)
    answers = Answers(fleet).drop("gpus", gpu=1)
    answers.rows("gpus").append(row(NOW - 5, UUID="GPU-h100-1-0", Hostname="gpu-2"))
    assert fails(answers.judge(PROMETHEUS), "series of GPU 2 of 2", "missing")


def test_prometheus_is_untested_when_nothing_says_which_gpus_there_are() -> None:
    fleet = h100().file("nvidia-smi.xml", None).file("dcgm.prom", None).says(gpu=None)
    del fleet.labels["nvidia.com/gpu.count"]
    assert untested(Answers(fleet).judge(PROMETHEUS), "missing", "nothing says which GPUs")


@pytest.mark.parametrize(("content", "reason"), NO_ANSWERS)
@pytest.mark.parametrize("check", [PROMETHEUS, HISTORY])
def test_prometheus_is_untested_or_an_error_without_answers(check: str, content: object, reason: str) -> None:
    assert untested(h100().file("prometheus.json", content).judge(check), reason)


@pytest.mark.parametrize("check", [PROMETHEUS, HISTORY])
def test_prometheus_is_untested_when_the_record_says_that_access_was_denied(check: str) -> None:
    record = {"reason": "denied", "message": "HTTP 403; needed: a bearer token"}
    assert untested(h100().file("prometheus.json.error", record).judge(check), "denied", "bearer token")


@pytest.mark.parametrize("check", [PROMETHEUS, HISTORY])
def test_prometheus_is_untested_on_the_node_that_another_nodes_answers_make_it_planned_for(
    check: str, tmp_path: Path
) -> None:
    fleet = Answers(h100(nodes=2)).into()
    assert untested(fleet.results(tmp_path, [check])["gpu-2", check], "missing", "no prometheus.json")


@pytest.mark.parametrize("check", [PROMETHEUS, HISTORY])
def test_prometheus_is_not_applicable_where_the_standard_has_none(check: str) -> None:
    assert not_applicable(h100().says(telemetry={"prometheus": "absent"}).judge(check))
    assert not_applicable(Answers(h100().says(telemetry={"exporter": "absent"})).drop("gpus").judge(check))


@pytest.mark.parametrize("check", [PROMETHEUS, HISTORY])
def test_prometheus_is_planned_where_it_was_asked_or_is_demanded(check: str, tmp_path: Path) -> None:
    silent, asked = h100(nodes=2), Answers(h100(nodes=2)).into()
    demanded = h100().says(telemetry={"prometheus": "required"})
    failed = h100().file("prometheus.json.error", {"reason": "denied", "message": "no"})
    assert [_planned(fleet, check) for fleet in (silent, asked, demanded, failed)] == [False, True, True, True]
    assert silent.judge(check).planned is False
    assert untested(demanded.judge(check), "missing", "no prometheus.json")


def _planned(fleet: Fleet, check: str) -> bool:
    with tempfile.TemporaryDirectory() as place:
        fleet.write(Path(place))
        path = Path(place, "standard.yaml")
        path.write_text(json.dumps(fleet.standard))
        with open_snapshot(Path(place)) as snapshot:
            return Engine(snapshot, Settings(standards=(str(path),))).planned(CHECKS[check])


def test_prometheus_is_an_error_when_its_own_query_failed_or_was_answered_in_part() -> None:
    assert untested(Answers(h100()).fail("gpus").judge(PROMETHEUS), "unparsable", "too many samples")
    partial = success([]) | {"warnings": ["No StoreAPIs matched for this query"]}
    assert untested(Answers(h100()).fail("gpus", partial).judge(PROMETHEUS), "unparsable", "partial")


def test_prometheus_passes_with_a_note_about_the_query_itself() -> None:
    answers = Answers(h100())
    note = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket"
    answers.answers["gpus"]["warnings"] = [note]
    assert passes(answers.judge(PROMETHEUS))


def test_prometheus_is_an_error_when_samples_are_from_the_future() -> None:
    assert untested(Answers(h100()).put("gpus", NOW + 4000).judge(PROMETHEUS), "unparsable", "ahead")


@pytest.mark.parametrize("query", ["DCGM_FI_DEV_GPU_TEMP", 'sum by (UUID) (DCGM_FI_DEV_POWER_USAGE{Hostname="gpu-1"})'])
def test_prometheus_passes_by_hand_within_the_time_that_an_instant_query_looks_back(query: str) -> None:
    fleet = h100()
    rows = [row(40, UUID=fleet.uuid(gpu)) for gpu in range(2)]
    assert passes(fleet.file("prometheus.json", {query: success(rows)}).judge(PROMETHEUS))
    assert fails(
        fleet.file("prometheus.json", {query: success(rows[:1])}).judge(PROMETHEUS), "series of GPU-h100-0-1", ""
    )
    strict = fleet.says(telemetry={"sample-age": "<=60"}).file("prometheus.json", {query: success(rows)})
    assert untested(strict.judge(PROMETHEUS), "unparsable", "timestamp()")


def test_prometheus_is_untested_when_only_some_gpus_were_asked_about() -> None:
    fleet = h100()
    query = f'timestamp(DCGM_FI_DEV_GPU_TEMP{{UUID="{fleet.uuid(0)}"}})'
    document = {query: success([row(NOW - 5, UUID=fleet.uuid(0))])}
    assert untested(fleet.file("prometheus.json", document).judge(PROMETHEUS), "missing", "all GPUs")


# --- telemetry.history ---------------------------------------------------------------------------------------


def _in_a_day(what: str, fleet: Fleet, gpu: int = 0) -> str:
    return f"{what} of {fleet.uuid(gpu)} in 24h"


@pytest.mark.parametrize("xid_zero", [True, False])
def test_history_passes_with_the_default_counters_of_any_exporter(xid_zero: bool) -> None:
    assert passes(Answers(h100(), xid_zero=xid_zero).judge(HISTORY))


def test_history_passes_when_opt_in_series_are_there_and_show_nothing() -> None:
    answers = Answers(h100())
    for gpu in range(2):
        for key in ("ECC_DBE_VOL_TOTAL", "ECC_DBE_AGG_TOTAL", "THERMAL_VIOLATION"):
            answers.add(key, 0, gpu=gpu)
        answers.add("reasons", 280, gpu=gpu, value="1").add("reasons", 8, gpu=gpu, value="4")
        answers.add("events", 288, gpu=gpu, clock_event="hw_slowdown", window_size_in_ms="300000", value="0")
        answers.add("xid windowed", 288, gpu=gpu, value="0").add("xid total", 288, gpu=gpu, xid="79", value="2")
        answers.add("xid total before", 1, gpu=gpu, xid="79", value="2")
    fleet = answers.into().says(telemetry={"history": {"required": ["xid", "replay-rate", "throttle", "ecc"]}})
    assert passes(fleet.judge(HISTORY))


@pytest.mark.parametrize("code", [13, 31, 43, 45])
def test_history_passes_in_spite_of_faults_of_applications(code: int) -> None:
    assert passes(Answers(h100()).xid(code).judge(HISTORY))


@pytest.mark.parametrize("code", [79, 48, 63])
def test_history_warns_of_an_xid_that_came_up_within_the_window(code: int) -> None:
    fleet = h100()
    assert warns(Answers(fleet).xid(code, gpu=1).judge(HISTORY), _in_a_day(f"XID {code}", fleet, 1), "1")


def test_history_passes_when_a_sticky_xid_is_older_than_the_window() -> None:
    assert passes(Answers(h100()).xid(79, before=True).judge(HISTORY))


def test_history_warns_of_an_xid_in_series_that_begin_with_it() -> None:
    """A pod that dies of it takes its labels, and so the series in which it did not show, along."""
    fleet = h100()
    answers = Answers(fleet, xid_zero=False).xid(79)
    assert warns(answers.judge(HISTORY), _in_a_day("XID 79", fleet), "1")


def test_history_warns_by_the_exporters_own_counters_with_how_often() -> None:
    fleet = h100()
    answers = Answers(fleet).add("xid windowed", 2, xid="63", window_size_in_ms="600000", value="3")
    assert warns(answers.judge(HISTORY), _in_a_day("XID 63", fleet), "3")
    answers = Answers(fleet).add("xid total", 9, xid="79", value="5").add("xid total before", 1, xid="79", value="2")
    assert warns(answers.judge(HISTORY), _in_a_day("XID 79", fleet), "3")


def test_history_warns_beyond_what_the_standard_allows_of_a_code() -> None:
    fleet = h100().says(telemetry={"history": {"xid": {"63": "<=2", "31": "<=1"}}})
    answers = Answers(fleet)
    for code, times in (("63", "2"), ("31", "2")):
        answers.add("xid total", 9, xid=code, value=times)
    result = answers.judge(HISTORY)
    assert warns(result, _in_a_day("XID 31", fleet), "2")
    assert len(result.findings) == 1


def test_history_grades_codes_as_the_standard_does() -> None:
    fleet = h100().says(xid={"ignore": [63], "warning": [31]})
    assert passes(Answers(fleet).xid(63).judge(HISTORY))
    assert warns(Answers(fleet).xid(31).judge(HISTORY), _in_a_day("XID 31", fleet), "1")


def test_history_does_not_take_a_query_of_some_codes_for_one_of_all() -> None:
    fleet = h100().says(telemetry={"history": {"required": ["xid"]}})
    answers = Answers(fleet)
    document = {query: said for query, said in answers.document().items() if "XID" not in query}
    query = 'count_over_time(count_values by (UUID) ("v", DCGM_FI_DEV_XID_ERRORS{err_code="31"})[24h:5m])'
    document[query] = success([row(9, UUID=fleet.uuid(gpu), v="31") for gpu in range(2)])
    assert untested(fleet.file("prometheus.json", document).judge(HISTORY), "missing", "no series of XIDs")


def test_history_warns_of_replays_beyond_what_dcgm_lets_pass_for_the_link() -> None:
    fleet = h100()
    assert passes(Answers(fleet).put("replays", 30 * 1440).judge(HISTORY))
    result = Answers(fleet).put("replays", 32 * 1440).judge(HISTORY)
    assert warns(result, _in_a_day("PCIe replays per minute", fleet), "32")
    assert result.findings[0].expected == "<=31"
    fleet.says(telemetry={"history": {"replay-rate": "<=1"}})
    assert warns(
        Answers(fleet).put("replays", 3 * 1440).judge(HISTORY), _in_a_day("PCIe replays per minute", fleet), "3"
    )


@pytest.mark.parametrize("key", ["ECC_DBE_VOL_TOTAL", "ECC_DBE_AGG_TOTAL", "UNCORRECTABLE_REMAPPED_ROWS"])
def test_history_warns_of_uncorrectable_errors(key: str) -> None:
    fleet = h100()
    answers = Answers(fleet).drop(key, gpu=1).add(key, 1.0034, gpu=1)  # increase() extrapolates to the whole window
    assert warns(answers.judge(HISTORY), next(each.field for each in answers.judge(HISTORY).findings), "1")
    fleet.says(telemetry={"history": {"ecc": "<=1"}})
    assert passes(answers.judge(HISTORY))


@pytest.mark.parametrize(("mask", "bad"), [(0x8, True), (0x48, True), (0x80, True), (0x4, False), (0x20, False)])
def test_history_warns_of_slowdown_by_the_hardware_and_not_of_the_power_cap(mask: int, bad: bool) -> None:
    fleet = h100()
    answers = Answers(fleet).add("reasons", 284, value="1").add("reasons", 4, value=str(mask))
    result = answers.judge(HISTORY)
    assert warns(result, _in_a_day("% of time slowed down", fleet), "1.39") if bad else passes(result)


def test_history_warns_of_slowdown_by_every_series_that_says_so() -> None:
    fleet, field = h100(), _in_a_day("% of time slowed down", h100())
    labels = {"clock_event": "hw_thermal", "window_size_in_ms": "300000"}
    assert warns(Answers(fleet).add("events", 10, **labels, value="2").judge(HISTORY), field, "3.47")
    assert passes(Answers(fleet).add("events", 10, clock_event="power_cap", value="2").judge(HISTORY))
    for key in ("THERMAL_VIOLATION", "CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS"):
        assert warns(Answers(fleet).add(key, 8640e9).judge(HISTORY), field, "10")


def test_history_passes_a_single_sample_of_slowdown_which_is_noise() -> None:
    assert passes(Answers(h100()).add("reasons", 287, value="1").add("reasons", 1, value="8").judge(HISTORY))


@pytest.mark.parametrize(("topic", "words"), [("throttle", "clock event reasons"), ("ecc", "ECC errors")])
def test_history_is_untested_where_the_standard_requires_series_that_are_not_there(topic: str, words: str) -> None:
    answers = Answers(h100().says(telemetry={"history": {"required": [topic]}})).drop("UNCORRECTABLE_REMAPPED_ROWS")
    assert untested(answers.judge(HISTORY), "missing", words)


def test_history_is_untested_when_prometheus_has_less_of_the_window_than_the_standard_asks() -> None:
    assert untested(Answers(h100()).put("coverage", 100, gpu=1).judge(HISTORY), "missing", "for 35 % of the time")
    assert untested(Answers(h100()).drop("coverage").judge(HISTORY), "missing", "how much of the window")


def test_history_still_warns_of_what_came_up_in_the_little_that_there_is() -> None:
    fleet = h100()
    assert warns(Answers(fleet).put("coverage", 100).xid(79).judge(HISTORY), _in_a_day("XID 79", fleet), "1")


def test_history_asks_no_more_than_the_nodes_life_of_a_new_node() -> None:
    fleet = h100()
    fleet.node["metadata"]["creationTimestamp"] = "2026-08-21T05:00:00Z"
    answers = Answers(fleet)
    for gpu in range(2):
        answers.put("coverage", 40, gpu=gpu)
    assert passes(answers.judge(HISTORY))
    fleet.node["metadata"]["creationTimestamp"] = "2026-08-20T05:00:00Z"
    assert untested(answers.judge(HISTORY), "missing", "14 %")


def test_history_is_untested_and_counts_nowhere_on_a_node_that_is_too_young_to_have_one() -> None:
    fleet = h100()
    fleet.node["metadata"]["creationTimestamp"] = "2026-08-21T08:40:00Z"
    result = Answers(fleet).put("coverage", 2).judge(HISTORY)
    assert untested(result, "not-selected", "20 minutes old")
    assert not result.planned
    assert warns(Answers(fleet).put("coverage", 2).xid(79).judge(HISTORY), _in_a_day("XID 79", fleet), "1")


def test_history_is_untested_when_no_series_tells_of_any_error() -> None:
    answers = Answers(h100(), xid_zero=False)
    for key in ("replays", "UNCORRECTABLE_REMAPPED_ROWS"):
        answers.drop(key)
    assert untested(answers.judge(HISTORY), "missing", "no series of XIDs")


def test_history_is_untested_for_a_gpu_without_any_series() -> None:
    answers = Answers(h100())
    for key in answers.queries:
        if key != "time":
            answers.drop(key, gpu=1)
    assert untested(answers.judge(HISTORY), "missing", "GPU-h100-0-1: no series")


def test_history_is_untested_when_the_queries_look_back_less_than_the_standard() -> None:
    answers = Answers(h100().says(telemetry={"history": {"window": "7d"}}))
    assert untested(answers.judge(HISTORY), "missing", "look back 86400 s")


@pytest.mark.parametrize("key", ["coverage", "xid", "xid before", "replays", "UNCORRECTABLE_REMAPPED_ROWS", "reasons"])
def test_history_is_an_error_where_a_query_failed(key: str) -> None:
    assert untested(Answers(h100()).fail(key).judge(HISTORY), "unparsable", "too many samples")


def test_history_is_untested_when_only_the_present_was_asked() -> None:
    fleet = h100()
    document = {"timestamp(DCGM_FI_DEV_GPU_TEMP)": success([row(NOW - 5, UUID=fleet.uuid(gpu)) for gpu in range(2)])}
    assert untested(fleet.file("prometheus.json", document).judge(HISTORY), "missing", "no query looks back")


def test_history_passes_and_warns_by_raw_samples_that_somebody_fetched() -> None:
    fleet = h100()
    times = [NOW - DAY + 60 * number for number in range(1440)]

    def matrix(value: float) -> Json:
        rows = [
            {"metric": {"UUID": fleet.uuid(gpu)}, "values": [[at, "0"] for at in times[:700]] + later}
            for gpu, later in ((0, [[at, repr(value)] for at in times[700:]]), (1, [[at, "0"] for at in times[700:]]))
        ]
        return success(rows, "matrix")

    document = {"DCGM_FI_DEV_XID_ERRORS[24h]": matrix(31), "DCGM_FI_DEV_PCIE_REPLAY_COUNTER[24h]": matrix(100)}
    assert passes(fleet.file("prometheus.json", document).judge(HISTORY))
    document["DCGM_FI_DEV_XID_ERRORS[24h]"] = matrix(79)
    assert warns(fleet.file("prometheus.json", document).judge(HISTORY), _in_a_day("XID 79", fleet), "1")
    document["DCGM_FI_DEV_XID_ERRORS[24h]"] = matrix(31)
    document["DCGM_FI_DEV_PCIE_REPLAY_COUNTER[24h]"] = matrix(100_000)
    assert warns(
        fleet.file("prometheus.json", document).judge(HISTORY), _in_a_day("PCIe replays per minute", fleet), ""
    )


def test_history_is_an_error_when_the_last_xid_changed_to_nobody_knows_what() -> None:
    fleet = h100()
    answers = Answers(fleet, xid_zero=False)
    document = answers.document() | {
        "changes(DCGM_FI_DEV_XID_ERRORS[24h])": success([row(2, UUID=fleet.uuid(gpu)) for gpu in range(2)])
    }
    assert untested(fleet.file("prometheus.json", document).judge(HISTORY), "unparsable", "nothing says to which")

from __future__ import annotations

import pytest
from nodes import Fleet, a100_mig, fails, h100, not_applicable, passes, shown, untested, warns

from gpu_readiness.evidence.dcgm import RENAMED

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

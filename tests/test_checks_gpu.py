from __future__ import annotations

import pytest
from nodes import (
    Fleet,
    a100_mig,
    add_mig_device,
    fails,
    gpu_pod,
    h100,
    not_applicable,
    passes,
    shown,
    t4,
    untested,
    warns,
)

GARBLED = ("[Unknown Error]", "ERR!")


# --- gpu.ecc-mode --------------------------------------------------------------------------------------------


def test_ecc_mode_passes_when_current_and_pending_are_the_standards() -> None:
    assert passes(h100().judge("gpu.ecc-mode"))


@pytest.mark.parametrize(("path", "field"), [("current_ecc", "ecc.current"), ("pending_ecc", "ecc.pending")])
def test_ecc_mode_fails_when_one_gpu_is_off(path: str, field: str) -> None:
    fleet = h100().smi(f"ecc_mode/{path}", "Disabled", gpu=1)
    result = fleet.judge("gpu.ecc-mode")
    assert fails(result, field, "disabled")
    (finding,) = result.findings
    assert (finding.subject, finding.expected, finding.source) == (fleet.uuid(1), "enabled", "nvidia-smi.xml")
    assert finding.hint


def test_ecc_mode_fails_when_the_standard_wants_it_and_the_driver_does_not_support_it() -> None:
    assert fails(h100().smi("ecc_mode/current_ecc", "N/A", gpu=0).judge("gpu.ecc-mode"), "ecc.current", "N/A")


def test_ecc_mode_passes_when_it_is_wanted_off_and_not_supported() -> None:
    fleet = h100().says(gpu={"ecc": "disabled"}).smi("ecc_mode/current_ecc", "N/A").smi("ecc_mode/pending_ecc", "N/A")
    assert passes(fleet.judge("gpu.ecc-mode"))


@pytest.mark.parametrize("said", GARBLED)
def test_ecc_mode_is_an_error_when_one_gpu_reads_garbled(said: str) -> None:
    assert untested(h100().smi("ecc_mode/current_ecc", said, gpu=1).judge("gpu.ecc-mode"), "unparsable", said)


def test_ecc_mode_is_untested_when_one_gpu_has_no_such_element() -> None:
    assert untested(h100().smi("ecc_mode", None, gpu=1).judge("gpu.ecc-mode"), "missing")


def test_ecc_mode_is_untested_without_rights() -> None:
    fleet = h100().smi("ecc_mode/current_ecc", "Insufficient Permissions", gpu=1)
    assert untested(fleet.judge("gpu.ecc-mode"), "denied")


def test_ecc_mode_fails_in_spite_of_another_gpu_that_could_not_be_read() -> None:
    fleet = h100().smi("ecc_mode/current_ecc", "Disabled", gpu=0).smi("ecc_mode", None, gpu=1)
    assert fails(fleet.judge("gpu.ecc-mode"), "ecc.current", "disabled")


def test_ecc_mode_is_waived_until_the_day_that_the_standard_names() -> None:
    waiver = {"check": "gpu.ecc-mode", "nodes": ["gpu-*"], "reason": "reboot planned", "until": "2999-12-31"}
    fleet = h100().smi("ecc_mode/current_ecc", "Disabled", gpu=1).says(waivers=[waiver])
    result = fleet.judge("gpu.ecc-mode")
    assert result.verdict == "waived", shown(result)
    assert "reboot planned" in result.detail


def test_ecc_mode_fails_when_its_waiver_has_expired() -> None:
    waiver = {"check": "gpu.ecc-mode", "nodes": ["gpu-*"], "reason": "reboot planned", "until": "2020-01-01"}
    fleet = h100().smi("ecc_mode/current_ecc", "Disabled", gpu=1).says(waivers=[waiver])
    assert fails(fleet.judge("gpu.ecc-mode"), "ecc.current", "disabled")


# --- gpu.ecc-errors ------------------------------------------------------------------------------------------


def test_ecc_errors_passes_when_all_counters_are_zero() -> None:
    assert passes(h100().judge("gpu.ecc-errors"))


@pytest.mark.parametrize("counter", ["dram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded"])
def test_ecc_errors_fails_for_volatile_uncorrectable_ones(counter: str) -> None:
    result = h100().smi(f"ecc_errors/volatile/{counter}", "2", gpu=1).judge("gpu.ecc-errors")
    assert fails(result, f"ecc.volatile.{counter.replace('_', '-')}", "2")


def test_ecc_errors_warns_of_aggregate_ones() -> None:
    result = h100().smi("ecc_errors/aggregate/dram_uncorrectable", "2", gpu=1).judge("gpu.ecc-errors")
    assert warns(result, "ecc.aggregate.dram-uncorrectable", "2")


def test_ecc_errors_fails_when_the_sram_threshold_is_exceeded() -> None:
    result = h100().smi("ecc_errors/aggregate/sram_threshold_exceeded", "Yes", gpu=1).judge("gpu.ecc-errors")
    assert fails(result, "ecc.sram-threshold-exceeded", "yes")


def test_ecc_errors_passes_with_mig_on_when_the_instances_have_none() -> None:
    assert passes(a100_mig().judge("gpu.ecc-errors"))


def test_ecc_errors_fails_with_mig_on_when_an_instance_has_one() -> None:
    fleet = a100_mig().smi("mig_devices/mig_device/ecc_error_count/volatile_count/sram_uncorrectable", "3", gpu=1)
    assert fails(fleet.judge("gpu.ecc-errors"), "ecc.volatile.mig-1", "3")


def test_ecc_errors_is_untested_when_no_counter_is_there() -> None:
    assert untested(h100().smi("ecc_errors", None, gpu=1).judge("gpu.ecc-errors"), "missing", "no volatile ECC counter")


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (("dram_uncorrectable",), "counts SRAM only"),
        (("sram_uncorrectable_parity", "sram_uncorrectable_secded"), "counts DRAM only"),
    ],
)
def test_ecc_errors_is_untested_when_one_memory_is_not_counted(gone: tuple[str, ...], said: str) -> None:
    fleet = h100()
    for counter in gone:
        fleet.smi(f"ecc_errors/volatile/{counter}", None, gpu=1)
    assert untested(fleet.judge("gpu.ecc-errors"), "missing", said)


def test_ecc_errors_fails_when_counters_are_unsupported_although_the_standard_says_what_they_have_to_be() -> None:
    fleet = h100()
    for counter in ("dram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded"):
        fleet.smi(f"ecc_errors/volatile/{counter}", "N/A", gpu=1)
    assert fails(fleet.judge("gpu.ecc-errors"), "ecc.volatile.dram-uncorrectable", "N/A")


def test_ecc_errors_allows_what_the_standard_does() -> None:
    fleet = h100().smi("ecc_errors/volatile/dram_uncorrectable", "2", gpu=1)
    assert passes(fleet.says(gpu={"volatile-ecc": "<=2"}).judge("gpu.ecc-errors"))


def test_ecc_errors_is_an_error_when_a_counter_is_no_number() -> None:
    fleet = h100().smi("ecc_errors/volatile/dram_uncorrectable", "many", gpu=1)
    assert untested(fleet.judge("gpu.ecc-errors"), "unparsable", "many")


def test_ecc_errors_is_not_applicable_where_the_standard_has_ecc_off() -> None:
    assert not_applicable(h100().says(gpu={"ecc": "disabled"}).judge("gpu.ecc-errors"))


# --- gpu.memory-repair ---------------------------------------------------------------------------------------


def test_memory_repair_passes_when_nothing_is_pending_or_failed() -> None:
    assert passes(h100().judge("gpu.memory-repair"))
    assert passes(t4().judge("gpu.memory-repair"))


def test_memory_repair_passes_with_a_few_remapped_rows() -> None:
    assert passes(h100().smi("remapped_rows/remapped_row_unc", "2", gpu=1).judge("gpu.memory-repair"))


@pytest.mark.parametrize(
    ("path", "said", "field"),
    [
        ("remapped_rows/remapped_row_pending", "Yes", "remap.pending"),
        ("remapped_rows/remapped_row_failure", "Yes", "remap.failure"),
        ("remapped_rows/remapped_row_unc", "600", "remap.uncorrectable"),
        ("ecc_errors/channel_repair_pending", "Yes", "repair.channel-pending"),
        ("ecc_errors/tpc_repair_pending", "Yes", "repair.tpc-pending"),
        ("ecc_errors/unrepairable_memory", "Yes", "memory.unrepairable"),
    ],
)
def test_memory_repair_fails_when_a_repair_is_pending_failed_or_too_much(path: str, said: str, field: str) -> None:
    assert fails(h100().smi(path, said, gpu=1).judge("gpu.memory-repair"), field, said.lower())


@pytest.mark.parametrize(
    ("path", "said", "field"),
    [
        ("retired_pages/pending_retirement", "Yes", "retired.pending"),
        ("retired_pages/double_bit_retirement/retired_count", "64", "retired.double-bit"),
    ],
)
def test_memory_repair_fails_for_page_retirement_on_older_parts(path: str, said: str, field: str) -> None:
    assert fails(t4().smi(path, said, gpu=1).judge("gpu.memory-repair"), field, said.lower())


def test_memory_repair_is_not_applicable_while_mig_hides_it() -> None:
    assert not_applicable(a100_mig().judge("gpu.memory-repair"))


def test_memory_repair_is_untested_when_the_document_has_no_such_element() -> None:
    assert untested(h100().smi("remapped_rows", None, gpu=1).judge("gpu.memory-repair"), "missing")


def test_memory_repair_fails_when_a_whole_gpu_says_na_although_the_standard_counts_its_rows() -> None:
    assert fails(h100().smi("remapped_rows", "N/A", gpu=1).judge("gpu.memory-repair"), "remap.uncorrectable", "N/A")


# --- gpu.mig-mode, gpu.mig-layout ----------------------------------------------------------------------------


def test_mig_mode_passes_when_it_is_the_standards() -> None:
    assert passes(h100().judge("gpu.mig-mode"))
    assert passes(a100_mig().judge("gpu.mig-mode"))


def test_mig_mode_fails_when_one_gpu_is_partitioned_and_should_not_be() -> None:
    fleet = h100().smi("mig_mode/current_mig", "Enabled", gpu=1).smi("mig_mode/pending_mig", "Enabled", gpu=1)
    assert fails(fleet.judge("gpu.mig-mode"), "mig.current", "enabled")


def test_mig_mode_fails_when_a_change_waits_for_a_reset() -> None:
    assert fails(h100().smi("mig_mode/pending_mig", "Enabled", gpu=1).judge("gpu.mig-mode"), "mig.pending", "enabled")


def test_mig_mode_is_not_applicable_to_products_without_mig() -> None:
    assert not_applicable(t4().judge("gpu.mig-mode"))


@pytest.mark.parametrize(("said", "reason"), [(None, "missing"), ("[Unknown Error]", "unparsable")])
def test_mig_mode_is_untested_or_an_error_when_it_cannot_be_read(said: str | None, reason: str) -> None:
    assert untested(h100().smi("mig_mode/current_mig", said, gpu=1).judge("gpu.mig-mode"), reason)


def test_mig_mode_is_untested_when_only_the_pending_one_cannot_be_read() -> None:
    assert untested(h100().smi("mig_mode/pending_mig", None, gpu=1).judge("gpu.mig-mode"), "missing", "mig.pending")


def test_mig_layout_passes_when_the_devices_are_the_layout_in_any_order() -> None:
    assert passes(a100_mig().judge("gpu.mig-layout"))
    assert passes(
        a100_mig(layout=["1g.5gb", "3g.20gb"]).says(mig={"layout": ["3g.20gb", "1g.5gb"]}).judge("gpu.mig-layout")
    )


def test_mig_layout_passes_when_mig_is_off_and_there_is_no_device() -> None:
    assert passes(h100().judge("gpu.mig-layout"))


def test_mig_layout_fails_when_one_gpu_lacks_a_device() -> None:
    fleet = a100_mig()
    devices = fleet.gpus["gpu-1"][1].find("mig_devices")
    assert devices is not None
    devices.remove(devices[0])
    result = fleet.judge("gpu.mig-layout")
    assert fails(result, "mig.layout", "1g.5gb + 1g.5gb + 2g.10gb")
    assert [each.subject for each in result.findings] == [fleet.uuid(1)]


def test_mig_layout_fails_when_one_gpu_has_a_device_too_many() -> None:
    fleet = a100_mig(layout=["3g.20gb"])
    add_mig_device(fleet.gpus["gpu-1"][0], 9, "1g.5gb")
    assert fails(fleet.judge("gpu.mig-layout"), "mig.layout", "1g.5gb + 3g.20gb")


def test_mig_layout_fails_when_mig_is_on_and_nothing_is_carved() -> None:
    fleet = a100_mig()
    for gpu in fleet.gpus["gpu-1"]:
        devices = gpu.find("mig_devices")
        assert devices is not None
        devices[:] = []
    assert fails(fleet.judge("gpu.mig-layout"), "mig.layout", "no MIG devices")


def test_mig_layout_takes_a_layout_for_each_gpu() -> None:
    fleet = a100_mig(layout=["3g.20gb"]).says(mig={"layout": {"0": ["3g.20gb"], "1": ["2g.10gb"]}})
    result = fleet.judge("gpu.mig-layout")
    assert fails(result, "mig.layout", "3g.20gb")
    assert [each.subject for each in result.findings] == [fleet.uuid(1)]


def test_mig_layout_is_untested_when_the_document_lists_no_devices_element() -> None:
    assert untested(a100_mig().smi("mig_devices", None, gpu=1).judge("gpu.mig-layout"), "missing", "MIG devices")


# --- gpu.power-limit, gpu.clocks -----------------------------------------------------------------------------


def test_power_limit_passes_when_enforced_and_default_are_the_standards() -> None:
    assert passes(h100().judge("gpu.power-limit"))


@pytest.mark.parametrize(
    ("path", "field"), [("current_power_limit", "power.limit"), ("default_power_limit", "power.default-limit")]
)
def test_power_limit_fails_when_one_gpu_is_capped(path: str, field: str) -> None:
    assert fails(h100().smi(f"gpu_power_readings/{path}", "500.00 W", gpu=1).judge("gpu.power-limit"), field, "500")


def test_power_limit_passes_within_the_standards_tolerance() -> None:
    fleet = h100().says(gpu={"power-limit": "700 ±2%"})
    for path in ("current_power_limit", "default_power_limit"):
        fleet.smi(f"gpu_power_readings/{path}", "690.00 W")
    assert passes(fleet.judge("gpu.power-limit"))


@pytest.mark.parametrize("said", GARBLED)
def test_power_limit_is_an_error_when_it_reads_garbled(said: str) -> None:
    fleet = h100().smi("gpu_power_readings/current_power_limit", said, gpu=1)
    assert untested(fleet.judge("gpu.power-limit"), "unparsable")


def test_power_limit_is_an_error_when_it_reads_garbled_and_any_will_do() -> None:
    fleet = h100().says(gpu={"power-limit": "any"}).smi("gpu_power_readings/current_power_limit", "ERR!", gpu=1)
    assert untested(fleet.judge("gpu.power-limit"), "unparsable")


def test_power_limit_is_untested_when_the_default_is_missing() -> None:
    fleet = h100().smi("gpu_power_readings/default_power_limit", None, gpu=1)
    assert untested(fleet.judge("gpu.power-limit"), "missing")


def test_clocks_passes_although_the_driver_calls_application_clocks_deprecated() -> None:
    assert passes(h100().judge("gpu.clocks"))


@pytest.mark.parametrize(
    ("path", "field"), [("max_clocks/sm_clock", "clocks.max-sm"), ("max_clocks/mem_clock", "clocks.max-memory")]
)
def test_clocks_warns_when_a_maximum_is_low(path: str, field: str) -> None:
    assert warns(h100().smi(path, "1200 MHz", gpu=1).judge("gpu.clocks"), field, "1200")


def test_clocks_warns_of_application_clocks_that_a_user_has_set() -> None:
    fleet = h100().smi("applications_clocks/graphics_clock", "900 MHz", gpu=1)
    fleet.smi("default_applications_clocks/graphics_clock", "1980 MHz", gpu=1)
    assert warns(fleet.judge("gpu.clocks"), "clocks.application", "900")


def test_clocks_is_untested_when_the_maximum_is_missing() -> None:
    assert untested(h100().smi("max_clocks", None, gpu=1).judge("gpu.clocks"), "missing")


# --- gpu.pcie-width, gpu.pcie-errors, gpu.nvlink -------------------------------------------------------------

WIDTH = "pci/pci_gpu_link_info/link_widths/current_link_width"
GENERATION = "pci/pci_gpu_link_info/pcie_gen/max_link_gen"


def test_pcie_width_passes_at_idle_although_the_current_generation_is_1() -> None:
    assert passes(h100().judge("gpu.pcie-width"))


def test_pcie_width_passes_with_8_lanes_where_clouds_wire_8() -> None:
    assert passes(t4().judge("gpu.pcie-width"))


@pytest.mark.parametrize(("path", "said", "field"), [(WIDTH, "8x", "pcie.width"), (GENERATION, "3", "pcie.generation")])
def test_pcie_width_fails_when_lanes_or_generations_are_lost(path: str, said: str, field: str) -> None:
    assert fails(h100().smi(path, said, gpu=1).judge("gpu.pcie-width"), field, said.rstrip("x"))


def test_pcie_width_is_untested_when_the_link_is_not_described() -> None:
    assert untested(h100().smi("pci/pci_gpu_link_info", None, gpu=1).judge("gpu.pcie-width"), "missing")


def test_nvlink_passes_when_links_and_speed_are_the_standards() -> None:
    assert passes(_probed(h100()).judge("gpu.nvlink"))


@pytest.mark.parametrize(("field", "value"), [("nvlink.links", 17), ("nvlink.speed", 20.0), ("nvlink.links", 0)])
def test_nvlink_fails_when_links_are_down_or_slow(field: str, value: float) -> None:
    assert fails(h100().field(field, value, gpu=1).judge("gpu.nvlink"), field, f"{value:g}")


def test_nvlink_fails_when_the_standard_wants_it_and_the_driver_does_not_support_it() -> None:
    fleet = h100().field("nvlink.links", {"state": "unsupported", "detail": "NOT_SUPPORTED"}, gpu=1)
    assert fails(fleet.judge("gpu.nvlink"), "nvlink.links", "NOT_SUPPORTED")


def test_nvlink_is_untested_when_the_probe_does_not_say() -> None:
    assert untested(h100().field("nvlink.links", None, gpu=1).judge("gpu.nvlink"), "missing")


def test_nvlink_is_not_planned_without_a_probe() -> None:
    assert untested(h100().judge("gpu.nvlink"), "not-selected", "depth probe does")


def test_pcie_errors_passes_when_no_uncorrectable_one_is_counted() -> None:
    assert passes(_probed(h100()).judge("gpu.pcie-errors"))


def test_pcie_errors_passes_in_spite_of_a_lone_total_of_replays() -> None:
    assert passes(h100().field("pcie.replays", 150).judge("gpu.pcie-errors"))


@pytest.mark.parametrize("field", ["pcie.aer-fatal", "pcie.aer-nonfatal"])
def test_pcie_errors_warns_of_uncorrectable_ones(field: str) -> None:
    assert warns(h100().field(field, 3, gpu=1).judge("gpu.pcie-errors"), field, "3")


def test_pcie_errors_is_untested_when_the_host_does_not_show_them() -> None:
    fleet = h100().field("pcie.aer-fatal", {"state": "denied", "detail": "no /sys"}, gpu=1)
    assert untested(fleet.judge("gpu.pcie-errors"), "denied", "no /sys")


# --- gpu.inforom, gpu.throttle, gpu.temperature --------------------------------------------------------------


def test_inforom_passes_when_the_probe_says_valid() -> None:
    assert passes(_probed(h100()).judge("gpu.inforom"))


def test_inforom_fails_when_the_probe_says_corrupted() -> None:
    assert fails(h100().field("inforom.valid", "corrupted", gpu=1).judge("gpu.inforom"), "inforom.valid", "corrupted")


def test_inforom_fails_when_nvidia_smi_warns_after_its_document() -> None:
    fleet = h100()
    document = fleet._xml("gpu-1") + b"\nWARNING: infoROM is corrupted at gpu 0000:11:00.0\n"
    result = fleet.file("nvidia-smi.xml", document).judge("gpu.inforom")
    assert fails(result, "inforom.valid", "corrupted")
    assert [each.subject for each in result.findings] == [fleet.uuid(1)]


def test_inforom_is_not_planned_where_nvidia_smi_is_all_there_is() -> None:
    assert untested(h100().judge("gpu.inforom"), "not-selected", "probe does")


def test_inforom_is_untested_when_the_probe_does_not_say() -> None:
    assert untested(h100().field("inforom.valid", None, gpu=1).judge("gpu.inforom"), "missing")


def test_throttle_passes_when_a_gpu_is_idle_or_at_its_power_cap() -> None:
    assert passes(h100().judge("gpu.throttle"))


@pytest.mark.parametrize(
    "event", ["hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"]
)
def test_throttle_warns_of_hardware_heat_and_power_brake(event: str) -> None:
    result = h100().smi(f"clocks_event_reasons/clocks_event_reason_{event}", "Active", gpu=1).judge("gpu.throttle")
    assert warns(result, f"clock-event.{event}", "active")


def test_throttle_reads_the_name_that_older_drivers_have() -> None:
    fleet = h100().smi("clocks_event_reasons", None)
    for event in ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"):
        fleet.smi(f"clocks_throttle_reasons/clocks_throttle_reason_{event}", "Not Active")
    assert passes(fleet.judge("gpu.throttle"))
    fleet.smi("clocks_throttle_reasons/clocks_throttle_reason_hw_slowdown", "Active", gpu=1)
    assert warns(fleet.judge("gpu.throttle"), "clock-event.hw_slowdown", "active")


def test_throttle_is_untested_when_the_document_has_no_reasons() -> None:
    assert untested(h100().smi("clocks_event_reasons", None, gpu=1).judge("gpu.throttle"), "missing")


def test_temperature_passes_under_threshold_and_margin() -> None:
    assert passes(h100().judge("gpu.temperature"))
    assert passes(t4().judge("gpu.temperature"))


def test_temperature_warns_when_no_margin_is_left() -> None:
    result = h100().smi("temperature/gpu_temp_tlimit", "-2 C", gpu=1).judge("gpu.temperature")
    assert warns(result, "temperature above the slowdown margin", "0")


def test_temperature_warns_at_the_slowdown_threshold() -> None:
    assert warns(t4().smi("temperature/gpu_temp", "93 C", gpu=1).judge("gpu.temperature"), "temperature", "93")


def test_temperature_warns_of_a_very_hot_gpu_whose_driver_names_no_threshold() -> None:
    fleet = t4().smi("temperature/gpu_temp_slow_threshold", "N/A")
    assert passes(fleet.judge("gpu.temperature"))
    assert warns(fleet.smi("temperature/gpu_temp", "101 C", gpu=1).judge("gpu.temperature"), "temperature", "101")


def test_temperature_warns_above_what_the_standard_allows() -> None:
    assert warns(h100().says(gpu={"temperature": "<=30"}).judge("gpu.temperature"), "temperature", "34")


def test_temperature_is_untested_when_it_cannot_be_read() -> None:
    assert untested(t4().smi("temperature", None, gpu=1).judge("gpu.temperature"), "missing")
    assert untested(h100().smi("temperature", None, gpu=1).judge("gpu.temperature"), "missing")


# --- gpu.persistence, gpu.compute-mode, gpu.idle -------------------------------------------------------------


def test_persistence_passes_whatever_it_is_where_any_will_do() -> None:
    assert passes(h100().judge("gpu.persistence"))


def test_persistence_fails_where_the_standard_wants_it() -> None:
    assert warns(h100().says(gpu={"persistence": "enabled"}).judge("gpu.persistence"), "persistence", "disabled")


def test_persistence_is_untested_when_it_cannot_be_read() -> None:
    fleet = h100().says(gpu={"persistence": "enabled"}).smi("persistence_mode", "Enabled", gpu=0)
    assert untested(fleet.smi("persistence_mode", None, gpu=1).judge("gpu.persistence"), "missing")


def test_compute_mode_passes_when_it_is_the_standards() -> None:
    assert passes(h100().judge("gpu.compute-mode"))


def test_compute_mode_passes_with_exclusive_process_under_mps() -> None:
    fleet = h100().smi("compute_mode", "Exclusive_Process")
    fleet.standard["extends"][1] = "sharing/mps"
    assert passes(fleet.judge("gpu.compute-mode"))


def test_compute_mode_warns_when_it_differs() -> None:
    fleet = h100().smi("compute_mode", "Exclusive_Process", gpu=1)
    assert warns(fleet.judge("gpu.compute-mode"), "compute-mode", "Exclusive_Process")


def test_compute_mode_fails_when_cuda_is_prohibited() -> None:
    assert fails(
        h100().smi("compute_mode", "Prohibited", gpu=1).judge("gpu.compute-mode"), "compute-mode", "Prohibited"
    )


def test_compute_mode_is_untested_when_it_cannot_be_read() -> None:
    assert untested(h100().smi("compute_mode", None, gpu=1).judge("gpu.compute-mode"), "missing")


def test_idle_passes_when_no_memory_is_used() -> None:
    assert passes(h100().judge("gpu.idle"))


def test_idle_passes_when_the_gpu_that_is_used_is_a_pods() -> None:
    fleet = h100().smi("fb_memory_usage/used", "70000 MiB", gpu=1)
    fleet.pods.append(gpu_pod("training"))
    assert passes(fleet.judge("gpu.idle"))


def test_idle_warns_of_memory_that_no_pod_holds() -> None:
    result = h100().smi("fb_memory_usage/used", "70000 MiB", gpu=1).judge("gpu.idle")
    assert warns(result, "memory.used", "70000")


def test_idle_warns_when_one_pod_cannot_explain_two_busy_gpus() -> None:
    fleet = h100().smi("fb_memory_usage/used", "70000 MiB")
    fleet.pods.append(gpu_pod("training"))
    assert len(fleet.judge("gpu.idle").findings) == 1


def test_idle_knows_from_the_exporter_which_gpu_a_pod_holds() -> None:
    fleet = (
        h100()
        .metric("DCGM_FI_DEV_SM_CLOCK", 1980, gpu=0, pod="training")
        .smi("fb_memory_usage/used", "70000 MiB", gpu=1)
    )
    fleet.pods.append(gpu_pod("training"))
    result = fleet.judge("gpu.idle")
    assert warns(result, "memory.used", "70000")
    assert [each.subject for each in result.findings] == [fleet.uuid(1)]


def test_idle_counts_no_pod_that_has_finished() -> None:
    fleet = h100().smi("fb_memory_usage/used", "70000 MiB", gpu=1)
    fleet.pods.append(gpu_pod("training"))
    fleet.pods[-1]["status"]["phase"] = "Succeeded"
    assert warns(fleet.judge("gpu.idle"), "memory.used", "70000")


def test_idle_warns_of_a_stray_process() -> None:
    fleet = h100()
    fleet.probe["gpus"][1]["processes"] = 2
    assert warns(fleet.judge("gpu.idle"), "processes", "2")


def test_idle_is_untested_when_pods_were_not_listed() -> None:
    fleet = h100()
    del fleet.lists["pods"]
    assert untested(fleet.judge("gpu.idle"), "missing", "pods.json")


def _probed(fleet: Fleet) -> Fleet:
    assert fleet.probe
    return fleet

from __future__ import annotations

import pytest
from nodes import fails, h100, not_applicable, passes, shown, t4, untested, warns

SILENT = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."


# --- driver.nvml ---------------------------------------------------------------------------------------------


def test_nvml_passes_when_every_gpu_answers() -> None:
    assert passes(h100().judge("driver.nvml"))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (SILENT, "driver not loaded"),
        ("Failed to initialize NVML: Driver/library version mismatch", "driver/library version mismatch"),
        ("Unable to determine the device handle for GPU0000:10:00.0: Unknown Error", "GPU lost"),
        ("No devices were found", "no devices were found"),
        ("Failed to initialize NVML: GPU is lost", "GPU is lost"),
    ],
)
def test_nvml_fails_with_what_the_drivers_own_tool_says(text: str, meaning: str) -> None:
    assert fails(h100().file("nvidia-smi.xml", text).judge("driver.nvml"), "driver", meaning)


def test_nvml_fails_as_hung_only_where_the_supervisor_on_the_node_saw_it() -> None:
    fleet = h100()
    fleet.probe["driver"]["hung"] = {"call": "nvmlInit", "text": "no answer", "seconds": 60}
    result = fleet.judge("driver.nvml")
    assert fails(result, "driver", "nvmlInit: no answer after 60 s")
    assert result.reason == "hung"


def test_nvml_fails_as_hung_when_the_record_of_the_failed_attempt_says_so() -> None:
    fleet = h100().file("nvidia-smi.xml", None)
    result = fleet.file("nvidia-smi.xml.error", {"reason": "hung", "message": "killed after 60 s"}).judge("driver.nvml")
    assert fails(result, "driver", "hung: killed after 60 s")
    assert result.reason == "hung"


def test_nvml_is_an_error_when_only_the_remote_side_saw_a_deadline() -> None:
    record = {"reason": "timeout", "message": "no answer in 30 s"}
    assert untested(h100().file("nvidia-smi.xml.error", record).judge("driver.nvml"), "timeout", "no answer in 30 s")


@pytest.mark.parametrize("said", ["GPU is lost", "GPU requires reset"])
def test_nvml_fails_for_the_one_gpu_that_no_longer_answers(said: str) -> None:
    fleet = h100().smi("fb_memory_usage/total", said, gpu=1)
    result = fleet.judge("driver.nvml")
    assert fails(result, "nvml", said)
    assert [each.subject for each in result.findings] == [fleet.uuid(1)]


def test_nvml_fails_for_a_gpu_whose_probe_ended_in_an_error() -> None:
    fleet = h100()
    fleet.probe["gpus"][1]["error"] = {"call": "nvmlDeviceGetMemoryInfo", "text": "GPU is lost"}
    assert fails(fleet.judge("driver.nvml"), "nvml", "GPU is lost")


def test_nvml_says_what_the_kernel_log_knows_of_a_silent_driver() -> None:
    fleet = (
        h100().file("nvidia-smi.xml", SILENT).log("[ 90.0] NVRM: Xid (PCI:0000:10:00): 79, GPU has fallen off the bus.")
    )
    assert "Xid 79" in fleet.judge("driver.nvml").findings[0].hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("hello world", "unparsable"),
        ("<html><body>502</body></html>", "unparsable"),
    ],
)
def test_nvml_is_untested_or_an_error_without_an_answer_to_read(content: str | None, reason: str) -> None:
    assert untested(h100().file("nvidia-smi.xml", content).judge("driver.nvml"), reason)


def test_nvml_is_untested_at_a_depth_that_does_not_ask_the_driver() -> None:
    assert untested(h100().judge("driver.nvml", depth="api"), "not-selected", "depth smi does")


@pytest.mark.parametrize("check", ["gpu.ecc-mode", "driver.version", "labels.truth", "workload.vectoradd"])
def test_nvml_failing_blocks_what_needs_the_driver(check: str) -> None:
    result = h100().file("nvidia-smi.xml", SILENT).judge(check)
    assert untested(result, "blocked", "blocked by driver.nvml")


# --- driver.gpu-count ----------------------------------------------------------------------------------------


def test_gpu_count_passes_when_all_witnesses_agree() -> None:
    fleet = h100()
    assert fleet.probe["counts"]["pci"] == 2
    assert passes(fleet.judge("driver.gpu-count"))


def test_gpu_count_fails_when_fewer_gpus_answer_than_the_standard_says() -> None:
    assert fails(h100().says(gpu={"count": 8}).judge("driver.gpu-count"), "gpus.answering", "2")


@pytest.mark.parametrize("witness", ["pci", "device-files", "proc"])
def test_gpu_count_fails_when_a_witness_disagrees(witness: str) -> None:
    fleet = h100()
    fleet.probe["counts"][witness] = 3
    assert fails(fleet.judge("driver.gpu-count"), f"gpus.{witness}", "3")


def test_gpu_count_fails_when_the_driver_counts_more_than_it_describes() -> None:
    fleet = h100()
    fleet.header["gpu-1"]["attached_gpus"] = "3"
    assert fails(fleet.judge("driver.gpu-count"), "gpus.attached", "3")


def test_gpu_count_is_untested_without_the_drivers_own_count() -> None:
    fleet = h100()
    del fleet.header["gpu-1"]["attached_gpus"]
    assert untested(fleet.judge("driver.gpu-count"), "missing", "own count")


# --- driver.gpu-identity -------------------------------------------------------------------------------------


def test_gpu_identity_passes_when_product_device_and_memory_are_the_standards() -> None:
    assert passes(h100().judge("driver.gpu-identity"))


@pytest.mark.parametrize("mebibytes", [81559 - 228, 81559 + 700])
def test_gpu_identity_passes_within_a_percent_of_memory(mebibytes: int) -> None:
    assert passes(h100().smi("fb_memory_usage/total", f"{mebibytes} MiB").judge("driver.gpu-identity"))


@pytest.mark.parametrize(
    ("path", "text", "field", "observed"),
    [
        ("product_name", "NVIDIA H100 PCIe", "product", "NVIDIA H100 PCIe"),
        ("pci/pci_device_id", "233110DE", "device-id", "2331"),
        ("fb_memory_usage/total", "40960 MiB", "memory.total", "40960"),
    ],
)
def test_gpu_identity_fails_for_the_one_gpu_that_is_another(path: str, text: str, field: str, observed: str) -> None:
    fleet = h100().smi(path, text, gpu=1)
    result = fleet.judge("driver.gpu-identity")
    assert fails(result, field, observed)
    assert {each.subject for each in result.findings} == {fleet.uuid(1)}


def test_gpu_identity_is_an_error_when_memory_reads_err() -> None:
    assert untested(
        h100().smi("fb_memory_usage/total", "[Unknown Error]", gpu=0).judge("driver.gpu-identity"), "unparsable"
    )


def test_gpu_identity_is_untested_for_a_product_that_no_standard_knows() -> None:
    fleet = h100().smi("product_name", "NVIDIA X1", gpu=1).smi("pci/pci_device_id", "FFFF10DE", gpu=1)
    assert untested(fleet.judge("driver.gpu-identity"), "no-standard", "NVIDIA X1")


# --- driver.version, driver.cuda, driver.consistent ----------------------------------------------------------


@pytest.mark.parametrize("wanted", ["580.105.08", "580.*", ">=580.65 <581", ["570.148.08", "580.105.08"]])
def test_version_passes_when_it_is_the_standards(wanted: object) -> None:
    assert passes(h100().says(driver={"version": wanted}).judge("driver.version"))


@pytest.mark.parametrize("wanted", ["580.105.09", "570.*", ">=590"])
def test_version_fails_when_it_is_not(wanted: str) -> None:
    assert fails(h100().says(driver={"version": wanted}).judge("driver.version"), "driver.version", "580.105.08")


def test_version_fails_when_it_is_on_the_deny_list() -> None:
    result = h100().says(driver={"version": "580.*", "deny": ["580.105.08"]}).judge("driver.version")
    assert fails(result, "driver.version", "580.105.08")
    assert result.findings[0].expected == "not 580.105.08"


def test_version_is_untested_where_no_standard_fits_the_node() -> None:
    fleet = (
        h100().says(match={"nodes": ["another"]}).smi("product_name", "NVIDIA X1").smi("pci/pci_device_id", "FFFF10DE")
    )
    assert untested(fleet.judge("driver.version"), "no-standard")


def test_version_is_an_error_when_the_document_has_none() -> None:
    fleet = h100()
    fleet.header["gpu-1"]["driver_version"] = "N/A"
    assert untested(fleet.judge("driver.nvml"), "unparsable")
    assert untested(fleet.judge("driver.version"), "blocked")


def test_cuda_passes_when_the_driver_supports_enough() -> None:
    assert passes(h100().says(driver={"cuda": ">=12.8"}).judge("driver.cuda"))


def test_cuda_fails_when_the_driver_is_too_old() -> None:
    assert fails(h100().says(driver={"cuda": ">=13.1"}).judge("driver.cuda"), "driver.cuda", "13.0")


def test_cuda_is_untested_when_the_document_does_not_say() -> None:
    fleet = h100().says(driver={"cuda": "13.0"})
    del fleet.header["gpu-1"]["cuda_version"]
    assert untested(fleet.judge("driver.cuda"), "missing")


def test_consistent_passes_when_library_and_module_are_of_one_version() -> None:
    fleet = h100()
    assert fleet.probe["driver"]["kernel-module"] == "580.105.08"
    assert passes(fleet.judge("driver.consistent"))


def test_consistent_fails_when_the_module_is_another() -> None:
    fleet = h100()
    fleet.probe["driver"]["kernel-module"] = "570.148.08"
    assert fails(fleet.judge("driver.consistent"), "driver.kernel-module", "570.148.08")


def test_consistent_fails_when_the_kernel_log_names_a_mismatch() -> None:
    fleet = h100().log(
        "[ 99.0] NVRM: API mismatch: the client has the version 580.105.08, but",
        "NVRM: this kernel module has the version 570.148.08.  Please",
    )
    assert fails(fleet.judge("driver.consistent"), "kernel-module", "570.148.08")


def test_consistent_is_untested_without_an_answer_of_the_driver() -> None:
    assert untested(h100().file("nvidia-smi.xml", None).judge("driver.consistent"), "blocked")


# --- driver.modules, driver.host -----------------------------------------------------------------------------

REQUIRED = {"modules": ["nvidia", "nvidia_uvm"], "device-files": ["/dev/nvidiactl"]}


def test_modules_passes_when_all_required_ones_are_there() -> None:
    fleet = h100().says(driver=REQUIRED)
    assert fleet.probe
    assert passes(fleet.judge("driver.modules"))


@pytest.mark.parametrize(("field", "name"), [("modules", "nvidia_uvm"), ("device-files", "/dev/nvidiactl")])
def test_modules_fails_when_one_is_absent(field: str, name: str) -> None:
    fleet = h100().says(driver=REQUIRED)
    fleet.probe["host"][field].remove(name)
    result = fleet.judge("driver.modules")
    assert fails(result, field, "absent")
    assert result.findings[0].expected == name


def test_modules_is_judged_even_if_the_driver_does_not_answer() -> None:
    fleet = h100().says(driver=REQUIRED).file("nvidia-smi.xml", None)
    fleet.probe["host"]["modules"] = []
    assert fails(fleet.judge("driver.modules"), "modules", "absent")


def test_modules_is_untested_when_the_host_could_not_be_read() -> None:
    fleet = h100().says(driver=REQUIRED)
    fleet.probe["host"]["modules"] = {"state": "denied", "detail": "no /proc"}
    assert untested(fleet.judge("driver.modules"), "denied", "no /proc")


def test_modules_is_not_planned_without_a_probe() -> None:
    assert untested(h100().says(driver=REQUIRED).judge("driver.modules"), "not-selected")


def test_modules_is_not_applicable_where_the_standard_requires_none() -> None:
    fleet = h100().says(driver={"modules": [], "device-files": []})
    assert fleet.probe
    assert not_applicable(fleet.judge("driver.modules"))


HOST = {"kernel": "5.15.0-153-generic", "secure-boot": "disabled", "cmdline": ["iommu=pt"]}


def test_host_passes_when_kernel_boot_and_flavour_are_the_standards() -> None:
    fleet = h100().says(host=HOST)
    assert fleet.probe
    assert passes(fleet.judge("driver.host"))


@pytest.mark.parametrize(
    ("wanted", "field", "observed"),
    [
        ({"kernel": "6.8.0-31-generic"}, "kernel", "5.15.0-153-generic"),
        ({"secure-boot": "enabled"}, "secure-boot", "disabled"),
        ({"cmdline": ["pci=realloc=off"]}, "cmdline", "absent"),
    ],
)
def test_host_fails_when_one_differs(wanted: dict[str, object], field: str, observed: str) -> None:
    fleet = h100().says(host={**HOST, **wanted})
    assert fleet.probe
    assert warns(fleet.judge("driver.host"), field, observed)


def test_host_warns_about_the_wrong_flavour_of_the_module() -> None:
    fleet = h100().says(driver={"flavour": "proprietary"})
    assert fleet.probe
    assert warns(fleet.judge("driver.host"), "flavour", "open")


def test_host_is_untested_when_nodeinfo_has_no_kernel() -> None:
    fleet = h100().says(host={"kernel": "5.15.0-153-generic"})
    del fleet.node["status"]["nodeInfo"]["kernelVersion"]
    assert untested(fleet.judge("driver.host"), "missing")


# --- driver.fabric -------------------------------------------------------------------------------------------


def test_fabric_passes_when_registration_is_complete_although_health_is_na() -> None:
    assert passes(h100().smi("fabric/health/bandwidth", "N/A").judge("driver.fabric"))


def test_fabric_is_not_applicable_where_the_standard_has_none() -> None:
    assert not_applicable(t4().judge("driver.fabric"))


@pytest.mark.parametrize(
    ("path", "text", "field"),
    [
        ("fabric/state", "In Progress", "fabric.state"),
        ("fabric/state", "Not Started", "fabric.state"),
        ("fabric/status", "Insufficient Resources", "fabric.status"),
        ("fabric/health/bandwidth", "Degraded", "fabric.bandwidth"),
        ("fabric/health/route_unhealthy", "True", "fabric.route-unhealthy"),
    ],
)
def test_fabric_fails_when_registration_or_a_health_bit_is_bad(path: str, text: str, field: str) -> None:
    assert fails(h100().smi(path, text, gpu=1).judge("driver.fabric"), field, text.lower())


def test_fabric_fails_when_the_fabric_manager_is_down() -> None:
    fleet = h100()
    fleet.probe["host"]["fabric-manager"] = "inactive"
    assert fails(fleet.judge("driver.fabric"), "fabric-manager", "inactive")


def test_fabric_is_untested_when_the_document_does_not_say() -> None:
    assert untested(h100().smi("fabric", None, gpu=0).judge("driver.fabric"), "missing")


def test_fabric_fails_where_the_standard_wants_one_and_the_driver_knows_none() -> None:
    assert fails(h100().smi("fabric/state", "N/A", gpu=0).judge("driver.fabric"), "fabric.state", "N/A")


# --- driver.recovery-action ----------------------------------------------------------------------------------


def test_recovery_action_passes_when_the_driver_asks_for_nothing() -> None:
    assert passes(h100().judge("driver.recovery-action"))


@pytest.mark.parametrize("action", ["Reset", "Reboot", "Drain P2P", "Drain and Reset"])
def test_recovery_action_fails_when_one_gpu_needs_something(action: str) -> None:
    result = h100().smi("gpu_recovery_action", action, gpu=1).judge("driver.recovery-action")
    assert fails(result, "recovery-action", action.lower())


def test_recovery_action_is_untested_when_a_driver_that_has_it_does_not_print_it() -> None:
    assert untested(h100().smi("gpu_recovery_action", None).judge("driver.recovery-action"), "missing")


def test_recovery_action_is_not_planned_for_a_driver_that_is_too_old_to_have_it() -> None:
    fleet = h100().smi("gpu_recovery_action", None)
    fleet.header["gpu-1"]["driver_version"] = "535.183.01"
    assert untested(fleet.judge("driver.recovery-action"), "not-selected", "535")


# --- driver.xid ----------------------------------------------------------------------------------------------


def _xid(code: int, rest: str = "pid=7, name=python") -> str:
    return f"[  812.4] NVRM: Xid (PCI:0000:10:00): {code}, {rest}"


def test_xid_passes_on_a_log_that_reaches_back_to_the_boot() -> None:
    assert passes(h100().judge("driver.xid"))


@pytest.mark.parametrize("code", [48, 62, 64, 74, 79, 95, 119, 140])
def test_xid_fails_for_codes_that_are_fatal_to_the_node(code: int) -> None:
    assert fails(h100().log(_xid(code)).judge("driver.xid"), "xid", f"Xid {code}")


@pytest.mark.parametrize("code", [13, 31, 43, 45])
def test_xid_passes_in_spite_of_faults_of_applications(code: int) -> None:
    assert passes(h100().log(_xid(code)).judge("driver.xid"))


@pytest.mark.parametrize("code", [63, 94, 999])
def test_xid_warns_of_codes_that_are_neither(code: int) -> None:
    assert warns(h100().log(_xid(code)).judge("driver.xid"), "xid", f"Xid {code}")


def test_xid_fails_for_what_the_standard_calls_fatal_and_not_for_what_it_ignores() -> None:
    assert fails(h100().log(_xid(13)).says(xid={"fatal": [13]}).judge("driver.xid"), "xid", "Xid 13")
    assert passes(h100().log(_xid(79)).says(xid={"ignore": [79]}).judge("driver.xid"))


def test_xid_fails_for_an_nvswitch_error_that_calls_itself_fatal() -> None:
    line = "[ 90.0] nvidia-nvswitch0: SXid (PCI:0000:85:00.0): 20034, Fatal, Link 28 LTSSM Fault Up"
    assert fails(h100().log(line).judge("driver.xid"), "sxid", "SXid 20034")


def test_xid_fails_without_a_code_when_a_gpu_has_fallen_off_the_bus() -> None:
    line = "[ 90.0] NVRM: GPU at PCI:0000:10:00: GPU-1: GPU has fallen off the bus."
    assert fails(h100().log(line).judge("driver.xid"), "fallen-off-bus", "fallen off the bus")


def test_xid_forgets_what_happened_before_the_last_boot() -> None:
    fleet = h100()
    healthy = fleet.files["gpu-1"]["kernel.log"]
    assert passes(fleet.file("kernel.log", f"{healthy}{_xid(79)}\n{healthy}").judge("driver.xid"))


def test_xid_is_judged_even_if_the_driver_was_not_asked() -> None:
    fleet = h100().file("nvidia-smi.xml", None).log(_xid(79))
    assert fails(fleet.judge("driver.xid"), "xid", "Xid 79")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("dmesg: read kernel buffer failed: Operation not permitted", "denied"),
        ("<html>502</html>", "unparsable"),
    ],
)
def test_xid_is_untested_or_an_error_without_a_log(content: str | None, reason: str) -> None:
    assert untested(h100().file("kernel.log", content).judge("driver.xid"), reason)


def test_xid_is_an_error_when_the_log_was_cut_off_and_shows_no_fault() -> None:
    fleet = h100()
    assert untested(
        fleet.file("kernel.log", fleet.files["gpu-1"]["kernel.log"][:-9]).judge("driver.xid"), "unparsable", "cut off"
    )


def test_xid_fails_for_what_a_log_that_was_cut_off_does_show() -> None:
    fleet = h100().log(_xid(79))
    assert fails(
        fleet.file("kernel.log", fleet.files["gpu-1"]["kernel.log"] + "[ 99").judge("driver.xid"), "xid", "Xid 79"
    )


def test_xid_says_that_a_log_which_does_not_reach_back_is_no_proof() -> None:
    result = h100().file("kernel.log", "[ 9000.0] usb 1-1: new device\n").judge("driver.xid")
    assert untested(result, "missing", "reach back")
    assert result.severity == "warning"


# --- driver.homogeneous --------------------------------------------------------------------------------------


def test_homogeneous_passes_when_boards_are_alike() -> None:
    assert passes(h100(3).judge("driver.homogeneous"))


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("vbios_version", "vbios"),
        ("inforom_version/img_version", "inforom.image"),
        ("gsp_firmware_version", "gsp.firmware"),
    ],
)
def test_homogeneous_fails_for_the_odd_one_out(path: str, field: str) -> None:
    fleet = h100(3).smi(path, "99.99", gpu=2)
    result = fleet.judge("driver.homogeneous")
    assert warns(result, field, "99.99")
    assert [each.subject for each in result.findings] == [fleet.uuid(2)]


def test_homogeneous_compares_gpus_of_one_product_only() -> None:
    fleet = h100().smi("product_name", "NVIDIA L4", gpu=1).smi("vbios_version", "95.04", gpu=1)
    result = fleet.judge("driver.homogeneous")
    assert result.verdict != "fail", shown(result)


def test_homogeneous_is_an_error_when_a_vbios_reads_err() -> None:
    assert untested(h100().smi("vbios_version", "ERR!", gpu=0).judge("driver.homogeneous"), "unparsable")

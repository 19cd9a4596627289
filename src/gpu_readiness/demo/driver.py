"""What `nvidia-smi -q -x` prints on a node of the demo fleet, as its driver branch prints it."""

from __future__ import annotations

from typing import Any

from gpu_readiness.demo.labels import CLIQUE, CLUSTER_UUID
from gpu_readiness.demo.models import Model
from gpu_readiness.demo.node import DemoGpu, DemoNode

_DEPRECATED = "Requested functionality has been deprecated"
_NONE = "N/A"
_CLOCK_EVENTS = (
    "applications_clocks_setting",
    "sw_power_cap",
    "hw_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
    "sync_boost",
    "sw_thermal_slowdown",
    "display_clocks_setting",
)
_HEALTH = (
    "bandwidth",
    "route_recovery_in_progress",
    "route_unhealthy",
    "access_timeout_recovery",
    "incorrect_configuration",
)


def smi_document(node: DemoNode) -> str:
    """The whole document of a node."""
    branch = int(node.pool.driver.split(".")[0])
    lines = [
        '<?xml version="1.0" ?>',
        f'<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v{13 if branch >= 580 else 12}.dtd">',
        "<nvidia_smi_log>",
        "\t<timestamp>Fri Aug 21 08:59:41 2026</timestamp>",
        f"\t<driver_version>{node.pool.driver}</driver_version>",
        f"\t<cuda_version>{node.pool.cuda}</cuda_version>",
        f"\t<attached_gpus>{len(node.gpus)}</attached_gpus>",
    ]
    for gpu in node.gpus:
        lines.append(f'\t<gpu id="{gpu.bus}">')
        _write(_gpu(gpu, branch, node.pool.driver), "\t\t", lines)
        lines.append("\t</gpu>")
    return "\n".join([*lines, "</nvidia_smi_log>", ""])


def _write(parent: dict[str, Any], indent: str, lines: list[str]) -> None:
    # ElementTree takes five times as long, which a fleet of thousands of nodes (bench/) would feel.
    for tag, value in parent.items():
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, dict):
                lines.append(f"{indent}<{tag}>")
                _write(each, indent + "\t", lines)
                lines.append(f"{indent}</{tag}>")
            else:
                lines.append(f"{indent}<{tag}>{each}</{tag}>")


def _gpu(gpu: DemoGpu, branch: int, driver: str) -> dict[str, Any]:
    model = gpu.model
    mig = ("Enabled" if gpu.mig else "Disabled") if model.mig_capable else _NONE
    idle_state = "P0" if model.hbm else "P8"
    set_clocks = {"graphics_clock": _DEPRECATED, "mem_clock": _DEPRECATED}
    if branch < 595:
        set_clocks = {"graphics_clock": f"{model.application_clock} MHz", "mem_clock": f"{model.memory_clock} MHz"}
    return {
        "product_name": model.name,
        "product_brand": "NVIDIA",
        "product_architecture": model.architecture,
        "display_active": "Disabled",
        "persistence_mode": "Enabled",
        "addressing_mode": "ATS" if model.fabric == "mnnvl" else "HMM",
        "mig_mode": {"current_mig": mig, "pending_mig": mig},
        "mig_devices": _mig_devices(gpu),
        "accounting_mode": "Disabled",
        "serial": gpu.serial,
        "uuid": gpu.uuid,
        "minor_number": gpu.index,
        "vbios_version": model.vbios,
        "multigpu_board": "No",
        "board_part_number": model.board,
        "inforom_version": {
            "img_version": model.inforom,
            "oem_object": "2.1",
            "ecc_object": "7.16",
            "pwr_object": _NONE,
        },
        "gpu_virtualization_mode": {"virtualization_mode": "Pass-Through", "host_vgpu_mode": _NONE},
        "gpu_recovery_action": "None",
        "gsp_firmware_version": driver,
        "pci": _pci(gpu),
        "fan_speed": _NONE,
        "performance_state": idle_state,
        "clocks_event_reasons": {"clocks_event_reason_gpu_idle": "Active"}
        | {f"clocks_event_reason_{event}": "Not Active" for event in _CLOCK_EVENTS},
        "fb_memory_usage": _memory(model.memory, model.reserved, 0),
        "bar1_memory_usage": {"total": "131072 MiB", "used": "1 MiB", "free": "131071 MiB"},
        "compute_mode": "Default",
        "utilization": dict.fromkeys(("gpu_util", "memory_util"), _NONE if gpu.mig else "0 %"),
        "ecc_mode": {"current_ecc": gpu.ecc, "pending_ecc": gpu.ecc},
        "ecc_errors": _ecc_errors(gpu, branch),
        "retired_pages": _retired_pages(model),
        "remapped_rows": _remapped_rows(gpu),
        "temperature": _temperature(model),
        "gpu_power_readings": {
            "power_state": idle_state,
            "instant_power_draw": f"{model.idle_power:.2f} W",
            "current_power_limit": f"{model.power}.00 W",
            "requested_power_limit": f"{model.power}.00 W",
            "default_power_limit": f"{model.power}.00 W",
            "max_power_limit": f"{model.power}.00 W",
        },
        "clocks": {"graphics_clock": f"{model.idle_clock} MHz", "sm_clock": f"{model.idle_clock} MHz"},
        "applications_clocks": set_clocks,
        "default_applications_clocks": set_clocks,
        "max_clocks": {
            "graphics_clock": f"{model.sm_clock} MHz",
            "sm_clock": f"{model.sm_clock} MHz",
            "mem_clock": f"{model.memory_clock} MHz",
        },
        "fabric": _fabric(gpu),
        "processes": "",
    }


def _memory(total: int, reserved: int, used: int) -> dict[str, str]:
    free = total - reserved - used
    return {"total": f"{total} MiB", "reserved": f"{reserved} MiB", "used": f"{used} MiB", "free": f"{free} MiB"}


def _mig_devices(gpu: DemoGpu) -> str | dict[str, Any]:
    """The XML names no profile: only the slices that a device has."""
    if not gpu.layout:
        return "None"
    devices = []
    for index, (name, instance) in enumerate(gpu.instances):
        profile = gpu.model.mig_profiles[name]
        shared = {
            "multiprocessor_count": profile.multiprocessors,
            "copy_engine_count": profile.copy_engines,
            "decoder_count": profile.decoders,
        }
        devices.append(
            {
                "index": index,
                "gpu_instance_id": instance,
                "compute_instance_id": 0,
                "device_attributes": {"shared": shared},
                "ecc_error_count": {"volatile_count": {"sram_uncorrectable": 0}},
                "fb_memory_usage": _memory(profile.memory, 0, 12),
            }
        )
    return {"mig_device": devices}


def _pci(gpu: DemoGpu) -> dict[str, Any]:
    model = gpu.model
    generation, width = model.pcie_generation, model.pcie_width
    return {
        "pci_device_id": f"{model.device_id}10DE",
        "pci_bus_id": gpu.bus,
        "pci_gpu_link_info": {
            "pcie_gen": {
                "max_link_gen": generation,
                "current_link_gen": generation if model.hbm else 1,
                "max_device_link_gen": generation,
            },
            "link_widths": {"max_link_width": "16x", "current_link_width": f"{width}x"},
        },
        "replay_counter": 0,
    }


def _ecc_errors(gpu: DemoGpu, branch: int) -> dict[str, Any]:
    pages = not gpu.model.banks
    sram = ("sram_uncorrectable",) if pages else ("sram_uncorrectable_parity", "sram_uncorrectable_secded")
    counters = ("sram_correctable", *sram, "dram_correctable", "dram_uncorrectable")
    off = gpu.ecc != "Enabled"
    aggregate: dict[str, Any] = dict.fromkeys(counters, _NONE if off else 0)
    found: dict[str, Any] = {
        "volatile": dict.fromkeys(counters, _NONE if off or gpu.mig else 0),
        "aggregate": aggregate,
    }
    if not pages:
        aggregate["sram_threshold_exceeded"] = _NONE if off else "No"
        if branch >= 580:
            found |= {"channel_repair_pending": "No", "tpc_repair_pending": "No"}
    return found


def _retired_pages(model: Model) -> dict[str, Any]:
    count, pending = (_NONE, _NONE) if model.banks else (0, "No")
    return {
        "multiple_single_bit_retirement": {"retired_count": count},
        "double_bit_retirement": {"retired_count": count},
        "pending_retirement": pending,
    }


def _remapped_rows(gpu: DemoGpu) -> str | dict[str, Any]:
    if not gpu.model.banks or gpu.mig:
        return _NONE
    return {
        "remapped_row_corr": 0,
        "remapped_row_unc": 0,
        "remapped_row_pending": "No",
        "remapped_row_failure": "No",
        "row_remapper_histogram": {
            f"row_remapper_histogram_{level}": f"{gpu.model.banks if level == 'max' else 0} bank(s)"
            for level in ("max", "high", "partial", "low", "none")
        },
    }


def _temperature(model: Model) -> dict[str, str]:
    memory = "37 C" if model.hbm else _NONE
    if model.margin:
        return {
            "gpu_temp": "29 C",
            "gpu_temp_tlimit": "58 C",
            "gpu_temp_slow_tlimit_threshold": "-2 C",
            "gpu_temp_max_gpu_tlimit_threshold": "0 C",
            "memory_temp": memory,
        }
    return {
        "gpu_temp": "33 C",
        "gpu_temp_max_threshold": "96 C",
        "gpu_temp_slow_threshold": "93 C",
        "gpu_temp_max_gpu_threshold": "85 C",
        "memory_temp": memory,
    }


def _fabric(gpu: DemoGpu) -> dict[str, Any]:
    """A Hopper board behind NVSwitches prints no health even when all is well; an NVL72 tray does."""
    kind = gpu.model.fabric
    registered = kind != "none" and gpu.fabric == "Completed"
    found: dict[str, Any] = {
        "state": _NONE if kind == "none" else gpu.fabric,
        "status": "Success" if registered else _NONE,
        "cliqueId": _NONE,
        "clusterUuid": _NONE,
        "health": dict.fromkeys(("summary", *_HEALTH), _NONE),
    }
    if registered and kind == "nvswitch":
        found |= {"cliqueId": "0", "clusterUuid": "00000000-0000-0000-0000-000000000000"}
    if registered and kind == "mnnvl":
        health = dict.fromkeys(_HEALTH, "False") | {"bandwidth": "Full", "incorrect_configuration": _NONE}
        found |= {"cliqueId": CLIQUE, "clusterUuid": CLUSTER_UUID, "health": {"summary": "Healthy"} | health}
    return found

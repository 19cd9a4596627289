"""Layer 2, GPU: each one is set as the standard says, and its memory, links and clocks are sound."""

from __future__ import annotations

from gpu_readiness import (
    Node,
    Standard,
    check,
    gpus_with_ecc,
    has_no_mig,
    idle_gpus,
    mig_layout,
    repairs_by,
    thermal_limit,
    uncorrectable_now,
    volatile_limit,
    wanted_layout,
)

NVML = ("driver.nvml",)


@check("gpu.ecc-mode", needs=NVML, depth="smi")
def test_ecc_mode(node: Node) -> None:
    """ECC is set as the standard says on every GPU, and no change waits for a reset."""
    for gpu in node.gpus:
        gpu.expect("ecc.current", gpu.standard.ecc, hint="nvidia-smi -e, then reset the GPU")
        gpu.expect("ecc.pending", gpu.standard.ecc, hint="reset the GPU or reboot the node")


@check(
    "gpu.ecc-errors", needs=NVML, depth="smi", hint="drain the node, reset the GPU; replace it if the errors come back"
)
def test_ecc_errors(node: Node) -> None:
    """No uncorrectable ECC error since the driver was loaded, and the SRAM threshold is not exceeded."""
    for gpu in gpus_with_ecc(node):
        for field, reading in uncorrectable_now(gpu):
            gpu.judge(field, reading, volatile_limit(gpu))
        for field, reading in gpu.uncorrectable("aggregate"):
            if reading.there:
                gpu.judge(field, reading, 0, severity="warning", hint="a lifetime counter: watch whether it grows")
        gpu.expect_if_supported("ecc.sram-threshold-exceeded", "no", hint="replace the GPU")


@check(
    "gpu.memory-repair",
    needs=NVML,
    depth="smi",
    hint="drain the node and reset the GPU; replace it if the repair failed",
)
def test_memory_repair(node: Node) -> None:
    """No row remap, page retirement, channel or TPC repair is pending or failed, and counts are under the limits."""
    for gpu in node.gpus:
        if repairs_by(gpu, "row-remap"):
            gpu.expect("remap.pending", "no", hint="reset the GPU")
            gpu.expect("remap.failure", "no", hint="replace the GPU")
            gpu.expect_if_known("remap.uncorrectable", gpu.standard.remapped_rows, hint="replace the GPU")
            gpu.expect_if_supported("remap.banks-without-spares", 0, severity="warning", hint="replace the GPU soon")
        if repairs_by(gpu, "page-retirement"):
            gpu.expect("retired.pending", "no", hint="reload the driver or reboot the node")
            for cause in ("single-bit", "double-bit"):
                gpu.expect_if_known(f"retired.{cause}", gpu.standard.retired_pages, hint="replace the GPU")
        for repair in ("repair.channel-pending", "repair.tpc-pending"):
            gpu.expect_if_supported(repair, "no", hint="reset the GPU")
        gpu.expect_if_supported("memory.unrepairable", "no", hint="replace the GPU: its memory cannot be repaired")


@check("gpu.mig-mode", needs=NVML, depth="smi")
def test_mig_mode(node: Node, standard: Standard) -> None:
    """MIG is on or off as the standard says, and no change waits for a reset."""
    for gpu in node.gpus:
        if has_no_mig(gpu):
            gpu.record()
            continue
        gpu.expect(
            "mig.current", standard.mig.mode, hint="nvidia-smi -mig, or the MIG manager's label nvidia.com/mig.config"
        )
        current = gpu.read("mig.current")
        if current.there:
            hint = "the mode changes at the next reset or reboot"
            gpu.judge("mig.pending", gpu.read("mig.pending"), current.value, hint=hint)


@check("gpu.mig-layout", needs=NVML, depth="smi", hint="have the MIG manager apply nvidia.com/mig.config again")
def test_mig_layout(node: Node, standard: Standard) -> None:
    """The MIG devices that exist are the standard's geometry on every GPU."""
    for gpu in node.gpus:
        if has_no_mig(gpu):
            gpu.record()
            continue
        wanted = wanted_layout(standard, gpu)
        if wanted is None:
            gpu.record()
            continue
        found = mig_layout(gpu, wanted)
        gpu.require(
            found == wanted,
            "mig.layout",
            expected=" + ".join(wanted) or "no MIG devices",
            observed=" + ".join(found) or "no MIG devices",
            source=node.driver.source,
        )


@check("gpu.power-limit", needs=NVML, depth="smi", hint="nvidia-smi -pl to the default; look who set it")
def test_power_limit(node: Node) -> None:
    """The enforced power limit is the default and the standard's."""
    for gpu in node.gpus:
        gpu.expect_if_known("power.limit", gpu.standard.power_limit)
        gpu.expect_if_known("power.default-limit", gpu.standard.power_limit, hint="another board variant than ordered?")
        gpu.agree("power.limit", "power.default-limit")


@check("gpu.pcie-width", needs=NVML, depth="smi", hint="reseat the GPU or riser; look at BIOS bifurcation")
def test_pcie_width(node: Node) -> None:
    """Every GPU's link has the standard's width, and the slot's highest generation is the standard's."""
    for gpu in node.gpus:
        if not gpu.known:
            least = (gpu.read("pcie.max-width").value or 0) / 2
            gpu.expect("pcie.width", f">={least:g}", severity="warning")
            continue
        gpu.expect("pcie.width", gpu.standard.pcie_width)
        gpu.expect_if_known("pcie.generation", gpu.standard.pcie_generation, hint="BIOS or slot holds the link down")


@check("gpu.nvlink", needs=NVML, depth="probe", hint="look at the fabric manager and for XID 74 or 144-150")
def test_nvlink(node: Node) -> None:
    """As many NVLinks are active as the standard says, at its speed."""
    for gpu in node.gpus:
        gpu.expect("nvlink.links", gpu.standard.nvlink_links)
        gpu.expect("nvlink.speed", gpu.standard.nvlink_speed)


@check(
    "gpu.inforom",
    needs=NVML,
    depth="smi",
    hint="reset the GPU; have it repaired or replaced if the InfoROM stays corrupted",
)
def test_inforom(node: Node) -> None:
    """The InfoROM of every GPU is valid."""
    for gpu in node.gpus:
        gpu.expect("inforom.valid", "valid")


@check(
    "gpu.clocks", severity="warning", needs=NVML, depth="smi", hint="nvidia-smi -rac and -rgc take user settings away"
)
def test_clocks(node: Node) -> None:
    """Maximum clocks are the standard's, and application clocks are at their default."""
    for gpu in node.gpus:
        gpu.expect("clocks.max-sm", gpu.standard.sm_clock)
        gpu.expect_if_known("clocks.max-memory", gpu.standard.memory_clock)
        gpu.expect_if_known("clocks.application", gpu.standard.application_clock)
        gpu.agree("clocks.application", "clocks.default-application")


@check(
    "gpu.throttle", severity="warning", needs=NVML, depth="smi", hint="look at cooling, power supply and power cables"
)
def test_throttle(node: Node) -> None:
    """No GPU is slowed down by hardware, heat or a power brake."""
    for gpu in node.gpus:
        for event in ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"):
            gpu.expect(f"clock-event.{event}", "not active")


@check("gpu.temperature", severity="warning", needs=NVML, depth="smi", hint="look at fans, filters, inlet temperature")
def test_temperature(node: Node) -> None:
    """Every GPU is below its slowdown temperature and the standard's."""
    for gpu in node.gpus:
        if gpu.known:
            gpu.expect_if_known("temperature", gpu.standard.temperature)
        field, reading, limit = thermal_limit(gpu)
        gpu.judge(field, reading, limit)


@check("gpu.persistence", severity="warning", needs=NVML, depth="smi", hint="run nvidia-persistenced")
def test_persistence(node: Node) -> None:
    """Persistence mode is as the standard says."""
    for gpu in node.gpus:
        gpu.expect("persistence", gpu.standard.persistence)


@check("gpu.compute-mode", severity="warning", needs=NVML, depth="smi", hint="nvidia-smi -c DEFAULT")
def test_compute_mode(node: Node) -> None:
    """The compute mode is as the standard says; Prohibited keeps CUDA from running at all."""
    for gpu in node.gpus:
        mode = gpu.read("compute-mode")
        worse = "critical" if str(mode.value).lower() == "prohibited" else None
        gpu.expect("compute-mode", gpu.standard.compute_mode, severity=worse)


@check(
    "gpu.pcie-errors",
    severity="warning",
    needs=NVML,
    depth="probe",
    hint="reseat the GPU or riser; look at the AER messages",
)
def test_pcie_errors(node: Node) -> None:
    """No PCIe device reports an uncorrectable error; replays alone say nothing without a rate."""
    for gpu in node.gpus:
        gpu.expect("pcie.aer-fatal", 0)
        gpu.expect("pcie.aer-nonfatal", 0)


@check(
    "gpu.idle",
    severity="warning",
    needs=NVML,
    depth="smi",
    hint="find the process, or reset the GPU to free its memory",
)
def test_idle(node: Node) -> None:
    """No memory is leaked and no stray process runs on a GPU that no pod holds."""
    node.require(True, "pods", expected="listed", observed="listed", source="pods.json")
    for gpu, limit in idle_gpus(node):
        gpu.expect("memory.used", limit)
        processes = gpu.processes
        if processes is not None:
            gpu.require(processes == 0, "processes", expected=0, observed=processes, source=node.driver.source)

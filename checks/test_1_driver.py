"""Layer 1, driver: it answers, it is the one the standard wants, and it asks for nothing."""

from __future__ import annotations

from gpu_readiness import (
    Expected,
    Node,
    Reason,
    Standard,
    bad_fabric_bits,
    check,
    fatal_xids,
    graded_events,
    mismatched_modules,
    odd_ones_out,
)

NVML = ("driver.nvml",)


@check("driver.nvml", depth="smi", hint="look at the kernel log; reload the driver or reboot the node")
def test_nvml(node: Node) -> None:
    """The driver answers within its deadline, and so does every GPU that it lists."""
    driver = node.driver
    if driver.hung:
        node.outcome.reason = Reason.HUNG
    if driver.silence:
        said = f"{driver.silence}: {driver.said}"
        node.require(False, "driver", expected="answers", observed=said, source=driver.source, hint=fatal_xids(node))
    for gpu in driver.gpus:
        hint = (fatal_xids(node) or "drain the node and reboot it; replace the GPU") if gpu.lost else ""
        gpu.require(not gpu.lost, "nvml", expected="answers", observed=gpu.lost, source=driver.source, hint=hint)


@check(
    "driver.gpu-count",
    needs=NVML,
    depth="smi",
    hint="reseat or replace the missing GPU; reboot tells whether it comes back",
)
def test_gpu_count(node: Node, standard: Standard) -> None:
    """The GPUs that answer, the driver's own count, PCI devices and device files are as many as the standard says."""
    driver = node.driver
    answering = len(driver.gpus)
    node.judge_if_known("gpus.answering", driver.count("answering"), standard.gpu.count)
    for witness in ("attached", "pci", "device-files", "proc"):
        reading = driver.count(witness)
        if reading.there or witness == "attached":
            node.judge(f"gpus.{witness}", reading, answering)


@check(
    "driver.gpu-identity",
    needs=NVML,
    depth="smi",
    hint="another GPU than ordered, or memory taken out of use: see docs",
)
def test_gpu_identity(node: Node, standard: Standard) -> None:
    """Product, PCI device id and memory of every GPU are the standard's."""
    for gpu in node.gpus:
        gpu.expect("product", gpu.standard.product)
        gpu.expect("device-id", gpu.standard.device_id)
        gpu.expect("memory.total", gpu.standard.memory)
    wanted = standard.gpu.products
    products = [gpu.product for gpu in node.gpus]
    if len(products) == sum(wanted.values()):  # a missing GPU is driver.gpu-count's business
        for product, count in wanted.items():
            found = products.count(product)
            node.require(found == count, f"GPUs {product}", expected=count, observed=found, source=node.driver.source)


@check(
    "driver.version", needs=NVML, depth="smi", hint="upgrade or roll back the driver; the driver DaemonSet is OnDelete"
)
def test_version(node: Node, standard: Standard) -> None:
    """The driver's version is the standard's and not on its deny list."""
    version = node.driver.version
    node.judge_if_known("driver.version", version, standard.driver.version)
    for denied in standard.driver.deny:
        node.require(
            not denied.accepts(version.value),
            "driver.version",
            expected=f"not {denied.text}",
            observed=version.value,
            source=version.source,
        )


@check("driver.cuda", needs=NVML, depth="smi", hint="the driver is too old for the CUDA that the fleet runs")
def test_cuda(node: Node, standard: Standard) -> None:
    """The highest CUDA version that the driver supports satisfies the standard."""
    node.judge_if_known("driver.cuda", node.driver.cuda, standard.driver.cuda)


@check("driver.consistent", needs=NVML, depth="smi", hint="reboot the node, or reload the kernel modules")
def test_consistent(node: Node) -> None:
    """User-space library and kernel module are of one version."""
    driver = node.driver
    node.require(
        not driver.silence, "nvml", expected="accepts the kernel module", observed=driver.silence, source=driver.source
    )
    if driver.kernel_module.there:
        node.judge("driver.kernel-module", driver.kernel_module, str(driver.version.value))
    for module in mismatched_modules(node):
        same = module == driver.version.value
        node.require(same, "kernel-module", expected=driver.version.value, observed=module, source="kernel.log")


@check(
    "driver.modules",
    needs=("?driver.nvml",),
    depth="probe",
    hint="load the module: modprobe; nvidia-modprobe -u makes device files",
)
def test_modules(node: Node, standard: Standard) -> None:
    """The kernel modules and device files that the standard requires are there."""
    for field, required in (("modules", standard.driver.modules), ("device-files", standard.driver.device_files)):
        for name in required:
            node.expect_member(field, name)
    if not (standard.driver.modules or standard.driver.device_files):
        node.record()


@check(
    "driver.fabric", needs=NVML, depth="smi", hint="start the fabric manager, or look at the NVLink switches' manager"
)
def test_fabric(node: Node) -> None:
    """Fabric registration is complete, without a bad health bit, where the standard has NVSwitch or MNNVL."""
    for gpu in node.gpus:
        fabric = gpu.standard.fabric
        if fabric in (None, "none"):
            gpu.record()
            continue
        gpu.expect("fabric.state", Expected.of("completed"))
        gpu.expect("fabric.status", Expected.of("success"))
        for field, reading in bad_fabric_bits(gpu):
            gpu.require(False, field, expected="healthy", observed=reading.value, source=reading.source)
    for field in ("fabric.cluster", "fabric.clique"):
        seen = {str(gpu.read(field).value) for gpu in node.gpus if gpu.read(field).there}
        if len(seen) > 1:
            node.require(False, field, expected="one for all GPUs", observed=seen, source=node.driver.source)
    if any(gpu.standard.fabric == "nvswitch" for gpu in node.gpus):
        node.expect("fabric-manager", "active")


@check("driver.recovery-action", needs=NVML, depth="smi", hint="do what the driver asks for, then run this again")
def test_recovery_action(node: Node) -> None:
    """The driver asks for no reset, reboot or drain of any GPU."""
    for gpu in node.gpus:
        gpu.expect("recovery-action", "none")


@check("driver.xid", needs=("?driver.nvml",))
def test_xid(node: Node) -> None:
    """No XID or SXID of the standard's fatal table has happened since boot."""
    for event in graded_events(node):
        node.require(
            event.grade == "application",
            event.field,
            expected="none since boot",
            observed=event.observed,
            source=event.source,
            hint=event.hint,
            severity="critical" if event.grade == "fatal" else "warning",
        )
    lines = node.kernel_log.lines
    node.require(lines > 0, "kernel.log", expected="messages", observed=f"{lines} lines", source="kernel.log")
    if node.kernel_log.cut:
        node.unmeasured(Reason.UNPARSABLE, "kernel.log was cut off: its last line has no end")
    if not node.kernel_log.since_boot:
        node.unmeasured(Reason.MISSING, "kernel.log does not reach back to the boot", severity="warning")


@check(
    "driver.homogeneous",
    severity="warning",
    needs=NVML,
    depth="smi",
    hint="flash or replace until all boards are alike",
)
def test_homogeneous(node: Node) -> None:
    """VBIOS, InfoROM image, GSP firmware and board part number agree across GPUs of one product."""
    for gpu in node.gpus:
        if gpu.known:
            gpu.expect_if_known("vbios", gpu.standard.vbios)
            gpu.expect_if_known("inforom.image", gpu.standard.inforom_image)
    for field in ("vbios", "inforom.image", "gsp.firmware", "board.part-number"):
        for gpu, value, usual in odd_ones_out(node, field):
            said = f"{usual} as the others"
            gpu.require(value == usual, field, expected=said, observed=value, source=gpu.source)


@check(
    "driver.host",
    severity="warning",
    needs=("?driver.nvml",),
    hint="look at the node's image and its boot loader's configuration",
)
def test_host(node: Node, standard: Standard) -> None:
    """Kernel, Secure Boot, module flavour and kernel command line are the standard's."""
    node.expect("kernel", standard.host.kernel)
    node.expect_if_known("secure-boot", standard.host.secure_boot)
    node.expect_if_known("flavour", standard.driver.flavour)
    for argument in standard.host.cmdline:
        node.expect_member("cmdline", argument)

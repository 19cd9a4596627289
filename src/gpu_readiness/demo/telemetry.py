"""What a node of the demo fleet logs and exports: its DCGM exporter's scrape and its kernel log."""

from __future__ import annotations

from gpu_readiness.demo.node import DemoGpu, DemoNode, uid

_METRICS = {
    "SM_CLOCK": ("gauge", "SM clock frequency (in MHz)."),
    "GPU_TEMP": ("gauge", "GPU temperature (in C)."),
    "POWER_USAGE": ("gauge", "Power draw (in W)."),
    "PCIE_REPLAY_COUNTER": ("counter", "Total number of PCIe retries."),
    "FB_FREE": ("gauge", "Framebuffer memory free (in MiB)."),
    "FB_USED": ("gauge", "Framebuffer memory used (in MiB)."),
    "FB_RESERVED": ("gauge", "Framebuffer memory reserved (in MiB)."),
    "UNCORRECTABLE_REMAPPED_ROWS": ("counter", "Number of remapped rows for uncorrectable errors."),
    "ROW_REMAP_FAILURE": ("gauge", "Whether remapping of rows has failed."),
}


def scrape(node: DemoNode) -> str:
    """The exporter's answer: no XID series, as exporters of today print none where there was no XID."""
    series: dict[str, list[str]] = {name: [] for name in _METRICS}
    for gpu in node.gpus:
        if gpu.uuid in node.unscraped:
            continue
        for profile, instance in gpu.instances or [("", 0)]:
            labels = (
                f'gpu="{gpu.index}",UUID="{gpu.uuid}",pci_bus_id="{gpu.bus}",device="nvidia{gpu.index}",'
                f'modelName="{gpu.model.name}",'
                + (f'GPU_I_PROFILE="{profile}",GPU_I_ID="{instance}",' if profile else "")
                + f'hostname="{node.name}",DCGM_FI_DRIVER_VERSION="{node.pool.driver}"'
            )
            for name, value in _values(gpu, profile).items():
                series[name].append(f"DCGM_FI_DEV_{name}{{{labels}}} {value}")
    lines = []
    for name, samples in series.items():
        if samples:
            kind, words = _METRICS[name]
            lines += [f"# HELP DCGM_FI_DEV_{name} {words}", f"# TYPE DCGM_FI_DEV_{name} {kind}", *samples]
    return "\n".join([*lines, ""])


def _values(gpu: DemoGpu, profile: str) -> dict[str, float]:
    model = gpu.model
    memory = model.mig_profiles[profile].memory if profile else model.memory
    reserved, used = (0, 12) if profile else (model.reserved, 0)
    found: dict[str, float] = {
        "SM_CLOCK": model.idle_clock,
        "GPU_TEMP": 29 if model.margin else 33,
        "POWER_USAGE": model.idle_power,
        "PCIE_REPLAY_COUNTER": 0,
        "FB_FREE": memory - reserved - used,
        "FB_USED": used,
        "FB_RESERVED": reserved,
    }
    if model.banks and not profile:
        found |= {"UNCORRECTABLE_REMAPPED_ROWS": 0, "ROW_REMAP_FAILURE": 0}
    return found


def kernel_log(node: DemoNode) -> str:
    """The kernel's messages since boot, as dmesg prints them."""
    host, driver = node.pool.host, node.pool.driver
    machine = "aarch64" if host.architecture == "arm64" else "x86_64"
    devices = [
        f"[   10.1234{gpu.index:02}] nvidia {gpu.bus[4:].lower()}: enabling device (0140 -> 0142)" for gpu in node.gpus
    ]
    lines = [
        f"[    0.000000] Linux version {host.kernel} (buildd@demo) #1-Ubuntu SMP",
        f"[    0.000000] Command line: BOOT_IMAGE=/boot/vmlinuz-{host.kernel} root=UUID={uid('root', node.name)} ro",
        "[    9.881204] nvidia: loading out-of-tree module taints kernel.",
        *devices,
        f"[   10.381022] NVRM: loading NVIDIA UNIX Open Kernel Module for {machine}  {driver}  Release Build",
        "[   11.842211] nvidia-uvm: Loaded the UVM driver, major device number 511.",
        "[  122.004711] IPv6: ADDRCONF(NETDEV_CHANGE): cni0: link becomes ready",
        *node.kernel_events,
    ]
    return "\n".join([*lines, ""])

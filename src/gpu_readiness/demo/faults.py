"""The faults of the demo fleet: a dozen stories that cost somebody a night, each with the check that has to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpu_readiness.demo.node import DemoNode
from gpu_readiness.verdict import NodeVerdict


@dataclass(frozen=True, slots=True)
class Fault:
    """One seeded fault: the function that seeds it, the check that finds it, and what becomes of the node."""

    seed: Callable[[DemoNode], None]
    check: str
    verdict: NodeVerdict = NodeVerdict.NOT_READY

    @property
    def story(self) -> str:
        """The fault in one sentence."""
        return (self.seed.__doc__ or "").strip()


def _seven_of_eight(node: DemoNode) -> None:
    """One of eight GPUs is gone, and driver, labels, scheduler and exporter agree on the seven that are left."""
    del node.gpus[5]


def _ecc_switched_off(node: DemoNode) -> None:
    """Somebody turned ECC off on one GPU for a benchmark and never turned it on again."""
    node.gpus[3].ecc = "Disabled"


def _mig_layout_lost(node: DemoNode) -> None:
    """A GPU came back from a reset without its MIG devices, and the MIG manager's label still says success."""
    node.gpus[2].layout = ()


def _paused_after_upgrade(node: DemoNode) -> None:
    """The driver upgrade is done, but the validator it paused was never started again."""
    node.labels["nvidia.com/gpu.deploy.operator-validator"] = "paused-for-driver-upgrade"
    node.stopped.add("validator")


def _time_slicing_not_applied(node: DemoNode) -> None:
    """The device plugin started without its sharing configuration: four pods fit where sixteen should."""
    node.replicas = 1


def _driver_denied(node: DemoNode) -> None:
    """A policy forbade the probe, so nobody asked the driver: the node is unknown, and neither good nor bad."""
    node.failed["nvidia-smi.xml"] = ("denied", "pods is forbidden: violates PodSecurity baseline")


def _device_unhealthy(node: DemoNode) -> None:
    """The device plugin marked a GPU unhealthy after an error long gone, and does not look at it again."""
    node.unhealthy = 1


def _fell_off_the_bus(node: DemoNode) -> None:
    """A GPU fell off the bus at night and came back with a rescan: only the kernel log remembers."""
    bus = node.gpus[1].bus[4:-2].lower()
    said = "pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
    node.kernel_events.append(f"[40211.118204] NVRM: Xid (PCI:{bus}): 79, {said}")


def _slice_empty(node: DemoNode) -> None:
    """The DRA driver started before the GPU driver did, and publishes a slice without a device."""
    node.publishes = False


def _exporter_misses_one(node: DemoNode) -> None:
    """The exporter started while a GPU was being reset, so that nobody watches that GPU since."""
    node.unscraped.add(node.gpus[6].uuid)


def _fabric_in_progress(node: DemoNode) -> None:
    """One GPU of the tray never joined the NVLink fabric, so jobs across the rack hang at their start."""
    node.gpus[2].fabric = "In Progress"


def _driver_hung(node: DemoNode) -> None:
    """The driver hangs: nvidia-smi never returned, and Kubernetes calls the node Ready all the same."""
    node.failed["nvidia-smi.xml"] = ("hung", "nvidia-smi -q -x did not answer within 30 s and could not be killed")


#: By pool, in the order in which they are seeded.
FAULTS: dict[str, tuple[Fault, ...]] = {
    "h100": (Fault(_seven_of_eight, "driver.gpu-count"), Fault(_ecc_switched_off, "gpu.ecc-mode")),
    "a100-mig": (Fault(_mig_layout_lost, "gpu.mig-layout"), Fault(_paused_after_upgrade, "labels.operations")),
    "t4-shared": (
        Fault(_time_slicing_not_applied, "allocatable.count"),
        Fault(_driver_denied, "driver.nvml", NodeVerdict.UNKNOWN),
    ),
    "l40s": (Fault(_device_unhealthy, "allocatable.healthy"), Fault(_fell_off_the_bus, "driver.xid")),
    "h100-dra": (Fault(_slice_empty, "allocatable.plugin"), Fault(_exporter_misses_one, "telemetry.every-gpu")),
    "gb200": (Fault(_fabric_in_progress, "driver.fabric"), Fault(_driver_hung, "driver.nvml")),
}

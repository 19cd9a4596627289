"""Facts about node conditions: pressure, and what known agents say of the GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_readiness.evidence.kube import Condition
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.node import Node
from gpu_readiness.verdict import Reason

#: The status that is healthy, by condition type. Sources: kubelet; GKE's GPU plugin; EKS node monitoring agent; OKE's
#: node-problem-detector plugins; NVSentinel and node-problem-detector configurations in the field.
HEALTHY: dict[str, str] = {
    "Ready": "True",
    "MemoryPressure": "False",
    "DiskPressure": "False",
    "PIDPressure": "False",
    "NetworkUnavailable": "False",
    "XidCriticalError": "False",
    "AcceleratedHardwareReady": "True",
} | dict.fromkeys(
    (
        "GpuCount",
        "GpuEcc",
        "GpuRowRemap",
        "GpuBus",
        "GpuPcie",
        "GpuFabricMgr",
        "GpuXid",
        "NvlinkSpeed",
        "DcgmiHealth",
        "GpuImex",
    ),
    "False",
)
#: Types that other agents report about GPUs in problem style: True is bad.
_PROBLEM_STARTS = ("Gpu", "GPU", "Nvidia", "Xid")


def judged_conditions(node: Node) -> Iterator[tuple[Condition, str]]:
    """Each condition that says something of this node's fitness, with the status that is healthy.

    Raises:
        Unmeasured: the node has no conditions at all.
    """
    conditions = node.kube.conditions
    if not conditions:
        raise Unmeasured(Reason.MISSING, "the node has no conditions", "nodes.json")
    own = node.standard.runtime.conditions if node.has_standard else {}
    for condition in conditions:
        healthy = own.get(condition.type) or HEALTHY.get(condition.type)
        if (
            healthy is None
            and condition.type.startswith(_PROBLEM_STARTS)
            and not condition.type.endswith(("Ready", "Healthy"))
        ):
            healthy = "False"
        if healthy is not None:
            yield condition, healthy

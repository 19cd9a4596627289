"""Layer 7, workload: a pod that asks for a GPU gets one, it computes right, and as fast as its kind does."""

from __future__ import annotations

from gpu_readiness import Node, Reason, Standard, check, judge_workload

NVML = ("driver.nvml",)


@check("workload.vectoradd", needs=NVML, hint="look at the pod's events, the runtime class and the container toolkit")
def test_vectoradd(node: Node, standard: Standard) -> None:
    """A pod that asked for one GPU of this node got it, saw just that one, and computed the right sum."""
    judge_workload(node, standard, "vectoradd")
    seen = node.workload("vectoradd").outcome.uuids
    if seen:
        node.require(
            len(seen) == 1,
            "GPUs in the pod",
            expected="the one it asked for",
            observed=seen,
            source="workloads/vectoradd.log",
        )


@check(
    "workload.isolation",
    severity="warning",
    needs=NVML,
    hint="turn off accept-nvidia-visible-devices-envvar-when-unprivileged",
)
def test_isolation(node: Node) -> None:
    """A pod that asked for no GPU sees none."""
    outcome = node.workload("isolation").outcome
    if outcome.ok is None and not outcome.uuids:
        node.unmeasured(Reason.MISSING, "workloads/isolation.log does not say what the pod saw")
        return
    node.require(
        not outcome.uuids, "GPUs in the pod", expected="none", observed=outcome.uuids, source="workloads/isolation.log"
    )


@check("workload.gemm", needs=NVML, hint="look for throttling and clocks; replace a GPU that computes wrong")
def test_gemm(node: Node, standard: Standard) -> None:
    """Every GPU multiplies right, at the standard's throughput, and no slower than its neighbours."""
    judge_workload(node, standard, "gemm")


@check("workload.burnin", needs=NVML, hint="look at cooling and power; replace a GPU that errs under load")
def test_burnin(node: Node, standard: Standard) -> None:
    """Under load for its whole time: no XID, no ECC growth, no throttle, steady clocks and temperature."""
    judge_workload(node, standard, "burnin")


@check("workload.memory-bandwidth", needs=NVML, hint="look at the PCIe link, NUMA placement and ECC")
def test_memory_bandwidth(node: Node, standard: Standard) -> None:
    """Device, host-to-device and device-to-host bandwidth are the standard's."""
    judge_workload(node, standard, "memory-bandwidth")


@check("workload.nccl", needs=NVML, hint="look at NVLink, the fabric manager, and the NCCL topology file")
def test_nccl(node: Node, standard: Standard) -> None:
    """All-reduce within the node computes right, at the standard's bus bandwidth."""
    judge_workload(node, standard, "nccl")


@check("workload.dcgm-diag", needs=NVML, hint="look the error id up in DCGM's table: isolate, reset or reconfigure")
def test_dcgm_diag(node: Node, standard: Standard) -> None:
    """DCGM's diagnostics at the standard's level pass, judged by error id."""
    judge_workload(node, standard, "dcgm-diag")

"""Numbers that no hardware could have, such as a bandwidth a thousand times too low that would never fail."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_readiness.standard.errors import StandardError
from gpu_readiness.standard.expected import Expected
from gpu_readiness.standard.model import HardwareEntry, Workload
from gpu_readiness.standard.sections import GpuStandard

LOWEST, HIGHEST = 0.5, 1.05


def refuse_implausible(label: str, gpu: GpuStandard, workload: Workload, entry: HardwareEntry) -> None:
    """Hold what is expected of a product against its limits.

    Raises:
        StandardError: a number is under half of the limit or more than 5 % over it.
    """
    for field, expected, limit in _limited(gpu, workload):
        for number in expected.numbers:
            if limit is not None and not LOWEST * limit <= number <= HIGHEST * limit:
                raise StandardError(
                    f"standard {label}: {field}: {expected.text} is not within {LOWEST:.0%} and {HIGHEST:.0%} of "
                    f"{limit:g}, the limit of {entry.name}"
                )


def _limited(gpu: GpuStandard, workload: Workload) -> Iterator[tuple[str, Expected, float | None]]:
    limits = gpu.limits
    gemm, bandwidth = workload.get("gemm", {}), workload.get("memory-bandwidth", {})
    pairs = (
        ("gpu.power-limit", gpu.power_limit, limits.power),
        ("gpu.sm-clock", gpu.sm_clock, limits.sm_clock),
        ("gpu.memory-clock", gpu.memory_clock, limits.memory_clock),
        ("gpu.memory", gpu.memory, limits.memory),
        ("workload.gemm.bf16-tflops", gemm.get("bf16-tflops"), limits.bf16_tflops),
        ("workload.memory-bandwidth.device-gbs", bandwidth.get("device-gbs"), limits.memory_bandwidth_gbs),
    )
    for field, expected, limit in pairs:
        if expected is not None:
            yield field, expected, limit

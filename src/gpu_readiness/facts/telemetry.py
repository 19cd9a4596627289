"""Facts from the exporter's scrape, and against NVML."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_readiness.evidence.dcgm import ExporterGpu
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.xid import XID, grade
from gpu_readiness.node import Node
from gpu_readiness.standard import Standard
from gpu_readiness.verdict import Reason

#: What an exporter with any usable counters file has (docs/telemetry.md); standards may ask for others.
REQUIRED = ("SM_CLOCK", "GPU_TEMP", "POWER_USAGE", "FB_FREE", "FB_USED")
#: Share by which memory may differ between NVML and the scrape.
MEMORY_TOLERANCE = 0.01


def required_metrics(standard: Standard) -> list[str]:
    """The metrics that every GPU has to have, by canonical name."""
    wanted = standard.telemetry.metrics or REQUIRED
    return [name.removeprefix("DCGM_FI_DEV_").removeprefix("DCGM_FI_") for name in wanted]


def missing_metrics(node: Node, standard: Standard) -> Iterator[tuple[str, str, str]]:
    """Required metrics that a GPU lacks: UUID, metric and what is there; old and new DCGM names count as one."""
    for uuid, gpu in node.exporter.gpus.items():
        for name in required_metrics(standard):
            values = gpu.metrics.get(name, ())
            if not values:
                yield uuid, f"DCGM_FI_DEV_{name}", "missing"
            elif any(value is None for _, value in values):
                yield uuid, f"DCGM_FI_DEV_{name}", "blank"
        if not gpu.driver_version and not standard.telemetry.metrics:
            yield uuid, "label DCGM_FI_DRIVER_VERSION", "missing"


def exporter_strangers(node: Node) -> list[str]:
    """UUIDs in the scrape that NVML does not know on this node."""
    return sorted(set(node.exporter.gpus) - {gpu.uuid for gpu in node.gpus})


def exporter_disagreements(node: Node) -> Iterator[tuple[str, str, str]]:
    """Where scrape and NVML differ: field, what NVML says, what the scrape says.

    Raises:
        Unmeasured: there is nothing that both of them say.
    """
    exporter, driver = node.exporter, node.driver
    compared = bool(exporter.driver_versions)
    if driver.version.there:
        for version in sorted(exporter.driver_versions):
            if version != driver.version.value:
                yield "DCGM_FI_DRIVER_VERSION", str(driver.version.value), version
    for gpu in node.gpus:
        series, total = exporter.gpus.get(gpu.uuid), gpu.read("memory.total")
        if series is None or not total.there or gpu.mig_enabled or series.instances:
            continue
        parts = [_value(series, name) for name in ("FB_FREE", "FB_USED", "FB_RESERVED")]
        if parts[0] is None or parts[1] is None:
            continue
        compared = True
        # Exporters without FB_RESERVED leave the driver's own share out of the sum.
        seen = sum(part for part in parts if part is not None)
        slack = MEMORY_TOLERANCE if parts[2] is not None else 3 * MEMORY_TOLERANCE
        if abs(seen - total.value) > slack * total.value:
            yield f"framebuffer of {gpu.uuid}", f"{total.value} MiB", f"{seen:g} MiB"
    if not compared:
        message = "the scrape has neither the driver's version nor the memory of a GPU that NVML has"
        raise Unmeasured(Reason.MISSING, message, "dcgm.prom")


def _value(series: ExporterGpu, name: str) -> float | None:
    return next((value for instance, value in series.metrics.get(name, ()) if instance is None), None)


def exporter_faults(node: Node, standard: Standard) -> Iterator[tuple[str, str, str, str]]:
    """What the scrape itself says is broken: UUID, fault, severity and hint.

    No XID series means "no XID" for an exporter with its usual counters; for one whose counters file lacks even what is
    required, it means nothing.

    Raises:
        Unmeasured: such an exporter has no health series at all.
    """
    exporter = node.exporter
    for uuid, gpu in exporter.gpus.items():
        for code, words in gpu.xids:
            how = grade(code, fatal=standard.xid.fatal, warning=standard.xid.warning, ignore=standard.xid.ignore)
            if how != "application":
                entry = XID.get(code)
                severity = "critical" if how == "fatal" else "warning"
                yield (
                    uuid,
                    f"XID {code} {words}".strip(),
                    severity,
                    f"{entry.description}: {entry.action}" if entry else "",
                )
        for name, fault in (
            ("ROW_REMAP_FAILURE", "row remapping failed"),
            ("ECC_DBE_VOL_TOTAL", "volatile double-bit ECC errors"),
        ):
            for instance, value in gpu.metrics.get(name, ()):
                if value:
                    where = f" on GPU instance {instance}" if instance else ""
                    yield uuid, f"{fault}: {value:g}{where}", "critical", "drain the node; reset or replace the GPU"
    health = {"XID_ERRORS", "ROW_REMAP_FAILURE", "ECC_DBE_VOL_TOTAL"}
    if not health & exporter.names and any(missing_metrics(node, standard)):
        raise Unmeasured(
            Reason.MISSING, "the scrape has no health series, and its counters file is not the usual one", "dcgm.prom"
        )

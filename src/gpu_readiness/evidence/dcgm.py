"""What a DCGM exporter says of the GPUs of its node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpu_readiness.evidence.exposition import Sample, parse_exposition
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

#: DCGM 4.6 renamed its fields; the exporter prints whichever spelling its counters file has. New name to old name.
RENAMED = {
    "SYSTEM_DRIVER_VERSION": "DRIVER_VERSION",
    "MEMORY_TEMP_CELSIUS": "MEMORY_TEMP",
    "GPU_TEMP_CELSIUS": "GPU_TEMP",
    "BOARD_POWER_WATTS": "POWER_USAGE",
    "PCIE_REPLAY_TOTAL": "PCIE_REPLAY_COUNTER",
    "GPU_UTIL_RATIO": "GPU_UTIL",
    "XID_ERROR": "XID_ERRORS",
    "ECC_MODE": "ECC_CURRENT",
    "PAGE_RETIRED_SBE_TOTAL": "RETIRED_SBE",
    "PAGE_RETIRED_DBE_TOTAL": "RETIRED_DBE",
    "PAGE_RETIRED_PENDING": "RETIRED_PENDING",
    "ROW_REMAP_UNCORRECTABLE_TOTAL": "UNCORRECTABLE_REMAPPED_ROWS",
    "ROW_REMAP_CORRECTABLE_TOTAL": "CORRECTABLE_REMAPPED_ROWS",
    "ROW_REMAP_FAILED": "ROW_REMAP_FAILURE",
    "NVLINK_THROUGHPUT_TOTAL": "NVLINK_BANDWIDTH_TOTAL",
    "PROF_GR_ENGINE_UTIL_RATIO": "PROF_GR_ENGINE_ACTIVE",
    "PROF_SM_UTIL_RATIO": "PROF_SM_ACTIVE",
    "PROF_SM_OCCUPANCY_RATIO": "PROF_SM_OCCUPANCY",
    "PROF_TENSOR_UTIL_RATIO": "PROF_PIPE_TENSOR_ACTIVE",
    "PROF_DRAM_UTIL_RATIO": "PROF_DRAM_ACTIVE",
}

# DCGM says "no value" with the top of a type's range: blank, not found, not supported, not permitted.
_BLANK = frozenset({*range(2147483632, 2147483636), *range(140737488355328, 140737488355332)})
_BLANK_INT64 = 9223372036854775792

Values = tuple[tuple[str | None, float | None], ...]


@dataclass(frozen=True, slots=True)
class ExporterGpu:
    """The series set of one physical GPU.

    `metrics` has, by canonical name (old spelling, without DCGM_FI_DEV_ or DCGM_FI_), a pair for each series: MIG
    instance id (None for the whole GPU) and value (None where DCGM says that it has none), in DCGM's own units (°C, W,
    MHz, MiB, %). `instances` are pairs of GPU_I_ID and GPU_I_PROFILE. `held`: its series name the pod that has it.
    `xids` are codes with the exporter's words for them.
    """

    uuid: str
    index: int | None
    product: str | None
    driver_version: str | None
    instances: frozenset[tuple[str, str]]
    metrics: Mapping[str, Values]
    xids: tuple[tuple[int, str], ...]
    held: bool = False


@dataclass(frozen=True, slots=True)
class Exporter:
    """One scrape. `names` are the canonical names of all DCGM metrics in it, those of NVLinks and switches included."""

    gpus: Mapping[str, ExporterGpu]
    driver_versions: frozenset[str]
    hostnames: frozenset[str]
    names: frozenset[str]


def canonical(name: str) -> str:
    """The old DCGM spelling of a metric without its prefix: DCGM_FI_DEV_GPU_TEMP_CELSIUS is GPU_TEMP."""
    short = name.removeprefix("DCGM_FI_DEV_")
    short = short if short != name else name.removeprefix("DCGM_FI_")
    return RENAMED.get(short, short)


def parse_exporter(data: bytes, source: str = "dcgm.prom") -> Exporter:
    """Read a scrape of dcgm-exporter.

    Raises:
        Unmeasured: `missing` if it is empty or has no DCGM metric, `unparsable` if it is no exposition text.
    """
    dcgm = [sample for sample in parse_exposition(data, source) if sample.name.startswith("DCGM_")]
    if not dcgm:
        raise Unmeasured(Reason.MISSING, f"{source} has no DCGM metric: is this the exporter?", source)
    of_gpu: dict[str, list[Sample]] = {}
    for sample in dcgm:
        # NVLink series call the GPU gpu_uuid, and switches and CPUs have no UUID: none of them is a GPU's own series.
        if uuid := _said(sample.labels.get("UUID")):
            of_gpu.setdefault(uuid, []).append(sample)
    return Exporter(
        gpus={uuid: _gpu(uuid, samples) for uuid, samples in of_gpu.items()},
        driver_versions=_label(dcgm, "DCGM_FI_DRIVER_VERSION", "DCGM_FI_SYSTEM_DRIVER_VERSION"),
        hostnames=_label(dcgm, "hostname", "Hostname"),
        names=frozenset(canonical(sample.name) for sample in dcgm),
    )


def _gpu(uuid: str, samples: list[Sample]) -> ExporterGpu:
    metrics: dict[str, dict[tuple[str | None, float | None], None]] = {}
    instances = set()
    xids: dict[int, str] = {}
    for name, labels, number in samples:
        instance = labels.get("GPU_I_ID") or None
        if instance is not None:
            instances.add((instance, labels.get("GPU_I_PROFILE", "")))
        value = _value(number)
        metrics.setdefault(canonical(name), {})[instance, value] = None
        if value and (code := _xid(canonical(name), labels, value)):
            xids.setdefault(code, labels.get("err_msg", ""))
    index = next((found for s in samples if (found := _count(s.labels.get("gpu", ""))) is not None), None)
    return ExporterGpu(
        uuid=uuid,
        index=index,
        product=_first(samples, "modelName", "model_name"),
        driver_version=_first(samples, "DCGM_FI_DRIVER_VERSION", "DCGM_FI_SYSTEM_DRIVER_VERSION"),
        instances=frozenset(instances),
        metrics={name: _without_answered_blanks(values) for name, values in metrics.items()},
        xids=tuple(xids.items()),
        held=_first(samples, "pod", "exported_pod") is not None,
    )


def _without_answered_blanks(values: Iterable[tuple[str | None, float | None]]) -> Values:
    # Both spellings of a field may be scraped, and one of them may be blank: the other one has been measured.
    answered = {instance for instance, value in values if value is not None}
    return tuple((instance, value) for instance, value in values if value is not None or instance not in answered)


def _xid(metric: str, labels: Mapping[str, str], value: float) -> int | None:
    # Counting metrics have the code as a label and how often as their value; exporters disagree about their name.
    if "xid" in labels:
        return _count(labels["xid"]) if value > 0 else None
    return int(value) if metric == "XID_ERRORS" else None


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None


def is_blank(number: float) -> bool:
    """Whether a number is none to DCGM, but says that there is no value."""
    return number in _BLANK or number >= _BLANK_INT64


def _value(number: float) -> float | None:
    return None if not math.isfinite(number) or is_blank(number) else number


def _said(text: str | None) -> str | None:
    return None if not text or text.startswith("<<<") else text


def _first(samples: Iterable[Sample], *labels: str) -> str | None:
    return next((said for s in samples for label in labels if (said := _said(s.labels.get(label)))), None)


def _label(samples: Iterable[Sample], *labels: str) -> frozenset[str]:
    return frozenset(said for s in samples for label in labels if (said := _said(s.labels.get(label))))

"""Outputs of the small workloads: vectoradd, `nvidia-smi -L`, the result line of our own programs, server metrics."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from gpu_readiness.evidence.exposition import parse_exposition
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.text import quote
from gpu_readiness.evidence.workload_outcome import (
    MAX_PROBLEMS,
    MAX_TEXT,
    Problem,
    WorkloadOutcome,
    cuda_problems,
    output_text,
    seen_uuids,
    short_lines,
)
from gpu_readiness.verdict import Reason

__all__ = [
    "RESULT_SCHEMA",
    "Problem",
    "WorkloadOutcome",
    "parse_metrics",
    "parse_result",
    "parse_smi_list",
    "parse_vectoradd",
]

RESULT_SCHEMA = "gpu-readiness.workload/v1"

_PASSED = re.compile(r"^.{0,80}\bTest PASSED\s*$", re.MULTILINE)
_WRONG_SUM = re.compile(r"^.*(?:Result verification failed|Test FAILED).*$", re.MULTILINE)
_FAILED_CALL = re.compile(r"^.*\bFailed to .*$", re.MULTILINE)


def parse_vectoradd(data: bytes, source: str = "vectoradd.log") -> WorkloadOutcome:
    """Judge the output of CUDA's vectorAdd sample; an output without its last word is undecided.

    Raises:
        Unmeasured: `missing` if it is empty, `unparsable` if it is no text.
    """
    text = short_lines(output_text(data, source))
    problems = list(cuda_problems(text))
    if match := _WRONG_SUM.search(text):
        problems.append(Problem("wrong-result", match[0].strip()[:MAX_TEXT], "gpu"))
    if not problems and (match := _FAILED_CALL.search(text)):
        problems.append(Problem("cuda", match[0].strip()[:MAX_TEXT], "gpu"))
    passed = True if _PASSED.search(text) else None
    return WorkloadOutcome(ok=False if problems else passed, uuids=seen_uuids(text), problems=tuple(problems))


#: What stands in the place of a listing, our code for it, and the layer to look at first.
_NO_LISTING: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"No devices (?:were )?found", re.IGNORECASE), "no-device", "runtime"),
    (
        re.compile(r"couldn't communicate with the NVIDIA driver|Failed to initialize NVML", re.IGNORECASE),
        "nvml",
        "driver",
    ),
    (re.compile(r"Unable to determine the device handle|GPU is lost", re.IGNORECASE), "lost", "gpu"),
    (re.compile(r"nvidia-smi\S*\s.*(?:not found|no such file|failed)", re.IGNORECASE), "no-nvidia-smi", "runtime"),
)


def parse_smi_list(data: bytes, source: str = "nvidia-smi.log") -> WorkloadOutcome:
    """What `nvidia-smi -L` saw in a container: GPUs and MIG devices in `uuids`.

    `ok` is True if it listed devices, False if it or the shell said why one is missing (codes no-device, no-nvidia-smi,
    nvml, lost), None if the output says neither.

    Raises:
        Unmeasured: `missing` if it is empty, `unparsable` if it is no text.
    """
    text = short_lines(output_text(data, source))
    uuids = seen_uuids(text)
    problems = []
    for pattern, code, layer in _NO_LISTING:
        if match := next((line for line in text.splitlines() if pattern.search(line)), None):
            problems.append(Problem(code, match.strip()[:MAX_TEXT], layer))
    return WorkloadOutcome(ok=False if problems else True if uuids else None, uuids=uuids, problems=tuple(problems))


def parse_result(data: bytes, source: str = "workload.log") -> WorkloadOutcome:
    """Judge the last line that is a result of our programs: a JSON object of the schema gpu-readiness.workload/v1.

    Without one the outcome is undecided, or failed if the output has a CUDA error. Figures that are no finite number
    are left out and named in `skipped`: they were not measured.

    Raises:
        Unmeasured: `missing` if it is empty, `unparsable` if it is no text or its result is not as the schema says.
    """
    text = output_text(data, source)
    result = _last_result(text)
    if result is None:
        problems = cuda_problems(text)
        return WorkloadOutcome(ok=False if problems else None, problems=problems, uuids=seen_uuids(text))
    try:
        return _result(result)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        message = f"{source}: its result is not as {RESULT_SCHEMA} says: {quote(str(error))}"
        raise Unmeasured(Reason.UNPARSABLE, message, source) from error


def _last_result(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        if RESULT_SCHEMA in line:
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict) and found.get("schema") == RESULT_SCHEMA:
                return found
    return None


def _result(result: Mapping[str, Any]) -> WorkloadOutcome:
    if not isinstance(result["ok"], bool):
        raise TypeError(f"ok is {result['ok']!r}, expected true or false")
    skipped: list[str] = []
    per_gpu = {}
    for gpu in result.get("gpus", []):
        name = str(gpu.get("uuid") or gpu["index"])
        per_gpu[name] = _figures(gpu.get("figures", {}), f"{name} ", skipped)
    errors = result.get("errors", [])
    if not isinstance(errors, list):
        raise TypeError(f"errors is {errors!r}, expected a list")
    problems = tuple(Problem("workload", str(error)[:MAX_TEXT], "workload") for error in errors[:MAX_PROBLEMS])
    return WorkloadOutcome(
        ok=result["ok"] and not problems,
        figures=_figures(result.get("figures", {}), "", skipped),
        per_gpu=per_gpu,
        uuids=tuple(str(gpu["uuid"]) for gpu in result.get("gpus", []) if gpu.get("uuid")),
        problems=problems,
        skipped=tuple(skipped),
        facts={"workload": str(result["workload"])},
    )


def _figures(figures: Mapping[str, Any], prefix: str, skipped: list[str]) -> dict[str, float]:
    numbers = {}
    for name, value in figures.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            numbers[name] = float(value)
        else:
            skipped.append(f"{prefix}{name}")
    return numbers


def parse_metrics(data: bytes, source: str = "metrics.prom") -> dict[str, float]:
    """A model server's metrics by name, each summed over its label sets; histogram buckets and NaN are left out.

    Raises:
        Unmeasured: `missing` if it is empty or has no metric, `unparsable` if it is no exposition text.
    """
    metrics: dict[str, float] = {}
    for name, _, value in parse_exposition(data, source):
        if not name.endswith("_bucket") and not math.isnan(value):
            metrics[name] = metrics.get(name, 0.0) + value
    if not metrics:
        raise Unmeasured(Reason.MISSING, f"{source} has no metric", source)
    return metrics

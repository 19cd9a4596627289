"""What a workload's output amounts to, and the CUDA errors that any of them may print."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_readiness.evidence.text import decode_text

MAX_BYTES = 16 * 1024 * 1024
MAX_TEXT = 300
MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that went wrong. `layer` is where its cause mostly lies: one of the suite's, or "config"."""

    code: str
    text: str
    layer: str


@dataclass(frozen=True, slots=True)
class WorkloadOutcome:
    """What an output says. `ok` is None where it does not say: it was cut short, or parts of it could not run.

    `figures` and `per_gpu` (by UUID where the output has it, else by index) are bandwidths in GB/s and rates in TFLOPS
    unless the name says otherwise. `uuids` are the devices that the workload saw, in its order. `skipped` are the parts
    that were not run. `facts` are versions and settings that a figure depends on.
    """

    ok: bool | None
    figures: Mapping[str, float] = field(default_factory=dict)
    per_gpu: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    uuids: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    skipped: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def output_text(data: bytes, source: str) -> str:
    """A container's output of at most 16 MiB; raises Unmeasured as `decode_text` does."""
    return decode_text(data, source, MAX_BYTES)


def short_lines(text: str) -> str:
    """An output, its lines cut after 4,096 characters: a pattern may need time quadratic in the length of a line."""
    return "\n".join(line[:4096] for line in text.splitlines())


_UUID = re.compile(r"\bUUID:\s*((?:GPU|MIG)-[0-9a-fA-F/-]+)")

#: CUDA's words, our code, and the layer to look at first.
_CUDA: tuple[tuple[str, str, str], ...] = (
    ("driver version is insufficient", "driver-insufficient", "runtime"),
    ("no CUDA-capable device", "no-device", "runtime"),
    ("all CUDA-capable devices are busy", "devices-busy", "gpu"),
    ("system not yet initialized", "system-not-initialized", "driver"),
    ("driver initialization failed", "initialization", "driver"),
    ("initialization error", "initialization", "driver"),
    ("forward compatibility was attempted", "forward-compatibility", "driver"),
    ("no kernel image is available", "no-kernel-image", "workload"),
    ("unsupported toolchain", "unsupported-ptx", "workload"),
    ("out of memory", "out-of-memory", "gpu"),
    ("uncorrectable ECC error", "uncorrectable-ecc", "gpu"),
    ("uncorrectable NVLink error", "uncorrectable-nvlink", "gpu"),
    ("hardware stack error", "hardware-stack", "gpu"),
    ("unspecified launch failure", "launch-failure", "gpu"),
    ("illegal memory access", "illegal-access", "gpu"),
    ("launch timed out", "launch-timeout", "gpu"),
    ("MPS client failed to connect", "mps", "runtime"),
    ("MPS server is not ready", "mps", "runtime"),
)
_CUDA_LINE = re.compile(
    r"\(error code |CUDA (?:driver |runtime )?(?:error|failure)|CUDA_ERROR_|cudaError|Cuda failure", re.IGNORECASE
)


def cuda_problems(text: str) -> tuple[Problem, ...]:
    """The CUDA errors of an output, each kind once. An error of no known kind has the code "cuda"."""
    found: dict[str, Problem] = {}
    for line in text.splitlines():
        if _CUDA_LINE.search(line):
            _, code, layer = next((row for row in _CUDA if row[0].lower() in line.lower()), ("", "cuda", "gpu"))
            found.setdefault(code, Problem(code, line.strip()[:MAX_TEXT], layer))
    return tuple(found.values())


def seen_uuids(text: str) -> tuple[str, ...]:
    """The UUIDs that `nvidia-smi -L` lists in an output, in order, each once."""
    return tuple(dict.fromkeys(_UUID.findall(text)))


def numbers(texts: Mapping[str, str]) -> dict[str, float]:
    """Those that are finite numbers; any other was not measured."""
    found = {}
    for name, text in texts.items():
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value):
            found[name] = value
    return found


def objects(value: object) -> list[dict[str, Any]]:
    """The JSON objects of a list; none if `value` is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

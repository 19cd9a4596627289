"""Outputs of nccl-tests and of a GEMM sweep."""

from __future__ import annotations

import re

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.text import quote
from gpu_readiness.evidence.workload_outcome import (
    MAX_TEXT,
    Problem,
    WorkloadOutcome,
    cuda_problems,
    numbers,
    output_text,
    short_lines,
)
from gpu_readiness.verdict import Reason

# A launcher (mpirun --tag-output, kubectl logs --prefix) may put its own words before a line.
_ROW = re.compile(
    r"(?:^|\s)(\d{1,20})\s+(\d{1,20})\s+(u?int\w*|float\w*|double|half|bfloat16|f8\w*)((?:\s+\S+){6,10})\s*$"
)
_BOUNDS = re.compile(r"Out of bounds values\s*:\s*(\d{1,20})\s+(\S+)")
_AVERAGE = re.compile(r"Avg bus bandwidth\s*:\s*([\d.]+)")
_RANK = re.compile(r"#\s+Rank\s+(\d+)\b.*\bdevice\s+\d+")
_NCCL_VERSION = re.compile(r"NCCL version\s+(\S+)")
_NCCL_ERROR = re.compile(r"NCCL failure|Test (?:NCCL |CUDA )?failure")


def parse_nccl(data: bytes, source: str = "nccl.log") -> WorkloadOutcome:
    """Judge an output of nccl-tests; without its closing lines it is undecided.

    Figures: `size` (bytes) of the largest message, `busbw` and `busbw.in-place` at that size, `busbw.average` over all
    sizes, `wrong` (values out of bounds), `ranks`. A single rank has a bus bandwidth of 0. Where the benchmark ran
    without validation, `skipped` says so.

    Raises:
        Unmeasured: `missing` if it is empty, `unparsable` if it is no output of nccl-tests.
    """
    text = short_lines(output_text(data, source))
    lines = text.splitlines()
    rows = [match for line in lines if (match := _ROW.search(line))]
    bounds, average = _BOUNDS.search(text), _AVERAGE.search(text)
    problems = list(cuda_problems(text))
    if broken := next((line for line in lines if _NCCL_ERROR.search(line)), None):
        problems.append(Problem("nccl", broken.strip()[:MAX_TEXT], "workload"))
    if not (rows or bounds or problems):
        raise Unmeasured(Reason.UNPARSABLE, f"{source} is no output of nccl-tests: {quote(text)}", source)
    figures: dict[str, float] = {}
    if ranks := {match[1] for line in lines if (match := _RANK.search(line))}:
        figures["ranks"] = len(ranks)
    if rows:
        largest = max(rows, key=lambda row: int(row[1]))
        columns = largest[4].split()[-8:]
        figures["size"] = float(largest[1])
        figures |= numbers({"busbw": columns[2], "busbw.in-place": columns[6]} if len(columns) == 8 else {})
    if average:
        figures |= numbers({"busbw.average": average[1]})
    if bounds:
        figures["wrong"] = float(bounds[1])
        if bounds[2] != "OK" or int(bounds[1]):
            problems.append(Problem("wrong-result", bounds[0], "gpu"))
    unchecked = "validation: 0" in text or (bool(rows) and all(row[4].count("N/A") == 2 for row in rows))
    version = _NCCL_VERSION.search(text)
    return WorkloadOutcome(
        ok=False if problems else True if bounds and rows else None,
        figures=figures,
        problems=tuple(problems),
        skipped=("validation",) if unchecked else (),
        facts={"nccl": version[1]} if version else {},
    )


def parse_gemm_sweep(data: bytes, source: str = "gemm.log") -> WorkloadOutcome:
    """Judge a GEMM sweep's `name=value` lines and its closing GEMM_SWEEP_PASS or GEMM_SWEEP_FAIL.

    Figures are the numeric lines under their own names, `achieved_tflops` among them; the other lines are facts.

    Raises:
        Unmeasured: `missing` if it is empty, `unparsable` if it has none of these lines.
    """
    text = short_lines(output_text(data, source))
    pairs = dict(re.findall(r"^(\w+)=(.*?)\s*$", text, re.MULTILINE))
    words = set(re.findall(r"^GEMM_SWEEP_(\w+)\s*$", text, re.MULTILINE))
    problems = list(cuda_problems(text))
    figures = numbers(pairs)
    if words - {"PASS"}:
        problems.append(Problem("wrong-result", "GEMM_SWEEP_" + ", ".join(sorted(words)), "gpu"))
    if figures.get("nonfinite_count"):
        problems.append(Problem("wrong-result", f"nonfinite_count={figures['nonfinite_count']:g}", "gpu"))
    if not (pairs or words or problems):
        raise Unmeasured(Reason.UNPARSABLE, f"{source} is no output of a GEMM sweep: {quote(text)}", source)
    return WorkloadOutcome(
        ok=False if problems else True if words and "achieved_tflops" in figures else None,
        figures=figures,
        problems=tuple(problems),
        facts={name: value for name, value in pairs.items() if name not in figures},
    )

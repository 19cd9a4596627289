"""Output of nvbandwidth, as text or JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gpu_readiness.evidence.documents import parse_json
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.text import quote
from gpu_readiness.evidence.workload_outcome import (
    MAX_PROBLEMS,
    MAX_TEXT,
    Problem,
    WorkloadOutcome,
    cuda_problems,
    numbers,
    objects,
    output_text,
    short_lines,
)
from gpu_readiness.verdict import Reason

_TESTCASE = re.compile(r"^\s*Running\s+(\w+)\.\s*$")
_SUM = re.compile(r"^\s*SUM\s+(\w+)\s+([\d.]+)\s*$")
_MATRIX = re.compile(r"\bbandwidth \(GB/s\)")
_MATRIX_ROW = re.compile(r"^\s*(\d+)((?:\s+(?:N/A|\d+\.\d+))+)\s*$")
_BAD_DATA = re.compile(r"Invalid value when checking the pattern|ASSERT in expression|^\s*Error:", re.IGNORECASE)
_NOT_RUN = re.compile(r"^\s*(?:Waived|Not Found):", re.IGNORECASE)
_NVB_VERSION = re.compile(r"^nvbandwidth Version:\s*(\S+)", re.MULTILINE)
_DRIVER_VERSION = re.compile(r"^Driver Version:\s*(\S+)", re.MULTILINE)


def parse_nvbandwidth(data: bytes, source: str = "nvbandwidth.log") -> WorkloadOutcome:
    """Judge an output of nvbandwidth, as text or JSON (-j).

    Figures, in GB/s: for each test case, its least entry under its own name and the sum as `<test case>.sum`; per GPU,
    by the column of the matrix, the least entry.

    Raises:
        Unmeasured: `missing` if it is empty, `unparsable` if it is no output of nvbandwidth.
    """
    text = output_text(data, source)
    if text.lstrip().startswith("{"):
        return _nvbandwidth_json(parse_json(data, source), source)
    text = short_lines(text)
    cases: dict[str, list[list[str]]] = {}
    sums: dict[str, str] = {}
    problems = list(cuda_problems(text))
    skipped = []
    name, matrix = "", list[list[str]]()
    for line in text.splitlines():
        if match := _TESTCASE.match(line):
            name, matrix = match[1], cases.setdefault(match[1], [])
        elif _MATRIX.search(line) and not name:
            matrix = []
        elif match := _SUM.match(line):
            sums[match[1]] = match[2]
            cases[match[1]] = matrix
            name, matrix = "", []
        elif match := _MATRIX_ROW.match(line):
            matrix.append(match[2].split())
        elif _BAD_DATA.search(line):
            problems.append(Problem("data-mismatch", line.strip()[:MAX_TEXT], "gpu"))
        elif _NOT_RUN.match(line):
            skipped.append(name or line.strip()[:MAX_TEXT])
    measured = {name: matrix for name, matrix in cases.items() if matrix}
    if not (measured or sums or problems or skipped or _NVB_VERSION.search(text)):
        raise Unmeasured(Reason.UNPARSABLE, f"{source} is no output of nvbandwidth: {quote(text)}", source)
    unfinished = [name for name, matrix in cases.items() if not matrix and name not in skipped]
    found = {"nvbandwidth": _NVB_VERSION.search(text), "driver": _DRIVER_VERSION.search(text)}
    figures, per_gpu = _bandwidths(measured, sums)
    return WorkloadOutcome(
        ok=False if problems else True if figures and not unfinished else None,
        figures=figures,
        per_gpu=per_gpu,
        problems=tuple(problems[:MAX_PROBLEMS]),
        skipped=tuple(skipped + unfinished),
        facts={fact: match[1] for fact, match in found.items() if match},
    )


def _nvbandwidth_json(document: Any, source: str) -> WorkloadOutcome:
    root = document.get("nvbandwidth") if isinstance(document, dict) else None
    if not isinstance(root, dict):
        raise Unmeasured(Reason.UNPARSABLE, f"{source} has no object nvbandwidth", source)
    problems = []
    skipped: dict[str, None] = {}
    unfinished: set[str] = set()
    cases: dict[str, list[list[str]]] = {}
    sums: dict[str, str] = {}
    if error := root.get("error"):
        problems.append(Problem("nvbandwidth", str(error)[:MAX_TEXT], "gpu"))
    for case in objects(root.get("testcases")):
        name, status = str(case.get("name", "")), str(case.get("status", ""))
        if status == "Error" or case.get("error"):
            problems.append(Problem("nvbandwidth", f"{name}: {case.get('error', status)}"[:MAX_TEXT], "gpu"))
        elif status == "Running":  # also stands before the same test case's "Waived"
            unfinished.add(name)
        elif status != "Passed":
            skipped[name] = None
        else:
            rows = case.get("bandwidth_matrix")
            cases[name] = [[str(cell) for cell in row] for row in rows or [] if isinstance(row, list)]
            sums[name] = str(case.get("sum", ""))
    figures, per_gpu = _bandwidths(cases, sums)
    facts = {"nvbandwidth": root.get("version"), "driver": root.get("Driver Version")}
    return WorkloadOutcome(
        ok=False if problems else True if figures and unfinished <= skipped.keys() else None,
        figures=figures,
        per_gpu=per_gpu,
        problems=tuple(problems[:MAX_PROBLEMS]),
        skipped=tuple(skipped),
        facts={name: str(value) for name, value in facts.items() if value},
    )


def _bandwidths(
    cases: Mapping[str, list[list[str]]], sums: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    figures = numbers({f"{name}.sum": value for name, value in sums.items()})
    per_gpu: dict[str, dict[str, float]] = {}
    for name, matrix in cases.items():
        for row in matrix:
            for gpu, value in numbers({str(column): cell for column, cell in enumerate(row)}).items():
                of_gpu = per_gpu.setdefault(gpu, {})
                of_gpu[name] = min(value, of_gpu.get(name, math.inf))
        if least := [of_gpu[name] for of_gpu in per_gpu.values() if name in of_gpu]:
            figures[name] = min(least)
    return figures, per_gpu

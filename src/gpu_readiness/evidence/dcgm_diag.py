"""The verdict of `dcgmi diag --json`, by error id.

What DCGM calls Fail may be a fault of the GPU, a setting, or a test that could not run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from gpu_readiness.evidence.dcgm_error_table import DCGM_ERRORS, SEVERITIES, DcgmError
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.text import quote
from gpu_readiness.evidence.workload_outcome import (
    MAX_PROBLEMS,
    MAX_TEXT,
    Problem,
    WorkloadOutcome,
    objects,
    output_text,
)
from gpu_readiness.verdict import Reason

_ROOTS = ("DCGM Diagnostic", "DCGM GPU Diagnostic")  # DCGM 4, DCGM 3
_STATUS = {"pass": "pass", "fail": "fail", "warn": "warn"}  # anything else was not run
#: Errors whose severity is about the run, not about the GPU: aborted, disabled, not permitted, unsupported, retest.
_NOT_RUN = frozenset({18, 47, 48, 60, 68, 78, 82, 96, 117, 130})
#: Needs a package of its own, which most nodes have not: its absence is named and weighs nothing.
_OPTIONAL = ("eud", "cpu_eud", "extended utility")

Weight = Literal["bad", "setting", "watch", "not-run"]


def parse_dcgm_diag(data: bytes, source: str = "dcgm-diag.log") -> WorkloadOutcome:
    """Judge the JSON of DCGM 3 or 4; other text may stand before and after it.

    `ok` is False if a test failed with an error that is about the GPU; else None if something was skipped or could not
    run; else True: what was run found at most settings (problems of the layer "config") and things to watch. Figures:
    `tests.pass`, `tests.fail`, `tests.warn`, `tests.skip`, counted per test and GPU.

    Raises:
        Unmeasured: `missing` if it is empty, `unparsable` without the diagnostic's object. The table that dcgmi prints
            without --json is refused: it has no error ids.
    """
    text = output_text(data, source)
    document = _document(text, source)
    root: dict[str, Any] = next((document[name] for name in _ROOTS if isinstance(document.get(name), dict)), {})
    statuses: Counter[str] = Counter()
    weights: set[Weight] = set()
    problems: list[Problem] = []
    skipped: dict[str, None] = {}
    for test, result in _results(root):
        status = _STATUS.get(str(result.get("status", "")).lower(), "skip")
        statuses[f"tests.{status}"] += 1
        if status == "skip":
            skipped[test] = None
            if not test.lower().startswith(_OPTIONAL):
                weights.add("not-run")
        elif status != "pass":
            for weight, problem in _findings(test, result):
                weights.add(weight if status == "fail" or weight == "setting" else "watch")
                problems.append(problem)
    for place in (document, root):
        if error := place.get("runtime_error"):
            weights.add("not-run")
            problems.append(Problem("dcgm-runtime-error", str(error)[:MAX_TEXT], "workload"))
    done = statuses["tests.pass"] + statuses["tests.fail"] + statuses["tests.warn"]
    return WorkloadOutcome(
        ok=False if "bad" in weights else True if done and "not-run" not in weights else None,
        figures={name: float(count) for name, count in statuses.items()},
        problems=tuple(problems[:MAX_PROBLEMS]),
        skipped=tuple(skipped),
        facts=_facts(document, root),
    )


def _document(text: str, source: str) -> dict[str, Any]:
    start = text.find("{")
    try:
        document = json.JSONDecoder().raw_decode(text, start)[0] if start >= 0 else None
    except (ValueError, RecursionError) as error:
        raise Unmeasured(Reason.UNPARSABLE, f"{source}: the JSON of dcgmi diag is broken: {error}", source) from error
    if not isinstance(document, dict) or not any(name in document for name in _ROOTS):
        message = (
            f"{source} has no object {' or '.join(map(repr, _ROOTS))}: run dcgmi diag with --json; found {quote(text)}"
        )
        raise Unmeasured(Reason.UNPARSABLE, message, source)
    return document


def _results(root: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each test with each of its results; the summary stands for a test without results."""
    for category in objects(root.get("test_categories")):
        for test in objects(category.get("tests")):
            name = str(test.get("name", "unnamed"))
            results = objects(test.get("results")) or objects([test.get("test_summary")])
            for result in results:
                yield name, result


def _findings(test: str, result: Mapping[str, Any]) -> Iterator[tuple[Weight, Problem]]:
    gpu = next((str(result[key]) for key in ("entity_id", "gpu_id", "gpu_ids") if key in result), "")
    where = f"{test}, {result.get('entity_group', 'GPU')} {gpu}" if gpu else test
    warnings = result.get("warnings", result.get("warning"))
    for warning in warnings if isinstance(warnings, list) else [warnings]:
        about = warning if isinstance(warning, dict) else {}
        said = about.get("warning", warning)
        error = _error(about.get("error_id"), about.get("error_severity"))
        if error is None and test == "Persistence Mode":  # DCGM 3 has no ids
            error = DCGM_ERRORS[29]
        text = f"{where}: {said or result.get('status')}"[:MAX_TEXT]
        if error is None:
            yield "bad", Problem("dcgm-fail", text, "gpu")
        else:
            weight = "not-run" if about.get("error_id") in _NOT_RUN else _weight(error)
            yield weight, Problem(f"DCGM_FR_{error.name}", text, _layer(weight, error))


def _error(number: object, severity: object) -> DcgmError | None:
    if isinstance(number, int) and number in DCGM_ERRORS:
        return DCGM_ERRORS[number]
    if isinstance(severity, int) and 0 <= severity < len(SEVERITIES):
        return DcgmError(str(number), SEVERITIES[severity], "UNKNOWN")
    return None


def _weight(error: DcgmError) -> Weight:
    # An error inside the diagnostic, or of its EUD launcher, says nothing about the GPU.
    if error.category == "INTERNAL_OTHER" or (error.category == "SOFTWARE_EUD" and error.name != "EUD_TEST_FAILED"):
        return "not-run"
    if error.severity in {"ISOLATE", "TRIAGE", "RESET"}:
        return "bad"
    if error.severity == "CONFIG":
        return "setting"
    measured = error.category.startswith(("HARDWARE", "PERF"))
    return "watch" if error.severity == "MONITOR" and measured else "not-run"


def _layer(weight: Weight, error: DcgmError) -> str:
    if weight == "setting":
        return "config"
    if error.category in {"SOFTWARE_LIBRARY", "SOFTWARE_CUDA", "SOFTWARE_XID"}:
        return "driver"
    return "gpu" if error.category.startswith(("HARDWARE", "PERF")) else "workload"


def _facts(document: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, str]:
    metadata = document.get("metadata")
    about = metadata if isinstance(metadata, dict) else root
    names = {"dcgm": "version", "driver": "Driver Version Detected"}
    return {fact: str(about[name]) for fact, name in names.items() if isinstance(about.get(name), str)}

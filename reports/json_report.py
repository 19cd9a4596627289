"""report.json: the whole run, for programs. Its shape is `report.schema.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gpu_readiness.report import SCHEMA, AskedInfo, CheckInfo, NodeReport, Report, Run, result_to_json
from gpu_readiness.reports.errors import ReportError
from gpu_readiness.reports.json_reading import report_from_json
from gpu_readiness.reports.json_value import JsonValue, UnexpectedJson
from gpu_readiness.reports.text import clean

NAME = "report.json"

_encode = json.JSONEncoder(ensure_ascii=False).encode


def write(report: Report, folder: Path) -> Path:
    """Writes report.json into `folder`, one node or result per line; OSError if it cannot."""
    path = folder / NAME
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_pieces(report))
    return path


def read(path: Path) -> Report:
    """Reads a report.json, of this or a compatible version, back into the model.

    Raises:
        ReportError: it is not there, is no JSON, or is not a report; the text says where in the file.
    """
    try:
        return report_from_json(JsonValue(json.loads(path.read_text(encoding="utf-8-sig"))))
    except OSError as problem:
        raise ReportError(f"{path} cannot be read: {problem.strerror}") from problem
    except UnexpectedJson as problem:
        raise ReportError(f"{path} is not a report of gpu-readiness: {problem}") from problem
    except (ValueError, RecursionError) as problem:
        raise ReportError(f"{path} is no JSON: {clean(str(problem))}; was it cut off?") from problem


def _pieces(report: Report) -> Iterator[str]:
    """The document bit by bit: a large fleet's results never exist twice in memory."""
    yield f'{{"schema": {_dump(SCHEMA)},\n"run": {_dump(_run_to_json(report.run))},\n'
    yield f'"verdict": {_dump(_verdict_to_json(report))},\n"notes": {_dump(report.notes)},\n"checks": {{'
    yield from _joined(f"{_dump(name)}: {_dump(_check_to_json(check))}" for name, check in report.checks.items())
    yield '},\n"nodes": ['
    yield from _joined(_dump(_node_to_json(node)) for node in report.nodes)
    yield '],\n"results": ['
    yield from _joined(_dump(result_to_json(result)) for result in report.results)
    yield "]}\n"


def _joined(entries: Iterable[str]) -> Iterator[str]:
    separator = "\n"
    for entry in entries:
        yield separator + entry
        separator = ",\n"


def _dump(value: object) -> str:
    """JSON without a character that a terminal obeys, that hides, or that a strict reader refuses."""
    text = _encode(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return "\ufffd" if "\ud800" <= char <= "\udfff" else json.dumps(char)[1:-1]


def _run_to_json(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "started": run.started,
        "finished": run.finished,
        "gate": run.gate,
        "depth": run.depth,
        "source": {"kind": run.source_kind, "name": run.source_name},
        "version": run.version,
        "standards": [{"name": each.name, "digest": each.digest} for each in run.standards],
    }


def _verdict_to_json(report: Report) -> dict[str, Any]:
    shares = {"nodes": report.coverage_nodes, "gpus": report.coverage_gpus, "checks": report.coverage_checks}
    return {
        "word": report.word.value,
        "exit_code": report.exit_code,
        "nodes": report.counts(),
        "coverage": {name: [share.done, share.planned] for name, share in shares.items()},
    }


def _check_to_json(check: CheckInfo) -> dict[str, str]:
    return {"layer": check.layer, "severity": check.severity.value, "title": check.title}


def _asked_to_json(asked: AskedInfo) -> dict[str, Any]:
    return {"way": asked.way, "by": asked.by, "not_by": dict(asked.not_by)}


def _node_to_json(node: NodeReport) -> dict[str, Any]:
    return {
        "name": node.name,
        "standard": node.standard,
        "verdict": node.verdict.value,
        "first_broken": node.first_broken,
        "depth": node.depth,
        "expected_gpus": node.expected_gpus,
        "asked": _asked_to_json(node.asked) if node.asked is not None else None,
        "gpus": [{"index": gpu.index, "uuid": gpu.uuid, "product": gpu.product} for gpu in node.gpus],
    }

"""From the parsed report.json back to the report model."""

from __future__ import annotations

from gpu_readiness.report import SCHEMA, AskedInfo, CheckInfo, GpuInfo, NodeReport, Report, Run, Share, StandardInfo
from gpu_readiness.reports.json_value import JsonValue, UnexpectedJson
from gpu_readiness.verdict import Finding, NodeVerdict, Reason, Result, Severity, Verdict


def report_from_json(data: JsonValue) -> Report:
    """The model of a whole document; UnexpectedJson where it is none. Unknown keys are no fault."""
    if (schema := data["schema"].text()) != SCHEMA:
        raise UnexpectedJson(data["schema"].place, f'"{SCHEMA}"', schema)
    verdict = data["verdict"]
    coverage = verdict["coverage"]
    report = Report(
        run=_run(data["run"]),
        exit_code=verdict["exit_code"].number(),
        checks={name: _check(check) for name, check in data["checks"].entries()},
        nodes=[_node(node) for node in data["nodes"]],
        results=[],
        coverage_nodes=_share(coverage["nodes"]),
        coverage_gpus=_share(coverage["gpus"]),
        coverage_checks=_share(coverage["checks"]),
        notes=[note.text() for note in data.get("notes", [])],
    )
    known = {node.name for node in report.nodes}
    for entry in data["results"]:
        result = _result(entry)
        if result.node not in known:
            raise UnexpectedJson(entry["node"].place, "a name from nodes", result.node)
        report.results.append(result)
    return report


def _run(data: JsonValue) -> Run:
    return Run(
        id=data["id"].text(),
        started=data["started"].text(),
        finished=data["finished"].text(),
        gate=data["gate"].text(),
        depth=data.get("depth", "").text(),
        source_kind=data["source"]["kind"].text(),
        source_name=data["source"]["name"].text(),
        version=data["version"].text(),
        standards=tuple(StandardInfo(each["name"].text(), each["digest"].text()) for each in data["standards"]),
    )


def _check(data: JsonValue) -> CheckInfo:
    return CheckInfo(data["layer"].text(), data["severity"].word(Severity), data["title"].text())


def _share(data: JsonValue) -> Share:
    done, planned = data.pair()
    return Share(done, planned)


def _node(data: JsonValue) -> NodeReport:
    expected = data.get("expected_gpus", None)
    return NodeReport(
        name=data["name"].text(),
        standard=data["standard"].text(),
        verdict=data["verdict"].word(NodeVerdict),
        first_broken=data["first_broken"].optional_text(),
        depth=data.get("depth", "").text(),
        gpus=tuple(GpuInfo(gpu["index"].number(), gpu["uuid"].text(), gpu["product"].text()) for gpu in data["gpus"]),
        expected_gpus=None if expected.value is None else expected.number(),
        asked=_asked(data.get("asked", None)),
    )


def _asked(data: JsonValue) -> AskedInfo | None:
    if data.value is None:
        return None
    ways = tuple((way, why.text()) for way, why in data["not_by"].entries())
    return AskedInfo(data["way"].text(), data["by"].text(), ways)


def _result(data: JsonValue) -> Result:
    reason = data["reason"]
    return Result(
        node=data["node"].text(),
        check=data["check"].text(),
        verdict=data["verdict"].word(Verdict),
        severity=data["severity"].word(Severity),
        reason=None if reason.value is None else reason.word(Reason),
        detail=data.get("detail", "").text(),
        findings=tuple(_finding(finding) for finding in data["findings"]),
        since=data.get("since", None).optional_text(),
    )


def _finding(data: JsonValue) -> Finding:
    return Finding(
        subject=data["subject"].text(),
        field=data["field"].text(),
        expected=data["expected"].text(),
        observed=data["observed"].text(),
        source=data["source"].text(),
        hint=data["hint"].text(),
        severity=data.get("severity", Severity.CRITICAL.value).word(Severity),
    )

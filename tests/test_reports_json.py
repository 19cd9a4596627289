from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories_report import HOSTILE_TEXTS, a_hostile_report, a_mixed_report, a_pass, a_report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import gpu_readiness.reports
from gpu_readiness.reports import ReportError, json_report

SCHEMA = json.loads(Path(gpu_readiness.reports.__file__).with_name("report.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def test_a_report_survives_writing_and_reading(tmp_path: Path) -> None:
    report = a_mixed_report()
    assert json_report.read(json_report.write(report, tmp_path)) == report


def test_the_document_says_what_the_contract_says(tmp_path: Path) -> None:
    data = json.loads(json_report.write(a_mixed_report(), tmp_path).read_text(encoding="utf-8"))
    assert data["schema"] == "gpu-readiness.report/v1"
    assert data["run"]["source"] == {"kind": "snapshot", "name": "lab"}
    assert data["verdict"] == {
        "word": "not-ready",
        "exit_code": 1,
        "nodes": {"ready": 1, "degraded": 1, "not-ready": 3, "unknown": 1},
        "coverage": {"nodes": [6, 6], "gpus": [12, 12], "checks": [11, 15]},
    }
    assert data["nodes"][2]["first_broken"] == "gpu.ecc-mode"
    assert data["nodes"][2]["gpus"][1] == {"index": 1, "uuid": "GPU-1", "product": "NVIDIA H100 80GB HBM3"}
    assert data["results"][6]["findings"][0]["observed"] == "disabled"


@pytest.mark.parametrize("report", [a_mixed_report(), a_report([]), a_hostile_report(HOSTILE_TEXTS[0])])
def test_reports_follow_the_published_schema(report: Any, tmp_path: Path) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(json.loads(json_report.write(report, tmp_path).read_text(encoding="utf-8")))


def test_the_schema_demands_a_reason_of_what_was_not_measured(tmp_path: Path) -> None:
    data = json.loads(json_report.write(a_mixed_report(), tmp_path).read_text(encoding="utf-8"))
    data["results"][0] |= {"verdict": "untested", "reason": None}
    assert not VALIDATOR.is_valid(data)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_text_comes_back_but_for_lone_surrogates(text: str, tmp_path: Path) -> None:
    path = json_report.write(a_hostile_report(text), tmp_path)
    assert path.read_text(encoding="utf-8").replace("\n", "").isprintable()
    assert json_report.read(path).notes == [_without_surrogates(text)]


@given(st.text(st.characters()))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_written_as_printable_lines(tmp_path: Path, text: str) -> None:
    path = json_report.write(a_report([a_pass(text, text)], notes=[text]), tmp_path)
    assert path.read_text(encoding="utf-8").replace("\n", "").isprintable()
    assert json_report.read(path).results[0].check == _without_surrogates(text)


def test_unknown_keys_of_a_later_version_are_no_fault(tmp_path: Path) -> None:
    path = json_report.write(a_mixed_report(), tmp_path)
    data = json.loads(path.read_text(encoding="utf-8"))
    data["results"][4]["findings"][0]["new"] = data["run"]["new"] = data["new"] = 1
    path.write_text(json.dumps(data), encoding="utf-8")
    assert json_report.read(path) == a_mixed_report()


def _without_surrogates(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


def _without(*keys: str | int) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return change


def _with(value: object, *keys: str | int) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _with("gpu-readiness.report/v2", "schema"),
            'schema: expected "gpu-readiness.report/v1", got \'gpu-readiness.rep',
        ),
        (_without("run", "source", "kind"), "run.source.kind: expected text, got nothing"),
        (_with("good", "results", 3, "verdict"), "results[3].verdict: expected one of pass, fail, "),
        (_with([], "results", 3, "reason"), "results[3].reason: expected one of blocked, "),
        (_with("elsewhere", "results", 3, "node"), "results[3].node: expected a name from nodes, got 'elsewhere'"),
        (_with(True, "verdict", "exit_code"), "verdict.exit_code: expected an integer, got True"),
        (_with([1, 2, 3], "verdict", "coverage", "gpus"), "verdict.coverage.gpus: expected two integers"),
        (_with({}, "nodes"), "nodes: expected an array, got {}"),
        (_with("x", "checks"), "checks: expected an object, got 'x'"),
        (_with(7, "nodes", 0, "gpus", 1, "uuid"), "nodes[0].gpus[1].uuid: expected text, got 7"),
        (
            _with("\x1b[2J\n", "results", 0, "severity"),
            "results[0].severity: expected one of critical, warning, info",
        ),
    ],
)
def test_a_foreign_document_is_refused_with_its_place(change: Callable[[Any], None], said: str, tmp_path: Path) -> None:
    path = json_report.write(a_mixed_report(), tmp_path)
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ReportError) as caught:
        json_report.read(path)
    assert f"{path} is not a report of gpu-readiness: {said}" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000, b'{"schema": ' + b"9" * 5_000 + b"}"])
def test_what_is_no_json_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(ReportError, match=r"report\.json is no JSON: .*; was it cut off\?$"):
        json_report.read(tmp_path / "report.json")


@pytest.mark.parametrize("content", ["[]", "null", "3", '"x"'])
def test_json_of_another_kind_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(content, encoding="utf-8")
    with pytest.raises(ReportError, match="the document: expected an object, got"):
        json_report.read(tmp_path / "report.json")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be read: No such file"):
        json_report.read(tmp_path / "report.json")
    with pytest.raises(ReportError, match="cannot be read: Is a directory"):
        json_report.read(tmp_path)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason
from gpu_readiness.workload import Workload, WorkloadError, load_workloads, read_output, read_workload

SHIPPED = {"burnin", "dcgm-diag", "gemm", "isolation", "memory-bandwidth", "nccl", "serving-vllm", "vectoradd"}
OWN = "name: {name}\ntitle: It works.\njudge: {{success: 'all good'}}\n"


def workload(**judge: Any) -> Workload:
    return Workload.model_validate({"name": "own", "title": "It works.", "judge": judge})


def define(folder: Path, name: str, text: str = OWN) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "workload.yaml").write_text(text.format(name=name) if "{" in text else text)
    return place


def refused(*folders: Path) -> str:
    with pytest.raises(WorkloadError) as raised:
        load_workloads(folders)
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 500
    return said


class Left:
    """What a workload left on the node `n`."""

    def __init__(self, **files: object) -> None:
        self.files = {
            f"workloads/own.{kind}": each if isinstance(each, bytes) else json.dumps(each).encode()
            for kind, each in files.items()
        }

    def has(self, node: str, name: str) -> bool:
        return node == "n" and name in self.files

    def artefact(self, node: str, name: str, limit: int = 1 << 30, *, tail: bool = False) -> bytes:
        if not self.has(node, name):
            raise Unmeasured(Reason.MISSING, f"no {name}", name)
        return self.files[name]


# --- definitions -----------------------------------------------------------------------------------------------------


def test_the_shipped_ones_are_no_ones_own() -> None:
    found = load_workloads()
    assert set(found) == SHIPPED
    assert not any(each.own for each in found.values())


def test_a_folder_of_folders_or_one_of_them(tmp_path: Path) -> None:
    one, other = define(tmp_path, "one"), define(tmp_path, "other")
    for folders, names in (([tmp_path], {"one", "other"}), ([one], {"one"}), ([one, other], {"one", "other"})):
        found = load_workloads(folders)
        assert set(found) == SHIPPED | names
        assert {name for name, each in found.items() if each.own} == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "document"),
        ("[]", "document"),
        ("name: own", "title"),
        ("name: Own\ntitle: t\njudge: {}", "name"),
        ("name: ../own\ntitle: t\njudge: {}", "name"),
        ("name: own\ntitle: ''\njudge: {}", "title"),
        ("name: own\ntitle: t", "judge"),
        ("name: own\ntitle: t\njudge: {}\nimage: x", "image"),
        ("name: own\ntitle: t\njudge: {parser: mine}", "judge.parser"),
        ("name: own\ntitle: t\njudge: {success: '('}", "judge.success"),
        ("name: own\ntitle: t\njudge: {failure: ['[']}", "judge.failure"),
        ("name: own\ntitle: t\njudge: {figures: {gbs: '*'}}", "judge.figures"),
        ("name: own\ntitle: t\nseverity: bad\njudge: {}", "severity"),
        ("name: [unclosed", "no readable YAML"),
        ("name: !!python/object/apply:os.system [id]", "no readable YAML"),
        ("\0", "no readable YAML"),
        ("[" * 5000, "no readable YAML"),
        ("a: " + "x" * (2 << 20), "more than 1 MiB"),
    ],
)
def test_a_definition_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    place = tmp_path / "own"
    place.mkdir()
    (place / "workload.yaml").write_text(text)
    said = refused(tmp_path)
    assert words in said
    assert "workload.yaml" in said


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    define(tmp_path, "own")
    (tmp_path / "own" / "workload.yaml").write_bytes(b"\xff\xfe\xff")
    assert "no readable YAML" in refused(tmp_path)


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    define(tmp_path, "gemm")
    assert "gemm is taken" in refused(tmp_path)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere")
    assert "no workload.yaml" in refused(tmp_path)


# --- judging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "ok"),
    [
        ("all good\n", True),
        ("noise\nall good\nnoise\n", True),
        ("still going\n", None),  # neither: it cannot be told
        ("all good\nCUDA error: out of memory\n", False),
        ("CUDA error: 999\n", False),
    ],
)
def test_success_has_to_appear_and_no_failure_may(log: str, ok: bool | None) -> None:
    outcome = read_output(log.encode(), workload(success="all good", failure=["CUDA error: .*"]), "own.log")
    assert outcome.ok is ok
    assert [each.code for each in outcome.problems] == ([] if ok is not False else ["failure"])


def test_without_a_pattern_of_success_nothing_is_one() -> None:
    assert read_output(b"all good\n", workload(failure=["bad"]), "own.log").ok is None


@pytest.mark.parametrize(
    ("log", "figures"),
    [
        ("bw: 12.5 GB/s", {"gbs": 12.5}),
        ("bw: 3 GB/s bw: 4 GB/s", {"gbs": 3.0}),
        ("bw: fast GB/s", {}),
        ("nothing", {}),
    ],
)
def test_figures_by_pattern(log: str, figures: dict[str, float]) -> None:
    found = read_output(log.encode(), workload(figures={"gbs": r"bw: (\S+) GB/s", "none": "bw"}), "own.log")
    assert found.figures == figures


def test_a_figure_of_a_known_format_gets_the_name_that_standards_use() -> None:
    log = (
        "#       size         count      type   redop    root     time   algbw   busbw #wrong\n"
        "        2048           512     float     sum      -1    344.8   97.32  410.31      0\n"
        "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 400.1\n"
    )
    plain = read_output(log.encode(), workload(parser="nccl-tests"), "own.log")
    name, value = next(iter(plain.figures.items()))
    named = read_output(log.encode(), workload(parser="nccl-tests", names={name: name, "mine": name}), "own.log")
    assert named.figures["mine"] == value
    absent = read_output(log.encode(), workload(parser="nccl-tests", names={"mine": "nowhere"}), "own.log")
    assert "mine" not in absent.figures


def test_the_programs_own_result_counts_before_all_else() -> None:
    result = {"schema": "gpu-readiness.workload/v1", "workload": "own", "ok": False, "errors": ["wrong sum"]}
    outcome = read_output(f"all good\n{json.dumps(result)}\n".encode(), workload(success="all good"), "own.log")
    assert outcome.ok is False


@pytest.mark.parametrize("log", [b"", b" \n", b"\xff\xfe\x00\x01"])
def test_an_output_that_says_nothing_was_not_measured(log: bytes) -> None:
    with pytest.raises(Unmeasured):
        read_output(log, workload(success="all good"), "own.log")


# --- artefacts -------------------------------------------------------------------------------------------------------


def pod(**status: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason, "message": message}}}]}


def unmeasured(**files: object) -> Unmeasured:
    with pytest.raises(Unmeasured) as raised:
        read_workload(Left(**files), "n", workload(success="all good"))
    return raised.value


def test_an_output_without_a_pod_is_enough() -> None:
    run = read_workload(Left(log=b"all good\n"), "n", workload(success="all good"))
    assert (run.outcome.ok, run.pod) == (True, None)


def test_a_pod_without_an_output_is_not() -> None:
    assert unmeasured(json=pod(phase="Succeeded")).reason is Reason.MISSING


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"phase": "Pending", **waiting("ImagePullBackOff")}, "missing"),
        ({"phase": "Pending", **waiting("ErrImagePull", "denied: requested access")}, "missing"),
        ({"phase": "Failed", "reason": "OutOfnvidia.com/gpu"}, "busy"),
        ({"phase": "Pending", "reason": "Unschedulable", "message": "0/3 nodes: Insufficient nvidia.com/gpu"}, "busy"),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "request for 2 of shared"}, "denied"),
        ({"phase": "Pending", "message": "pods is forbidden: exceeded quota"}, "denied"),
        ({"phase": "Pending", "message": "violates PodSecurity restricted"}, "denied"),
    ],
)
def test_a_pod_that_never_ran_through_no_fault_of_the_node(status: dict[str, Any], reason: str) -> None:
    assert unmeasured(json=pod(**status), log=b"all good\n").reason == reason


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Running"},
        {"phase": "Succeeded"},
        {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]},
        {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no healthy devices"},
    ],
)
def test_a_pod_that_ran_or_that_the_node_refused_is_judged_by_its_output(status: dict[str, Any]) -> None:
    run = read_workload(Left(json=pod(**status), log=b"no good\n"), "n", workload(success="all good"))
    assert run.outcome.ok is None
    assert run.pod is not None


@pytest.mark.parametrize("data", [b"", b"{", b"<html/>", b'{"kind": "Job", "metadata": {"name": "p"}}'])
def test_a_pod_object_that_cannot_be_read(data: bytes) -> None:
    assert unmeasured(json=data, log=b"all good\n").reason in (Reason.MISSING, Reason.UNPARSABLE)

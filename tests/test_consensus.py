"""`consensus` in a standard: what most nodes of it have, and never a guess."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import h100

from gpu_readiness.demo.fleet import make_fleet, write_snapshot
from gpu_readiness.standard import Library
from gpu_readiness.standard.consensus import consensus_paths, with_consensus

STANDARD = """
match: {labels: {pool: any}}
driver: {version: consensus}
gpu: {power-limit: consensus}
labels: {required: {rack: consensus}}
"""


T4_STANDARD = """
match: {nodes: ["t4-shared-*"]}
sharing: {strategy: time-slicing}
allocatable: {resources: {nvidia.com/gpu: consensus}}
"""


@pytest.fixture
def standard(tmp_path: Path):
    path = tmp_path / "fleet.yaml"
    path.write_text(STANDARD.replace("match: {labels: {pool: any}}\n", ""), encoding="utf-8")
    return Library.load([path]).get("fleet")


def test_paths_are_those_that_say_consensus(standard) -> None:
    assert sorted(consensus_paths(standard)) == ["driver.version", "gpu.power-limit", "labels.required.rack"]


def test_majority_of_three_decides(standard) -> None:
    seen = [{"driver.version": version} for version in ("580.1.1", "580.1.1", "570.2.2")]
    found = with_consensus(standard, seen).driver.version
    assert found is not None
    assert found.accepts("580.1.1")
    assert not found.accepts("570.2.2")
    assert found.source == "consensus of 2 of 3 nodes"


@pytest.mark.parametrize(
    "versions", [("580.1.1", "580.1.1"), ("1.1", "2.2", "3.3"), ("1.1", "1.1", "2.2", "2.2"), (None, "1.1", "1.1"), ()]
)
def test_no_majority_of_three_leaves_it_open(standard, versions: tuple[str | None, ...]) -> None:
    found = with_consensus(standard, [{"driver.version": version} for version in versions]).driver.version
    assert found is not None
    assert found.is_consensus


def test_gpu_values_reach_the_hardware_of_a_product(standard) -> None:
    agreed = with_consensus(standard, [{"gpu.power-limit": 700}] * 3)
    assert agreed.gpu.power_limit is not None
    assert agreed.gpu.power_limit.accepts("700.00")


def test_open_consensus_is_not_measured() -> None:
    result = h100().says(driver={"version": "consensus"}).judge("driver.version")
    assert (result.verdict, result.reason) == ("untested", "no-standard")
    assert "three nodes" in result.detail


def test_odd_node_of_a_fleet_fails_against_the_majority(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "snapshot", make_fleet(24)[0])
    standard = tmp_path / "t4.yaml"
    standard.write_text(T4_STANDARD, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", "gpu_readiness.checks", "-k", "allocatable.count"]
    options = ["--readiness-snapshot", tmp_path / "snapshot", "--readiness-standard", standard]
    nodes = ["--readiness-nodes", "t4-*", "--readiness-output", tmp_path / "out"]
    run = subprocess.run([*command, *map(str, options + nodes)], cwd=tmp_path, capture_output=True, check=False)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    failed = {each["node"]: each["findings"][0] for each in report["results"] if each["verdict"] == "fail"}
    assert run.returncode == 1
    assert list(failed) == ["t4-shared-02"]
    assert (failed["t4-shared-02"]["expected"], failed["t4-shared-02"]["observed"]) == ("16", "4")

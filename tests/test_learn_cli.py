"""`gpu-readiness standard learn`: what it writes judges the nodes it was learnt from, and it says what is not sure."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import yaml
from nodes import a100_mig, h100, judge
from sessions import write
from test_cli import Said

from gpu_readiness.verdict import Verdict


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of three nodes, of which the third has another driver."""
    fleet = h100(nodes=3)
    fleet.header["gpu-3"]["driver_version"] = "580.95.05"
    return write(fleet, tmp_path_factory.mktemp("learn") / "snapshot")


def learn(snapshot: Path, *arguments: str | Path) -> Said:
    return Said("standard", "learn", "--snapshot", snapshot, "--name", "pool", *arguments)


def test_it_prints_a_standard_that_can_be_used(fleet: Path, tmp_path: Path) -> None:
    said = learn(fleet)
    assert said.code == 0
    path = tmp_path / "pool.yaml"
    path.write_text(said.out, encoding="utf-8")
    assert Said("standard", "validate", path).code == 0
    learnt = yaml.safe_load(said.out)
    assert learnt["name"] == "pool"
    assert learnt["extends"] == ["hardware/h100-sxm5-80gb"]
    assert learnt["gpu"]["count"] == {"value": 2, "source": "learnt from 3 of 3 nodes"}


def test_what_most_nodes_have_is_the_standard_and_the_odd_one_is_named(fleet: Path) -> None:
    said = learn(fleet)
    assert yaml.safe_load(said.out)["driver"]["version"] == "580.105.08"
    assert "not sure: driver.version: 580.105.08 on 2 nodes, but 580.95.05 on gpu-3" in said.err.splitlines()


def test_it_learns_from_the_nodes_that_were_chosen(fleet: Path) -> None:
    said = learn(fleet, "--nodes", "gpu-3")
    learnt = yaml.safe_load(said.out)
    assert learnt["title"] == "Learnt from 1 node"
    assert learnt["driver"]["version"] == "580.95.05"


@pytest.mark.parametrize("make", [h100, a100_mig], ids=["h100", "a100-mig"])
def test_nodes_hold_to_what_was_learnt_from_them(make: object, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    assert callable(make)
    make().write(snapshot)
    said = learn(snapshot, "--output", tmp_path / "pool.yaml")
    assert said.out == f"wrote {tmp_path / 'pool.yaml'}, learnt from 1 node\n"
    results = judge(snapshot, yaml.safe_load((tmp_path / "pool.yaml").read_text("utf-8")))
    failed = [(check, result.findings) for (_, check), result in results.items() if result.verdict is Verdict.FAIL]
    assert not failed
    assert results["gpu-1", "driver.gpu-count"].verdict is Verdict.PASS
    assert results["gpu-1", "allocatable.count"].verdict is Verdict.PASS


def test_a_fault_is_found_by_what_was_learnt_from_good_nodes(tmp_path: Path) -> None:
    h100(nodes=2).write(tmp_path / "good")
    assert learn(tmp_path / "good", "--output", tmp_path / "pool.yaml").code == 0
    h100(nodes=2).smi("gpu_power_readings/current_power_limit", "400.00 W").write(tmp_path / "bad")
    results = judge(tmp_path / "bad", yaml.safe_load((tmp_path / "pool.yaml").read_text("utf-8")), ["gpu.power-limit"])
    assert [results[node, "gpu.power-limit"].verdict.value for node in ("gpu-1", "gpu-2")] == ["fail", "pass"]


def test_what_could_not_be_measured_is_said_and_not_learnt(tmp_path: Path) -> None:
    h100().file("nvidia-smi.xml", None).write(tmp_path / "snapshot")
    said = learn(tmp_path / "snapshot")
    assert said.code == 0
    assert "count" not in yaml.safe_load(said.out).get("gpu", {})
    assert "not sure: gpu.count: not measured on gpu-1" in said.err.splitlines()


def test_it_reads_an_archive_and_leaves_nothing_of_it(fleet: Path, tmp_path: Path) -> None:
    archive = tmp_path / "fleet.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(fleet, "snapshot")
    assert learn(archive).out == learn(fleet).out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--snapshot", "nosuch"], "snapshot nosuch: no such directory or archive"),
        (["--nodes", "cpu-*"], "3 GPU nodes of 3 seen, none matches 'cpu-*'"),
        (["--nodes", "pool in (a"], "is no label selector"),
        (["--output", "no/such/folder/pool.yaml"], "no/such/folder/pool.yaml: cannot be written: "),
    ],
)
def test_what_cannot_be_learnt_is_refused_in_one_line(arguments: list[str], words: str, fleet: Path) -> None:
    said = learn(fleet, *arguments)
    assert said.code == 4
    assert not said.out
    assert len(said.err.splitlines()) == 1
    assert words in said.err


@pytest.mark.parametrize("missing", ["--snapshot", "--name"])
def test_it_asks_for_what_it_needs(missing: str) -> None:
    given = {"--snapshot": "snapshot", "--name": "pool"}
    del given[missing]
    said = Said("standard", "learn", *(word for pair in given.items() for word in pair))
    assert said.code == 2
    assert f"Missing option '{missing}'" in said.err

"""A real Prometheus in the cluster is found, asked through the API server, and what it has is judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.fleet import write_fleet
from rig.load import clear, load_snapshot
from rig.plane import ControlPlane
from rig.prometheus import Prometheus
from sessions import COMMAND, Done, run

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")

NODES = 3


@pytest.fixture(scope="module")
def fleet(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, Path]]:
    """Three nodes, one of whose exporters nobody scrapes, and a Prometheus; and the nodes' standard."""
    folder = tmp_path_factory.mktemp("fleet")
    clear(plane)
    load_snapshot(plane, write_fleet(folder, NODES))
    prometheus = Prometheus(plane)
    targets = [each for each in json.loads(prometheus.targets.read_text()) if "-03/" not in str(each["labels"])]
    prometheus.targets.write_text(json.dumps(targets), encoding="utf-8")
    prometheus.wait_for("count(DCGM_FI_DEV_GPU_TEMP)", lambda found: bool(found) and found[0]["value"][1] == "16")
    yield plane, folder / "standard.yaml"
    prometheus.stop()
    clear(plane)


def judge(fleet: tuple[ControlPlane, Path], folder: Path, *options: str, kubeconfig: Path | None = None) -> Done:
    plane, standard = fleet
    own = ["--readiness-kubeconfig", str(kubeconfig or plane.kubeconfig), "--readiness-standard", str(standard)]
    return run([*COMMAND, "check", *own, "--readiness-probe", "exec", *options], folder)


def test_an_exporter_that_nobody_scrapes_is_found(fleet: tuple[ControlPlane, Path], tmp_path: Path) -> None:
    done = judge(fleet, tmp_path)
    assert done.code == 1, done.said
    verdicts = {node: done.result(node, "telemetry.prometheus")["verdict"] for node in _names()}
    assert verdicts == {"gpu-operator-01": "pass", "gpu-operator-02": "pass", "gpu-operator-03": "fail"}
    assert done.result("gpu-operator-03", "telemetry.scrape")["verdict"] == "pass"
    assert any("has series of 2 of 3 nodes" in note for note in done.report["notes"])


def test_without_the_right_to_ask_it_is_not_asked(fleet: tuple[ControlPlane, Path], tmp_path: Path) -> None:
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/proxy", "pods/exec"], "verbs": ["get", "create"]},
    ]
    kubeconfig = fleet[0].user_kubeconfig("no-services", rules)
    done = judge(fleet, tmp_path, kubeconfig=kubeconfig)
    assert done.code == 0, done.said
    assert "telemetry.prometheus" not in {each["check"] for each in done.report["results"]}


def test_it_is_left_alone_on_demand(fleet: tuple[ControlPlane, Path], tmp_path: Path) -> None:
    done = judge(fleet, tmp_path, "--readiness-prometheus", "none")
    assert done.code == 0, done.said


def test_one_that_is_named_and_not_there_is_an_error(fleet: tuple[ControlPlane, Path], tmp_path: Path) -> None:
    done = judge(fleet, tmp_path, "--readiness-prometheus", "http://127.0.0.1:9")
    assert done.code == 6, done.said
    found = done.result("gpu-operator-01", "telemetry.prometheus")
    assert (found["verdict"], found["reason"]) == ("error", "timeout")


def _names() -> list[str]:
    return [f"gpu-operator-{number:02}" for number in range(1, NODES + 1)]

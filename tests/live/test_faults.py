"""Whatever stands between us and the nodes: a run ends in time, each node gets its own verdict, none passes for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.load import clear, load_snapshot
from rig.plane import ControlPlane
from sessions import COMMAND, Done, environment, eventually, run

#: What is wrong with a node, by node: how its exporter, its exec and its pods of ours behave.
EXPORTERS = {
    "h100-01": "hang",
    "h100-03": "flood",
    "a100-mig-01": "refuse",
    "a100-mig-03": "http500",
    "l40s-01": "drop",
}
EXECS = {"h100-01": "hang", "h100-03": "endless", "a100-mig-01": "refuse", "l40s-01": "drop", "l40s-03": "exit9"}
PODS = {
    "h100-01": "ErrImagePull",
    "h100-03": "ContainerCreating",
    "a100-mig-01": "StartError",
    "a100-mig-03": "UnexpectedAdmissionError",
    "l40s-01": "RunContainerError",
}
#: Seconds: far more than any deadline here, far less than anything that waits for ever.
IN_TIME = 100


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = run([*COMMAND, "demo", "--output", str(folder)], folder.parent)
    assert done.code == 0, done.said
    return folder


@pytest.fixture(scope="module")
def cluster(plane: ControlPlane, demo: Path) -> Iterator[ControlPlane]:
    clear(plane)
    load_snapshot(plane, demo / "snapshot")
    yield plane
    clear(plane)


@pytest.fixture
def fleet(cluster: ControlPlane) -> Iterator[ControlPlane]:
    """The demo's fleet, all of it well behaved again afterwards."""
    yield cluster
    for node in {*EXPORTERS, *EXECS, *PODS}:
        cluster.double.behave(node)


def command(plane: ControlPlane, demo: Path, *options: str) -> list[str]:
    own = ["--readiness-kubeconfig", str(plane.kubeconfig), "--readiness-standard", str(demo / "standards")]
    return [*COMMAND, "check", *own, "--readiness-probe-timeout", "12", *options]


def judge(plane: ControlPlane, demo: Path, folder: Path, *options: str) -> Done:
    began = time.monotonic()
    done = run(command(plane, demo, *options), folder)
    assert time.monotonic() - began < IN_TIME
    return done


def ours(plane: ControlPlane) -> list[str]:
    paths = ("/api/v1/pods", "/apis/batch/v1/jobs", "/apis/resource.k8s.io/v1/resourceclaimtemplates")
    selector = "?labelSelector=app.kubernetes.io/name=gpu-readiness"
    return [item["metadata"]["name"] for path in paths for item in plane.client.get(path + selector)["items"]]


def test_exporters_that_hang_flood_and_break(fleet: ControlPlane, demo: Path, tmp_path: Path) -> None:
    for node, how in EXPORTERS.items():
        fleet.double.behave(node, exporter=how)
    done = judge(fleet, demo, tmp_path, "--readiness-depth", "api")
    for node in EXPORTERS:
        scrape = done.result(node, "telemetry.scrape")
        assert scrape["verdict"] in ("error", "untested"), (node, scrape)
        assert done.result(node, "runtime.node-ready")["verdict"] == "pass"
    assert done.result("l40s-03", "telemetry.scrape")["verdict"] == "pass"
    assert "more than 64 MiB" in done.result("h100-03", "telemetry.scrape")["detail"] or "larger" in done.said


def test_commands_that_never_end(fleet: ControlPlane, demo: Path, tmp_path: Path) -> None:
    for node, how in EXECS.items():
        fleet.double.behave(node, exec=how)
    done = judge(fleet, demo, tmp_path, "--readiness-probe", "exec")
    for node in EXECS:
        assert done.result(node, "driver.nvml")["verdict"] != "pass", node
    assert done.result("h100-01", "driver.nvml")["reason"] == "timeout"
    assert done.result("gb200-01", "driver.nvml")["verdict"] == "pass"


def test_pods_that_do_not_get_to_run(fleet: ControlPlane, demo: Path, tmp_path: Path) -> None:
    for node, how in PODS.items():
        fleet.double.behave(node, pod=how)
    done = judge(fleet, demo, tmp_path, "--readiness-probe", "pod")
    found = {node: done.result(node, "driver.nvml") for node in PODS}
    assert all(each["verdict"] in ("error", "untested") for each in found.values()), found
    assert "UnexpectedAdmissionError" in found["a100-mig-03"]["detail"]
    assert done.result("gb200-01", "driver.nvml")["verdict"] == "pass"
    assert ours(fleet) == []


def test_the_next_way_is_taken_where_one_fails(fleet: ControlPlane, demo: Path, tmp_path: Path) -> None:
    for node, how in PODS.items():
        fleet.double.behave(node, pod=how)
    done = judge(fleet, demo, tmp_path)
    asked = {node["name"]: node["asked"] for node in done.report["nodes"]}
    assert {asked[node]["way"] for node in PODS} == {"exec"}
    assert "ErrImagePull" in asked["h100-01"]["not_by"]["pod"] or "not ended" in asked["h100-01"]["not_by"]["pod"]
    assert asked["gb200-01"]["way"] == "pod"


def test_an_api_server_that_restarts_in_mid_run(fleet: ControlPlane, demo: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command(fleet, demo), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        time.sleep(1.5)
        fleet.restart_apiserver(downtime=0.5)
        out, err = running.communicate(timeout=IN_TIME)
    done = Done(running.returncode, out, err, tmp_path)
    assert "Traceback" not in done.said
    assert done.code == 1
    for node in ("h100-01", "gb200-01", "l40s-03"):
        assert done.result(node, "runtime.node-ready")["verdict"] == "pass"
    assert {"h100-02", "l40s-02"} <= {each["name"] for each in done.report["nodes"] if each["verdict"] == "not-ready"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(
    fleet: ControlPlane, demo: Path, tmp_path: Path, how: signal.Signals
) -> None:
    fleet.double.behave("h100-01", pod="ContainerCreating")
    with subprocess.Popen(
        command(fleet, demo, "--readiness-probe", "pod", "--readiness-probe-timeout", "60"),
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert eventually(lambda: bool(ours(fleet)))
        running.send_signal(how)
        out, err = running.communicate(timeout=IN_TIME)
    assert running.returncode == 2, out + err
    assert "Traceback" not in out + err
    assert eventually(lambda: ours(fleet) == [])
    assert not list(tmp_path.glob("gpu-readiness-*"))


_KILLED = """
import sys
from pathlib import Path
from gpu_readiness.cluster.access import ApiServer
from gpu_readiness.cluster.pods import OwnPods
with OwnPods(ApiServer.connect(sys.argv[1]), "default", "killed", "any/image", lifetime=5) as pods:
    print("made", flush=True)
    spec = {"containers": [{"command": ["true"]}]}
    pods.run("p", "h100-01", spec, Path(sys.argv[2]), seconds=60, limit=1000)
"""


def test_what_a_killed_run_made_is_gone_after_its_deadline(fleet: ControlPlane, tmp_path: Path) -> None:
    fleet.double.behave("h100-01", pod="ContainerCreating")
    arguments = [sys.executable, "-c", _KILLED, str(fleet.kubeconfig), str(tmp_path / "log")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "made\n"
        assert eventually(lambda: len(ours(fleet)) == 2)
        running.kill()
    assert len(ours(fleet)) == 2
    assert eventually(lambda: ours(fleet) == [], 60)

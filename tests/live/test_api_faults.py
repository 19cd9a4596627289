"""An API server that is busy, slow, cut off or forgetful: what can be read is, what cannot is no pass."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import Action, FaultProxy, cut, drop, expired, garbage, half_open, stall, status, truncate
from rig.load import clear, load_snapshot
from rig.plane import ControlPlane
from sessions import COMMAND, Done, run

from gpu_readiness.cluster import lists
from gpu_readiness.cluster.access import ApiServer

#: Faults that pass: what they are done to, how, and how often.
PASSING: dict[str, tuple[str, Action, int]] = {
    "429 on nodes": (r"GET /api/v1/nodes\?", status(429, retry_after=1), 2),
    "500 on pods": (r"GET /api/v1/pods\?", status(500), 3),
    "503 on slices": (r"GET /apis/resource", status(503), 2),
    "nodes cut off": (r"GET /api/v1/nodes\?", cut(5000), 2),
    "pods truncated": (r"GET /api/v1/pods\?", truncate(), 2),
    "no answer but a closed connection": (r"GET /api", drop(), 5),
    "a login page for DaemonSets": (r"GET /apis/apps", garbage(), 1),
    "a half-open connection": (r"GET /api/v1/pods\?", half_open(), 1),
    "a stall": (r"GET /apis/node", stall(30), 1),
    "an exporter that is busy": (r"proxy/metrics", status(503, retry_after=1), 8),
    "an exec that is dropped": (r"/exec\?", drop(), 4),
}
#: Faults that stay, and a check that cannot be measured then.
LASTING: dict[str, tuple[str, Action, str]] = {
    "500 on pods": (r"GET /api/v1/pods\?", status(500), "allocatable.accounted"),
    "pods always cut off": (r"GET /api/v1/pods\?", cut(5000), "runtime.components"),
    "pods never answered": (r"GET /api/v1/pods\?", half_open(), "runtime.components"),
    "a login page for everything": (r"GET /api/v1/pods\?", garbage(), "runtime.components"),
    "exporters cut off": (r"proxy/metrics", cut(100), "telemetry.scrape"),
    "commands dropped": (r"/exec\?", drop(), "driver.nvml"),
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = run([*COMMAND, "demo", "--output", str(folder)], folder.parent)
    assert done.code == 0, done.said
    return folder


@pytest.fixture(scope="module")
def fleet(plane: ControlPlane, demo: Path) -> Iterator[ControlPlane]:
    clear(plane)
    load_snapshot(plane, demo / "snapshot")
    yield plane
    clear(plane)


@pytest.fixture
def proxy(fleet: ControlPlane) -> Iterator[FaultProxy]:
    """A proxy before the API server; `kubeconfig` is the way through it."""
    identity = fleet.identities["admin"]
    with FaultProxy(identity.server, token=identity.token, ca_file=identity.authority) as proxy:
        yield proxy


def through(proxy: FaultProxy, folder: Path) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "rig",
        "clusters": [{"name": "rig", "cluster": {"server": proxy.url}}],
        "users": [{"name": "rig", "user": {"token": "any"}}],
        "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def judge(kubeconfig: Path, demo: Path, folder: Path) -> Done:
    own = ["--readiness-kubeconfig", str(kubeconfig), "--readiness-standard", str(demo / "standards")]
    return run([*COMMAND, "check", *own, "--readiness-probe", "exec", "--readiness-probe-timeout", "20"], folder)


def verdicts(report: dict[str, Any]) -> dict[tuple[str, str], tuple[str, str | None]]:
    return {(each["node"], each["check"]): (each["verdict"], each["reason"]) for each in report["results"]}


@pytest.fixture(scope="module")
def undisturbed(
    fleet: ControlPlane, demo: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], tuple[str, str | None]]:
    done = judge(fleet.kubeconfig, demo, tmp_path_factory.mktemp("undisturbed"))
    assert done.code == 1, done.said
    return verdicts(done.report)


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_changes_no_verdict(
    fault: str, proxy: FaultProxy, demo: Path, tmp_path: Path, undisturbed: dict[tuple[str, str], Any]
) -> None:
    match, action, times = PASSING[fault]
    rule = proxy.inject(match, action, times=times)
    began = time.monotonic()
    done = judge(through(proxy, tmp_path), demo, tmp_path)
    assert time.monotonic() - began < 60
    assert rule.hits == times
    assert done.code == 1, done.said
    assert verdicts(done.report) == undisturbed


@pytest.mark.parametrize("fault", LASTING)
def test_a_fault_that_stays_is_no_pass(
    fault: str, proxy: FaultProxy, demo: Path, tmp_path: Path, undisturbed: dict[tuple[str, str], Any]
) -> None:
    match, action, check = LASTING[fault]
    proxy.inject(match, action)
    began = time.monotonic()
    done = judge(through(proxy, tmp_path), demo, tmp_path)
    assert time.monotonic() - began < 160
    assert done.code in (1, 6), done.said
    found = verdicts(done.report)
    assert not [node for node, id in found if id == check and found[node, id][0] == "pass"]
    # Whatever else was read is judged as ever, and nothing passes that did not before.
    assert not [key for key, (word, _) in found.items() if word == "pass" and undisturbed[key][0] != "pass"]
    assert "ready" not in {node["verdict"] for node in done.report["nodes"]}


def test_nodes_that_cannot_be_listed_are_no_fleet(proxy: FaultProxy, demo: Path, tmp_path: Path) -> None:
    proxy.inject(r"GET /api/v1/nodes\?", status(500))
    done = judge(through(proxy, tmp_path), demo, tmp_path)
    assert done.code == 4
    assert "HTTP 500" in done.said


@pytest.mark.parametrize("fresh", [True, False], ids=["goes on", "begins anew"])
def test_a_list_whose_version_is_forgotten_is_whole_all_the_same(
    fresh: bool, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "FIRST_PAGE", 20)
    monkeypatch.setattr(lists, "PAGE_BYTES", 1)
    api = ApiServer.connect(str(through(proxy, tmp_path)))
    place = tmp_path / "cluster"
    place.mkdir()
    proxy.inject(r"GET /api/v1/pods\?.*continue", expired(fresh=fresh), times=2)
    seen: list[str] = []

    def note(item: dict[str, Any]) -> bool:
        seen.append(item["metadata"]["name"])
        return True

    lists.write_list(api, lists_kind("pods"), place, note)
    names = [each["metadata"]["name"] for each in json.loads((place / "pods.json").read_text())["items"]]
    assert len(names) == len(set(names)) > 100
    assert set(names) == set(seen)


def lists_kind(name: str) -> Any:
    from gpu_readiness.cluster.kinds import LISTED

    return next(kind for kind in LISTED if kind.name == name)

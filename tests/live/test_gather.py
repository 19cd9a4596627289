"""A live cluster is judged as a snapshot of it is, and each way to a node's driver works and says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rig.load import clear, load_snapshot
from rig.plane import ControlPlane
from sessions import CHECKS, COMMAND, PYTEST, Done, run

NODES = 24


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's fleet: snapshot, standards, and the report of its own run."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = run([*COMMAND, "demo", "--output", str(folder)], folder.parent)
    assert done.code == 0, done.said
    return folder


@pytest.fixture(scope="module")
def fleet(plane: ControlPlane, demo: Path) -> Iterator[ControlPlane]:
    """A cluster with the demo's fleet, some of it faulty."""
    clear(plane)
    load_snapshot(plane, demo / "snapshot")
    yield plane
    clear(plane)


def judge(plane: ControlPlane, demo: Path, folder: Path, *options: str, kubeconfig: Path | None = None) -> Done:
    """`gpu-readiness check` of the cluster."""
    arguments = ["--readiness-kubeconfig", str(kubeconfig or plane.kubeconfig), *options]
    return run([*COMMAND, "check", "--readiness-standard", str(demo / "standards"), *arguments], folder)


def verdicts(report: dict[str, Any]) -> dict[tuple[str, str], tuple[str, ...]]:
    """What was found, without what differs from run to run."""
    return {
        (each["node"], each["check"]): (
            each["verdict"],
            each["reason"] or "",
            json.dumps([[found["subject"], found["field"], found["expected"]] for found in each["findings"]]),
        )
        for each in report["results"]
    }


def ours(plane: ControlPlane) -> list[str]:
    """The objects of ours that are in the cluster."""
    paths = ("/api/v1/pods", "/apis/batch/v1/jobs", "/apis/resource.k8s.io/v1/resourceclaimtemplates")
    selector = "?labelSelector=app.kubernetes.io/name=gpu-readiness"
    return [item["metadata"]["name"] for path in paths for item in plane.client.get(path + selector)["items"]]


def ways(report: dict[str, Any]) -> Counter[str]:
    return Counter(node["asked"]["way"] for node in report["nodes"])


@pytest.mark.parametrize("probe", ["auto", "exec"])
def test_a_live_fleet_is_judged_as_its_snapshot_is(fleet: ControlPlane, demo: Path, tmp_path: Path, probe: str) -> None:
    done = judge(fleet, demo, tmp_path, "--readiness-probe", probe)
    assert done.code == 1, done.said
    kept = json.loads((demo / "report" / "report.json").read_text(encoding="utf-8"))
    live, saved = verdicts(done.report), verdicts(kept)
    # Where the demo has no nvidia-smi.xml, nobody prints one here either; only the reasons are others.
    unread = {place.parent.name for place in (demo / "snapshot" / "nodes").glob("*/nvidia-smi.xml.error")}
    assert {key: value for key, value in live.items() if key[0] not in unread} == {
        key: value for key, value in saved.items() if key[0] not in unread
    }
    assert {node["name"] for node in done.report["nodes"] if node["verdict"] == "unknown"} == unread
    assert done.report["run"]["source"] == {"kind": "cluster", "name": "rig"}
    assert ours(fleet) == []


def test_the_plugin_does_what_the_command_does(fleet: ControlPlane, demo: Path, tmp_path: Path) -> None:
    standards = ["--readiness-standard", str(demo / "standards")]
    done = run(
        [*PYTEST, *CHECKS, "-p", "no:cacheprovider", "--readiness-cluster", "--readiness-depth", "api", *standards],
        tmp_path,
        KUBECONFIG=str(fleet.kubeconfig),
    )
    assert done.code == 1, done.said
    assert len(done.report["nodes"]) == NODES
    assert all(node["asked"] is None for node in done.report["nodes"])


@pytest.mark.parametrize("output", ["kept", "kept.tar.gz"])
def test_a_snapshot_of_a_live_cluster_is_judged_as_the_cluster_was(
    fleet: ControlPlane, demo: Path, tmp_path: Path, output: str
) -> None:
    live = judge(fleet, demo, tmp_path)
    arguments = ["--output", output, "--readiness-standard", str(demo / "standards")]
    saved = run([*COMMAND, "snapshot", *arguments], tmp_path, KUBECONFIG=str(fleet.kubeconfig))
    assert saved.code == 6, saved.said  # two nodes have no nvidia-smi
    assert "could not be read" in saved.out
    again = run(
        [*COMMAND, "check", "--readiness-snapshot", output, "--readiness-standard", str(demo / "standards")], tmp_path
    )
    one, other = live.report, run_report(tmp_path)
    assert again.code == live.code == 1
    assert verdicts(one) == verdicts(other)
    assert one["verdict"] == other["verdict"]
    assert [node["asked"]["way"] for node in one["nodes"]] == [node["asked"]["way"] for node in other["nodes"]]
    assert not list(tmp_path.glob(".kept*"))


def run_report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "readiness-report" / "report.json").read_text(encoding="utf-8"))
    return found


def test_a_redacted_snapshot_keeps_the_verdicts_and_no_identity(
    fleet: ControlPlane, demo: Path, tmp_path: Path
) -> None:
    live = judge(fleet, demo, tmp_path).report
    standards = ["--readiness-standard", str(demo / "standards")]
    run([*COMMAND, "snapshot", "--output", "kept", "--redact", *standards], tmp_path, KUBECONFIG=str(fleet.kubeconfig))
    run([*COMMAND, "check", "--readiness-snapshot", "kept", *standards], tmp_path)
    redacted = run_report(tmp_path)
    assert redacted["verdict"]["nodes"] == live["verdict"]["nodes"]
    known = {gpu["uuid"] for node in live["nodes"] for gpu in node["gpus"] if gpu["uuid"]}
    assert known
    text = b"".join(path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert not [uuid for uuid in known if uuid.encode() in text]


def test_pods_that_claim_for_administration_come_first_where_they_may(
    fleet: ControlPlane, demo: Path, tmp_path: Path
) -> None:
    label = "resource.kubernetes.io/admin-access"
    namespace = {"metadata": {"name": "probes", "labels": {label: "true"}}, "kind": "Namespace", "apiVersion": "v1"}
    fleet.apply(namespace)
    done = judge(fleet, demo, tmp_path, "--readiness-namespace", "probes")
    asked = {node["name"]: node["asked"] for node in done.report["nodes"]}
    assert {name for name, how in asked.items() if how["way"] == "dra"} >= {"h100-dra-01", "h100-dra-03"}
    assert "no DRA driver publishes" in asked["h100-01"]["not_by"]["dra"]
    assert ways(done.report)["pod"] > 10
    assert ours(fleet) == []


def test_what_nobody_may_do_is_said_with_the_rule_that_is_missing(
    fleet: ControlPlane, demo: Path, tmp_path: Path
) -> None:
    rules = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "rbac" / "api.yaml").read_text())["rules"]
    kubeconfig = fleet.user_kubeconfig("lists-only", rules)
    done = judge(fleet, demo, tmp_path, "--readiness-nodes", "h100-01", kubeconfig=kubeconfig)
    assert done.code == 6, done.said
    driver, scrape = done.result("h100-01", "driver.nvml"), done.result("h100-01", "telemetry.scrape")
    assert (driver["verdict"], driver["reason"]) == ("untested", "denied")
    assert 'resources: ["pods/exec"], verbs: ["create"]' in driver["detail"]
    assert (scrape["verdict"], scrape["reason"]) == ("untested", "denied")
    assert 'resources: ["pods/proxy"], verbs: ["get"]' in scrape["detail"]
    assert done.result("h100-01", "labels.truth")["verdict"] == "untested"
    assert done.result("h100-01", "runtime.node-ready")["verdict"] == "pass"


def test_an_identity_without_any_right_is_told_which_it_needs(fleet: ControlPlane, demo: Path, tmp_path: Path) -> None:
    kubeconfig = fleet.user_kubeconfig("nobody", [])
    nothing = judge(fleet, demo, tmp_path, "--readiness-nodes", "pool=a", kubeconfig=kubeconfig)
    assert nothing.code == 4
    assert 'resources: ["nodes"], verbs: ["list"]' in nothing.said
    named = judge(fleet, demo, tmp_path, "--readiness-nodes", "h100-01", kubeconfig=kubeconfig)
    assert named.code == 6, named.said
    ready = named.result("h100-01", "runtime.node-ready")
    assert (ready["verdict"], ready["reason"]) == ("untested", "denied")
    assert not [each for each in named.report["results"] if each["verdict"] in ("pass", "fail")]


def test_the_api_server_is_asked_little(fleet: ControlPlane, demo: Path, tmp_path: Path) -> None:
    judge(fleet, demo, tmp_path, "--readiness-depth", "api")
    found = Counter(each.resource + (f"/{each.subresource}" if each.subresource else "") for each in asked_by_us(fleet))
    assert found["pods/proxy"] == NODES
    assert sum(found.values()) - found["pods/proxy"] - found["nodes/proxy"] <= 40


def asked_by_us(plane: ControlPlane) -> list[Any]:
    """The requests of the last run."""
    requests = plane.requests(user_agent_prefix="gpu-readiness/")
    last = max(index for index, each in enumerate(requests) if each.resource == "nodes" and each.verb == "list")
    return requests[last:]


def test_no_gpu_node_is_no_success(empty_plane: ControlPlane, demo: Path, tmp_path: Path) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "cpu-01"}}
    empty_plane.apply(node)
    done = judge(empty_plane, demo, tmp_path)
    assert done.code == 4
    assert "1 node seen, none has a GPU label" in done.said

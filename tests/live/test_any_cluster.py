"""What has to hold in any cluster, of which nothing else is known: that of KUBECONFIG, if it is set."""

from __future__ import annotations

import json
from pathlib import Path

from sessions import COMMAND, run

#: What a run may end with: judged, unknown, or no GPU node.
ENDS = (0, 1, 4, 6)


def test_rights_are_explained(kubeconfig: Path, tmp_path: Path) -> None:
    done = run([*COMMAND, "check", "--explain-access", "--readiness-kubeconfig", str(kubeconfig)], tmp_path)
    assert done.code in (0, 6), done.said
    assert "api: objects of the cluster" in done.out


def test_a_run_ends_and_says_what_it_saw(kubeconfig: Path, tmp_path: Path) -> None:
    options = ["--readiness-kubeconfig", str(kubeconfig), "--readiness-probe", "none"]
    done = run([*COMMAND, "check", *options], tmp_path)
    assert done.code in ENDS, done.said
    if done.code == 4:
        assert "no node to judge" in done.said
        assert "seen" in done.said
        return
    assert done.report["nodes"]
    passed = {each["check"] for each in done.report["results"] if each["verdict"] == "pass"}
    assert "driver.nvml" not in passed  # nobody asked a driver


def test_a_snapshot_is_judged_as_the_cluster_is(kubeconfig: Path, tmp_path: Path) -> None:
    options = ["--readiness-kubeconfig", str(kubeconfig), "--readiness-probe", "none"]
    live = run([*COMMAND, "check", *options, "--readiness-output", "live"], tmp_path)
    saved = run([*COMMAND, "snapshot", "--output", "kept", *options], tmp_path)
    assert saved.code in (0, 6), saved.said
    again = run([*COMMAND, "check", "--readiness-snapshot", "kept", "--readiness-output", "again"], tmp_path)
    assert again.code == live.code, again.said
    if live.code != 4:
        one, other = (json.loads((tmp_path / name / "report.json").read_text("utf-8")) for name in ("live", "again"))
        assert [node["verdict"] for node in one["nodes"]] == [node["verdict"] for node in other["nodes"]]

"""Healthy nodes of each supported platform are ready, judged live, with what that platform lets one read."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig.fleet import write_fleet
from rig.load import load_snapshot
from rig.plane import ControlPlane
from rig.platforms import PLATFORMS
from sessions import COMMAND, run


@pytest.mark.parametrize("platform", PLATFORMS)
def test_healthy_nodes_are_ready(platform: str, empty_plane: ControlPlane, tmp_path: Path) -> None:
    load_snapshot(empty_plane, write_fleet(tmp_path / "fleet", 4, platform))
    standard = ["--readiness-standard", str(tmp_path / "fleet" / "standard.yaml")]
    done = run([*COMMAND, "check", "--readiness-kubeconfig", str(empty_plane.kubeconfig), *standard], tmp_path)
    assert done.code == 0, done.said
    assert [node["verdict"] for node in done.report["nodes"]] == ["ready"] * 4
    assert all(node["asked"]["way"] for node in done.report["nodes"])
    assert done.report["verdict"]["coverage"]["gpus"][0] > 0

from __future__ import annotations

from pathlib import Path

from rig.plane import ControlPlane


def test_the_control_plane_is_up(plane: ControlPlane) -> None:
    assert plane.client.get("/version")["gitVersion"].startswith("v1.36.")

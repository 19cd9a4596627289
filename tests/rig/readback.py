"""Writes what a cluster holds as a snapshot, by plain lists: the yardstick for what was put into it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from rig.client import Refused
from rig.pictures import KINDS
from rig.plane import ControlPlane


def write_snapshot(plane: ControlPlane, folder: Path) -> None:
    """Write the cluster's objects, and what the nodes say, to a new folder."""
    cluster = folder / "cluster"
    cluster.mkdir(parents=True)
    for name, (version, kind) in KINDS.items():
        try:
            found = plane.client.get(plane.client.everywhere(version, kind))
        except Refused as refused:
            if refused.code == 404:  # a custom resource that nobody has defined
                continue
            raise
        (cluster / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    (cluster / "version.json").write_text(json.dumps(plane.client.get("/version")), encoding="utf-8")
    if (plane.double.folder / "nodes").is_dir():
        shutil.copytree(plane.double.folder / "nodes", folder / "nodes")

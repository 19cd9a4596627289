"""Nodes that are objects only: kwok heartbeats them and plays what kubelets do with pods."""

from __future__ import annotations

from pathlib import Path

from rig.client import answers
from rig.plane import ControlPlane
from rig.process import Process, free_ports

STAGES = Path(__file__).with_name("stages.yaml")
#: Nodes with it are kwok's.
ANNOTATION = {"kwok.x-k8s.io/node": "fake"}


def start(plane: ControlPlane, *, lease_seconds: int = 40) -> Process:
    """Start kwok; it stops with the control plane. `lease_seconds`: how long a heartbeat counts."""
    (port,) = free_ports(1)
    command: list[str | Path] = [
        plane.place.binaries / "kwok",
        f"--config={STAGES}",
        f"--kubeconfig={plane.place.kubeconfig('rig:kwok')}",
        f"--node-lease-duration-seconds={lease_seconds}",
        f"--server-address=127.0.0.1:{port}",
    ]
    return plane.run("kwok", command, lambda: answers(f"http://127.0.0.1:{port}/healthz"))

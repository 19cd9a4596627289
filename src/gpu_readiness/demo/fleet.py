"""The demo fleet as a whole: which nodes there are, which of them are faulty, and how it is written as a snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpu_readiness.demo import objects
from gpu_readiness.demo.driver import smi_document
from gpu_readiness.demo.faults import FAULTS, Fault
from gpu_readiness.demo.node import DemoNode
from gpu_readiness.demo.pools import POOLS
from gpu_readiness.demo.telemetry import kernel_log, scrape

CLUSTER = "gpu-readiness-demo"
META = {"schema": "gpu-readiness.snapshot/v1", "taken": "2026-08-21T09:00:00Z", "cluster": CLUSTER}


def make_fleet(size: int) -> tuple[list[DemoNode], dict[str, Fault]]:
    """`size` nodes, at least one for each pool, and the faulty ones among them by name.

    At most half of a pool is faulty, one node where there is only one; so a dozen faults need two dozen nodes.
    """
    nodes: list[DemoNode] = []
    seeded: dict[str, Fault] = {}
    for index, pool in enumerate(POOLS):
        count = size // len(POOLS) + (index < size % len(POOLS))
        own = [DemoNode.healthy(pool, number) for number in range(1, count + 1)]
        for turn, fault in enumerate(FAULTS[pool.key][: (count + 1) // 2]):
            node = own[(2 * turn + 1) % count]
            fault.seed(node)
            seeded[node.name] = fault
        nodes += own
    return nodes, seeded


def write_snapshot(folder: Path, nodes: list[DemoNode]) -> None:
    """Write the fleet as a snapshot directory; `folder` is made. OSError if it cannot be written."""
    cluster = folder / "cluster"
    cluster.mkdir(parents=True)
    (folder / "snapshot.json").write_text(json.dumps(META), encoding="utf-8")
    (cluster / "version.json").write_text(json.dumps(objects.version()), encoding="utf-8")
    for kind, items in objects.cluster_lists(nodes).items():
        _write_list(cluster / f"{kind}.json", items)
    for node in nodes:
        place = folder / "nodes" / node.name
        place.mkdir(parents=True)
        for artefact, render in (("nvidia-smi.xml", smi_document), ("dcgm.prom", scrape), ("kernel.log", kernel_log)):
            if artefact in node.failed:
                reason, message = node.failed[artefact]
                record = json.dumps({"reason": reason, "message": message})
                (place / f"{artefact}.error").write_text(record, encoding="utf-8")
            else:
                (place / artefact).write_text(render(node), encoding="utf-8")


def _write_list(path: Path, items: Iterable[dict[str, Any]]) -> None:
    """What `kubectl get -o json` prints, with one item per line."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"apiVersion":"v1","kind":"List","items":[')
        separator = "\n"
        for item in items:
            file.write(separator + json.dumps(item))
            separator = ",\n"
        file.write("\n]}\n")

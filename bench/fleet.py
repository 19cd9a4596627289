"""Write a fleet of 8-GPU H100 nodes as a snapshot, one node in a hundred with a fault: `fleet.py NODES FOLDER`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gpu_readiness.demo.faults import FAULTS
from gpu_readiness.demo.fleet import write_snapshot
from gpu_readiness.demo.node import DemoNode
from gpu_readiness.demo.pools import H100_POOL
from gpu_readiness.demo.standards import standard_of

#: What a kernel says in a day of ordinary life, so that a log has some 200 lines.
CHATTER = [
    f"[{700 + 60 * minute}.{104729 * minute % 10**6:06}] audit: type=1400 audit({1787041900 + 60 * minute}.114): "
    'apparmor="STATUS" operation="profile_load" profile="unconfined" comm="apparmor_parser"'
    for minute in range(185)
]


def write_fleet(size: int, folder: Path) -> None:
    """Write `size` nodes to `folder`/snapshot and their standard to `folder`/standard.yaml."""
    nodes = [DemoNode.healthy(H100_POOL, number) for number in range(1, size + 1)]
    faults = FAULTS[H100_POOL.key]
    for turn, node in enumerate(nodes[50::100]):
        faults[turn % len(faults)].seed(node)
    for node in nodes:
        node.kernel_events += CHATTER
    write_snapshot(folder / "snapshot", nodes)
    (folder / "standard.yaml").write_text(standard_of(H100_POOL), encoding="utf-8")


def main() -> None:
    """Write one fleet and say how long it took."""
    size, folder = int(sys.argv[1]), Path(sys.argv[2])
    begun = time.perf_counter()
    write_fleet(size, folder)
    seconds = time.perf_counter() - begun
    files = [each for each in folder.rglob("*") if each.is_file()]
    size_mib = sum(each.stat().st_size for each in files) / 2**20
    print(f"{size} nodes in {seconds:.1f} s ({size / seconds:.0f}/s): {len(files)} files, {size_mib:.0f} MiB")


if __name__ == "__main__":
    main()

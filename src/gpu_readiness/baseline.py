"""The fleet as it was once: a report or a snapshot that somebody kept."""

from __future__ import annotations

from pathlib import Path

from gpu_readiness.evidence.cluster import Cluster, is_gpu_node
from gpu_readiness.evidence.snapshot import SnapshotError, open_snapshot
from gpu_readiness.reports import ReportError, json_report


class BaselineError(ValueError):
    """The baseline cannot be read; one line says why."""


def nodes_of(path: Path) -> frozenset[str]:
    """The GPU nodes that there were.

    Raises:
        BaselineError: neither a report nor a snapshot.
    """
    try:
        if path.suffix == ".json":
            return frozenset(node.name for node in json_report.read(path).nodes)
        with open_snapshot(path) as snapshot:
            cluster = Cluster(snapshot)
            if cluster.unlisted is not None:
                raise BaselineError(f"--readiness-baseline {path}: {cluster.unlisted.message}")
            shown = {name for name, node in cluster.nodes.items() if is_gpu_node(node)}
            return frozenset(shown | cluster.nodes_with_slices | snapshot.node_dirs)
    except (ReportError, SnapshotError) as problem:
        raise BaselineError(f"--readiness-baseline: {problem}") from None

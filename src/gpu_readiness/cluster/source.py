"""A live cluster as the source of a run: connect, gather into a snapshot, and say what is in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpu_readiness.cluster.access import ApiServer
from gpu_readiness.cluster.gather import PROBE_IMAGE, Wishes, gather
from gpu_readiness.standard.library import Library


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster, and how to ask its nodes; None and empty mean what kubectl would take them to mean."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str = ""
    probe: str = "auto"
    image: str = ""
    nodes: str = ""
    depth: str = "auto"
    standards: tuple[str, ...] = ()
    expected: frozenset[str] = frozenset()


def gather_cluster(options: ClusterOptions, folder: Path, progress: Callable[[str], None]) -> str:
    """Gather a cluster into `folder`, which is empty or not there: the cluster's name.

    Raises:
        AccessProblem: no cluster.
        StandardError: a standard cannot be used.
    """
    named = frozenset(Library.load(options.standards).named_nodes())
    wishes = Wishes(
        nodes=options.nodes,
        expected=named | options.expected,
        driver=options.depth != "api",
        probe=options.probe,
        image=options.image or PROBE_IMAGE,
        namespace=options.namespace,
    )
    progress("connecting")
    api = connect(options)
    try:
        gather(api, folder, wishes, progress)
    finally:
        api.stop()
    return api.name


def connect(options: ClusterOptions) -> ApiServer:
    """The API server that the options name. Raises AccessProblem."""
    return ApiServer.connect(options.kubeconfig, options.context)

"""A live cluster as the source of a run: connect, gather into a snapshot, and say what is in the way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpu_readiness.cluster.access import AccessProblem, ApiServer
from gpu_readiness.cluster.gather import PROBE_IMAGE, PROBE_SECONDS, Wishes, gather
from gpu_readiness.cluster.prometheus import PrometheusAccess
from gpu_readiness.selection import Selection
from gpu_readiness.standard.library import Library


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster, and how to ask its nodes; None and empty mean what kubectl would take them to mean."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str = ""
    probe: str = "auto"
    image: str = ""
    seconds: float = PROBE_SECONDS
    nodes: str = ""
    depth: str = "auto"
    standards: tuple[str, ...] = ()
    expected: frozenset[str] = frozenset()
    prometheus: str = "auto"


def gather_cluster(options: ClusterOptions, folder: Path, progress: Callable[[str], None]) -> str:
    """Gather a cluster into `folder`, which is empty or not there: the cluster's name.

    Raises:
        AccessProblem: no cluster, or no way to ask it.
        StandardError: a standard cannot be used.
    """
    library = Library.load(options.standards)
    try:
        Selection.parse(options.nodes)
    except ValueError as problem:
        raise AccessProblem(str(problem)) from None
    if options.prometheus not in ("auto", "none"):
        try:
            PrometheusAccess.of(options.prometheus)
        except ValueError as problem:
            raise AccessProblem(f"--readiness-prometheus: {problem}") from None
    wishes = Wishes(
        nodes=options.nodes,
        expected=frozenset(library.named_nodes()) | options.expected,
        driver=options.depth != "api",
        probe=options.probe,
        image=options.image or PROBE_IMAGE,
        seconds=options.seconds,
        prometheus=options.prometheus,
        window=library.history_window(),
        namespace=options.namespace,
    )
    progress("connecting")
    api = connect(options)
    with _termination_interrupts():
        try:
            gather(api, folder, wishes, progress)
        finally:
            api.stop()
    return api.name


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Clean up also when a pod is told to end: SIGTERM is taken as Ctrl-C while there is something to clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def connect(options: ClusterOptions) -> ApiServer:
    """The API server that the options name. Raises AccessProblem."""
    return ApiServer.connect(options.kubeconfig, options.context)

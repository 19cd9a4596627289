"""A node's own DCGM exporter, asked through the API server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from gpu_readiness.cluster.access import ApiServer, Refused, as_unmeasured
from gpu_readiness.cluster.rights import EXPORTER
from gpu_readiness.cluster.stack import StackPod
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.snapshot import MAX_ARTEFACT
from gpu_readiness.verdict import Reason

ARTEFACT = "dcgm.prom"
SECONDS = 20.0


def save_scrape(api: ApiServer, exporter: StackPod | None, target: Path) -> None:
    """Write what the exporter answers.

    Raises:
        Unmeasured: `missing` if there is no exporter that runs on the node, else why it could not be read.
    """
    if exporter is None:
        raise Unmeasured(Reason.MISSING, "no pod of a DCGM exporter on this node", ARTEFACT)
    if exporter.trouble:
        raise Unmeasured(Reason.MISSING, exporter.trouble, ARTEFACT)
    try:
        try:
            api.save(_path(exporter, "http"), target, seconds=SECONDS, limit=MAX_ARTEFACT)
        except Refused as problem:
            if problem.status != 400 or "HTTPS" not in problem.message:
                raise
            api.save(_path(exporter, "https"), target, seconds=SECONDS, limit=MAX_ARTEFACT)
    except Refused as problem:
        raise as_unmeasured(problem, ARTEFACT, EXPORTER.rights[0].rule) from None


def _path(pod: StackPod, scheme: str) -> str:
    return f"/api/v1/namespaces/{quote(pod.namespace)}/pods/{scheme}:{quote(pod.name)}:{pod.port}/proxy/metrics"

"""The kernel log of a node, where its kubelet serves the host's log files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from gpu_readiness.cluster.access import ApiServer, Refused, as_unmeasured
from gpu_readiness.cluster.rights import KERNEL_LOG
from gpu_readiness.evidence.snapshot import MAX_ARTEFACT

ARTEFACT = "kernel.log"
#: Files under /var/log that have the kernel's messages, by distribution: Debian and Ubuntu, others.
FILES = ("kern.log", "dmesg")
SECONDS = 30.0


def save_kernel_log(api: ApiServer, node: str, target: Path) -> bool:
    """Write the kernel log of a node, if its kubelet has one.

    Returns:
        Whether it has.

    Raises:
        Unmeasured: it could not be read.
    """
    for name in FILES:
        path = f"/api/v1/nodes/{quote(node)}/proxy/logs/{name}"
        try:
            api.save(path, target, seconds=SECONDS, limit=MAX_ARTEFACT)
        except Refused as problem:
            if problem.status in (404, 405):  # 405: this kubelet serves no logs at all
                continue
            raise as_unmeasured(problem, ARTEFACT, KERNEL_LOG.rights[0].rule) from None
        return True
    return False

"""The kernel log of a node, where its kubelet serves the host's log files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

from gpu_readiness.cluster.access import ApiServer, Refused
from gpu_readiness.evidence.kernel import PART, parse_reported
from gpu_readiness.evidence.kernel_lines import last_boot
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.snapshot import MAX_ARTEFACT

ARTEFACT = "kernel.log"
#: Debian's and Ubuntu's. `/var/log/dmesg` is no source: it ends where the boot does.
FILE = "kern.log"
SECONDS = 30.0
#: Bytes from the end of the file that are asked for.
TAIL = 16 << 20
#: A node's kernel has something to say whenever a pod comes or goes; a file that is older has no writer any more.
FRESH = timedelta(days=1)


def save_kernel_log(api: ApiServer, node: str, place: Path) -> None:
    """Write `kernel.log` if the kubelet has one that reaches from the boot to now, else the driver's lines of it.

    Nothing depends on this source: where it cannot be read, there is none.
    """
    path = f"/api/v1/nodes/{quote(node)}/proxy/logs/{FILE}"
    try:
        headers = api.save(
            path, place / ARTEFACT, seconds=SECONDS, limit=MAX_ARTEFACT, headers={"range": f"bytes=-{TAIL}"}
        )
    except (Refused, Unmeasured):
        return
    if not _is_fresh(headers):
        _keep_part(place)


def settle(places: Iterable[Path]) -> None:
    """Where not every node has a whole log, none has: a check that only some nodes can pass would blame the others."""
    places = list(places)
    whole = [place for place in places if (place / ARTEFACT).is_file() and _reaches_the_boot(place / ARTEFACT)]
    if len(whole) < len(places):
        for place in places:
            _keep_part(place)


def _is_fresh(headers: Mapping[str, str]) -> bool:
    try:
        written, now = (parsedate_to_datetime(headers[name]) for name in ("last-modified", "date"))
        return now - written < FRESH
    except (KeyError, TypeError, ValueError):
        return False


def _reaches_the_boot(log: Path) -> bool:
    return last_boot(log.read_bytes().split(b"\n")) is not None


def _keep_part(place: Path) -> None:
    """Keep what the driver said since the last boot: it counts, but that there is no more of it says nothing."""
    log = place / ARTEFACT
    if not log.is_file():
        return
    lines = log.read_bytes().split(b"\n")
    said = [line for line in lines[last_boot(lines) or 0 :] if b"NVRM" in line or b"SXid" in line]
    if parse_reported(line.decode("utf-8", "replace") for line in said):
        (place / PART).write_bytes(b"\n".join(said) + b"\n")
    log.unlink()

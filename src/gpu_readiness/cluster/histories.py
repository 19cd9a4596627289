"""What a Prometheus has of the nodes: the one that was named, or the one that the cluster runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpu_readiness.cluster.access import ApiServer, Refused, as_unmeasured
from gpu_readiness.cluster.kinds import SERVICES
from gpu_readiness.cluster.lists import list_items
from gpu_readiness.cluster.prometheus import PrometheusAccess, PrometheusTarget, find_prometheus, gather_prometheus
from gpu_readiness.cluster.prometheus_services import PrometheusService
from gpu_readiness.cluster.rights import PROMETHEUS, Rights
from gpu_readiness.cluster.stack import NodeStack
from gpu_readiness.evidence.reading import Unmeasured

#: Seconds for all queries together.
SECONDS = 120.0
_UUID = re.compile(rb"(?:UUID=\"|<uuid>)(GPU-[0-9a-f-]{36})")
_ARTEFACTS = ("nvidia-smi.xml", "dcgm.prom")
#: Bytes of an artefact in which UUIDs are looked for.
_LOOK = 8 << 20


def save_histories(
    api: ApiServer, rights: Rights, folder: Path, targets: Iterable[PrometheusTarget], wanted: str, window: str
) -> str:
    """Write `prometheus.json` of every node.

    Args:
        api: the cluster.
        rights: what we may do there.
        folder: the snapshot's.
        targets: the nodes.
        wanted: a URL, or `auto` for the one that the cluster runs.
        window: how far to look back.

    Returns:
        What came of it, in a sentence; empty if there is nothing to say.
    """
    found = wanted == "auto"
    if found:
        access = _in_cluster(api, rights)
        if isinstance(access, str):
            return access
    else:
        access = PrometheusAccess.of(wanted)

    def write(node: str, artefact: str, content: bytes) -> None:
        (folder / "nodes" / node / artefact).write_bytes(content)

    return gather_prometheus(access, list(targets), write, window=window, deadline_s=SECONDS, found=found)


def target_of(name: str, place: Path, stack: NodeStack, addresses: Iterable[str]) -> PrometheusTarget:
    """How a node's series are known, by what was read of it."""
    uuids: set[bytes] = set()
    for artefact in _ARTEFACTS:
        path = place / artefact
        if path.is_file():
            with path.open("rb") as file:
                uuids.update(_UUID.findall(file.read(_LOOK)))
    pods = frozenset((pod.namespace, pod.name) for pod in stack.exporters)
    return PrometheusTarget(name, frozenset(uuid.decode() for uuid in uuids), pods, frozenset(addresses))


def _in_cluster(api: ApiServer, rights: Rights) -> PrometheusAccess | str:
    """The cluster's Prometheus, by way of the API server; where there is none to ask, why."""
    if rights.missing(PROMETHEUS.rights):
        return ""
    try:
        found = find_prometheus(list_items(api, SERVICES.paths()[0]))
    except (Refused, Unmeasured) as problem:
        return f"no Prometheus was looked for: {as_unmeasured(problem, 'services').message}"
    if found.service is None:
        several = ", ".join(f"{each.namespace}/{each.name}" for each in found.candidates[:5])
        return f"several Prometheus servers, name one by --readiness-prometheus URL: {several}" if several else ""
    if api.configuration.proxy or api.configuration.tls_server_name:
        return "Prometheus is not asked through the kubeconfig's proxy: name it by --readiness-prometheus URL"
    return _through(api, found.service)


def _through(api: ApiServer, service: PrometheusService) -> PrometheusAccess:
    configuration: Any = api.configuration
    verify = (configuration.ssl_ca_cert or True) if configuration.verify_ssl else False
    cert = (configuration.cert_file, configuration.key_file) if configuration.cert_file else None
    return PrometheusAccess(url=api.host + service.path, headers=api.headers(), verify=verify, cert=cert)

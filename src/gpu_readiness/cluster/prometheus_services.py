"""Which of a cluster's Services is the Prometheus that has the cluster's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpu_readiness.evidence.kube import mapping, sequence, strings, text

Json = dict[str, Any]


class PrometheusService(NamedTuple):
    """A Service as the API server's proxy takes it: `<scheme>:<name>:<port>`."""

    namespace: str
    name: str
    port: str
    scheme: str

    @property
    def path(self) -> str:
        """Where the API server forwards to it."""
        return f"/api/v1/namespaces/{self.namespace}/services/{self.scheme}:{self.name}:{self.port}/proxy"


@dataclass(frozen=True, slots=True)
class Discovery:
    """The Service to ask; None if there is none, or if several are as good: `candidates` then."""

    service: PrometheusService | None
    candidates: tuple[PrometheusService, ...] = ()


#: What Prometheus and Thanos ports are called, and where they listen; the best first.
_PORTS = ("http-web", "web", "https-web", "http-query", "query", "prometheus", "http", "https", "9090", "9091", "80")
#: Parts of a monitoring stack that have Prometheus in their name, and do not have what it has.
_OTHERS = (
    "alertmanager",
    "operator",
    "exporter",
    "pushgateway",
    "adapter",
    "blackbox",
    "grafana",
    "kube-state-metrics",
    "config-reloader",
    "thanos-sidecar",
    "thanos-discovery",
    "thanos-ruler",
    "thanos-compact",
    "thanos-store",
    "thanos-receive",
    "user-workload",
    "webhook",
    "coredns",
    "kube-dns",
    "kube-proxy",
    "kube-etcd",
    "kube-scheduler",
    "kube-controller-manager",
)


def find_prometheus(services: Iterable[Json]) -> Discovery:
    """The Prometheus to ask among raw Service objects, those of any kind.

    The most specific kind decides: what a distribution runs for the whole cluster (OpenShift's Thanos querier), then a
    known stack's own Service, then anything that calls itself Prometheus, then the headless Service that every
    Prometheus of the operator has. Several of the best kind are ambiguous.
    """
    ranked: dict[int, list[PrometheusService]] = {}
    for item in services:
        for rank, service in _ranked(item):
            ranked.setdefault(rank, []).append(service)
    if not ranked:
        return Discovery(None)
    best = sorted(set(ranked[min(ranked)]))
    return Discovery(best[0] if len(best) == 1 else None, tuple(best))


def _ranked(item: Json) -> Iterator[tuple[int, PrometheusService]]:
    meta, spec = mapping(item.get("metadata")), mapping(item.get("spec"))
    namespace, name, labels = text(meta.get("namespace")), text(meta.get("name")), strings(meta.get("labels"))
    if not namespace or not name or spec.get("type") == "ExternalName":
        return
    rank = _rank(namespace, name, labels, spec)
    port = _port(spec) if rank is not None else None
    if rank is not None and port is not None:
        number = str(port.get("port"))
        yield rank, PrometheusService(namespace, name, number, _scheme(meta, port, number))


def _rank(namespace: str, name: str, labels: dict[str, str], spec: Json) -> int | None:
    app = labels.get("app.kubernetes.io/name") or labels.get("app", "")
    component = labels.get("app.kubernetes.io/component") or labels.get("component", "")
    if namespace == "openshift-monitoring" and name == "thanos-querier":
        return 0
    if any(other in part for other in _OTHERS for part in (name, component)):
        return None
    if name == "prometheus-operated" or labels.get("operated-prometheus") == "true":
        return 4
    if name == "rancher-monitoring-prometheus" or (name == "prometheus-k8s" and namespace.endswith("monitoring")):
        return 1
    if app == "kube-prometheus-stack-prometheus" or name.endswith("kube-prometheus-stack-prometheus"):
        return 1
    named = app in ("prometheus", "prometheus-server") or name in ("prometheus", "prometheus-server", "prometheus-k8s")
    if named or name.endswith(("-prometheus", "-prometheus-server")):
        return 3 if spec.get("clusterIP") == "None" else 2
    return None


def _port(spec: Json) -> Json | None:
    """The port that the query API is on, if it can be told."""
    ports = [each for each in map(mapping, sequence(spec.get("ports"))) if isinstance(each.get("port"), int)]
    ports = [each for each in ports if text(each.get("protocol")) in ("", "TCP")]
    for wanted in _PORTS:
        for each in ports:
            if wanted in (text(each.get("name")), str(each.get("port"))):
                return each
    return ports[0] if len(ports) == 1 else None


def _scheme(meta: Json, port: Json, number: str) -> str:
    said = f"{text(port.get('appProtocol'))} {text(port.get('name'))}".lower()
    serving = any(key.endswith("serving-cert-secret-name") for key in strings(meta.get("annotations")))
    return "https" if "https" in said or number in ("443", "8443") or serving else "http"

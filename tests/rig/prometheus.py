"""A real Prometheus for a cluster: it has the exporters' series as in the operator's own monitoring, and a Service."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from rig.access import ensure_namespace
from rig.client import Client, Json, answers, get_local, wait_for
from rig.pictures import PICTURE
from rig.plane import ControlPlane
from rig.process import Process, free_ports

NAMESPACE, NAME, PORT = "monitoring", "prometheus-k8s", 9090
LABELS = {"app.kubernetes.io/name": "prometheus"}
#: Where its pod would be.
ADDRESS = "10.192.0.1"
EXPORTERS = ("nvidia-dcgm-exporter", "nvidia-dcgm-exporter-dra", "dcgm-exporter", "gke-managed-dcgm-exporter")


class Prometheus:
    """Scrapes what the nodes say, those of the file `targets`; `url` reaches it without the API server.

    It stops with the control plane.

    RuntimeError if it is not installed.
    """

    def __init__(self, plane: ControlPlane, *, interval: str = "1s") -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise RuntimeError("Prometheus is not installed: apt-get install prometheus")
        self._plane = plane
        address = f"127.0.0.1:{free_ports(1)[0]}"
        self.url = f"http://{address}"
        folder = Path(tempfile.mkdtemp(prefix="prometheus-", dir=plane.folder))
        config = folder / "prometheus.yaml"
        self.targets = folder / "targets.json"
        self.discover()
        config.write_text(yaml.safe_dump(_config(self.targets, interval)), encoding="utf-8")
        command: list[str | Path] = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=warn",
        ]
        self._process: Process = plane.run("prometheus", command, lambda: answers(f"{self.url}/-/ready"))
        plane.double.forward({f"{ADDRESS}:{PORT}": address})
        self._install(plane.client)

    def discover(self) -> int:
        """Scrape the exporters that run now; how many. Debian's build has no discovery by the API server."""
        pods = self._plane.client.get("/api/v1/pods", fieldSelector="status.phase=Running")["items"]
        double = self._plane.double.url.removeprefix("http://")
        targets = [_target(each, double) for each in pods if _exporter(each)]
        written = self.targets.with_suffix(".new")
        written.write_text(json.dumps(targets), encoding="utf-8")
        written.replace(self.targets)
        return len(targets)

    def stop(self) -> None:
        """Stop it, and take it out of the cluster."""
        for each in (*_service(), _pod()):
            self._plane.client.delete(each)
        self._plane.double.forward({})
        self._process.stop()

    def query(self, expression: str) -> list[Json]:
        """The series of an instant query."""
        answer = get_local(f"{self.url}/api/v1/query", query=expression)
        answer.raise_for_status()
        series: list[Json] = answer.json()["data"]["result"]
        return series

    def wait_for(self, expression: str, fits: Callable[[list[Json]], bool], seconds: float = 60) -> list[Json]:
        """The series of an instant query, once they fit; discovery alone takes Prometheus five seconds."""
        found: list[Json] = []

        def look() -> bool:
            found[:] = self.query(expression)
            return fits(found)

        wait_for(expression, look, seconds)
        return found

    def _install(self, client: Client) -> None:
        ensure_namespace(client, NAMESPACE)
        client.apply_all([*_service(), _pod()])
        client.set_status(_pod())


def _config(targets: Path, interval: str) -> Json:
    job = {"job_name": "exporters", "scrape_interval": interval, "file_sd_configs": [{"files": [str(targets)]}]}
    return {"scrape_configs": [job]}


def _target(pod: Json, address: str) -> Json:
    """A pod with the labels that the operator's ServiceMonitor gives; the double at `address` says what it would."""
    meta, spec = pod["metadata"], pod["spec"]
    labels = {
        "__metrics_path__": f"/nodes/{spec['nodeName']}/metrics",
        "job": _exporter(pod),
        "namespace": meta["namespace"],
        "pod": meta["name"],
        "container": spec["containers"][0]["name"],
        "endpoint": "gpu-metrics",
        "instance": f"{pod['status']['podIP']}:9400",
    }
    return {"targets": [address], "labels": labels}


def _exporter(pod: Json) -> str:
    """What the exporter is called that a pod is of; empty for other pods."""
    labels = pod["metadata"].get("labels", {})
    found = {labels.get("app"), labels.get("app.kubernetes.io/name")}.intersection(EXPORTERS)
    return next(iter(found), "")


def _service() -> list[Json]:
    """A Service, and where it leads: written down, for the controllers want the pod to be on a node."""
    port = {"name": "web", "port": PORT}
    target = {"kind": "Pod", "namespace": NAMESPACE, "name": NAME}
    subset = {"addresses": [{"ip": ADDRESS, "targetRef": target}], "ports": [port]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": _meta(), "spec": {"ports": [port]}},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": _meta(), "subsets": [subset]},
    ]


def _pod() -> Json:
    """A pod that runs on no node, for a Service forwards to pods only."""
    container = {"name": "prometheus", "image": "example.com/prometheus", "ports": [{"containerPort": PORT}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _meta() | {"annotations": PICTURE},
        "spec": {"containers": [container], "schedulerName": "rig.invalid"},
        "status": {
            "phase": "Running",
            "podIP": ADDRESS,
            "podIPs": [{"ip": ADDRESS}],
        },
    }


def _meta() -> Json:
    return {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}

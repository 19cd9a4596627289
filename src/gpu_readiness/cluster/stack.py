"""The GPU stack's own pods on a node, as far as they can be asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gpu_readiness.evidence.kube import Pod, mapping, sequence, strings, text
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.facts.components import SELECTORS

Json = dict[str, Any]

_EXPORTER_PORT = 9400
_PORT_NAMES = ("metrics", "gpu-metrics")
#: Components whose containers have nvidia-smi and see all GPUs, the ones most likely to first.
_SEES_ALL = ("driver", "device-plugin", "dcgm-exporter", "mig-manager", "gfd", "dcgm", "validator", "dra-driver")
_EXPORTER_IMAGE = "dcgm-exporter"
_BY_LABEL = {label: name for name, labels in SELECTORS.items() for label in labels}


@dataclass(frozen=True, slots=True)
class StackPod:
    """A pod of the GPU stack; `trouble` says why it cannot be asked, if it cannot."""

    namespace: str
    name: str
    component: str
    container: str
    port: int
    trouble: str


@dataclass(slots=True)
class NodeStack:
    """What can be asked on one node; `unlisted` says why nobody knows, if pods could not be listed."""

    exporters: list[StackPod] = field(default_factory=list)
    others: list[StackPod] = field(default_factory=list)
    unlisted: Unmeasured | None = None

    def add(self, item: Json) -> None:
        """Take note of a Pod object if it belongs to the stack and has not ended."""
        meta, spec, status = (mapping(item.get(key)) for key in ("metadata", "spec", "status"))
        component = _component(meta, spec)
        phase = text(status.get("phase"))
        if component not in _SEES_ALL or phase in ("Succeeded", "Failed") or "deletionTimestamp" in meta:
            return
        containers = [mapping(each) for each in sequence(spec.get("containers"))]
        found = StackPod(
            namespace=text(meta.get("namespace")),
            name=text(meta.get("name")),
            component=component,
            container=text(containers[0].get("name")) if containers else "",
            port=_port(containers),
            # A pod that is not Ready may still answer; one that does not run cannot.
            trouble="" if phase == "Running" else _trouble(item),
        )
        known = (found.namespace, found.name) in {(each.namespace, each.name) for each in self.others}
        if known:  # a list that had to begin anew
            return
        if component == "dcgm-exporter":
            self.exporters.append(found)
        self.others.append(found)

    @property
    def exporter(self) -> StackPod | None:
        """The exporter to ask: one that runs, if there is one. Raises `unlisted`."""
        if self.unlisted is not None:
            raise self.unlisted
        return min(self.exporters, key=lambda pod: bool(pod.trouble), default=None)

    @property
    def witnesses(self) -> list[StackPod]:
        """Running pods that can be asked for nvidia-smi, the most promising first. Raises `unlisted`."""
        if self.unlisted is not None:
            raise self.unlisted
        return sorted((pod for pod in self.others if not pod.trouble), key=lambda pod: _SEES_ALL.index(pod.component))


def _component(meta: Json, spec: Json) -> str:
    for label in strings(meta.get("labels")).items():
        if label in _BY_LABEL:
            return _BY_LABEL[label]
    images = (text(mapping(each).get("image")) for each in sequence(spec.get("containers")))
    return "dcgm-exporter" if any(_EXPORTER_IMAGE in image for image in images) else ""


def _trouble(item: Json) -> str:
    pod = Pod.of(item)
    waiting = next((f"{each.waiting}: {each.message}" for each in pod.containers if each.waiting), "")
    return " ".join(filter(None, (f"pod {pod.namespace}/{pod.name} is {pod.phase or 'Unknown'}", waiting)))[:300]


def _port(containers: list[Json]) -> int:
    """The port with metrics: the one that is called so, else the exporter's usual one."""
    for container in containers:
        for port in map(mapping, sequence(container.get("ports"))):
            number = port.get("containerPort")
            if text(port.get("name")) in _PORT_NAMES and isinstance(number, int):
                return number
    return _EXPORTER_PORT

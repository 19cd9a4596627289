"""The GPU stack's own pods on a node, as far as they can be asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gpu_readiness.evidence.kube import Pod, mapping, sequence, strings, text
from gpu_readiness.facts.components import SELECTORS

Json = dict[str, Any]

_EXPORTER_PORT = 9400
_PORT_NAMES = ("metrics", "gpu-metrics")
#: Components whose containers have nvidia-smi and see all GPUs, the ones most likely to first.
_SEES_ALL = ("driver", "device-plugin", "dcgm-exporter", "mig-manager", "gfd", "dcgm", "validator", "dra-driver")
_EXPORTER_IMAGE = "dcgm-exporter"


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
    """What can be asked on one node."""

    exporters: list[StackPod] = field(default_factory=list)
    others: list[StackPod] = field(default_factory=list)

    def add(self, item: Json) -> None:
        """Take note of a Pod object if it belongs to the stack."""
        pod = Pod.of(item)
        component = _component(pod)
        if not component or pod.finished or pod.deleting:
            return
        container = next((each.name for each in pod.containers if not each.init), "")
        found = StackPod(pod.namespace, pod.name, component, container, _port(item), _trouble(pod))
        if component == "dcgm-exporter":
            self.exporters.append(found)
        if component in _SEES_ALL:
            self.others.append(found)

    @property
    def exporter(self) -> StackPod | None:
        """The exporter to ask: one that runs, if there is one."""
        return min(self.exporters, key=lambda pod: bool(pod.trouble), default=None)

    @property
    def witnesses(self) -> list[StackPod]:
        """Running pods that can be asked for nvidia-smi, the most promising first."""
        return sorted((pod for pod in self.others if not pod.trouble), key=lambda pod: _SEES_ALL.index(pod.component))


def _component(pod: Pod) -> str:
    for name, selectors in SELECTORS.items():
        if any(pod.labels.get(key) == value for key, value in selectors):
            return name
    return "dcgm-exporter" if any(_EXPORTER_IMAGE in each.image for each in pod.containers) else ""


def _trouble(pod: Pod) -> str:
    """A pod that is not Ready may still answer; one that does not run cannot."""
    if pod.phase == "Running":
        return ""
    waiting = next((f"{each.waiting}: {each.message}" for each in pod.containers if each.waiting), "")
    return " ".join(filter(None, (f"pod {pod.namespace}/{pod.name} is {pod.phase or 'Unknown'}", waiting)))[:300]


def _port(item: Json) -> int:
    """The port with metrics: the one that is called so, else the exporter's usual one."""
    for container in map(mapping, sequence(mapping(item.get("spec")).get("containers"))):
        for port in map(mapping, sequence(container.get("ports"))):
            number = port.get("containerPort")
            if text(port.get("name")) in _PORT_NAMES and isinstance(number, int):
                return number
        for variable in map(mapping, sequence(container.get("env"))):
            pair = strings(variable)
            if pair.get("name") == "DCGM_EXPORTER_LISTEN" and pair.get("value", "").rpartition(":")[2].isdigit():
                return int(pair["value"].rpartition(":")[2])
    return _EXPORTER_PORT

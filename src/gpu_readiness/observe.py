"""What a node has, under the paths of a standard: what `gpu-readiness standard learn` learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from gpu_readiness.evidence.reading import Reading, Unmeasured
from gpu_readiness.facts.components import SELECTORS, component, image_tag
from gpu_readiness.facts.gpus import mig_layout
from gpu_readiness.facts.labels import judged_taints
from gpu_readiness.facts.resources import quantities
from gpu_readiness.node import Node

_GPU_FIELDS = {
    "gpu.product": "product",
    "gpu.device-id": "device-id",
    "gpu.memory": "memory.total",
    "gpu.ecc": "ecc.current",
    "gpu.persistence": "persistence",
    "gpu.compute-mode": "compute-mode",
    "gpu.power-limit": "power.limit",
    "gpu.pcie-width": "pcie.width",
    "gpu.pcie-generation": "pcie.generation",
    "gpu.sm-clock": "clocks.max-sm",
    "gpu.memory-clock": "clocks.max-memory",
    "mig.mode": "mig.current",
}
_NODE_FIELDS = {
    "host.kernel": "kernel",
    "runtime.kubelet": "kubelet",
    "runtime.container-runtime": "container-runtime",
    "runtime.os-image": "os-image",
}
_LABELS = ("nvidia.com/gpu.present", "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")


def observe(node: Node, labels: Iterable[str] = _LABELS) -> Mapping[str, object]:
    """One node as `gpu_readiness.standard.learn` takes it, with these labels; what could not be measured is None."""
    found: dict[str, Any] = {"node": node.name}
    _driver(node, found)
    for path, field in _NODE_FIELDS.items():
        found[path] = _value(node, field)
    with suppress(Unmeasured):
        own = node.labels
        found |= {f"label.{key}": own[key] for key in labels if key in own}
        found["labels.taints"] = judged_taints(node) or None
        found["mig.config"] = own.get("nvidia.com/mig.config")
        found |= {f"allocatable.resources.{key}": amount for key, amount in quantities(node, "allocatable").items()}
    with suppress(Unmeasured):
        for name in SELECTORS:
            images = component(node, name).images
            if images and "@" not in images[0]:
                found[f"runtime.components.{name}.version"] = image_tag(images[0])
    return {path: value for path, value in found.items() if path != "labels.taints" or value is not None}


def _driver(node: Node, found: dict[str, Any]) -> None:
    try:
        gpus = node.gpus
    except Unmeasured:
        found |= dict.fromkeys(("driver.version", "driver.cuda", "gpu.count"))
        return
    driver = node.driver
    found["driver.version"] = _of(driver.version)
    found["driver.cuda"] = _of(driver.cuda)
    found["gpu.count"] = len(gpus)
    products = Counter(gpu.product for gpu in gpus)
    if len(products) > 1:
        found["gpu.products"] = dict(products)
        return
    for path, field in _GPU_FIELDS.items():
        values = Counter(str(_of(gpu.read(field))) for gpu in gpus)
        usual, times = values.most_common(1)[0]
        value = next(_of(gpu.read(field)) for gpu in gpus if str(_of(gpu.read(field))) == usual)
        if value is not None:
            found[path] = value if 2 * times > len(gpus) else None
    if any(gpu.mig_enabled for gpu in gpus):
        with suppress(Unmeasured):
            layouts = [mig_layout(gpu, []) for gpu in gpus]
            alike = all(layout == layouts[0] for layout in layouts)
            found["mig.layout"] = layouts[0] if alike else {str(i): layout for i, layout in enumerate(layouts)}


def _of(reading: Reading) -> Any:
    return reading.value if reading.there else None


def _value(node: Node, field: str) -> Any:
    try:
        return _of(node.read(field))
    except Unmeasured:
        return None

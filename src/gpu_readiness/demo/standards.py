"""The standards of the demo fleet's pools: what each pool was ordered and set up as."""

from __future__ import annotations

from typing import Any

import yaml

from gpu_readiness.demo.labels import node_labels
from gpu_readiness.demo.node import DemoNode
from gpu_readiness.demo.pools import KUBELET, POOL_LABEL, Pool


def standard_of(pool: Pool) -> str:
    """The standard of a pool as YAML, composed of the shipped ones."""
    healthy = DemoNode.healthy(pool, 1)
    required = {POOL_LABEL: pool.key}
    if pool.stack == "gpu-operator":
        labels = node_labels(healthy)
        required |= {key: labels[key] for key in ("nvidia.com/gpu.present", "nvidia.com/gpu.product")}
    document: dict[str, Any] = {
        "title": pool.title,
        "extends": [f"hardware/{pool.model.standard}", f"sharing/{pool.sharing}", f"stack/{pool.stack}"],
        "match": {"labels": {POOL_LABEL: pool.key}},
        "driver": {"version": pool.driver, "cuda": pool.cuda},
        "host": {"kernel": pool.host.kernel},
        "gpu": {
            "count": pool.gpus,
            "products": {pool.model.name: pool.gpus},
            "vbios": pool.model.vbios,
            "inforom-image": pool.model.inforom,
        },
        "runtime": {
            "kubelet": KUBELET,
            "container-runtime": pool.host.runtime,
            "os-image": pool.host.os_image,
            "components": {each.name: {"version": each.version} for each in pool.components},
        },
        "labels": {"required": required, "taints": ["{}={}:{}".format(*pool.taint)] if pool.taint else []},
    }
    if pool.layout:
        layout = list(pool.layout)
        document["mig"] = {"mode": "enabled", "strategy": "mixed", "layout": layout, "config": "all-balanced"}
        document["sharing"] = {"strategy": "none"}
    if pool.replicas > 1:
        document["sharing"] = {"strategy": "time-slicing", "replicas": pool.replicas}
    if pool.stack == "gpu-operator":
        document["allocatable"] = {"resources": healthy.capacity}
    return yaml.safe_dump(document, sort_keys=False, width=120)

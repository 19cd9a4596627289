"""Fleets of healthy GPU nodes, as snapshots: any number of nodes on any of the platforms."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import yaml

from gpu_readiness.demo.fleet import write_snapshot
from gpu_readiness.demo.node import DemoNode
from gpu_readiness.demo.pools import KUBELET, POOL_LABEL
from rig.client import Json
from rig.platforms import PLATFORMS, Platform


def write_fleet(folder: Path, count: int, platform: str = "gpu-operator") -> Path:
    """Write `count` nodes to `folder`/snapshot, and their standard to `folder`/standard.yaml; the snapshot's path."""
    pool = PLATFORMS[platform]
    snapshot = folder / "snapshot"
    write_snapshot(snapshot, [DemoNode.healthy(pool, number) for number in range(1, count + 1)])
    cluster = snapshot / "cluster"
    _write(cluster / "nodes.json", [_on_platform(each, pool) for each in _read(cluster / "nodes.json")])
    _write(cluster / "pods.json", itertools.starmap(_named, enumerate(_read(cluster / "pods.json"))))
    _write(cluster / "runtimeclasses.json", map(_runtime_class, pool.classes))
    if not pool.operated:
        for name in ("clusterpolicies", "nvidiadrivers", "nodefeatures"):
            (cluster / f"{name}.json").unlink()
    (folder / "standard.yaml").write_text(yaml.safe_dump(_standard(pool), sort_keys=False), encoding="utf-8")
    return snapshot


def _on_platform(node: Json, pool: Platform) -> Json:
    meta, status = node["metadata"], node["status"]
    labels = {name: value for name, value in meta["labels"].items() if not name.startswith(pool.without)}
    meta["labels"] = labels | dict(pool.labels)
    if not pool.operated:
        meta["annotations"] = {}
    status["nodeInfo"]["kubeletVersion"] = KUBELET + pool.kubelet
    for kind, value in pool.conditions.items():
        said = {"reason": "Healthy", "message": "", "lastTransitionTime": status["conditions"][0]["lastTransitionTime"]}
        status["conditions"].append({"type": kind, "status": value, **said})
    return node


def _named(number: int, pod: Json) -> Json:
    # The demo's names end in five digits of a hash, which are not enough for thousands of nodes.
    pod["metadata"]["name"] = f"{pod['metadata']['name'][:-5]}{number:05x}"
    return pod


def _runtime_class(name: str) -> Json:
    return {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": name}


def _standard(pool: Platform) -> Json:
    return {
        "title": pool.title,
        "extends": [f"hardware/{pool.model.standard}", "sharing/exclusive", f"stack/{pool.key}"],
        "match": {"labels": {POOL_LABEL: pool.key}},
        "driver": {"version": pool.driver, "cuda": pool.cuda},
        "gpu": {"count": pool.gpus, "products": {pool.model.name: pool.gpus}},
        "labels": {"taints": ["{}={}:{}".format(*pool.taint)] if pool.taint else []},
    }


def _read(path: Path) -> list[Json]:
    items: list[Json] = json.loads(path.read_text(encoding="utf-8"))["items"]
    return items


def _write(path: Path, items: Iterable[Json]) -> None:
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)}), encoding="utf-8")

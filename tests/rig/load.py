"""Puts the objects of a snapshot into a cluster, and takes them out again."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rig.access import ensure_namespace
from rig.client import Client, Json, Refused, wait_for
from rig.crds import definitions
from rig.pictures import KINDS, Painter, adopted, namespaces, read
from rig.plane import ControlPlane

WORKERS = 8
#: Custom resources are created with their status, and nodes too.
_STATUS_APART = ("DaemonSet", "Pod", "PodDisruptionBudget", "ResourceClaim")
_NOT_READY = "node.kubernetes.io/not-ready"


def load_snapshot(plane: ControlPlane, snapshot: Path) -> int:
    """Put what a snapshot directory holds into the cluster, and its artefacts into the nodes; how many objects.

    Refused says which object the API server does not take.
    """
    client, painter = plane.client, Painter()
    lists = {name: [painter.paint(each) for each in items] for name, items in read(snapshot).items()}
    for path in map(client.path, client.apply_all(definitions())):
        wait_for(f"{path} established", partial(_established, client, path))
    for name in namespaces(lists):
        ensure_namespace(client, name)
    plane.double.copy(snapshot)
    uids: dict[str, str] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        for items in lists.values():
            made = list(pool.map(partial(_create, client), [adopted(each, uids) for each in items]))
            uids |= {each["metadata"].get("uid", ""): own for each, own in zip(items, made, strict=True)}
    _wait_for_taints(client, lists["nodes"])
    return sum(map(len, lists.values()))


def clear(plane: ControlPlane) -> None:
    """Take out everything of the kinds that snapshots have, whoever made it, and what nodes say."""
    client = plane.client
    for version, kind in reversed(KINDS.values()):
        try:
            everywhere = client.everywhere(version, kind)
        except Refused as refused:
            if refused.code == 404:  # a custom resource that nobody has defined
                continue
            raise
        items = client.get(everywhere)["items"]
        for path in {client.path({**each, "apiVersion": version, "kind": kind}, named=False) for each in items}:
            client.request("DELETE", path, params={"gracePeriodSeconds": "0"})
        wait_for(f"no {kind}", partial(_empty, client, everywhere))
    plane.double.clear()


def _create(client: Client, item: Json) -> str:
    """Create an object as it is, status and all; its identity in this cluster."""
    deleting = item["metadata"].pop("deletionTimestamp", None)
    if deleting:  # an object that is being deleted is there for as long as something holds it
        item["metadata"]["finalizers"] = ["rig.invalid/held"]
    try:
        made = client.create(item)
        if item["kind"] in _STATUS_APART and item.get("status"):
            client.set_status(item)
        if deleting:
            client.delete(item)
    except Refused as refused:
        raise Refused(refused.code, f"{item['kind']} {item['metadata']['name']}: {refused}") from None
    uid: str = made["metadata"]["uid"]
    return uid


def _empty(client: Client, path: str) -> bool:
    return not client.get(path, limit="1")["items"]


def _established(client: Client, path: str) -> bool:
    conditions = client.get(path).get("status", {}).get("conditions", ())
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _wait_for_taints(client: Client, wanted: Iterable[Json]) -> None:
    """A new node has a taint until the controllers have seen that it is ready."""
    kept = {each["metadata"]["name"] for each in wanted if _tainted(each) or not _ready(each)}

    def settled() -> bool:
        nodes = client.get("/api/v1/nodes")["items"]
        return not any(_tainted(each) for each in nodes if each["metadata"]["name"] not in kept)

    wait_for("nodes without the taint of new ones", settled, 60)


def _tainted(node: Json) -> bool:
    return any(each["key"] == _NOT_READY for each in node.get("spec", {}).get("taints") or ())


def _ready(node: Json) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

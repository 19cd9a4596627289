"""Puts the objects of a snapshot into a cluster, and takes them out again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rig.access import ensure_namespace
from rig.client import Client, Json, Refused, wait_for
from rig.crds import definitions
from rig.pictures import KINDS, Painter, adopted, asked, namespaces, read
from rig.plane import ControlPlane
from rig.seed import namespace, stored

WORKERS = 8
#: More objects than this are taken out faster by erasing them in etcd.
MANY = 3000
#: Custom resources are created with their status, and nodes too.
_STATUS_APART = ("DaemonSet", "Pod", "PodDisruptionBudget", "ResourceClaim")
_NOT_READY = "node.kubernetes.io/not-ready"


def load_snapshot(plane: ControlPlane, snapshot: Path, *, fast: bool = False) -> int:
    """Put what a snapshot directory holds into the cluster, and its artefacts into the nodes; how many objects.

    Through the API, every object is checked, and gets an identity and the time at which it is made: Refused says which
    one is not taken. `fast` is for fleets of thousands: objects are written into etcd as they are, while the cluster is
    down for some seconds.
    """
    painter = Painter()
    lists = {name: [painter.paint(each) for each in items] for name, items in read(snapshot).items()}
    plane.double.copy(snapshot)
    if fast:
        plane.seed(_stored(lists))
    for path in map(plane.client.path, plane.client.apply_all(definitions())):
        wait_for(f"{path} established", partial(_established, plane.client, path))
    if not fast:
        _create_all(plane.client, lists)
    _wait_for_taints(plane.client, lists["nodes"])
    _wait_for_double(plane)
    return sum(map(len, lists.values()))


def _stored(lists: dict[str, list[Json]]) -> Iterator[Json]:
    yield from (stored(namespace(name)) for name in namespaces(lists))
    kept = {uid: uid for items in lists.values() for each in items if (uid := each["metadata"].get("uid"))}
    for items in lists.values():
        yield from (stored(adopted(each, kept)) for each in items)


def _create_all(client: Client, lists: dict[str, list[Json]]) -> None:
    for name in namespaces(lists):
        ensure_namespace(client, name)
    uids: dict[str, str] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        for items in lists.values():
            made = list(pool.map(partial(_create, client), [asked(adopted(each, uids)) for each in items]))
            uids |= {each["metadata"].get("uid", ""): own for each, own in zip(items, made, strict=True)}


def clear(plane: ControlPlane) -> None:
    """Take out everything of the kinds that snapshots have, whoever made it, and what nodes say."""
    client = plane.client
    counts = {kind: _count(client, *kind) for kind in KINDS.values()}
    if sum(counts.values()) > MANY:
        plane.seed((), erase=[*KINDS.values(), ("coordination.k8s.io/v1", "Lease")])
    else:
        for version, kind in reversed([kind for kind, count in counts.items() if count]):
            _delete_all(client, version, kind)
    plane.double.clear()
    _wait_for_double(plane)


def _delete_all(client: Client, version: str, kind: str) -> None:
    everywhere = client.everywhere(version, kind)
    items = client.get(everywhere)["items"]
    for path in {client.path({**each, "apiVersion": version, "kind": kind}, named=False) for each in items}:
        client.request("DELETE", path, params={"gracePeriodSeconds": "0"})
    if kind != "Event":  # the controllers go on telling
        wait_for(f"no {kind}", lambda: not _count(client, version, kind))


def _count(client: Client, version: str, kind: str) -> int:
    try:
        found = client.get(client.everywhere(version, kind), limit="1")
    except Refused as refused:
        if refused.code == 404:  # a custom resource that nobody has defined
            return 0
        raise
    return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))


def _wait_for_double(plane: ControlPlane) -> None:
    def agree() -> bool:
        return plane.double.known() == (_count(plane.client, "v1", "Node"), _count(plane.client, "v1", "Pod"))

    wait_for("the double to know all nodes and pods", agree, 120)


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

"""Objects of snapshots, prepared for a cluster in which they are to stay as they are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from rig.client import Json
from rig.kwok import ANNOTATION

#: The lists of a snapshot and what is in them, owners before what they own.
KINDS = {
    "nodes": ("v1", "Node"),
    "runtimeclasses": ("node.k8s.io/v1", "RuntimeClass"),
    "deviceclasses": ("resource.k8s.io/v1", "DeviceClass"),
    "clusterpolicies": ("nvidia.com/v1", "ClusterPolicy"),
    "nvidiadrivers": ("nvidia.com/v1alpha1", "NVIDIADriver"),
    "nodefeatures": ("nfd.k8s-sigs.io/v1alpha1", "NodeFeature"),
    "daemonsets": ("apps/v1", "DaemonSet"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "resourceclaims": ("resource.k8s.io/v1", "ResourceClaim"),
    "resourceslices": ("resource.k8s.io/v1", "ResourceSlice"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
}
#: What the API server gives and no client may ask for.
GIVEN = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")
#: The part of pods that nothing becomes of.
PICTURE = {"rig/play": "picture"}
#: An API that is not there: of an owner in it the cluster cannot say that it is gone, and leaves what it owns alone.
NOWHERE = "rig.invalid/v1"
#: Where nodes and pods of snapshots have their addresses; kwok gives others.
NODE_ADDRESSES = IPv4Address("10.128.0.0")
POD_ADDRESSES = IPv4Address("10.160.0.0")


def read(snapshot: Path) -> dict[str, list[Json]]:
    """The lists of a snapshot directory, each object with its version and kind."""
    found = {}
    for name, (version, kind) in KINDS.items():
        path = snapshot / "cluster" / f"{name}.json"
        items = json.loads(path.read_text(encoding="utf-8"))["items"] if path.exists() else []
        found[name] = [{"apiVersion": version, "kind": kind, **each} for each in items]
    return found


class Painter:
    """Prepares objects; addresses are given once, so one painter paints one cluster."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def paint(self, item: Json) -> Json:
        """Make of an object one that a cluster takes and leaves as it is; the same object."""
        if item["kind"] == "Node":
            self._paint_node(item)
        if item["kind"] == "Pod":
            self._paint_pod(item)
        return item

    def _paint_node(self, node: Json) -> None:
        meta = node["metadata"]
        _annotate(node, ANNOTATION)
        address = str(NODE_ADDRESSES + len(self._addresses) + 1)
        self._addresses[meta["name"]] = address
        node["status"]["addresses"] = [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": meta["name"]},
        ]
        # kwok would take the pods' addresses from here, and nodes of snapshots may all have the same.
        for field in ("podCIDR", "podCIDRs"):
            node.get("spec", {}).pop(field, None)

    def _paint_pod(self, pod: Json) -> None:
        _annotate(pod, PICTURE)
        spec, status = pod["spec"], pod.setdefault("status", {})
        status.pop("qosClass", None)  # the API server reckons it
        if "nodeName" not in spec:
            spec["schedulerName"] = "rig.invalid"
        for field in ("podIP", "podIPs", "hostIP", "hostIPs"):
            status.pop(field, None)
        if status.get("phase") == "Running" and "nodeName" in spec:
            host = self._addresses.get(spec["nodeName"])
            own = str(POD_ADDRESSES + next(self._numbers))
            address = host if spec.get("hostNetwork") and host else own
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
            if host:
                status |= {"hostIP": host, "hostIPs": [{"ip": host}]}


def asked(item: Json) -> Json:
    """An object as a client may ask for it."""
    return {**item, "metadata": {name: value for name, value in item["metadata"].items() if name not in GIVEN}}


def adopted(item: Json, uids: Mapping[str, str]) -> Json:
    """An object whose owners are those of the cluster: by their identity in the snapshot, that in the cluster."""
    owners = [
        {**each, "uid": uids[each["uid"]]} if each["uid"] in uids else {**each, "apiVersion": NOWHERE}
        for each in item["metadata"].get("ownerReferences", ())
    ]
    return {**item, "metadata": {**item["metadata"], "ownerReferences": owners}} if owners else item


def namespaces(lists: dict[str, list[Json]]) -> Iterator[str]:
    """Where the objects are."""
    found = {each["metadata"].get("namespace") for items in lists.values() for each in items}
    yield from sorted(name for name in found if name)


def _annotate(item: Json, annotations: dict[str, Any]) -> None:
    item["metadata"]["annotations"] = {**(item["metadata"].get("annotations") or {}), **annotations}

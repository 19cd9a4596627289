"""The cluster's objects, indexed by what checks ask: a node's pods, slices and features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Protocol, TypeVar

from gpu_readiness.evidence import kube
from gpu_readiness.evidence.documents import Json, iter_items
from gpu_readiness.evidence.reading import Unmeasured

T = TypeVar("T")

#: What the objects of a list are; one file in place of another would else read as a list of empty objects.
_KINDS = {
    "nodes": ("Node",),
    "pods": ("Pod",),
    "nodefeatures": ("NodeFeature",),
    "resourceslices": ("ResourceSlice",),
    "runtimeclasses": ("RuntimeClass",),
    "clusterpolicies": ("ClusterPolicy", "GPUCluster"),
    "daemonsets": ("DaemonSet",),
    "poddisruptionbudgets": ("PodDisruptionBudget",),
    "events": ("Event",),
    "deviceclasses": ("DeviceClass",),
    "resourceclaims": ("ResourceClaim",),
}


class ClusterSource(Protocol):
    """Where the lists of a cluster come from."""

    def cluster_list(self, kind: str) -> bytes:
        """The raw JSON of one kind; Unmeasured if there is none."""


class Cluster:
    """Each kind is read once, when first asked for; one that cannot be read raises the same Unmeasured every time.

    `unlisted` says why there are no `nodes` at all, if they could not be read.
    """

    def __init__(self, source: ClusterSource) -> None:
        self._source = source
        self._kept: dict[str, Any] = {}
        self.nodes: dict[str, kube.KubeNode] = {}
        self.unlisted: Unmeasured | None = None
        try:
            self.nodes = {node.name: node for node in self._objects("nodes", kube.KubeNode.of) if node.name}
        except Unmeasured as problem:
            self.unlisted = problem

    def _objects(self, kind: str, read: Callable[[Json], T]) -> list[T]:
        data = self._source.cluster_list(kind)
        return [read(item) for item in iter_items(data, f"{kind}.json", _KINDS.get(kind, ()))]

    def _get(self, kind: str, build: Callable[[], T]) -> T:
        if kind not in self._kept:
            try:
                self._kept[kind] = build()
            except Unmeasured as problem:
                self._kept[kind] = problem
        found = self._kept[kind]
        if isinstance(found, Unmeasured):
            raise found
        return found  # type: ignore[no-any-return]

    def pods_on(self, node: str) -> list[kube.Pod]:
        """All pods bound to a node, finished ones too."""
        pods = self._get("pods", lambda: _group(self._objects("pods", kube.Pod.of), lambda pod: pod.node))
        return pods.get(node, [])

    def features_of(self, node: str) -> list[kube.NodeFeature]:
        """NodeFeature objects for a node."""
        found = self._get(
            "nodefeatures",
            lambda: _group(self._objects("nodefeatures", kube.NodeFeature.of), lambda feature: feature.node),
        )
        return found.get(node, [])

    def slices_of(self, node: str) -> list[kube.ResourceSlice]:
        """ResourceSlices of a node, of the highest generation of each pool only."""
        found = self._get(
            "resourceslices",
            lambda: _group(self._objects("resourceslices", kube.ResourceSlice.of), lambda each: each.node),
        )
        own = found.get(node, [])
        newest: dict[tuple[str, str], int] = {}
        for each in own:
            key = (each.driver, each.pool)
            newest[key] = max(newest.get(key, 0), each.generation)
        return [each for each in own if each.generation == newest[each.driver, each.pool]]

    @cached_property
    def nodes_with_slices(self) -> frozenset[str]:
        """Names of nodes for which a GPU driver publishes slices; empty if slices could not be read."""
        try:
            self.slices_of("")
        except Unmeasured:
            return frozenset()
        found: dict[str, list[kube.ResourceSlice]] = self._kept["resourceslices"]
        return frozenset(
            node for node, slices in found.items() if node and any(each.driver == "gpu.nvidia.com" for each in slices)
        )

    def runtime_classes(self) -> dict[str, kube.RuntimeClass]:
        """RuntimeClasses by name."""
        return self._get(
            "runtimeclasses",
            lambda: {each.name: each for each in self._objects("runtimeclasses", kube.RuntimeClass.of)},
        )

    def cluster_policies(self) -> list[kube.ClusterPolicy]:
        """ClusterPolicy objects."""
        return self._get("clusterpolicies", lambda: self._objects("clusterpolicies", kube.ClusterPolicy.of))

    def daemon_sets(self) -> list[kube.DaemonSet]:
        """DaemonSets."""
        return self._get("daemonsets", lambda: self._objects("daemonsets", kube.DaemonSet.of))

    def events_of(self, node: str) -> list[kube.Event]:
        """Events about a node, the oldest first, of those since it was last rebooted."""
        events = self._get("events", lambda: _group(self._objects("events", kube.Event.of), lambda event: event.node))
        own = sorted(events.get(node, []), key=lambda event: event.at)
        boots = [index for index, event in enumerate(own) if event.reason == "Rebooted"]
        return own[boots[-1] + 1 if boots else 0 :]

    def disruption_budgets(self) -> list[kube.DisruptionBudget]:
        """PodDisruptionBudgets."""
        return self._get(
            "poddisruptionbudgets", lambda: self._objects("poddisruptionbudgets", kube.DisruptionBudget.of)
        )

    def device_classes(self) -> list[kube.DeviceClass]:
        """DeviceClasses."""
        return self._get("deviceclasses", lambda: self._objects("deviceclasses", kube.DeviceClass.of))

    def claims(self) -> dict[tuple[str, str], kube.ResourceClaim]:
        """ResourceClaims by (namespace, name)."""
        return self._get(
            "resourceclaims",
            lambda: {
                (each.namespace, each.name): each for each in self._objects("resourceclaims", kube.ResourceClaim.of)
            },
        )


def _group(objects: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = defaultdict(list)
    for each in objects:
        found[key(each)].append(each)
    return dict(found)


_GPU_LABELS = (
    "nvidia.com/gpu.",
    "nvidia.com/mig",
    "nvidia.com/cuda",
    "nvidia.com/vgpu.config",
    "nvidia.com/gpu-driver-upgrade-state",
    "cloud.google.com/gke-accelerator",
    "cloud.google.com/gke-gpu",
    "k8s.amazonaws.com/accelerator",
    "eks.amazonaws.com/instance-gpu",
    "karpenter.k8s.aws/instance-gpu",
    "run.ai/simulated-gpu-node-pool",
)


def is_gpu_node(node: kube.KubeNode) -> bool:
    """Whether labels or capacity say that this node has, or had, NVIDIA GPUs."""
    if any(key.startswith(_GPU_LABELS) for key in node.labels):
        return True
    if any(
        key.startswith("feature.node.kubernetes.io/pci-")
        and "10de" in key
        and key.endswith(".present")
        and value == "true"
        for key, value in node.labels.items()
    ):
        return True
    if node.labels.get("kubernetes.azure.com/accelerator") == "nvidia":
        return True
    return bool(node.capacity) and any(
        value != "0" or not key.startswith("alpha.") for key, value in (node.capacity or {}).items()
    )

"""The kinds of objects that a run lists: where they are, and why they are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One list of the snapshot: `groups` are the API groups and versions that may serve it, the preferred one first.

    `kind` is that of its objects; an API server leaves it out of the items of a list.
    """

    name: str
    kind: str
    groups: tuple[str, ...]
    why: str

    @property
    def group(self) -> str:
        """The API group as RBAC names it; empty for the core."""
        return self.groups[0].rpartition("/")[0]

    @property
    def rule(self) -> str:
        """The RBAC rule that allows the list."""
        return rule(self.group, self.name, "list")

    def paths(self) -> list[str]:
        """Where the list is, by version."""
        return [f"{'/api' if group == 'v1' else '/apis'}/{group}/{self.name}" for group in self.groups]


def rule(group: str, resource: str, verb: str) -> str:
    """One RBAC rule on one line, as error messages and the documentation write it."""
    return f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]'


_RESOURCES = ("resource.k8s.io/v1", "resource.k8s.io/v1beta2", "resource.k8s.io/v1beta1")

NODES = Kind("nodes", "Node", ("v1",), "labels, taints, conditions, capacity and allocatable are judged")
SLICES = Kind("resourceslices", "ResourceSlice", _RESOURCES, "devices that a DRA driver publishes")
PODS = Kind("pods", "Pod", ("v1",), "the GPU stack's own pods, and which pods hold GPUs")
EVENTS = Kind("events", "Event", ("v1",), "XIDs that node-problem-detector saw in the kernel log")
SERVICES = Kind("services", "Service", ("v1",), "to find the cluster's Prometheus")

#: Listed after nodes and slices, which say what belongs to a GPU node.
OTHERS = (
    PODS,
    Kind("daemonsets", "DaemonSet", ("apps/v1",), "which components of the GPU stack are meant to run"),
    Kind("runtimeclasses", "RuntimeClass", ("node.k8s.io/v1",), "the NVIDIA runtime's class and handler"),
    Kind("clusterpolicies", "ClusterPolicy", ("nvidia.com/v1",), "what the GPU operator says of itself"),
    Kind("nvidiadrivers", "NVIDIADriver", ("nvidia.com/v1alpha1",), "drivers that the GPU operator manages"),
    Kind("nodefeatures", "NodeFeature", ("nfd.k8s-sigs.io/v1alpha1",), "which feature source owns a label"),
    Kind("deviceclasses", "DeviceClass", _RESOURCES, "whether pods can claim GPUs"),
    Kind("resourceclaims", "ResourceClaim", _RESOURCES, "which devices are claimed"),
    Kind("poddisruptionbudgets", "PodDisruptionBudget", ("policy/v1",), "whether GPU pods can be drained"),
)
LISTED = (NODES, SLICES, *OTHERS)

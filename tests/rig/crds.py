"""The custom resources that snapshots have, with schemas that take anything."""

from __future__ import annotations

from rig.client import Json

_KINDS = (
    # group, version, kind, plural, in namespaces
    ("nvidia.com", "v1", "ClusterPolicy", "clusterpolicies", False),
    ("nvidia.com", "v1alpha1", "NVIDIADriver", "nvidiadrivers", False),
    ("nvidia.com", "v1alpha1", "GPUCluster", "gpuclusters", False),
    ("nfd.k8s-sigs.io", "v1alpha1", "NodeFeature", "nodefeatures", True),
)


def definitions() -> list[Json]:
    """The CustomResourceDefinitions."""
    return [_definition(*each) for each in _KINDS]


def _definition(group: str, version: str, kind: str, plural: str, namespaced: bool) -> Json:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}},
            ],
        },
    }

"""Secrets never enter a snapshot: what of a Kubernetes object may be written down at all.

Of a Pod, and of the pod template of a workload, only what is listed here is kept: commands, arguments, probes, most
annotations and the values of most environment variables can hold a password, and no list of bad names would ever be
complete. Other kinds lose their annotations but those of Kubernetes and of the GPU stack, the record of what was
applied, and any data. Messages of the kubelet and of containers stay: they say why something does not run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gpu_readiness.evidence.kube import mapping, sequence, text

Json = dict[str, Any]

_META = frozenset({
    "name", "generateName", "namespace", "uid", "labels", "ownerReferences", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "generation", "resourceVersion",
})  # fmt: skip
_POD_SPEC = (
    "nodeName", "nodeSelector", "affinity", "tolerations", "schedulerName", "schedulingGates", "priority",
    "priorityClassName", "preemptionPolicy", "runtimeClassName", "restartPolicy", "terminationGracePeriodSeconds",
    "activeDeadlineSeconds", "hostNetwork", "hostPID", "hostIPC", "os", "overhead", "resources", "resourceClaims",
    "serviceAccountName", "securityContext", "topologySpreadConstraints",
)  # fmt: skip
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_CONTAINER = (
    "name", "image", "imagePullPolicy", "ports", "resources", "restartPolicy", "securityContext", "targetContainerName",
)  # fmt: skip
#: Volumes that say something about the node or about draining it; of any other one, only what it is.
_VOLUMES = frozenset({"emptyDir", "hostPath", "persistentVolumeClaim"})
#: Environment of the GPU stack: what a container sees of the GPUs, and where the exporter listens.
_ENV = ("NVIDIA_", "CUDA_", "DCGM_")
_ANNOTATION = re.compile(r"(?:^|\.)(?:kubernetes\.io|k8s\.io|nvidia\.com|karpenter\.sh|openshift\.io)/")
#: NVIDIA_API_KEY is one of the GPU stack's variables too.
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|LICENSE|last-applied", re.IGNORECASE)
_DATA = ("data", "stringData", "binaryData")
_COMMANDS = frozenset({"args", "command", *_DATA})


def prune(kind: str, item: Json) -> Json:
    """What of an object may be written into a snapshot. `item` is not changed, and shares what is kept.

    Args:
        kind: the list that the object is of, as files of a snapshot are called: "pods".
        item: the object as the API server gave it; of a field that has another type than the API's, nothing is kept.
    """
    return _PRUNERS.get(kind, _custom)(item)


def _pod(item: Json) -> Json:
    spec, kept = mapping(item.get("spec")), _head(item)
    if "spec" in item:
        kept["spec"] = _pod_spec(spec)
    if "status" in item:
        kept["status"] = mapping(item["status"])
    return kept


def _node(item: Json) -> Json:
    """Its managed fields stay: they tell since when a label has its value."""
    meta = mapping(item.get("metadata"))
    return {**item, "metadata": {**meta, "annotations": _annotations(meta)}}


def _plain(item: Json) -> Json:
    """A kind of the API that has no place for secrets but its annotations."""
    return {**{key: value for key, value in item.items() if key not in _DATA}, **_head(item)}


def _workload(item: Json) -> Json:
    """A kind with a pod template."""
    kept, spec = _plain(item), mapping(item.get("spec"))
    template = mapping(spec.get("template"))
    kept["spec"] = {**spec, "template": {**_head(template), "spec": _pod_spec(mapping(template.get("spec")))}}
    return kept


def _custom(item: Json) -> Json:
    """A custom resource: operators' own have environments and arguments of pods anywhere in them."""
    return {**mapping(_scrubbed(item)), **_head(item)}


def _head(item: Json) -> Json:
    kept: Json = {key: item[key] for key in ("apiVersion", "kind") if key in item}
    meta = mapping(item.get("metadata"))
    kept["metadata"] = {key: value for key, value in meta.items() if key in _META}
    if annotations := _annotations(meta):
        kept["metadata"]["annotations"] = annotations
    return kept


def _annotations(meta: Json) -> Json:
    annotations = mapping(meta.get("annotations"))
    return {key: value for key, value in annotations.items() if _ANNOTATION.search(key) and not _SECRET.search(key)}


def _pod_spec(spec: Json) -> Json:
    kept = {key: spec[key] for key in _POD_SPEC if key in spec}
    for key in _CONTAINERS:
        if key in spec:
            kept[key] = [_container(mapping(each)) for each in sequence(spec[key])]
    if "volumes" in spec:
        kept["volumes"] = [_volume(mapping(each)) for each in sequence(spec["volumes"])]
    return kept


def _container(container: Json) -> Json:
    kept = {key: container[key] for key in _CONTAINER if key in container}
    if "env" in container:
        kept["env"] = _environment(container["env"])
    return kept


def _environment(variables: Any) -> list[Json]:
    """The names of all variables, and the values of those of the GPU stack."""
    kept = []
    for each in sequence(variables):
        name = text(mapping(each).get("name"))
        if name:
            shown = "value" in each and name.startswith(_ENV) and not _SECRET.search(name)
            kept.append({"name": name, "value": each["value"]} if shown else {"name": name})
    return kept


def _volume(volume: Json) -> Json:
    return {key: value if key == "name" or key in _VOLUMES else {} for key, value in volume.items()}


def _scrubbed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _environment(each) if key == "env" else _scrubbed(each)
            for key, each in value.items()
            if key not in _COMMANDS
        }
    return [_scrubbed(each) for each in value] if isinstance(value, list) else value


_PLAIN = "deviceclasses events nodefeatures poddisruptionbudgets resourceclaims resourceslices runtimeclasses services"
_PRUNERS: dict[str, Callable[[Json], Json]] = {
    "nodes": _node,
    "pods": _pod,
    "daemonsets": _workload,
    **dict.fromkeys(_PLAIN.split(), _plain),
}

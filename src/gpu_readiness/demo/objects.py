"""The demo fleet as its API server shows it: the objects that `kubectl get -o json` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpu_readiness.demo.labels import gfd_labels, nfd_labels, node_labels
from gpu_readiness.demo.node import DemoGpu, DemoNode, uid
from gpu_readiness.demo.pools import KUBELET, Component, Pool

_STARTED = "2026-08-18T06:15:02Z"
_HEALTHY = {
    "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID"),
    "Ready": ("True", "KubeletReady"),
}
_POD_CONDITIONS = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
_DEVICE_CLASSES = {
    "gpu.nvidia.com": "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'",
    "compute-domain-daemon.nvidia.com": "device.driver == 'compute-domain.nvidia.com'",
}


def cluster_lists(nodes: list[DemoNode]) -> dict[str, Iterator[dict[str, Any]]]:
    """The items of each kind in the cluster's lists; generated one by one, for fleets of thousands of nodes."""
    sizes: dict[str, int] = {}
    pools: dict[str, Pool] = {}
    for node in nodes:
        sizes[node.pool.key] = sizes.get(node.pool.key, 0) + 1
        pools[node.pool.key] = node.pool
    return {
        "nodes": map(_node, nodes),
        "pods": (_pod(node, each) for node in nodes for each in node.components),
        "daemonsets": (_daemonset(pool, each, sizes[pool.key]) for pool in pools.values() for each in pool.components),
        "runtimeclasses": iter([{**_meta("node.k8s.io/v1", "RuntimeClass", "nvidia"), "handler": "nvidia"}]),
        "clusterpolicies": iter([_cluster_policy()]),
        "nvidiadrivers": iter(()),
        "nodefeatures": (feature for node in nodes for feature in _node_features(node)),
        "resourceslices": (each for node in nodes for each in _resource_slices(node)),
        "deviceclasses": (_device_class(name, expression) for name, expression in _DEVICE_CLASSES.items()),
        "resourceclaims": iter(()),
        "poddisruptionbudgets": iter([_disruption_budget()]),
    }


def version() -> dict[str, str]:
    """What the API server's /version says."""
    return {"gitVersion": KUBELET, "major": "1", "minor": KUBELET.split(".")[1], "platform": "linux/amd64"}


def _meta(api: str, kind: str, name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": uid(kind, namespace, name), "creationTimestamp": _STARTED, **more}
    if namespace:
        meta["namespace"] = namespace
    return {"apiVersion": api, "kind": kind, "metadata": meta}


def _node(node: DemoNode) -> dict[str, Any]:
    host = node.pool.host
    plain = {"cpu": "96", "memory": "1056784180Ki", "pods": "110"}
    annotations = {}
    if owned := [*nfd_labels(node), *gfd_labels(node)]:
        names = sorted(key.removeprefix("feature.node.kubernetes.io/") for key in owned)
        annotations["nfd.node.kubernetes.io/feature-labels"] = ",".join(names)
    taints = [dict(zip(("key", "value", "effect"), node.pool.taint, strict=True))] if node.pool.taint else []
    return {
        **_meta("v1", "Node", node.name, labels=node_labels(node), annotations=annotations),
        "spec": {"taints": taints},
        "status": {
            "capacity": plain | _quantities(node.capacity),
            "allocatable": plain | _quantities(node.allocatable),
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": _STARTED}
                for kind, (status, reason) in _HEALTHY.items()
            ],
            "nodeInfo": {
                "architecture": host.architecture,
                "bootID": uid("boot", node.name),
                "containerRuntimeVersion": host.runtime,
                "kernelVersion": host.kernel,
                "kubeletVersion": KUBELET,
                "operatingSystem": "linux",
                "osImage": host.os_image,
            },
        },
    }


def _quantities(resources: Mapping[str, int]) -> dict[str, str]:
    return {name: str(amount) for name, amount in resources.items()}


def _owner(api: str, kind: str, name: str, namespace: str = "") -> list[dict[str, Any]]:
    return [{"apiVersion": api, "kind": kind, "name": name, "uid": uid(kind, namespace, name), "controller": True}]


def _pod(node: DemoNode, component: Component) -> dict[str, Any]:
    namespace, daemonset = node.pool.namespace, _daemonset_name(node.pool, component)
    image = f"{component.image}:{component.version}"
    key, value = component.label
    owner = _owner("apps/v1", "DaemonSet", daemonset, namespace)
    name = f"{daemonset}-{uid(daemonset, node.name)[:5]}"
    return {
        **_meta("v1", "Pod", name, namespace, labels={key: value}, ownerReferences=owner),
        "spec": {"nodeName": node.name, "containers": [{"name": component.name, "image": image, "resources": {}}]},
        "status": {
            "phase": "Running",
            "startTime": _STARTED,
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": _STARTED} for kind in _POD_CONDITIONS
            ],
            "containerStatuses": [
                {
                    "name": component.name,
                    "image": image,
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": _STARTED}},
                }
            ],
        },
    }


def _daemonset_name(pool: Pool, component: Component) -> str:
    # The operator makes a driver DaemonSet for each driver version; here every component has one for each pool.
    return f"{component.label[1]}-{pool.key}"


def _daemonset(pool: Pool, component: Component, nodes: int) -> dict[str, Any]:
    labels = dict([component.label])
    container = {"name": component.name, "image": f"{component.image}:{component.version}"}
    counters = ("currentNumberScheduled", "desiredNumberScheduled", "updatedNumberScheduled", "numberReady")
    name = _daemonset_name(pool, component)
    return {
        **_meta("apps/v1", "DaemonSet", name, pool.namespace, labels=labels),
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "updateStrategy": {"type": "OnDelete" if component.name == "driver" else "RollingUpdate"},
        },
        "status": dict.fromkeys(counters, nodes),
    }


def _cluster_policy() -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": "Reconciled", "message": "", "lastTransitionTime": _STARTED}
    error = {"type": "Error", "status": "False", "reason": "Ready", "message": "", "lastTransitionTime": _STARTED}
    return {
        **_meta("nvidia.com/v1", "ClusterPolicy", "cluster-policy"),
        "spec": {"mig": {"strategy": "mixed"}, "driver": {"upgradePolicy": {"autoUpgrade": True}}},
        "status": {"namespace": "gpu-operator", "state": "ready", "conditions": [ready, error]},
    }


def _node_features(node: DemoNode) -> Iterator[dict[str, Any]]:
    """The NodeFeature objects of NFD's worker and of GFD; a label that a fault changed is as wrong here."""
    for name, labels in ((node.name, nfd_labels(node)), (f"nvidia-features-for-{node.name}", gfd_labels(node))):
        if labels:
            of_node = {"nfd.node.kubernetes.io/node-name": node.name}
            yield {
                **_meta("nfd.k8s-sigs.io/v1alpha1", "NodeFeature", name, "gpu-operator", labels=of_node),
                "spec": {"features": {}, "labels": labels},
            }


def _resource_slices(node: DemoNode) -> Iterator[dict[str, Any]]:
    if node.pool.stack == "dra":
        yield _slice(node, "gpu.nvidia.com", [_device(node, gpu) for gpu in node.gpus] if node.publishes else [])
    elif node.pool.model.fabric == "mnnvl":
        attributes = {"id": {"int": 0}, "type": {"string": "channel"}}
        yield _slice(node, "compute-domain.nvidia.com", [{"name": "channel-0", "attributes": attributes}])


def _slice(node: DemoNode, driver: str, devices: Iterable[dict[str, Any]]) -> dict[str, Any]:
    name = f"{node.name}-{driver}"
    return {
        **_meta("resource.k8s.io/v1", "ResourceSlice", name, ownerReferences=_owner("v1", "Node", node.name)),
        "spec": {
            "driver": driver,
            "nodeName": node.name,
            "pool": {"name": node.name, "generation": 1, "resourceSliceCount": 1},
            "devices": list(devices),
        },
    }


def _device(node: DemoNode, gpu: DemoGpu) -> dict[str, Any]:
    # The DRA driver publishes versions as semantic ones, which have no leading zero: 580.105.08 is 580.105.8.
    driver = ".".join(str(int(part)) for part in node.pool.driver.split("."))
    model = gpu.model
    return {
        "name": f"gpu-{gpu.index}",
        "attributes": {
            "type": {"string": "gpu"},
            "uuid": {"string": gpu.uuid},
            "productName": {"string": model.name},
            "architecture": {"string": model.architecture},
            "cudaComputeCapability": {"version": f"{model.compute[0]}.{model.compute[1]}.0"},
            "driverVersion": {"version": driver},
            "cudaDriverVersion": {"version": f"{node.pool.cuda}.0"},
            "resource.kubernetes.io/pciBusID": {"string": gpu.bus[4:].lower()},
        },
        "capacity": {"memory": {"value": f"{model.memory}Mi"}},
    }


def _device_class(name: str, expression: str) -> dict[str, Any]:
    return {
        **_meta("resource.k8s.io/v1", "DeviceClass", name),
        "spec": {"selectors": [{"cel": {"expression": expression}}]},
    }


def _disruption_budget() -> dict[str, Any]:
    return {
        **_meta("policy/v1", "PodDisruptionBudget", "coredns", "kube-system"),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"k8s-app": "kube-dns"}}},
        "status": {"currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 2},
    }

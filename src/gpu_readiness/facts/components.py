"""Facts about the GPU stack's pods on a node."""

from __future__ import annotations

from dataclasses import dataclass

from gpu_readiness.evidence.kube import Pod
from gpu_readiness.facts.resources import dra_pool, quantities
from gpu_readiness.node import Node
from gpu_readiness.standard import Standard

_APP, _NAME, _K8S = "app", "app.kubernetes.io/name", "k8s-app"

#: The labels by which each component's pods are found, whatever namespace they are in. Sources: the operator's
#: manifests,
#: the Helm charts of the device plugin, GFD, the exporter and the DRA driver, GKE's and EKS' add-ons.
SELECTORS: dict[str, tuple[tuple[str, str], ...]] = {
    "driver": (
        (_APP, "nvidia-driver-daemonset"),
        ("app.kubernetes.io/component", "nvidia-driver"),
        ("openshift.driver-toolkit", "true"),
    ),
    "toolkit": ((_APP, "nvidia-container-toolkit-daemonset"),),
    "device-plugin": (
        (_APP, "nvidia-device-plugin-daemonset"),
        (_NAME, "nvidia-device-plugin"),
        ("name", "nvidia-device-plugin-ds"),
        (_K8S, "nvidia-gpu-device-plugin"),
    ),
    "gfd": ((_APP, "gpu-feature-discovery"), (_NAME, "gpu-feature-discovery")),
    "dcgm": ((_APP, "nvidia-dcgm"),),
    "dcgm-exporter": (
        (_APP, "nvidia-dcgm-exporter"),
        (_NAME, "dcgm-exporter"),
        (_NAME, "gke-managed-dcgm-exporter"),
        (_APP, "nvidia-dcgm-exporter-dra"),
    ),
    "validator": ((_APP, "nvidia-operator-validator"),),
    "mig-manager": ((_APP, "nvidia-mig-manager"),),
    "mps-control-daemon": ((_APP, "nvidia-device-plugin-mps-control-daemon"),),
    "dra-driver": (
        (_NAME, "dra-driver-nvidia-gpu"),
        (_NAME, "nvidia-dra-driver-gpu"),
        ("nvidia-dra-driver-gpu-component", "kubelet-plugin"),
    ),
    "node-monitoring-agent": ((_NAME, "eks-node-monitoring-agent"),),
    "node-status-exporter": ((_APP, "nvidia-node-status-exporter"),),
}


@dataclass(frozen=True, slots=True)
class ComponentState:
    """The pods of a component on a node; `trouble` is empty if one of them is Ready and none is about to fail."""

    name: str
    pods: tuple[Pod, ...]
    images: tuple[str, ...]
    trouble: str


def component(node: Node, name: str, labels: dict[str, str] | None = None) -> ComponentState:
    """The state of one component.

    Finished pods of the past (evicted, completed) are no pods of the component any more.

    Raises:
        Unmeasured: pods could not be listed.
    """
    selectors = tuple(labels.items()) if labels else SELECTORS.get(name, ((_APP, name), (_NAME, name), (_K8S, name)))
    wanted = all if labels else any
    pods = tuple(
        pod
        for pod in node.pods
        if not pod.finished and wanted(pod.labels.get(key) == value for key, value in selectors)
    )
    alive = [pod for pod in pods if not pod.deleting]
    images = tuple(
        dict.fromkeys(each.image for pod in alive for each in pod.containers if not each.init and each.image)
    )
    if not alive:
        trouble = "its only pod is being deleted" if pods else "no pod on this node"
    else:
        troubles = [_trouble(pod) for pod in alive]
        trouble = (
            ""
            if "" in troubles and not any("CrashLoop" in each for each in troubles)
            else "; ".join(filter(None, troubles))
        )
    return ComponentState(name, pods, images, trouble)


def _trouble(pod: Pod) -> str:
    for each in pod.containers:
        if each.waiting and each.waiting != "PodInitializing":
            kind = "init container" if each.init else "container"
            restarts = f", {each.restarts} restarts" if each.restarts else ""
            return f"pod {pod.name}: {kind} {each.name}: {each.waiting}{restarts}: {each.message}".strip(": ")
    if not pod.ready:
        stuck = next((each.name for each in pod.containers if not each.init and not each.ready), "")
        words = " ".join(filter(None, (pod.reason, pod.message)))
        return (
            f"pod {pod.name} is {pod.phase or 'Unknown'} and not Ready"
            + (f" ({stuck})" if stuck else "")
            + (f": {words}" if words else "")
        )
    return ""


def image_tag(image: str) -> str:
    """The version part of an image reference; a digest if it has no tag."""
    name, _, digest = image.partition("@")
    last = name.rsplit("/", 1)[-1]
    return last.partition(":")[2] or digest


def expected_components(node: Node, standard: Standard) -> list[str]:
    """The components that the standard wants on this very node: some only where the hardware or sharing needs them."""
    wanted = []
    for name, part in standard.runtime.components.items():
        holds = {
            None: True,
            "never": False,
            "mig-capable": _mig_capable(node, standard),
            "mps": standard.sharing.strategy == "mps",
            "fabric": any(entry.gpu.fabric == "mnnvl" for entry in standard.hardware),
        }[part.when]
        if holds:
            wanted.append(name)
    return wanted


def _mig_capable(node: Node, standard: Standard) -> bool:
    if node.labels.get("nvidia.com/gpu.deploy.mig-manager") == "true":
        return True
    return any(entry.gpu.mig_capable for entry in standard.hardware) and "nvidia.com/mig.capable" not in node.labels


def advertisers(node: Node, standard: Standard) -> list[tuple[str, str, str]]:
    """Who should advertise the node's GPUs, what is wrong with that (empty: nothing), and the artefact that says so.

    Raises:
        Unmeasured: pods or slices could not be listed.
    """
    how = standard.allocatable.advertised_by
    if how == "os":
        resources = quantities(node, "capacity")
        trouble = "" if any(resources.values()) else "capacity has no GPU resource"
        return [("operating system", trouble, "nodes.json")]
    if how == "dra":
        driver = component(node, "dra-driver", _labels(standard, "dra-driver"))
        pool = dra_pool(node)
        return [
            ("DRA driver", driver.trouble, "pods.json"),
            ("ResourceSlice", "" if pool.devices else "no device published", "resourceslices.json"),
        ]
    plugin = component(node, "device-plugin", _labels(standard, "device-plugin"))
    return [("device plugin", plugin.trouble, "pods.json")]


def _labels(standard: Standard, name: str) -> dict[str, str]:
    part = standard.runtime.components.get(name)
    return dict(part.labels) if part is not None else {}

"""Facts for the pre-upgrade gate: what keeps a pod from being evicted, and where it could go."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_readiness.evidence.kube import DisruptionBudget, KubeNode, Pod, count
from gpu_readiness.node import Node
from gpu_readiness.standard import Expected, UpgradeRow
from gpu_readiness.verdict import Reason

POOL_KEYS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "karpenter.k8s.aws/instance-gpu-name")


def pods_on_drain(node: Node) -> list[Pod]:
    """GPU pods that a drain of the node has to move.

    Raises:
        Unmeasured: pods could not be listed.
    """
    return [pod for pod in node.gpu_pods if pod.owner_kind not in ("DaemonSet", "Node") and not pod.mirror]


def eviction_obstacles(node: Node, pod: Pod) -> Iterator[tuple[str, str]]:
    """What would keep a drain from evicting a pod: what, and what to do.

    A budget that may be the pod's, or that does not say what it allows, is unmeasured where it could be an obstacle.

    Raises:
        Unmeasured: disruption budgets could not be listed.
    """
    if not pod.owner_kind:
        yield "no controller: it would be lost for good", "let its owner stop it, or run it by a Job or Deployment"
    for budget in node.cluster.disruption_budgets():
        covers = _selects(budget, pod)
        if covers and budget.allowed == 0:
            yield f"disruption budget {budget.name} allows no disruption", "scale it up, or relax the budget"
        elif (covers or covers is None) and not budget.allowed:
            said = f"disruption budget {budget.name}: cannot tell what it allows to pod {pod.namespace}/{pod.name}"
            node.unmeasured(Reason.MISSING, said)


def _selects(budget: DisruptionBudget, pod: Pod) -> bool | None:
    """Whether a budget covers a pod; None where its selector is an expression."""
    if budget.namespace != pod.namespace:
        return False
    if budget.selector is None:
        return None
    return all(pod.labels.get(key) == value for key, value in budget.selector.items())


def pool_mates(node: Node) -> list[KubeNode]:
    """Other nodes of the same GPU class that can take pods: schedulable, Ready, with the same product."""
    own = node.kube
    key = next((each for each in POOL_KEYS if each in own.labels), None)
    found = []
    for other in node.cluster.nodes.values():
        if other.name == own.name or other.unschedulable or not other.allocatable:
            continue
        if key is not None and other.labels.get(key) != own.labels[key]:
            continue
        if any(each.type == "Ready" and each.status == "True" for each in other.conditions or ()):
            found.append(other)
    return found


def unplaceable(node: Node) -> list[Pod]:
    """GPU pods of this node for which the rest of its pool has no room, each on one node as a whole, largest first.

    Raises:
        Unmeasured: pods could not be listed.
    """
    room = []
    for other in pool_mates(node):
        free = {key: count(value) or 0 for key, value in (other.allocatable or {}).items()}
        for pod in node.cluster.pods_on(other.name):
            if not pod.finished:
                for key, amount in pod.requests.items():
                    free[key] = free.get(key, 0) - amount
        room.append(free)
    homeless = []
    movable = []
    for pod in pods_on_drain(node):
        if any(pod.requests.values()):
            movable.append(pod)
        else:
            said = f"pod {pod.namespace}/{pod.name} holds devices by a claim: nothing counts which node has room for it"
            node.unmeasured(Reason.UNSUPPORTED, said)
    for pod in sorted(movable, key=lambda each: -sum(each.requests.values())):
        place = next((free for free in room if all(free.get(key, 0) >= n for key, n in pod.requests.items())), None)
        if place is None:
            homeless.append(pod)
            continue
        for key, amount in pod.requests.items():
            place[key] -= amount
    return homeless


def row_of(row: UpgradeRow) -> dict[str, Expected]:
    """What a row of the matrix asks of driver, Kubernetes, container runtime and CUDA."""
    asked = {
        "driver": row.driver,
        "kubernetes": row.kubernetes,
        "container-runtime": row.container_runtime,
        "cuda": row.cuda,
        "device-plugin": row.device_plugin,
    }
    return {key: expected for key, expected in asked.items() if expected is not None}

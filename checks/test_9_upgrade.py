"""Layer 9, upgrade: whether this node may be taken down and upgraded now."""

from __future__ import annotations

from gpu_readiness import (
    Node,
    Reason,
    Standard,
    check,
    component,
    eviction_obstacles,
    image_tag,
    paused_or_moving,
    pods_on_drain,
    row_of,
    unplaceable,
)


@check("upgrade.settled", needs=("?driver.nvml",), hint="finish the upgrade that is under way, then start the next")
def test_settled(node: Node, standard: Standard) -> None:
    """No upgrade is in progress on the node, and it is where the standard says the fleet is."""
    for key, value, _ in paused_or_moving(node):
        node.require(False, f"label {key}", expected="settled", observed=value, source="nodes.json")
    node.expect_if_known("kubelet", standard.runtime.kubelet)
    version = standard.driver.version
    if version is not None:
        node.judge("driver.version", node.driver.version, version)
    node.require(bool(node.labels), "labels", expected="some", observed="none", source="nodes.json")


@check("upgrade.matrix", needs=("?driver.nvml",), hint="choose a target that is a row of the known-good matrix")
def test_matrix(node: Node, standard: Standard) -> None:
    """The target driver and Kubernetes, with the node's runtime, are a known-good row of the standard's matrix."""
    rows = standard.upgrade.matrix
    if not rows:
        node.not_shown("the standard has no upgrade matrix")
        return
    plugin = component(node, "device-plugin").images if any(row.device_plugin for row in rows) else ()
    seen = {
        "driver": standard.upgrade.target.driver or node.driver.version.value,
        "kubernetes": standard.upgrade.target.kubernetes or node.read("kubelet").value,
        "container-runtime": node.read("container-runtime").value,
        "cuda": node.driver.cuda.value,
        "device-plugin": image_tag(plugin[0]) if plugin else "none",
    }
    values = {key: getattr(value, "text", value) for key, value in seen.items()}
    lacking = [key for key, value in values.items() if value is None]
    if lacking:
        node.unmeasured(Reason.MISSING, f"not known: {', '.join(lacking)}")
        return
    known = any(all(want.accepts(values[key]) for key, want in row_of(row).items()) for row in rows)
    said = ", ".join(f"{key} {value}" for key, value in values.items())
    node.require(known, "combination", expected=f"one of {len(rows)} known-good rows", observed=said, source="standard")


@check("upgrade.drainable", hint="move or stop the pod before the node is drained")
def test_drainable(node: Node, standard: Standard) -> None:
    """Every GPU pod can be evicted: it has an owner, a disruption budget that can be met, and enough time."""
    for pod in pods_on_drain(node):
        name = f"{pod.namespace}/{pod.name}"
        for obstacle, remedy in eviction_obstacles(node, pod):
            node.require(
                False, f"pod {name}", expected="can be evicted", observed=obstacle, source="pods.json", hint=remedy
            )
        grace = standard.upgrade.grace_period
        if grace is not None:
            holds = grace.accepts(pod.grace_period)
            node.require(
                holds, f"pod {name} grace period", expected=grace.text, observed=pod.grace_period, source="pods.json"
            )
    node.require(True, "pods", expected="listed", observed="listed", source="pods.json")


@check("upgrade.capacity", hint="add a node to the pool, or wait until there is room")
def test_capacity(node: Node) -> None:
    """The rest of the pool has room for the node's GPU pods, each of them on one node as a whole."""
    for pod in unplaceable(node):
        asked = ", ".join(f"{amount} {key}" for key, amount in pod.requests.items())
        node.require(
            False,
            f"pod {pod.namespace}/{pod.name}",
            expected=f"room for {asked}",
            observed="no node has it",
            source="pods.json",
        )
    node.require(True, "pods", expected="listed", observed="listed", source="pods.json")

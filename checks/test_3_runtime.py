"""Layer 3, runtime: the kubelet is well, and every part of the GPU stack runs on the node."""

from __future__ import annotations

from gpu_readiness import (
    Node,
    Reason,
    Standard,
    check,
    component,
    expected_components,
    image_tag,
    judged_conditions,
)


@check("runtime.node-ready", hint="look at the kubelet; describe the node for the condition's history")
def test_node_ready(node: Node) -> None:
    """The node is Ready, under no pressure, and no known agent reports a GPU problem."""
    types = set()
    for condition, healthy in judged_conditions(node):
        types.add(condition.type)
        said = f"{condition.status} ({condition.reason}): {condition.message}"
        if condition.status == "Unknown" and condition.type != "Ready":
            node.unmeasured(Reason.MISSING, f"condition {condition.type} is {said}")
            continue
        node.require(
            condition.status == healthy,
            f"condition {condition.type}",
            expected=healthy,
            observed=f"{said} since {condition.since}",
            source="nodes.json",
        )
    if "Ready" not in types:
        node.unmeasured(Reason.MISSING, "the node has no condition Ready")


@check("runtime.versions", hint="upgrade the node to the fleet's versions")
def test_versions(node: Node, standard: Standard) -> None:
    """Kubelet, container runtime and OS image are the standard's."""
    node.expect("kubelet", standard.runtime.kubelet)
    node.expect("container-runtime", standard.runtime.container_runtime)
    node.expect("os-image", standard.runtime.os_image)


@check("runtime.class", hint="reinstall the GPU operator's RuntimeClass, or name the platform's own in the standard")
def test_runtime_class(node: Node, standard: Standard) -> None:
    """The RuntimeClass of the standard is there, with its handler."""
    wanted = standard.runtime.class_
    if wanted is None or wanted.is_any or wanted.is_absent:
        node.record()
        return
    classes = node.cluster.runtime_classes()
    found = [each for name, each in classes.items() if wanted.accepts(name)]
    names, source = ", ".join(classes) or "none", "runtimeclasses.json"
    node.require(bool(found), "RuntimeClass", expected=wanted.text, observed=names, source=source)
    for each in found:
        node.judge("handler", node.said(each.handler, source), standard.runtime.handler or "any")


@check(
    "runtime.components", hint="describe the pod and read its log; a DaemonSet with OnDelete updates no pod by itself"
)
def test_components(node: Node, standard: Standard) -> None:
    """Each component of the GPU stack has a Ready pod on this node, at the standard's version, and does not restart."""
    for name in expected_components(node, standard):
        wanted = standard.runtime.components[name]
        found = component(node, name, wanted.labels)
        node.require(not found.trouble, name, expected="a Ready pod", observed=found.trouble, source="pods.json")
        if wanted.version is None or wanted.version.is_any:
            continue
        for image in found.images:
            node.judge(f"{name} version", node.said(image_tag(image), "pods.json"), wanted.version)
    if not standard.runtime.components:
        node.record()


@check("runtime.operator", severity="warning", hint="look at the operator's log and at Node Feature Discovery")
def test_operator(node: Node, standard: Standard) -> None:
    """The GPU operator's ClusterPolicy is ready, and because it reconciled and not because it found nothing to do."""
    if standard.runtime.operator != "required":
        node.record()
        return
    source = "clusterpolicies.json"
    policies = node.cluster.cluster_policies()
    node.require(bool(policies), "ClusterPolicy", expected="one", observed="none", source=source)
    for policy in policies:
        state = policy.state
        node.require(state == "ready", f"{policy.name} state", expected="ready", observed=state, source=source)
        ready = next((each for each in policy.conditions if each.type == "Ready"), None)
        if ready is None:
            node.unmeasured(
                Reason.MISSING, f"{policy.name} has no condition that says why it is {state or 'in no state'}"
            )
            continue
        said = f"{ready.reason}: {ready.message}"
        holds = ready.reason == "Reconciled"
        node.require(holds, f"{policy.name} Ready", expected="Reconciled", observed=said, source=source)

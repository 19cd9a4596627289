"""Layer 5, labels: what the scheduler is told about the node is there, true, and of this life."""

from __future__ import annotations

from gpu_readiness import (
    Node,
    Reason,
    Standard,
    broken_layout,
    check,
    is_gfd_label,
    judged_taints,
    label_truths,
    mig_manager_labels,
    paused_or_moving,
)


@check("labels.required", hint="look at GPU Feature Discovery and nfd-master; set pool labels where nodes are made")
def test_required(node: Node, standard: Standard) -> None:
    """The labels that the standard requires are there with its values."""
    labels = node.labels
    for key, expected in standard.labels.required.items():
        said = labels.get(key)
        if said is None:
            node.require(False, f"label {key}", expected=expected.text, observed="no such label", source="nodes.json")
        else:
            node.judge(f"label {key}", node.said(said, "nodes.json"), expected)
    if standard.labels.gfd == "present":
        there = any(map(is_gfd_label, labels))
        node.require(there, "GFD labels", expected="present", observed="none", source="nodes.json")
    for key, said, meaning in broken_layout(node):
        node.require(False, f"label {key}", expected=meaning, observed=said, source="nodes.json")
    if not standard.labels.required:
        node.record()


@check(
    "labels.truth",
    needs=("driver.nvml",),
    depth="smi",
    hint="restart GPU Feature Discovery on the node; remove labels set by hand",
)
def test_truth(node: Node, standard: Standard) -> None:
    """GPU Feature Discovery's labels say what NVML says."""
    seen = False
    for label in label_truths(node, standard):
        seen = True
        node.require(label.holds, f"label {label.key}", expected=label.should, observed=label.says, source="nodes.json")
    if not seen:
        node.unmeasured(Reason.MISSING, "the node has no label of GPU Feature Discovery")


@check("labels.owned", severity="warning", hint="remove the label; its feature source sets it again if it is true")
def test_owned(node: Node) -> None:
    """Each GFD label is owned by a feature source that runs now: none is stale, none was set by hand."""
    owned = node.kube.feature_labels
    features: dict[str, str] = {}
    for feature in node.cluster.features_of(node.name):
        features |= feature.labels
    if owned is None and not features:
        node.unmeasured(Reason.MISSING, "neither the NFD annotation nor a NodeFeature says who owns the labels")
    labels = {key: value for key, value in node.labels.items() if is_gfd_label(key)}
    if not labels:
        node.unmeasured(Reason.MISSING, "the node has no label of GPU Feature Discovery")
    for key, value in labels.items():
        by_annotation = owned is None or key in owned or key.removeprefix("nvidia.com/") in owned
        by_feature = not features or features.get(key) == value
        observed = (
            "not in the NFD annotation" if not by_annotation else f"{features.get(key, 'no value')} in the NodeFeature"
        )
        node.require(
            by_annotation and by_feature,
            f"label {key}",
            expected=f"{value}, owned",
            observed=observed,
            source="nodes.json",
        )


@check("labels.taints", hint="taint or untaint the node; look which agent does it")
def test_taints(node: Node, standard: Standard) -> None:
    """The node's taints are the standard's; the cluster's own (cordon, pressure) are judged elsewhere."""
    wanted = standard.labels.taints
    if wanted is None:
        node.record()
        return
    found = judged_taints(node)
    for taint in wanted:
        node.require(taint in found, "taint", expected=taint, observed=", ".join(found) or "none", source="nodes.json")
    for taint in found:
        node.require(
            taint in wanted, "taint", expected=", ".join(wanted) or "none", observed=taint, source="nodes.json"
        )
    node.require(True, "taints", expected="read", observed="read", source="nodes.json")


@check("labels.mig-state", hint="read the MIG manager's log on the node; set nvidia.com/mig.config again")
def test_mig_state(node: Node, standard: Standard) -> None:
    """The MIG manager has applied the wanted configuration and says success."""
    config, state, since = mig_manager_labels(node)
    wanted = standard.mig.config
    if config is None and state is None and (wanted is None or wanted.is_any):
        node.record()
        return
    if wanted is not None:
        holds = config is not None and wanted.accepts(config)
        node.require(
            holds, "label nvidia.com/mig.config", expected=wanted.text, observed=config or "absent", source="nodes.json"
        )
    observed = (state or "absent") + (f" since {since}" if since else "")
    node.require(
        state == "success",
        "label nvidia.com/mig.config.state",
        expected="success",
        observed=observed,
        source="nodes.json",
    )


@check("labels.operations", hint="wait for the operation, or finish it by hand: the node is not ready while it lasts")
def test_operations(node: Node) -> None:
    """No driver upgrade is in motion, failed or left over, and nothing is paused."""
    for key, value, since in paused_or_moving(node):
        observed = value + (f" since {since}" if since else "")
        node.require(False, f"label {key}", expected="no operation", observed=observed, source="nodes.json")
    node.require(bool(node.labels), "labels", expected="some", observed="none", source="nodes.json")

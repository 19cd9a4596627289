"""Layer 4, allocatable: what the scheduler can hand out is what the node has."""

from __future__ import annotations

from gpu_readiness import (
    Node,
    Reason,
    Standard,
    advertisers,
    check,
    dissenters,
    dra_pool,
    expected_resources,
    is_left_over,
    mig_witnesses,
    quantities,
    requested,
    said_quantities,
    uses_dra,
    witnesses,
)


@check(
    "allocatable.plugin",
    hint="restart the device plugin or DRA driver; look at its log and at the kubelet's plugin socket",
)
def test_plugin(node: Node, standard: Standard) -> None:
    """Something on the node advertises its GPUs: a device plugin, the operating system, or a DRA driver."""
    for name, trouble, source in advertisers(node, standard):
        node.require(not trouble, name, expected="advertises GPUs", observed=trouble, source=source)


@check("allocatable.count", hint="look at the device plugin's configuration for this node, and at the GPUs themselves")
def test_count(node: Node, standard: Standard) -> None:
    """Allocatable of every GPU resource is what the standard and its mode of sharing make of the node's GPUs."""
    if uses_dra(standard):
        found = len(dra_pool(node).gpus)
        wanted = standard.gpu.count or len(node.gpus)
        node.judge("ResourceSlice devices", node.said(found, "resourceslices.json"), wanted)
        return
    advertised = said_quantities(node, "allocatable")
    wanted_resources = expected_resources(node, standard)
    for key, expected in wanted_resources.items():
        node.judge(key, node.said(advertised.get(key, "0"), "nodes.json"), expected)
    for key, amount in advertised.items():
        if amount != "0" and key not in wanted_resources:
            node.require(False, key, expected="not advertised", observed=amount, source="nodes.json")


@check(
    "allocatable.healthy",
    hint="the plugin marked devices unhealthy, for ever: find the XID, repair, restart the plugin",
)
def test_healthy(node: Node, standard: Standard) -> None:
    """No device is marked unhealthy: allocatable equals capacity, and no DRA device is tainted."""
    if uses_dra(standard):
        devices = dra_pool(node).devices
        for device in devices:
            taints = ", ".join(device.taints)
            node.require(not taints, device.name, expected="no taint", observed=taints, source="resourceslices.json")
        if not devices:
            node.unmeasured(Reason.MISSING, "the ResourceSlices of the node have no device that could be healthy")
        return
    capacity, allocatable = quantities(node, "capacity"), quantities(node, "allocatable")
    if not (capacity or allocatable):
        node.unmeasured(Reason.MISSING, "the node advertises no GPU resource that could be healthy")
    for key in sorted({*capacity, *allocatable}):
        whole = capacity.get(key, 0)
        said = f"allocatable {whole} of {whole}"
        node.require(
            allocatable.get(key, 0) == whole, key, expected=said, observed=allocatable.get(key, 0), source="nodes.json"
        )


@check(
    "allocatable.agrees",
    needs=("driver.nvml",),
    depth="smi",
    hint="the one that disagrees is stale or blind: restart it",
)
def test_agrees(node: Node, standard: Standard) -> None:
    """NVML, the GFD labels and allocatable (or ResourceSlices) make it the same number of devices."""
    for unit, words in {"devices": witnesses(node, standard), **mig_witnesses(node, standard)}.items():
        odd = dissenters(words)
        node.require(
            not odd,
            unit,
            expected=f"the same from {', '.join(each.name for each in words)}",
            observed=odd,
            source="nodes.json",
        )


@check("allocatable.accounted", hint="the kubelet lost devices under running pods: drain the node, restart the kubelet")
def test_accounted(node: Node, standard: Standard) -> None:
    """Running pods hold no more devices than are allocatable."""
    held = requested(node)
    if uses_dra(standard):
        node.record()
        return
    allocatable = quantities(node, "allocatable")
    for key in sorted({*held, *allocatable}):
        node.require(
            held.get(key, 0) <= allocatable.get(key, 0),
            key,
            expected=f"at most {allocatable.get(key, 0)} requested",
            observed=held.get(key, 0),
            source="pods.json",
        )


@check("allocatable.stale", severity="info", hint="a kubelet restart forgets left-over resource names")
def test_stale(node: Node, standard: Standard) -> None:
    """No resource name of an earlier configuration is left over."""
    for key, amount in quantities(node, "allocatable").items():
        stale = amount == 0 and key != "nvidia.com/gpu" and is_left_over(node, standard, key)
        node.require(not stale, key, expected="no left-over name", observed=amount, source="nodes.json")
    node.require(True, "resources", expected="read", observed="read", source="nodes.json")

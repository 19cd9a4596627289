"""Facts about labels: which are GPU Feature Discovery's, and what they would say if they told the truth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gpu_readiness.evidence import kube
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.facts.gpus import has_no_mig, mig_layout, wanted_layout
from gpu_readiness.gpu import Gpu
from gpu_readiness.node import Node
from gpu_readiness.standard import Standard

PREFIX = "nvidia.com/"
_GFD = re.compile(
    r"^nvidia\.com/("
    r"cuda\.|gpu\.(machine|product|count|replicas|sharing-strategy|memory|family|compute\.|mode|multiprocessors|slices\.|engines\.)"
    r"|mig\.(capable|strategy)$|mps\.capable$|vgpu\.(present|host-driver)|mig-[0-9]|gfd\.timestamp$)"
)
_FAMILIES = {"ada lovelace": "ada-lovelace", "ada": "ada-lovelace"}
#: Share by which memory may differ: MiB are rounded differently, and clouds reserve some.
MEMORY_TOLERANCE = 0.01


def is_gfd_label(key: str) -> bool:
    """Whether GPU Feature Discovery writes this label (`gpu.clique` may also be the compute-domain plugin's)."""
    return _GFD.match(key) is not None


def sanitised(product: str) -> str:
    """A product name as GFD makes a label value of it."""
    return re.sub(r"\s+", "-", re.sub(r"[^A-Za-z0-9\-_. ]", "", product).strip())


@dataclass(frozen=True, slots=True)
class LabelTruth:
    """A label with what it should say; `near`: it may differ by a percent."""

    key: str
    should: str
    says: str
    holds: bool


def label_truths(node: Node, standard: Standard) -> Iterator[LabelTruth]:
    """Each GFD label that is there, against what NVML says.

    Raises:
        Unmeasured: the driver does not answer, or the node has no GFD label at all.
    """
    labels = node.labels
    gpus = node.gpus
    described = _described(node)
    yield from _versions(node)
    if described is None:
        return
    first = described[0]
    single = labels.get("nvidia.com/mig.strategy") == "single" and any(gpu.mig_enabled for gpu in gpus)
    yield from _product(node, standard, first, single)
    yield from _amounts(labels, gpus, described, single)
    yield from _modes(node, standard, first)


def _described(node: Node) -> list[Gpu] | None:
    """The GPUs of the model that the labels describe: on a node with two models they describe one of them."""
    products = node.products
    if not products:
        return None
    if len(products) == 1:
        return list(node.gpus)
    label = node.labels.get("nvidia.com/gpu.product", "")
    return next(
        (
            [gpu for gpu in node.gpus if gpu.product == product]
            for product in products
            if label.startswith(sanitised(product))
        ),
        list(node.gpus),
    )


def _versions(node: Node) -> Iterator[LabelTruth]:
    driver = node.driver
    if driver.version.there:
        parts = [*str(driver.version.value).split("."), "", ""]
        for key, should in (
            ("cuda.driver-version.full", str(driver.version.value)),
            ("cuda.driver-version.major", parts[0]),
            ("cuda.driver-version.minor", parts[1]),
            ("cuda.driver-version.revision", parts[2]),
            ("cuda.driver.major", parts[0]),
            ("cuda.driver.minor", parts[1]),
            ("cuda.driver.rev", parts[2]),
        ):
            yield from _equal(node.labels, key, should)
    if driver.cuda.there:
        major, _, minor = str(driver.cuda.value).partition(".")
        for key, should in (
            ("cuda.runtime-version.full", str(driver.cuda.value)),
            ("cuda.runtime-version.major", major),
            ("cuda.runtime-version.minor", minor),
            ("cuda.runtime.major", major),
            ("cuda.runtime.minor", minor),
        ):
            yield from _equal(node.labels, key, should)


def _equal(labels: dict[str, str], key: str, should: str) -> Iterator[LabelTruth]:
    says = labels.get(PREFIX + key)
    if says is not None:
        yield LabelTruth(PREFIX + key, should, says, says == should)


def _product(node: Node, standard: Standard, first: Gpu, single: bool) -> Iterator[LabelTruth]:
    says = node.labels.get("nvidia.com/gpu.product")
    if says is None:
        return
    should = sanitised(first.product)
    if single:
        profiles = {name for gpu in node.gpus for name in mig_layout(gpu, wanted_layout(standard, gpu) or [])}
        should += f"-MIG-{profiles.pop()}" if len(profiles) == 1 else "-MIG-INVALID, or better one profile on all GPUs"
    replicas = kube.count(node.labels.get("nvidia.com/gpu.replicas")) or 0
    holds = says == should or (replicas > 1 and says == f"{should}-SHARED")
    yield LabelTruth("nvidia.com/gpu.product", should, says, holds)


def _amounts(labels: dict[str, str], gpus: tuple[Gpu, ...], described: list[Gpu], single: bool) -> Iterator[LabelTruth]:
    says = labels.get("nvidia.com/gpu.count")
    devices = [device for gpu in gpus for device in gpu.mig_devices] if single else []
    if says is not None and len(described) == len(gpus):  # of two products GFD counts either
        should = len(devices) if single else len(described)
        yield LabelTruth("nvidia.com/gpu.count", str(should), says, says == str(should))
    says = labels.get("nvidia.com/gpu.memory")
    if says is not None:
        sizes = (
            [device.memory for device in devices] if single else [gpu.read("memory.total").value for gpu in described]
        )
        known = [size for size in sizes if size]
        amount = kube.count(says)
        if known:
            near = amount is not None and any(abs(amount - size) <= MEMORY_TOLERANCE * size for size in known)
            yield LabelTruth("nvidia.com/gpu.memory", str(int(max(known))), says, near)


def _modes(node: Node, standard: Standard, first: Gpu) -> Iterator[LabelTruth]:
    labels = node.labels
    family = first.read("architecture")
    if family.there:
        name = str(family.value).lower()
        yield from _equal(labels, "gpu.family", _FAMILIES.get(name, name))
    compute = first.standard.compute_capability if first.known else None
    if compute is not None and "nvidia.com/gpu.compute.major" in labels:
        says = f"{labels['nvidia.com/gpu.compute.major']}.{labels.get('nvidia.com/gpu.compute.minor', '')}"
        yield LabelTruth("nvidia.com/gpu.compute", compute.text, says, compute.accepts(says))
    mig = first.read("mig.current")
    if mig.there:
        yield from _equal(labels, "mig.capable", "true")
    elif has_no_mig(first):
        yield from _equal(labels, "mig.capable", "false")
    clique, cluster = first.read("fabric.clique"), first.read("fabric.cluster")
    if clique.there and cluster.there and first.known and first.standard.fabric == "mnnvl":
        yield from _equal(labels, "gpu.clique", f"{cluster.value}.{clique.value}")
    yield from _replicas(node, standard)
    yield from _mig_counts(node, standard)


def _replicas(node: Node, standard: Standard) -> Iterator[LabelTruth]:
    says = node.labels.get("nvidia.com/gpu.replicas")
    strategy = node.labels.get("nvidia.com/gpu.sharing-strategy")
    if says is None:
        return
    count = kube.count(says)
    mig_hides = any(gpu.mig_enabled for gpu in node.gpus) and node.labels.get("nvidia.com/mig.strategy") != "single"
    exclusive = standard.sharing.strategy == "none"
    wanted = standard.sharing.replicas or (1 if exclusive and not mig_hides else None)
    if mig_hides and all(gpu.mig_enabled for gpu in node.gpus):
        yield LabelTruth("nvidia.com/gpu.replicas", "0 (every GPU is in MIG mode)", says, count == 0)
    elif wanted is not None:
        yield LabelTruth("nvidia.com/gpu.replicas", str(wanted), says, count == wanted)
    else:
        yield LabelTruth("nvidia.com/gpu.replicas", "1 or more", says, count is not None and (count >= 1 or mig_hides))
    if strategy is not None and count is not None:
        shared = (
            (standard.sharing.strategy,) if standard.sharing.strategy and not exclusive else ("time-slicing", "mps")
        )
        good = shared if count > 1 else ("none",)
        yield LabelTruth("nvidia.com/gpu.sharing-strategy", " or ".join(good), strategy, strategy in good)


def _mig_counts(node: Node, standard: Standard) -> Iterator[LabelTruth]:
    if node.labels.get("nvidia.com/mig.strategy") != "mixed":
        return
    try:
        found = [name for gpu in node.gpus for name in mig_layout(gpu, wanted_layout(standard, gpu) or [])]
    except Unmeasured:
        return
    for key, says in node.labels.items():
        match = re.match(r"^nvidia\.com/mig-(.+)\.count$", key)
        if match:
            should = sum(1 for name in found if name.replace("+", ".") == match.group(1))
            yield LabelTruth(key, str(should), says, says == str(should))


def broken_layout(node: Node) -> Iterator[tuple[str, str, str]]:
    """Labels by which GFD itself says that MIG and the plugin's strategy do not fit: key, value, what it means."""
    labels = node.labels
    product = labels.get("nvidia.com/gpu.product", "")
    if product.endswith("MIG-INVALID"):
        yield "nvidia.com/gpu.product", product, "one MIG profile on all GPUs (strategy single)"
    if labels.get("nvidia.com/gpu.replicas") == "0" and "nvidia.com/mig.strategy" not in labels:
        yield "nvidia.com/gpu.replicas", "0", "1 or more: MIG mode is on, and the plugin's strategy is none"


def paused_or_moving(node: Node) -> Iterator[tuple[str, str, str]]:
    """Labels that say that something is under way, left over or failed: key, value, and since when if it is known."""
    for key, value in node.labels.items():
        moving = key == "nvidia.com/gpu-driver-upgrade-state" and value not in ("", "upgrade-done")
        paused = key.startswith("nvidia.com/gpu.deploy.") and "paused-for-" in value
        if moving or paused:
            yield key, value, node.kube.managed.get(key, "")


#: Taints that the cluster sets and takes away by itself; what they stand for is judged by other checks.
_CLUSTER_TAINTS = (
    "node.kubernetes.io/",
    "node.cilium.io/",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
)


def judged_taints(node: Node) -> list[str]:
    """The node's own taints as `key=value:Effect` (`key:Effect` without a value)."""
    return [
        f"{key}={value}:{effect}" if value else f"{key}:{effect}"
        for key, value, effect in node.kube.taints
        if not key.startswith(_CLUSTER_TAINTS)
    ]


def mig_manager_labels(node: Node) -> tuple[str | None, str | None, str]:
    """The MIG manager's wanted configuration, its state, and since when."""
    labels = node.labels
    key = "nvidia.com/mig.config.state"
    return labels.get("nvidia.com/mig.config"), labels.get(key), node.kube.managed.get(key, "")

"""Facts about what a node advertises: the arithmetic of sharing and MIG, and the devices of DRA.

The rules, mode by mode, are in docs/allocatable.md; their source is the device plugin's own code.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gpu_readiness.evidence import kube
from gpu_readiness.evidence.kube import Device
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.facts.gpus import mig_layout, wanted_layout
from gpu_readiness.node import Node
from gpu_readiness.standard import Expected, Standard
from gpu_readiness.verdict import Reason

GPU = "nvidia.com/gpu"


def said_quantities(node: Node, part: str) -> dict[str, str]:
    """The GPU resources in `capacity` or `allocatable`, as the node says them.

    Raises:
        Unmeasured: the node has no such map.
    """
    found = node.kube.capacity if part == "capacity" else node.kube.allocatable
    if found is None:
        raise Unmeasured(Reason.UNPARSABLE, f"status.{part} of the node is no map of quantities", "nodes.json")
    return found


def quantities(node: Node, part: str) -> dict[str, int]:
    """As `said_quantities`, as counts.

    Raises:
        Unmeasured: also for a quantity that is no count of devices.
    """
    counts = {}
    for key, said in said_quantities(node, part).items():
        amount = kube.count(said)
        if amount is None:
            raise Unmeasured(Reason.UNPARSABLE, f"{part} of {key} is {said[:60]!r}, no count of devices", "nodes.json")
        counts[key] = amount
    return counts


def expected_resources(node: Node, standard: Standard) -> dict[str, Expected]:
    """What allocatable has to be: as the standard lists it, else by the arithmetic of sharing and MIG.

    The number of GPUs is the standard's; where it takes any, NVML's; where nobody asked NVML, the GFD labels'.

    Raises:
        Unmeasured: nothing says how many GPUs there are.
    """
    if standard.allocatable.resources:
        return dict(standard.allocatable.resources)
    units = _units(node, standard)
    found = {name: Expected.of(amount * replicas_of(node, standard, name)) for name, amount in units.items()}
    if GPU not in found and kube.count(node.labels.get(f"{GPU}.replicas")):
        found[GPU] = Expected.of("any")  # some GPUs are whole, and only the driver knows how many
    return {(_shared_key(node, standard) if name == GPU else name): amount for name, amount in found.items()}


def _shared_key(node: Node, standard: Standard) -> str:
    """The name of the resource for whole GPUs: by the standard, else by the labels of shared GPUs that were renamed."""
    renamed = standard.sharing.renamed
    if renamed is None:
        shared = node.labels.get(f"{GPU}.sharing-strategy") in ("time-slicing", "mps")
        product = node.labels.get(f"{GPU}.product", "-SHARED")
        renamed = shared and not product.endswith("-SHARED")
    return f"{GPU}.shared" if renamed else GPU


def _units(node: Node, standard: Standard) -> dict[str, int]:
    """GPUs and MIG devices of a node by resource, before sharing multiplies them."""
    count = _exact_count(standard)
    layouts = _layouts(standard, count)
    if layouts is None:
        try:
            gpus = node.gpus
        except Unmeasured as problem:
            return _units_by_label(node, standard, count, problem)
        count = len(gpus) if count is None else count
        if standard.mig.strategy in ("single", "mixed"):
            layouts = [mig_layout(gpu, wanted_layout(standard, gpu) or []) for gpu in gpus]
    if layouts is None:
        return {GPU: count or 0}
    if standard.mig.strategy == "single":
        return {GPU: sum(map(len, layouts))}
    profiles = Counter(name for layout in layouts for name in layout)
    return {f"nvidia.com/mig-{_resource(name)}": amount for name, amount in profiles.items()} | {
        GPU: _whole(node, standard)
    }


def _exact_count(standard: Standard) -> int | None:
    expected = standard.gpu.count
    if expected is None or expected.kind != "exact" or not expected.numbers:
        return None
    return int(expected.numbers[0])


def _layouts(standard: Standard, count: int | None) -> list[list[str]] | None:
    """The profiles of each GPU as the standard has them; None where it does not say."""
    layout = standard.mig.layout
    if standard.mig.strategy not in ("single", "mixed") or count is None:
        return None
    if isinstance(layout, dict):
        return [list(layout.get(str(index), ())) for index in range(count)]
    return [list(layout)] * count if isinstance(layout, (list, tuple)) else None


def _whole(node: Node, standard: Standard) -> int:
    """GPUs of a node with strategy mixed that are not partitioned: those are handed out as a whole."""
    layout = standard.mig.layout
    if isinstance(layout, dict):
        return sum(1 for profiles in layout.values() if not profiles)
    if isinstance(layout, (list, tuple)):
        return 0
    return sum(1 for gpu in node.gpus if not gpu.mig_enabled)


def _units_by_label(node: Node, standard: Standard, count: int | None, problem: Unmeasured) -> dict[str, int]:
    said = kube.count(node.labels.get("nvidia.com/gpu.count"))
    if standard.mig.strategy == "mixed":
        found = {}
        for key, value in node.labels.items():
            if key.startswith("nvidia.com/mig-") and key.endswith(".count"):
                found[key.removesuffix(".count")] = kube.count(value) or 0
        if found:
            return found
    count = said if standard.mig.strategy == "single" or count is None else count
    if not count:  # GFD counts 0 where it cannot make sense of the layout: that is no number to agree with
        raise problem
    return {GPU: count}


def _resource(profile: str) -> str:
    """A MIG profile as part of a resource name."""
    return profile.replace("+", ".")


def replicas_of(node: Node, standard: Standard, resource: str = GPU) -> int:
    """How many pods share a device: by the standard; where that is silent, by the node's labels, whose 0 is MIG's."""
    if standard.sharing.replicas is not None:
        return standard.sharing.replicas
    if standard.sharing.strategy == "none":
        return 1
    said = node.labels.get(f"{resource}.replicas", "")
    gke = node.labels.get("cloud.google.com/gke-max-shared-clients-per-gpu", "")
    return max(1, kube.count(said) or kube.count(gke) or 1)


def is_left_over(node: Node, standard: Standard, key: str) -> bool:
    """Whether a resource of which nothing is allocatable is a name of an earlier configuration, and no loss."""
    try:
        wanted = expected_resources(node, standard)
    except Unmeasured:
        return False
    return key not in wanted or wanted[key].accepts(0)


@dataclass(frozen=True, slots=True)
class DraPool:
    """What DRA publishes of a node: its GPU and MIG devices."""

    devices: tuple[Device, ...]
    missing_slices: int

    @property
    def gpus(self) -> tuple[Device, ...]:
        """Full GPUs."""
        return tuple(each for each in self.devices if each.type == "gpu")


def dra_pool(node: Node) -> DraPool:
    """The newest generation of the node's GPU slices.

    Raises:
        Unmeasured: slices could not be listed, or the newest generation is not complete yet.
    """
    slices = node.slices
    pools: dict[str, list[int]] = {}
    for each in slices:
        pools.setdefault(each.pool, []).append(each.slice_count)
    missing = sum(max(counts) - len(counts) for counts in pools.values())
    if missing > 0:
        raise Unmeasured(
            Reason.MISSING,
            f"{missing} ResourceSlices of the newest generation are not published yet",
            "resourceslices.json",
        )
    return DraPool(tuple(device for each in slices for device in each.devices), 0)


def uses_dra(standard: Standard) -> bool:
    """Whether GPUs of this stack are handed out by DRA and not by a device plugin."""
    return standard.allocatable.advertised_by == "dra"


@dataclass(frozen=True, slots=True)
class Witness:
    """One party's word on how many devices there are."""

    name: str
    count: int


def witnesses(node: Node, standard: Standard) -> list[Witness]:
    """How many schedulable devices NVML, the GFD labels and the cluster each make it, in the same unit.

    The unit is what the node's mode of sharing makes of a GPU: replicas, or MIG devices of strategy single. In strategy
    mixed each profile is a unit of its own, see `mig_witnesses`.

    Raises:
        Unmeasured: a party that has to have a word has none.
    """
    if uses_dra(standard):
        return [Witness("NVML", len(node.gpus)), Witness("ResourceSlices", len(dra_pool(node).gpus))]
    replicas = replicas_of(node, standard)
    allocatable = quantities(node, "allocatable")
    advertised = allocatable.get(_shared_key(node, standard), 0)
    strategy = standard.mig.strategy
    if strategy == "single":
        real = sum(len(gpu.mig_devices) for gpu in node.gpus)
        by_nvml = real * replicas
    elif strategy == "mixed":
        by_nvml = sum(1 for gpu in node.gpus if not gpu.mig_enabled) * replicas
    else:
        by_nvml = len(node.gpus) * replicas
    found = [Witness("NVML", by_nvml), Witness("allocatable", advertised)]
    label = node.labels.get("nvidia.com/gpu.count")
    if label is not None and strategy != "mixed" and len(node.products) == 1:
        amount = kube.count(label)
        if amount is None:
            raise Unmeasured(Reason.UNPARSABLE, f"label nvidia.com/gpu.count is {label[:60]!r}", "nodes.json")
        found.insert(1, Witness("GFD label gpu.count", amount * replicas))
    return found


def mig_witnesses(node: Node, standard: Standard) -> dict[str, list[Witness]]:
    """Strategy mixed: for each MIG profile, how many devices NVML, the GFD labels and allocatable make it."""
    if standard.mig.strategy != "mixed":
        return {}
    profiles: Counter[str] = Counter()
    for gpu in node.gpus:
        profiles.update(map(_resource, mig_layout(gpu, wanted_layout(standard, gpu) or [])))
    allocatable = quantities(node, "allocatable")
    advertised = {key: n for key, n in allocatable.items() if key.startswith("nvidia.com/mig-") and n}
    found = {}
    for key in sorted({f"nvidia.com/mig-{name}" for name in profiles} | set(advertised)):
        name = key.removeprefix("nvidia.com/mig-")
        replicas = replicas_of(node, standard, key)
        words = [Witness("NVML", profiles[name] * replicas), Witness("allocatable", advertised.get(key, 0))]
        label = kube.count(node.labels.get(f"{key}.count"))
        if label is not None:
            words.insert(1, Witness(f"GFD label mig-{name}.count", label * replicas))
        found[key] = words
    return found


def dissenters(words: list[Witness]) -> str:
    """Who disagrees with the others; all of them where no two agree. Empty if all say the same."""
    counts = Counter(each.count for each in words)
    if len(counts) < 2:
        return ""
    usual, times = counts.most_common(1)[0]
    odd = [each for each in words if each.count != usual] if times > 1 else words
    return ", ".join(f"{each.name} says {each.count}" for each in odd)


def requested(node: Node) -> dict[str, int]:
    """What unfinished pods of the node hold, by resource."""
    total: Counter[str] = Counter()
    for pod in node.pods:
        if not pod.finished:
            total.update(pod.requests)
    return dict(total)

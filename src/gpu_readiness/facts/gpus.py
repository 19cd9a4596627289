"""Facts about the GPUs of a node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from gpu_readiness.declaration import NotApplicable
from gpu_readiness.evidence.reading import Reading, State, Unmeasured
from gpu_readiness.gpu import Gpu, MigInstance
from gpu_readiness.node import Node
from gpu_readiness.standard import Expected, Standard
from gpu_readiness.verdict import Reason

#: Streaming multiprocessors of a MIG slice and of the profiles that are no multiple of it, by architecture generation.
#: Source: NVIDIA MIG user guide, tables of profiles for A100, H100 and B200; read off real MIG captures for A100 and
#: H100.
_SLICE_SMS = {"ampere": 14, "hopper": 16, "blackwell": 18}
_ODD_SMS = {("hopper", 3): 60, ("hopper", 7): 132, ("blackwell", 3): 70, ("blackwell", 7): 148}
_PROFILE = re.compile(r"^(\d)g\.(\d+)gb")
#: MiB that a GPU with no work may show as used (contexts of monitoring agents, MPS servers).
IDLE_MEMORY = Expected.of("<=1024")
#: °C that no GPU reaches without slowing down, for those whose driver names no threshold.
HOTTEST = Expected.of("<100")


def has_no_mig(gpu: Gpu) -> bool:
    """Whether its hardware standard says that this product cannot be partitioned."""
    return gpu.known and gpu.standard.mig_capable is False


def wanted_layout(standard: Standard, gpu: Gpu) -> list[str] | None:
    """The MIG profiles this GPU has to be carved into; None where the standard does not say or takes any."""
    layout = standard.mig.layout
    mode = standard.mig.mode
    if isinstance(layout, dict):
        layout = layout.get(str(gpu.index), ())
    if isinstance(layout, (list, tuple)):
        return sorted(map(str, layout))
    return [] if layout is None and mode is not None and mode.kind == "exact" and mode.accepts("disabled") else None


def mig_layout(gpu: Gpu, wanted: list[str]) -> list[str]:
    """The profiles of the MIG devices that exist, sorted.

    The XML names no profile; memory and multiprocessors tell which one a device is, and where two are alike (3g and
    4g of Hopper have the same memory), the one that the layout still waits for is meant.
    """
    waiting = Counter(wanted)
    found = []
    for device in gpu.mig_devices:
        name = device.profile or _profile_of(gpu, device, waiting)
        waiting[name] -= 1
        found.append(name)
    return sorted(found)


def _profile_of(gpu: Gpu, device: MigInstance, waiting: Counter[str]) -> str:
    known = list(gpu.standard.mig_profiles) if gpu.known else []
    fitting = [name for name in dict.fromkeys([*known, *waiting]) if _fits(gpu, device, name)]
    expected = [name for name in fitting if waiting[name] > 0]
    return next(iter(expected or fitting), f"{device.multiprocessors} SMs with {device.memory} MiB")


def _fits(gpu: Gpu, device: MigInstance, profile: str) -> bool:
    match = _PROFILE.match(profile)
    if match is None or device.memory is None:
        return False
    slices, gigabytes = int(match.group(1)), int(match.group(2))
    if abs(device.memory / 1024 - gigabytes) > max(1.0, 0.06 * gigabytes):
        return False
    family = str(gpu.read("architecture").value or "").lower()
    sms = _ODD_SMS.get((family, slices)) or slices * _SLICE_SMS.get(family, 0)
    return not sms or device.multiprocessors is None or abs(device.multiprocessors - sms) <= 2


def gpus_with_ecc(node: Node) -> Iterator[Gpu]:
    """GPUs that count ECC errors: not those for which the standard says that ECC is off or not there."""
    for gpu in node.gpus:
        mode, current = gpu.standard.ecc if gpu.known else None, gpu.read("ecc.current")
        off = current.state is State.UNSUPPORTED or current.value == "disabled"
        if mode is not None and not mode.is_any and not mode.accepts("enabled"):
            gpu.record()
        elif off and mode is not None and not mode.is_any:
            gpu.unmeasured(Reason.BLOCKED, f"blocked by gpu.ecc-mode: {gpu.label} counts no errors while ECC is off")
        elif off:
            said = f"{gpu.label}: {gpu.product} counts no ECC errors, and no standard says whether it should"
            gpu.unmeasured(Reason.UNSUPPORTED, said)
        else:
            yield gpu


def uncorrectable_now(gpu: Gpu) -> list[tuple[str, Reading]]:
    """The volatile uncorrectable counters: the GPU's own, or those of its MIG devices while MIG takes the GPU's away.

    Raises:
        Unmeasured: there is not one, or those of DRAM or of SRAM are missing.
    """
    own = gpu.uncorrectable("volatile")
    if gpu.mig_enabled and not any(reading.there for _, reading in own):
        if gpu.mig_devices:
            return [(f"ecc.volatile.mig-{each.instance}", each.uncorrectable) for each in gpu.mig_devices]
        return [(field, reading) for field, reading in gpu.uncorrectable("aggregate") if reading.there][:1]
    if not own:
        raise Unmeasured(Reason.MISSING, f"{gpu.label}: no volatile ECC counter", gpu.source)
    memories = {memory for memory in ("dram", "sram") for field, _ in own if memory in field}
    if len(memories) == 1:  # drivers count for both, or, the older ones, for neither apart
        raise Unmeasured(Reason.MISSING, f"{gpu.label}: counts {memories.pop().upper()} only", gpu.source)
    supported = [(field, reading) for field, reading in own if reading.state is not State.UNSUPPORTED]
    return supported or own


def volatile_limit(gpu: Gpu) -> Expected | int:
    """How many volatile uncorrectable errors the standard allows; 0 where it is silent.

    Where it says `absent`, MIG takes the GPU's own counter away, and none may be counted by whatever stands in.
    """
    expected = gpu.standard.volatile_ecc if gpu.known else None
    return 0 if expected is None or expected.is_absent else expected


def repairs_by(gpu: Gpu, kind: str) -> bool:
    """Whether this GPU repairs its memory by `row-remap` or `page-retirement`, by the standard or by its answers.

    A GPU in MIG mode does not show remapped rows; the exporter's metric stands in (telemetry.health).
    """
    by_standard = gpu.standard.memory_repair if gpu.known else None
    if by_standard is not None:
        hidden = kind == "row-remap" and gpu.mig_enabled and gpu.read("remap.pending").state is State.UNSUPPORTED
        return by_standard == kind and not hidden
    probe = "remap.pending" if kind == "row-remap" else "retired.pending"
    return gpu.read(probe).state not in (State.UNSUPPORTED, State.ABSENT)


def bad_fabric_bits(gpu: Gpu) -> Iterator[tuple[str, Reading]]:
    """Fabric health readings that are there and bad; N/A is normal on Hopper (state and status decide there)."""
    good = {
        "fabric.health": ("healthy",),
        "fabric.bandwidth": ("full",),
        "fabric.route-recovery": ("false",),
        "fabric.route-unhealthy": ("false",),
        "fabric.access-timeout-recovery": ("false",),
        "fabric.incorrect-configuration": ("none", "false"),
    }
    for field, accepted in good.items():
        reading = gpu.read(field)
        if reading.there and reading.value not in accepted:
            yield field, reading
    if gpu.standard.fabric == "mnnvl":
        cluster = gpu.read("fabric.cluster")
        if cluster.there and not str(cluster.value).strip("0-"):
            yield "fabric.cluster", cluster


def odd_ones_out(node: Node, field: str) -> Iterator[tuple[Gpu, str, str]]:
    """Each GPU with its value of `field` and the usual one among GPUs of its product, where the field has a value."""
    values: dict[str, Counter[str]] = {}
    for gpu in node.gpus:
        reading = gpu.read(field)
        if reading.there:
            values.setdefault(gpu.product, Counter())[str(reading.value)] += 1
    usual = {product: found.most_common(1)[0][0] for product, found in values.items()}
    for gpu in node.gpus:
        reading = gpu.read(field)
        if reading.there:
            value = str(reading.value)
            yield gpu, value, value if _is_spare_part(value, usual[gpu.product]) else usual[gpu.product]
        elif reading.state in (State.BROKEN, State.DENIED):
            gpu.judge(field, reading, "")


def _is_spare_part(value: str, usual: str) -> bool:
    """Whether two part numbers are of one board, one of them NVIDIA's service number (965-…), as healthy nodes have."""
    service = value.startswith("965-") or usual.startswith("965-")
    return service and value.split("-")[1:2] == usual.split("-")[1:2]


def idle_gpus(node: Node) -> list[tuple[Gpu, Expected]]:
    """GPUs that no pod can be holding, with the memory (MiB) each may use.

    The exporter's pod labels say which GPU a pod holds. Where they do not, as many GPUs as pods hold are given the
    benefit of the doubt, the busiest first.

    Raises:
        Unmeasured: pods could not be listed.
    """
    held = sum(sum(pod.requests.values()) or len(pod.claims) for pod in node.gpu_pods)
    try:
        by_pod = {uuid for uuid, gpu in node.exporter.gpus.items() if gpu.held}
    except (Unmeasured, NotApplicable):
        by_pod = set()
    free = [gpu for gpu in node.gpus if gpu.uuid not in by_pod]
    free.sort(key=lambda gpu: (-(gpu.processes or 0), -(gpu.read("memory.used").value or 0)))
    benefit = max(0, held - len(by_pod))
    return [(gpu, (gpu.standard.idle_memory if gpu.known else None) or IDLE_MEMORY) for gpu in free[benefit:]]


def thermal_limit(gpu: Gpu) -> tuple[str, Reading, Expected]:
    """The reading that tells how hot a GPU is, and what it has to be.

    Newer parts give the margin to the limit (°C), which has to be above the margin at which they slow down; older
    ones a temperature and the threshold of slowdown.
    """
    margin, least = gpu.read("temperature.margin"), gpu.read("temperature.slowdown-margin")
    if margin.there and least.there:
        left = Reading(margin.value - least.value, State.PRESENT, margin.source)
        return "temperature above the slowdown margin", left, Expected.of(">0")
    threshold = gpu.read("temperature.slowdown")
    limit = Expected.of(f"<{threshold.value:g}") if threshold.there and threshold.value > 0 else HOTTEST
    return "temperature", gpu.read("temperature"), limit

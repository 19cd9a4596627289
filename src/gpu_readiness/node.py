"""The nouns that checks read: a node, its driver, its GPUs, its pods, its exporter.

Everything here is evidence with names; nothing is judged. A property whose artefact is not there raises `Unmeasured`,
every time it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gpu_readiness.declaration import Depth, Outcome
from gpu_readiness.evidence import smi
from gpu_readiness.evidence.cluster import Cluster
from gpu_readiness.evidence.probe import Probe, ProbeGpu, parse_probe
from gpu_readiness.evidence.probe import reading as probe_reading
from gpu_readiness.evidence.reading import Reading, State, Unmeasured
from gpu_readiness.standard import GpuStandard, Standard
from gpu_readiness.subject import Subject
from gpu_readiness.verdict import Reason, Severity

if TYPE_CHECKING:
    from gpu_readiness.evidence.dcgm import Exporter
    from gpu_readiness.evidence.kernel import KernelLog
    from gpu_readiness.evidence.kube import KubeNode, Pod, ResourceSlice
    from gpu_readiness.workload import Workload, WorkloadRun

T = TypeVar("T")

KERNEL_TAIL = 64 << 20


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A MIG device of a GPU; `profile` is empty where only its slices are known. `memory` in MiB."""

    instance: str
    profile: str
    memory: int | None
    multiprocessors: int | None
    uncorrectable: Reading


class Gpu(Subject):
    """One GPU of a node: the probe's fields where it has them, else those of nvidia-smi."""

    __slots__ = ("_depth", "_node", "_probe", "_readings", "_smi", "_standard", "index", "label", "product", "uuid")

    def __init__(
        self, node: Node, index: int, uuid: str, from_smi: smi.SmiGpu | None, from_probe: ProbeGpu | None
    ) -> None:
        self._node = node
        self._smi = from_smi
        self._probe = from_probe
        self._depth = node.depth
        self._standard: GpuStandard | None = None
        self.index = index
        self.uuid = uuid
        self.label = uuid or f"GPU {index}"
        self._readings: dict[str, Reading] = {}
        #: NVML's name, empty if it does not say.
        self.product = str(self.read("product").value or "")

    @property
    def outcome(self) -> Outcome:  # type: ignore[override]
        """That of the check being judged on the node."""
        return self._node.outcome

    @property
    def standard(self) -> GpuStandard:
        """What the node's standard says of a GPU of this product.

        Raises:
            Unmeasured: no-standard, if nothing says what such a GPU has to be.
        """
        if self._standard is None:
            device = self.read("device-id").value
            self._standard = self._node.standard.gpu_for(self.product, device)
        if self._standard is None:
            raise Unmeasured(
                Reason.NO_STANDARD,
                f"no standard for {self.product or 'this product'}: choose one, or learn one from a good node",
            )
        return self._standard

    @property
    def known(self) -> bool:
        """Whether a standard says what a GPU of this product has to be."""
        try:
            return self.standard is not None
        except Unmeasured:
            return False

    def read(self, field: str) -> Reading:
        """A field by name, see `gpu_readiness.evidence.smi.FIELDS` and docs/evidence.md."""
        found = self._readings.get(field)
        if found is None:
            found = self._readings[field] = self._read(field)
        return found

    def _read(self, field: str) -> Reading:
        if self._probe is not None and self._probe.clock_events is not None and field.startswith("clock-event."):
            active = field.removeprefix("clock-event.") in self._probe.clock_events
            return Reading("active" if active else "not active", State.PRESENT, "probe.json")
        found = None
        if self._probe is not None and field in self._probe.fields:
            found = probe_reading(self._probe.fields[field], field)
            if found.state is not State.ABSENT:
                return found
        if self._smi is not None:
            found = self._smi.read(field)
        if found is None or (found.state is State.BEYOND_DEPTH and self._depth >= Depth.PROBE):
            return Reading(None, State.ABSENT, "probe.json", f"no {field} in probe.json")
        return found

    @property
    def source(self) -> str:
        """The artefact that describes it best."""
        return "probe.json" if self._probe is not None else smi.SOURCE

    @property
    def lost(self) -> str:
        """What the driver says of this GPU where it should give readings; empty if it answers."""
        if self._probe is not None and self._probe.error is not None:
            return f"{self._probe.error.text} ({self._probe.error.call})"
        return self._smi.lost if self._smi is not None else ""

    @property
    def mig_enabled(self) -> bool:
        """Whether MIG mode is on now."""
        return bool(self.read("mig.current").value == "enabled")

    @property
    def mig_devices(self) -> tuple[MigInstance, ...]:
        """The MIG devices that exist.

        Raises:
            Unmeasured: nothing says which there are.
        """
        if self._probe is not None and self._probe.mig_devices is not None:
            return tuple(
                MigInstance(
                    each.gpu_instance, each.profile, each.memory, None, probe_reading(each.uncorrectable, "ecc")
                )
                for each in self._probe.mig_devices
            )
        devices = self._smi.mig_devices if self._smi is not None else None
        if devices is None:
            raise Unmeasured(Reason.MISSING, f"{self.label}: nothing lists its MIG devices", smi.SOURCE)
        return tuple(
            MigInstance(each.gpu_instance, "", each.memory, each.multiprocessors, each.uncorrectable)
            for each in devices
        )

    @property
    def processes(self) -> int | None:
        """How many processes use it; None if nothing says."""
        if self._probe is not None and self._probe.processes is not None:
            return self._probe.processes
        return self._smi.processes if self._smi is not None else None

    def uncorrectable(self, period: str) -> list[tuple[str, Reading]]:
        """The uncorrectable ECC counters of a period (`volatile`, `aggregate`) that the driver has for this GPU."""
        fields = [f"ecc.{period}.{name}" for name in smi.UNCORRECTABLE]
        readings = [(field, self.read(field)) for field in fields]
        return [(field, found) for field, found in readings if found.state not in (State.BEYOND_DEPTH, State.ABSENT)]


@dataclass(slots=True)
class Driver:
    """The driver of a node as its own tools show it; `silence` is what they say instead of answering."""

    silence: str
    said: str
    hung: bool
    source: str
    version: Reading
    cuda: Reading
    kernel_module: Reading
    attached: int | None
    gpus: tuple[Gpu, ...]
    probe: Probe | None

    def count(self, witness: str) -> Reading:
        """How many GPUs a witness sees: `answering`, `attached` (the driver's count), `pci`, `device-files`, `proc`."""
        if witness == "answering":
            return Reading(len(self.gpus), State.PRESENT, self.source)
        if witness == "attached":
            if self.attached is None:
                return Reading(None, State.ABSENT, self.source, "the driver's own count is missing")
            return Reading(self.attached, State.PRESENT, self.source)
        if self.probe is None:
            return Reading(None, State.BEYOND_DEPTH, "probe.json", f"{witness} needs a probe")
        return probe_reading(getattr(self.probe.counts, witness.replace("-", "_")), f"count of {witness}")


class Node(Subject):
    """One node and all evidence of it."""

    def __init__(
        self, name: str, cluster: Cluster, artefacts: Any, depth: Depth, workloads: Mapping[str, Workload] | None = None
    ) -> None:
        self.name = name
        self.workloads = workloads or {}
        self.label = name
        self.cluster = cluster
        self.depth = depth
        self.outcome = Outcome(Severity.CRITICAL)
        self._artefacts = artefacts
        self._standard: Standard | None = None
        self._kept: dict[str, Any] = {}

    def release(self) -> None:
        """Let go of the evidence: it is large, and its parts hold on to one another."""
        self._kept.clear()

    def bind(self, standard: Standard | None) -> None:
        """Say which standard the node is judged by; which one it is may follow from what its driver says."""
        self._standard = standard

    def _keep(self, name: str, build: Callable[[], T]) -> T:
        if name not in self._kept:
            try:
                self._kept[name] = build()
            except Unmeasured as problem:
                self._kept[name] = problem
            except Exception as problem:  # noqa: BLE001 - a stranger's file found a hole: that is no measurement
                said = f"reading it broke: {type(problem).__name__}: {problem}"[:300]
                self._kept[name] = Unmeasured(Reason.UNPARSABLE, f"{name}: {said}", name)
        found = self._kept[name]
        if isinstance(found, Unmeasured):
            raise found
        self.outcome.touched = True
        return found  # type: ignore[no-any-return]

    def _bytes(self, name: str) -> bytes:
        data: bytes = self._artefacts.artefact(self.name, name)
        return data

    @property
    def standard(self) -> Standard:
        """The standard that this node is judged by.

        Raises:
            Unmeasured: no-standard.
        """
        if self._standard is None:
            raise Unmeasured(
                Reason.NO_STANDARD, "no standard matches this node: choose one, or learn one from a good node"
            )
        return self._standard

    @property
    def has_standard(self) -> bool:
        """Whether there is one."""
        return self._standard is not None

    # --- the driver and its GPUs -----------------------------------------------------------------------------------

    @property
    def driver(self) -> Driver:
        """The driver's own answer: the probe, else nvidia-smi.

        Raises:
            Unmeasured: neither is there, or neither can be read.
        """
        return self._keep("driver", self._read_driver)

    @property
    def probe(self) -> Probe:
        """The probe document.

        Raises:
            Unmeasured: there is none; not selected if the depth does not reach it.
        """
        if self.depth < Depth.PROBE:
            raise Unmeasured(Reason.NOT_SELECTED, f"depth {self.depth.label} does not include the probe")
        return self._keep("probe", lambda: parse_probe(self._bytes("probe.json")))

    def _read_driver(self) -> Driver:
        probe: Probe | None = None
        problem: Unmeasured | None = None
        if self._artefacts.has(self.name, "probe.json"):
            try:
                probe = self._keep("probe", lambda: parse_probe(self._bytes("probe.json")))
            except Unmeasured as found:
                problem = found
        document: smi.SmiDocument | None = None
        try:
            document = smi.parse_smi(self._bytes("nvidia-smi.xml"))
        except smi.DriverSilent as silent:
            return _silent(silent.meaning, silent.said, smi.SOURCE, probe=probe)
        except Unmeasured as found:
            if problem is None or found.reason is not Reason.MISSING:
                problem = found if problem is None or problem.reason is not Reason.HUNG else problem
        if problem is not None and problem.reason is Reason.HUNG:
            return _silent("hung", problem.message, problem.source, hung=True, probe=probe)
        if probe is not None and (probe.driver.hung or probe.driver.error):
            return _probe_silent(probe)
        if probe is None and document is None:
            raise problem or Unmeasured(Reason.MISSING, "no nvidia-smi.xml and no probe.json", smi.SOURCE)
        return self._answering(document, probe)

    def _answering(self, document: smi.SmiDocument | None, probe: Probe | None) -> Driver:
        from_smi = {gpu.text("uuid") or f"#{gpu.position}": gpu for gpu in document.gpus} if document else {}
        from_probe = {gpu.uuid: gpu for gpu in probe.gpus} if probe else {}
        uuids = list(dict.fromkeys([*from_probe, *from_smi]))
        version = Reading(None, State.ABSENT, smi.SOURCE)
        cuda = kernel_module = version
        attached = None
        if document is not None:
            version = Reading(document.driver_version, State.PRESENT, smi.SOURCE)
            cuda, attached = document.cuda_version, document.attached
        if probe is not None:
            found = probe_reading(probe.driver.version, "driver.version")
            version = found if found.there else version
            found = probe_reading(probe.driver.cuda, "driver.cuda")
            cuda = found if found.there else cuda
            kernel_module = probe_reading(probe.driver.kernel_module, "driver.kernel-module")
            attached = probe.counts.nvml if isinstance(probe.counts.nvml, int) else attached
        gpus = tuple(
            Gpu(self, index, "" if uuid.startswith("#") else uuid, from_smi.get(uuid), from_probe.get(uuid))
            for index, uuid in enumerate(uuids)
        )
        source = "probe.json" if probe is not None else smi.SOURCE
        return Driver("", "", False, source, version, cuda, kernel_module, attached, gpus, probe)

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """All GPUs that the driver lists.

        Raises:
            Unmeasured: as `driver`; missing if the driver lists none.
        """
        driver = self.driver
        if driver.silence:
            raise Unmeasured(Reason.MISSING, f"the driver does not answer: {driver.silence}", driver.source)
        return driver.gpus

    @property
    def products(self) -> tuple[str, ...]:
        """The distinct product names NVML gives, in order."""
        return tuple(dict.fromkeys(gpu.product for gpu in self.gpus if gpu.product))

    # --- Kubernetes ------------------------------------------------------------------------------------------------

    @property
    def kube(self) -> KubeNode:
        """The Node object.

        Raises:
            Unmeasured: the cluster has no such node.
        """
        found = self.cluster.nodes.get(self.name)
        if found is None:
            raise Unmeasured(Reason.MISSING, f"nodes.json has no node {self.name}", "nodes.json")
        self.outcome.touched = True
        return found

    def read(self, field: str) -> Reading:
        """A field of the node itself: kubelet, container-runtime, os-image, kernel, or a host field of the probe."""
        if field in _NODE_INFO:
            found = self.kube.info.get(_NODE_INFO[field])
            if found:
                return Reading(found, State.PRESENT, "nodes.json")
            return Reading(None, State.ABSENT, "nodes.json", f"nodeInfo has no {_NODE_INFO[field]}")
        if self.depth < Depth.PROBE:
            return Reading(
                None, State.BEYOND_DEPTH, "probe.json", f"{field} needs a probe; depth is {self.depth.label}"
            )
        said = self.probe.driver.flavour if field == "flavour" else getattr(self.probe.host, field.replace("-", "_"))
        return probe_reading(said, field)

    @staticmethod
    def said(value: float | str, source: str) -> Reading:
        """Something that an artefact says outside of any named field, as a reading."""
        return Reading(value, State.PRESENT, source)

    @property
    def labels(self) -> dict[str, str]:
        """The node's labels."""
        return self.kube.labels

    @property
    def pods(self) -> list[Pod]:
        """All pods bound to the node."""
        pods = self.cluster.pods_on(self.name)
        self.outcome.touched = True
        return pods

    @property
    def gpu_pods(self) -> list[Pod]:
        """Pods that hold GPUs of this node now: by request, or by claim."""
        return [pod for pod in self.pods if not pod.finished and (any(pod.requests.values()) or pod.claims)]

    @property
    def slices(self) -> list[ResourceSlice]:
        """The GPU driver's ResourceSlices of this node, of the newest generation."""
        return [each for each in self.cluster.slices_of(self.name) if each.driver == "gpu.nvidia.com"]

    # --- other artefacts -------------------------------------------------------------------------------------------

    @property
    def exporter(self) -> Exporter:
        """What this node's DCGM exporter answered."""
        from gpu_readiness.evidence.dcgm import parse_exporter

        return self._keep("exporter", lambda: parse_exporter(self._bytes("dcgm.prom")))

    @property
    def kernel_log(self) -> KernelLog:
        """The kernel's messages of this boot."""
        from gpu_readiness.evidence.kernel import parse_kernel_log

        return self._keep(
            "kernel",
            lambda: parse_kernel_log(self._artefacts.artefact(self.name, "kernel.log", KERNEL_TAIL, tail=True)),
        )

    @property
    def workload_names(self) -> list[str]:
        """The workloads that left artefacts on the node."""
        names: list[str] = self._artefacts.workloads(self.name)
        return names

    def workload(self, name: str) -> WorkloadRun:
        """What a workload left on the node.

        Raises:
            Unmeasured: nothing, or nothing that says how it ended.
        """
        from gpu_readiness.workload import read_workload

        definition = self.workloads.get(name)
        if definition is None:
            raise Unmeasured(Reason.MISSING, f"no definition of the workload {name}", "workload.yaml")
        return self._keep(f"workload {name}", lambda: read_workload(self._artefacts, self.name, definition))

    def __iter__(self) -> Iterator[Gpu]:
        """Its GPUs."""
        return iter(self.gpus)


_NODE_INFO = {
    "kubelet": "kubeletVersion",
    "container-runtime": "containerRuntimeVersion",
    "os-image": "osImage",
    "kernel": "kernelVersion",
    "architecture": "architecture",
    "boot-id": "bootID",
}
_NOTHING = Reading(None, State.ABSENT, smi.SOURCE, "the driver does not answer")


def _silent(meaning: str, said: str, source: str, *, hung: bool = False, probe: Probe | None = None) -> Driver:
    return Driver(meaning, said, hung, source, _NOTHING, _NOTHING, _NOTHING, None, (), probe)


def _probe_silent(probe: Probe) -> Driver:
    problem = probe.driver.hung or probe.driver.error
    assert problem is not None
    hung = probe.driver.hung is not None
    said = f"{problem.call}: {problem.text}" + (f" after {problem.seconds:g} s" if problem.seconds is not None else "")
    return _silent("hung" if hung else problem.text, said, "probe.json", hung=hung, probe=probe)

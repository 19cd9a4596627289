"""The nouns that checks read: a node, its driver, its GPUs, its pods, its exporter.

Everything here is evidence with names; nothing is judged. A property whose artefact is not there raises `Unmeasured`,
every time it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gpu_readiness.declaration import Depth, NotApplicable, Outcome
from gpu_readiness.evidence import smi
from gpu_readiness.evidence.cluster import Cluster
from gpu_readiness.evidence.probe import Probe, parse_probe
from gpu_readiness.evidence.probe import reading as probe_reading
from gpu_readiness.evidence.reading import Reading, State, Unmeasured
from gpu_readiness.gpu import Gpu
from gpu_readiness.standard import Standard
from gpu_readiness.subject import Subject
from gpu_readiness.verdict import Reason, Severity

if TYPE_CHECKING:
    from gpu_readiness.evidence.dcgm import Exporter
    from gpu_readiness.evidence.kernel import KernelEvent, KernelLog
    from gpu_readiness.evidence.kube import KubeNode, Pod, ResourceSlice
    from gpu_readiness.evidence.prometheus import Prometheus
    from gpu_readiness.workload import Workload, WorkloadRun

T = TypeVar("T")

KERNEL_TAIL = 64 << 20


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
        #: Whether a Prometheus was asked about any node of the run.
        self.prometheus_asked = True
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
            Unmeasured: the cluster has no such node, or its nodes could not be read.
        """
        found = self.cluster.nodes.get(self.name)
        if self.cluster.unlisted is not None:
            raise self.cluster.unlisted
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
        """All pods bound to the node; of a node that the cluster does not have, nothing is known. Raises as `kube`."""
        pods = self.cluster.pods_on(self.kube.name)
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
        """What this node's DCGM exporter answered.

        Raises:
            NotApplicable: the standard says that the node has none.
        """
        if self._standard is not None and self._standard.telemetry.exporter == "absent":
            raise NotApplicable("the standard says that this node has no exporter")
        from gpu_readiness.evidence.dcgm import parse_exporter

        return self._keep("exporter", lambda: parse_exporter(self._bytes("dcgm.prom")))

    @property
    def prometheus(self) -> Prometheus:
        """What a Prometheus server answered about this node.

        Raises:
            NotApplicable: the standard says that nothing collects this node's metrics.
            Unmeasured: not selected where nobody asked a Prometheus, and the standard does not demand one.
        """
        wanted = self._standard.telemetry.prometheus if self._standard is not None else None
        if wanted == "absent":
            raise NotApplicable("the standard says that no Prometheus collects this node's metrics")
        if wanted is None and self._standard is not None and self._standard.telemetry.exporter == "absent":
            raise NotApplicable("the standard says that this node has no exporter: there is nothing to collect")
        if not self.prometheus_asked and wanted is None:
            raise Unmeasured(Reason.NOT_SELECTED, "no Prometheus was asked, and the standard demands none")
        from gpu_readiness.evidence.prometheus import SOURCE, parse_prometheus

        return self._keep("prometheus", lambda: parse_prometheus(self._bytes(SOURCE), self._artefacts.taken))

    @property
    def kernel_log(self) -> KernelLog:
        """The kernel's messages of this boot."""
        from gpu_readiness.evidence.kernel import parse_kernel_log

        return self._keep(
            "kernel",
            lambda: parse_kernel_log(self._artefacts.artefact(self.name, "kernel.log", KERNEL_TAIL, tail=True)),
        )

    @property
    def reported_kernel_events(self) -> tuple[KernelEvent, ...]:
        """What a part of the node's kernel log and Events that quote it say: nothing follows from their silence."""
        from gpu_readiness.evidence.kernel import PART, parse_reported

        said: list[str] = []
        with suppress(Unmeasured):
            said += self._bytes(PART).decode("utf-8", "replace").splitlines()
        with suppress(Unmeasured):
            said += [event.message for event in self.cluster.events_of(self.name)]
        return parse_reported(said)

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

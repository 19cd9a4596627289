"""One GPU of a node: what the probe says of it, else what nvidia-smi does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_readiness.declaration import Depth, Outcome
from gpu_readiness.evidence import smi
from gpu_readiness.evidence.probe import ProbeGpu
from gpu_readiness.evidence.probe import reading as probe_reading
from gpu_readiness.evidence.reading import Reading, State, Unmeasured
from gpu_readiness.standard import GpuStandard
from gpu_readiness.subject import Subject
from gpu_readiness.verdict import Reason

if TYPE_CHECKING:
    from gpu_readiness.node import Node


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

"""A standard: as a file writes it, and as nodes are judged by it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr

from gpu_readiness.standard.section import Section, laid_over
from gpu_readiness.standard.sections import (
    AllocatableStandard,
    DriverStandard,
    GpuStandard,
    HostStandard,
    LabelsStandard,
    Match,
    MigStandard,
    Name,
    Names,
    RuntimeStandard,
    ServingStandard,
    SharingStandard,
    TelemetryStandard,
    UpgradeStandard,
    Waiver,
    XidStandard,
)
from gpu_readiness.standard.shape import Amount, NullMeans

_SUFFIX = re.compile(r"-mig-\S+$|-shared$")
CheckId = Annotated[str, Field(pattern=r"^[a-z]+\.[a-z0-9-]+$")]
Why = Annotated[str, NullMeans("")]
Workload = dict[Name, dict[Name, Amount]]


class Body(Section):
    """All that a standard says of a node."""

    title: str = ""
    match: Match = Match()
    driver: DriverStandard = DriverStandard()
    host: HostStandard = HostStandard()
    gpu: GpuStandard = GpuStandard()
    mig: MigStandard = MigStandard()
    sharing: SharingStandard = SharingStandard()
    runtime: RuntimeStandard = RuntimeStandard()
    allocatable: AllocatableStandard = AllocatableStandard()
    labels: LabelsStandard = LabelsStandard()
    telemetry: TelemetryStandard = TelemetryStandard()
    workload: Workload = Field(default_factory=dict)
    serving: ServingStandard = ServingStandard()
    upgrade: UpgradeStandard = UpgradeStandard()
    xid: XidStandard = XidStandard()
    not_applicable: dict[CheckId, Why] = Field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()

    def over(self, base: Self) -> Self:
        """As every section, but waivers add up."""
        merged = super().over(base)
        both = base.waivers + self.waivers
        return merged.model_copy(update={"waivers": both}) if both else merged


class Document(Body):
    """One file: `extends` names the standards it is laid over, the later over the earlier."""

    name: str = ""
    extends: Names = ()


@dataclass(frozen=True, slots=True)
class HardwareEntry:
    """What one product is, and what it goes by: `names` as of `product_key`, `device_ids` as of `device_key`."""

    name: str
    names: frozenset[str]
    device_ids: frozenset[str]
    gpu: GpuStandard
    workload: Workload

    @classmethod
    def of(cls, document: Document) -> HardwareEntry:
        """The entry that a `hardware/…` or `mock/…` file makes."""
        return cls(
            document.name,
            frozenset(map(product_key, document.match.products)),
            frozenset(map(device_key, document.match.device_ids)),
            document.gpu,
            document.workload,
        )


class Standard(Body):
    """What nodes are judged by: resolved, with the hardware that it covers. Sections are never None.

    `digest` is of the content without the name; `stack` and `sharing_name` are the bare names of the stack and
    sharing standards in it (`gpu-operator`, `exclusive`).
    """

    name: str
    hardware: tuple[HardwareEntry, ...] = ()
    digest: str = ""
    stack: str | None = None
    sharing_name: str | None = None

    _entries: dict[tuple[str | None, str | None], HardwareEntry | None] = PrivateAttr(default_factory=dict)
    _gpus: dict[str, GpuStandard] = PrivateAttr(default_factory=dict)

    def with_sections(self, sections: Mapping[str, Any]) -> Standard:
        """The same standard with other sections."""
        other = self.model_copy(update=dict(sections))
        other._entries, other._gpus = {}, {}
        return other

    def entry_for(self, product: str | None, device_id: str | None) -> HardwareEntry | None:
        """The hardware of a GPU: by NVML's name or the GFD label, else by PCI device id (`2330` or `233010DE`)."""
        asked = product, device_id
        if asked not in self._entries:
            self._entries[asked] = find_entry(self.hardware, product, device_id)
        return self._entries[asked]

    def gpu_for(self, product: str | None, device_id: str | None) -> GpuStandard | None:
        """What a GPU has to be: the own `gpu` section over the hardware of its product.

        None if the standard covers hardware, but not this product, or if it says nothing of GPUs at all.
        """
        if not self.hardware:
            return None if self.gpu.is_empty else self.gpu
        entry = self.entry_for(product, device_id)
        if entry is None:
            return None
        if entry.name not in self._gpus:
            self._gpus[entry.name] = self.gpu.over(entry.gpu)
        return self._gpus[entry.name]

    def workload_for(self, product: str | None, device_id: str | None) -> Workload:
        """The figures of every workload for a GPU: the own ones over those of its product."""
        entry = self.entry_for(product, device_id)
        return self.workload if entry is None else laid_over(entry.workload, self.workload)


def find_entry(entries: Iterable[HardwareEntry], product: str | None, device_id: str | None) -> HardwareEntry | None:
    """The entry of a product; the name decides, and the PCI device id where the name is not known."""
    found = list(entries)
    if product:
        name = product_key(product)
        for entry in found:
            if name in entry.names:
                return entry
    if device_id:
        key = device_key(device_id)
        for entry in found:
            if key in entry.device_ids:
                return entry
    return None


def product_key(name: str) -> str:
    """One spelling for NVML's name and GFD's label, with or without the vendor that older drivers leave out."""
    words = _SUFFIX.sub("", _SUFFIX.sub("", name.strip().casefold())).replace("-", " ").split()
    return " ".join(words[1:] if words[:1] == ["nvidia"] else words)


def device_key(device_id: str) -> str:
    """The four digits of a PCI device id: of `2330`, `0x2330` and of `233010DE`, which names the vendor too."""
    digits = device_id.strip().upper().removeprefix("0X")
    return digits[:4] if digits.endswith("10DE") else digits

"""A node of the demo fleet: what it is, and what its witnesses say of it. Healthy as made; a fault changes it.

Labels, resources, the driver's document and the scrape all follow from these few fields, so that what a fault does not
touch stays consistent.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field

from gpu_readiness.demo.models import Model
from gpu_readiness.demo.pools import Component, Pool

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://example.com/gpu-readiness/demo")
#: GPU instance ids as the driver gives them out for the demo's one layout.
_INSTANCES = {"3g.20gb": (1,), "2g.10gb": (5,), "1g.5gb": (13, 14)}


def uid(*parts: str) -> str:
    """A UUID that is the same in every run."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


@dataclass(slots=True)
class DemoGpu:
    """One GPU as its driver shows it. `layout`: the MIG profiles on it; `mig`: whether MIG mode is on."""

    model: Model
    index: int
    uuid: str
    mig: bool
    layout: tuple[str, ...]
    ecc: str = "Enabled"
    fabric: str = "Completed"

    @property
    def bus(self) -> str:
        """Its PCI address as nvidia-smi writes it: 00000000:19:00.0."""
        return f"0000{self.model.buses[self.index]}.0"

    @property
    def serial(self) -> str:
        """Its serial number."""
        return str(1_650_000_000_000 + int(self.uuid[4:12], 16) % 10**9)

    @property
    def instances(self) -> list[tuple[str, int]]:
        """Profile and GPU instance id of each MIG device."""
        left = {profile: iter(ids) for profile, ids in _INSTANCES.items()}
        return [(profile, next(left[profile])) for profile in self.layout]


@dataclass(slots=True)
class DemoNode:
    """One node, and what its witnesses get wrong.

    `unhealthy` devices are out of allocatable; `publishes`: whether the DRA driver lists the GPUs; `unscraped` UUIDs
    are not in the scrape; `labels` stand over those that the node would have; `stopped` components have no pod;
    `kernel_events` follow the boot messages; `failed` has, by artefact, reason and message of a failed attempt to read
    it.
    """

    pool: Pool
    name: str
    gpus: list[DemoGpu]
    replicas: int
    unhealthy: int = 0
    publishes: bool = True
    unscraped: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    kernel_events: list[str] = field(default_factory=list)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def healthy(cls, pool: Pool, number: int) -> DemoNode:
        """A node on which nothing is wrong; nodes of a pool are numbered from 1."""
        name = f"{pool.key}-{number:02}"
        gpus = [
            DemoGpu(pool.model, index, f"GPU-{uid(name, str(index))}", bool(pool.layout), pool.layout)
            for index in range(pool.gpus)
        ]
        return cls(pool, name, gpus, pool.replicas)

    @property
    def components(self) -> list[Component]:
        """The components that have a pod here."""
        return [each for each in self.pool.components if each.name not in self.stopped]

    @property
    def mig_devices(self) -> Counter[str]:
        """How many MIG devices of each profile there are."""
        return Counter(profile for gpu in self.gpus for profile in gpu.layout)

    @property
    def capacity(self) -> dict[str, int]:
        """The extended resources that the device plugin advertises; none where the DRA driver publishes devices."""
        if self.pool.stack == "dra":
            return {}
        whole = sum(1 for gpu in self.gpus if not gpu.mig) * self.replicas
        return {"nvidia.com/gpu": whole} | {f"nvidia.com/mig-{name}": count for name, count in self.mig_devices.items()}

    @property
    def allocatable(self) -> dict[str, int]:
        """Capacity without the unhealthy devices."""
        found = self.capacity
        if self.unhealthy:
            found["nvidia.com/gpu"] -= self.unhealthy
        return found

"""The GPU models of the demo fleet: what their drivers report of them, as public captures of real nodes show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class MigProfile:
    """What a MIG device has of its GPU; `memory` in MiB."""

    multiprocessors: int
    memory: int
    copy_engines: int
    decoders: int


@dataclass(frozen=True, slots=True)
class Model:
    """One product. Memory in MiB, power in W, clocks in MHz; `standard` is the shipped hardware standard's name.

    `buses` has the PCI domain, bus and device of each slot of its machine. `banks` of row remapping are 0 where the GPU
    retires pages instead. `margin`: the driver gives temperatures as the distance to a limit, and not as thresholds.
    """

    standard: str
    name: str
    architecture: str
    compute: tuple[int, int]
    device_id: str
    board: str
    vbios: str
    inforom: str
    machine: str
    buses: tuple[str, ...]
    memory: int
    reserved: int
    power: int
    idle_power: float
    sm_clock: int
    memory_clock: int
    idle_clock: int
    application_clock: int
    pcie_generation: int
    pcie_width: int
    banks: int
    margin: bool = True
    hbm: bool = True
    fabric: Literal["none", "nvswitch", "mnnvl"] = "none"
    mig_capable: bool = False
    mig_profiles: dict[str, MigProfile] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The product as GPU Feature Discovery writes it into a label."""
        return self.name.replace(" ", "-")


H100 = Model(
    standard="h100-sxm5-80gb",
    name="NVIDIA H100 80GB HBM3",
    architecture="Hopper",
    compute=(9, 0),
    device_id="2330",
    board="692-2G520-0200-000",
    vbios="96.00.99.00.01",
    inforom="G520.0200.00.05",
    machine="HGX-H100-8GPU",
    buses=tuple(f"0000:{bus}:00" for bus in ("19", "3B", "4C", "5D", "9B", "BB", "CB", "DB")),
    memory=81559,
    reserved=480,
    power=700,
    idle_power=68.6,
    sm_clock=1980,
    memory_clock=2619,
    idle_clock=345,
    application_clock=1980,
    pcie_generation=5,
    pcie_width=16,
    banks=2560,
    fabric="nvswitch",
    mig_capable=True,
)
A100 = Model(
    standard="a100-sxm4-40gb",
    name="NVIDIA A100-SXM4-40GB",
    architecture="Ampere",
    compute=(8, 0),
    device_id="20B0",
    board="692-2G506-0200-003",
    vbios="92.00.45.00.03",
    inforom="G506.0200.00.04",
    machine="HGX-A100-4GPU",
    buses=("0000:01:00", "0000:41:00", "0000:81:00", "0000:C1:00"),
    memory=40960,
    reserved=518,
    power=400,
    idle_power=49.7,
    sm_clock=1410,
    memory_clock=1215,
    idle_clock=210,
    application_clock=1095,
    pcie_generation=4,
    pcie_width=16,
    banks=640,
    margin=False,
    mig_capable=True,
    mig_profiles={
        "1g.5gb": MigProfile(14, 4864, 1, 0),
        "2g.10gb": MigProfile(28, 9984, 2, 1),
        "3g.20gb": MigProfile(42, 19968, 3, 2),
    },
)
T4 = Model(
    standard="t4",
    name="Tesla T4",
    architecture="Turing",
    compute=(7, 5),
    device_id="1EB8",
    board="900-2G183-A800-001",
    vbios="90.04.96.00.02",
    inforom="G183.0200.00.02",
    machine="g4dn.12xlarge",
    buses=("0000:00:1B", "0000:00:1C", "0000:00:1D", "0000:00:1E"),
    memory=15360,
    reserved=448,
    power=70,
    idle_power=9.5,
    sm_clock=1590,
    memory_clock=5001,
    idle_clock=300,
    application_clock=585,
    pcie_generation=3,
    pcie_width=8,
    banks=0,
    margin=False,
    hbm=False,
)
L40S = Model(
    standard="l40s",
    name="NVIDIA L40S",
    architecture="Ada Lovelace",
    compute=(8, 9),
    device_id="26B9",
    board="900-2G133-A880-000",
    vbios="95.02.66.00.15",
    inforom="G133.0242.00.03",
    machine="g6e.12xlarge",
    buses=("0000:30:00", "0000:3A:00", "0000:3C:00", "0000:3E:00"),
    memory=46068,
    reserved=609,
    power=350,
    idle_power=34.7,
    sm_clock=2520,
    memory_clock=9001,
    idle_clock=210,
    application_clock=2520,
    pcie_generation=4,
    pcie_width=8,
    banks=192,
    hbm=False,
)
GB200 = Model(
    standard="gb200",
    name="NVIDIA GB200",
    architecture="Blackwell",
    compute=(10, 0),
    device_id="2941",
    board="900-2G548-A801-000",
    vbios="97.00.B9.00.69",
    inforom="G548.0201.00.06",
    machine="GB200-NVL72",
    buses=("0008:01:00", "0018:01:00", "0009:01:00", "0019:01:00"),
    memory=189471,
    reserved=742,
    power=1200,
    idle_power=165.9,
    sm_clock=2062,
    memory_clock=3996,
    idle_clock=120,
    application_clock=2062,
    pcie_generation=5,
    pcie_width=16,
    banks=3968,
    fabric="mnnvl",
    mig_capable=True,
)

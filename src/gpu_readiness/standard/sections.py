"""The sections of a standard, in the order of the layers. Keys are in kebab-case; None is silence."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool

from gpu_readiness.standard.section import Section
from gpu_readiness.standard.shape import Amount, ComputeMode, Flavour, NullMeans, Release, Switch, Text, Word
from gpu_readiness.standard.values import text_of


def _as_text(written: object) -> object:
    """Names may look like numbers: device ids, label values."""
    return text_of(written) if isinstance(written, (int, float)) else written


Name = Annotated[str, BeforeValidator(_as_text)]
Names = tuple[Name, ...]
Presence = Literal["required", "absent"]
Positive = Annotated[int, Field(gt=0)]


class Match(Section):
    """Which nodes a standard is for: all that is stated has to hold."""

    labels: dict[Name, Name] = Field(default_factory=dict)
    nodes: Names = ()
    products: Names = ()
    device_ids: Names = ()
    stack: Name | None = None


class DriverStandard(Section):
    """The driver: versions, what it has to have loaded, and releases that nobody may run."""

    version: Release | None = None
    deny: tuple[Release, ...] = ()
    cuda: Release | None = None
    flavour: Flavour | None = None
    modules: Names = ()
    device_files: Names = ()


class HostStandard(Section):
    """The host. `cmdline`: words that the kernel's command line has to have."""

    kernel: Release | None = None
    secure_boot: Switch | None = None
    cmdline: Names = ()


class Limits(Section):
    """What the hardware cannot exceed: W, MHz, MiB, TFLOPS (dense), GB/s. Numbers of standards are held against it."""

    power: float | None = None
    sm_clock: float | None = None
    memory_clock: float | None = None
    memory: float | None = None
    bf16_tflops: float | None = None
    memory_bandwidth_gbs: float | None = None
    source: str = ""


class GpuStandard(Section):
    """Every GPU: memory in MiB, power in W, clocks in MHz, NVLink speed in GB/s (raw, per link), temperature in °C."""

    count: Amount | None = None
    products: dict[Name, Positive] = Field(default_factory=dict)
    product: Text | None = None
    device_id: Word | None = None
    memory: Amount | None = None
    compute_capability: Release | None = None
    ecc: Switch | None = None
    volatile_ecc: Amount | None = None
    persistence: Switch | None = None
    compute_mode: ComputeMode | None = None
    power_limit: Amount | None = None
    pcie_width: Amount | None = None
    pcie_generation: Amount | None = None
    nvlink_links: Amount | None = None
    nvlink_speed: Amount | None = None
    sm_clock: Amount | None = None
    memory_clock: Amount | None = None
    application_clock: Amount | None = None
    temperature: Amount | None = None
    memory_repair: Literal["row-remap", "page-retirement", "none"] | None = None
    remapped_rows: Amount | None = None
    retired_pages: Amount | None = None
    fabric: Literal["nvswitch", "mnnvl", "none"] | None = None
    vbios: Word | None = None
    inforom_image: Word | None = None
    mig_capable: StrictBool | None = None
    mig_profiles: dict[Name, Positive] = Field(default_factory=dict)
    idle_memory: Amount | None = None
    limits: Limits = Limits()


class MigStandard(Section):
    """MIG: `layout` is the profiles of every GPU, or of each GPU by index, or `any`; `config` is the label's value."""

    mode: Switch | None = None
    strategy: Literal["none", "single", "mixed"] | None = None
    layout: Literal["any"] | Names | dict[Name, Names] | None = None
    config: Text | None = None


class SharingStandard(Section):
    """Sharing: `replicas` per GPU or MIG device; `renamed` if the resource is `nvidia.com/gpu.shared`."""

    strategy: Literal["none", "time-slicing", "mps"] | None = None
    replicas: Positive | None = None
    renamed: StrictBool | None = None


class ComponentStandard(Section):
    """A component with a pod on every node; `labels` find it where the usual ones do not; `when` it is expected."""

    version: Release | None = None
    labels: dict[Name, Name] = Field(default_factory=dict)
    when: Literal["mig-capable", "mps", "fabric", "never"] | None = None


Component = Annotated[ComponentStandard, NullMeans({"when": "never"})]


class RuntimeStandard(Section):
    """Kubelet, container runtime and the pods of the GPU stack; `conditions` name the status that is healthy."""

    kubelet: Release | None = None
    container_runtime: Text | None = None
    os_image: Text | None = None
    class_: Text | None = None
    handler: Text | None = None
    operator: Presence | None = None
    components: dict[Name, Component] = Field(default_factory=dict)
    conditions: dict[Name, Name] = Field(default_factory=dict)


class AllocatableStandard(Section):
    """What the node advertises, and who does it."""

    advertised_by: Literal["device-plugin", "os", "dra"] | None = None
    resources: dict[Name, Amount] = Field(default_factory=dict)


class LabelsStandard(Section):
    """Labels and taints; `taints` are written `key=value:Effect` and None does not judge them."""

    required: dict[Name, Text] = Field(default_factory=dict)
    gfd: Literal["present", "absent"] | None = None
    taints: Names | None = None


class HistoryStandard(Section):
    """What may have come up over `window`, as far as Prometheus has series of it.

    `coverage` is the share of the window (%) that Prometheus has to have. `xid`: how often a code may come up, where
    its grade is not to decide. `replay_rate` in PCIe replays per minute, `throttle` in % of the time that the hardware
    slows a GPU down, `ecc` in uncorrectable errors. Without the series of what is `required`, it was not measured.
    """

    window: Annotated[str, Field(pattern=r"^[1-9]\d{0,4}[smhdw]$")] | None = None
    coverage: Amount | None = None
    xid: dict[Name, Amount] = Field(default_factory=dict)
    replay_rate: Amount | None = None
    throttle: Amount | None = None
    ecc: Amount | None = None
    required: tuple[Literal["xid", "replay-rate", "throttle", "ecc"], ...] = ()

    @property
    def span(self) -> str:
        """The window, also where nothing is said."""
        return self.window or "24h"

    @property
    def seconds(self) -> int:
        """The seconds of the window."""
        return int(self.span[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[self.span[-1]]


class TelemetryStandard(Section):
    """The exporter, and who collects from it; `metrics` by their old DCGM names, `sample_age` in seconds."""

    exporter: Presence | None = None
    metrics: Names = ()
    prometheus: Presence | None = None
    sample_age: Amount | None = None
    history: HistoryStandard = HistoryStandard()


class ServingStandard(Section):
    """The model server: seconds to ready and to the first token, tokens per second."""

    start_seconds: Amount | None = None
    ttft_seconds: Amount | None = None
    tokens_per_second: Amount | None = None


class UpgradeTarget(Section):
    """What an upgrade leads to."""

    driver: Release | None = None
    kubernetes: Release | None = None


class UpgradeRow(Section):
    """One combination that is known to be good."""

    driver: Release | None = None
    kubernetes: Release | None = None
    container_runtime: Text | None = None
    device_plugin: Release | None = None
    cuda: Release | None = None


class UpgradeStandard(Section):
    """The pre-upgrade gate; `grace_period` of evicted pods in seconds."""

    target: UpgradeTarget = UpgradeTarget()
    matrix: tuple[UpgradeRow, ...] = ()
    grace_period: Amount | None = None


class XidStandard(Section):
    """Codes that are graded otherwise than in the default table."""

    fatal: tuple[int, ...] = ()
    warning: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()


class Waiver(Section):
    """A failure that is accepted until a day, which is the last one it is."""

    check: Name
    nodes: Names
    reason: Annotated[str, Field(min_length=1)]
    until: date
    field: Name | None = None

"""`probe.json`: what NVML and the host's own files say about one node (schema `gpu-readiness.probe/v1`).

A field is a plain value, or an object ``{"state": "unsupported" | "denied" | "broken" | "absent", "detail": …}``: a
driver call that failed is data, not a hole. GPU field names are those of `gpu_readiness.evidence.smi.FIELDS`, and
more.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from gpu_readiness.evidence.documents import parse_json
from gpu_readiness.evidence.reading import Reading, State, Unmeasured
from gpu_readiness.verdict import Reason

SOURCE = "probe.json"
SCHEMA = "gpu-readiness.probe/v1"


def _alias(name: str) -> str:
    return name.replace("_", "-")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=_alias, populate_by_name=True)


class Failure(_Model):
    """A field that could not be read."""

    state: Literal["unsupported", "denied", "broken", "absent"]
    detail: str = ""


Scalar = StrictBool | StrictInt | StrictFloat | StrictStr  # a lax "no" would turn into False, and 0 too
Value = Annotated[Failure | Scalar | list[Scalar] | None, Field(union_mode="left_to_right")]


class CallFailure(_Model):
    """A driver call that failed or never came back."""

    call: str
    text: str
    seconds: float | None = None


class Driver(_Model):
    """The driver as a whole. `error`: a call that failed; `hung`: one that passed its deadline."""

    version: Value = None
    kernel_module: Value = None
    cuda: Value = None
    flavour: Value = None
    error: CallFailure | None = None
    hung: CallFailure | None = None


class Counts(_Model):
    """How many GPUs each witness sees."""

    nvml: Value = None
    pci: Value = None
    device_files: Value = None
    proc: Value = None


class Host(_Model):
    """The host's own files."""

    kernel: Value = None
    secure_boot: Value = None
    cmdline: Value = None
    modules: Value = None
    device_files: Value = None
    fabric_manager: Value = None
    fabric_manager_version: Value = None
    imex: Value = None


class MigDevice(_Model):
    """A MIG device; `memory` in MiB."""

    uuid: str = ""
    profile: str = ""
    gpu_instance: str = ""
    compute_instance: str = ""
    memory: int | None = None
    uncorrectable: Value = None


class ProbeGpu(_Model):
    """One GPU, keyed by UUID; `error` is NVML's word where it no longer answers."""

    index: int
    uuid: str
    bus_id: str = ""
    error: CallFailure | None = None
    fields: dict[str, Value] = {}
    mig_devices: list[MigDevice] | None = None
    clock_events: list[str] | None = None
    processes: int | None = None


class Probe(_Model):
    """The whole document."""

    schema_: Literal["gpu-readiness.probe/v1"] = Field(alias="schema")
    taken: str = ""
    boot_id: str = ""
    driver: Driver
    counts: Counts = Counts()
    host: Host = Host()
    gpus: list[ProbeGpu] = []


def parse_probe(data: bytes) -> Probe:
    """Read a probe document.

    Raises:
        Unmeasured: missing (empty), or unparsable with the first field that is not as the schema says.
    """
    document = parse_json(data, SOURCE)
    try:
        return Probe.model_validate(document)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise Unmeasured(Reason.UNPARSABLE, f"{SOURCE}: {where}: {first['msg']}", SOURCE) from None


def reading(value: Any, field: str) -> Reading:
    """A probe value as a reading."""
    if isinstance(value, Failure):
        return Reading(None, State(value.state), SOURCE, value.detail)
    if value is None:
        return Reading(None, State.ABSENT, SOURCE, f"the probe has no {field}")
    return Reading(value, State.PRESENT, SOURCE)


def schema() -> dict[str, Any]:
    """The JSON Schema of a probe document."""
    return Probe.model_json_schema(by_alias=True)

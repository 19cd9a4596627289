"""`nvidia-smi -q -x`: every driver generation, and the text that the driver's tools print instead of XML.

Elements have moved between generations (throttle and event reasons, `power_readings` and `gpu_power_readings`);
`FIELDS` lists for each field the places it was ever seen in, newest first.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import defusedxml

from gpu_readiness.evidence.documents import excerpt, parse_xml
from gpu_readiness.evidence.reading import Reading, State, Unmeasured
from gpu_readiness.verdict import Reason

SOURCE = "nvidia-smi.xml"

MAX_GPUS = 256
_MAX_DEPTH = 8
#: Characters of one element that are kept; a longer text is no value of any field.
_MAX_TEXT = 512

#: What the driver's own tools say when they cannot answer, and what it means.
DRIVER_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (r"driver/library version mismatch", "driver/library version mismatch"),
        (r"couldn't communicate with the nvidia driver|driver not loaded|driver is not loaded", "driver not loaded"),
        (r"unable to determine the device handle", "GPU lost: unable to determine its device handle"),
        (r"gpu is lost", "GPU is lost"),
        (r"gpu requires reset|reset required", "GPU requires reset"),
        (r"fallen off the bus", "GPU has fallen off the bus"),
        (r"no devices were found", "no devices were found"),
        (r"failed to initialize nvml", "NVML could not be initialised"),
        (r"(couldn't find|not find).{0,20}libnvidia-ml|nvml shared library not found", "NVML library not found"),
        (r"insufficient (external )?power|power cables", "a GPU lacks auxiliary power"),
        (r"interrupt request.{0,40}issue|irq issue", "GPU interrupt problem"),
    )
)
_INFOROM = re.compile(
    rb"WARNING: infoROM is corrupted at gpu\s+(?:[0-9a-f]{4})?([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d)\s*",
    re.IGNORECASE,
)
#: A PCI address without the upper half of its domain, which old drivers do not print.
_ADDRESS = slice(-len("0000:00:00.0"), None)
_UNSUPPORTED = frozenset(
    {"n/a", "[n/a]", "not supported", "[not supported]", "requested functionality has been deprecated", "not available"}
)
_DENIED = frozenset({"insufficient permissions", "[insufficient permissions]"})
_BROKEN = re.compile(
    r"^\[?(err!?|unknown|unknown error|gpu is lost|gpu requires reset|reset required"
    r"|insufficient power.*|gpu has fallen.*)\]?$",
    re.IGNORECASE,
)
_LOST = re.compile(r"gpu is lost|requires reset|reset required|fallen off", re.IGNORECASE)


class DriverSilent(Exception):
    """The driver's own tools said that it does not work: a measurement, not a failure to measure."""

    def __init__(self, meaning: str, said: str) -> None:
        super().__init__(meaning)
        self.meaning = meaning
        self.said = said


@dataclass(frozen=True, slots=True)
class MigDevice:
    """A MIG device as the XML shows it: no profile name there, only slices and MiB."""

    gpu_instance: str
    compute_instance: str
    multiprocessors: int | None
    memory: int | None
    uncorrectable: Reading


class SmiGpu:
    """One `<gpu>` element: its leaves by path, and its repeated parts as elements."""

    __slots__ = ("_broken_inforom", "_driver_major", "_leaves", "element", "position")

    def __init__(self, element: ET.Element, position: int, driver_major: int, broken_inforom: bool) -> None:
        self.element = element
        self.position = position
        self._driver_major = driver_major
        self._broken_inforom = broken_inforom
        self._leaves: dict[str, str | None] = {}
        _collect(element, "", self._leaves)

    def read(self, field: str) -> Reading:
        """One field of `FIELDS`."""
        if field == "inforom.valid":
            if self._broken_inforom:
                return Reading("corrupted", State.PRESENT, SOURCE)
            return Reading(
                None, State.BEYOND_DEPTH, SOURCE, "nvidia-smi does not print infoROM validity; the probe does"
            )
        spec = FIELDS.get(field)
        if spec is None:
            return Reading(None, State.BEYOND_DEPTH, SOURCE, f"nvidia-smi -q -x does not print {field}")
        for path in spec.paths:
            said = self._leaves.get(path)
            if said is not None:
                return interpret(said, spec.convert)
        if self._driver_major < spec.since:
            return _not_printed(self._driver_major, field)
        return Reading(None, State.ABSENT, SOURCE, f"no element {spec.paths[0]}")

    def text(self, path: str) -> str:
        """The text at a path, empty if there is none."""
        return (self._leaves.get(path) or "").strip()

    @property
    def lost(self) -> str:
        """What the driver says instead of readings if this GPU no longer answers, else empty."""
        for path in ("fb_memory_usage/total", "temperature/gpu_temp", "performance_state", "product_name"):
            said = self.text(path)
            if _LOST.search(said):
                return said
        return ""

    @property
    def mig_devices(self) -> tuple[MigDevice, ...] | None:
        """The MIG devices; None if the document has no such element."""
        parent = self.element.find("mig_devices")
        if parent is None:
            return None
        return tuple(_mig_device(device) for device in parent.findall("mig_device"))

    @property
    def processes(self) -> int | None:
        """How many processes use the GPU; None if the document does not say."""
        parent = self.element.find("processes")
        if parent is None or (parent.text or "").strip().lower() in _UNSUPPORTED:
            return None
        return len(parent.findall("process_info"))


@dataclass(frozen=True, slots=True)
class SmiDocument:
    """A whole document. `attached` is the driver's own count, `gpus` those it described."""

    driver_version: str
    cuda_version: Reading
    attached: int | None
    gpus: tuple[SmiGpu, ...]


def parse_smi(data: bytes) -> SmiDocument:
    """Read a document.

    Raises:
        DriverSilent: the tool printed that the driver, or a GPU, does not answer.
        Unmeasured: missing (empty) or unparsable.
    """
    if not data.strip():
        raise Unmeasured(Reason.MISSING, f"{SOURCE} is empty", SOURCE)
    trailing = b""
    try:
        root = parse_xml(data.lstrip())
    except defusedxml.DefusedXmlException as problem:
        raise Unmeasured(Reason.UNPARSABLE, f"{SOURCE} was refused: {type(problem).__name__}", SOURCE) from None
    except (ET.ParseError, ValueError, LookupError) as problem:
        root, trailing = _before_a_warning(data, problem)
    if root.tag != "nvidia_smi_log":
        raise Unmeasured(Reason.UNPARSABLE, f"{SOURCE} is a {root.tag[:40]!r} document, no nvidia_smi_log", SOURCE)
    version = (root.findtext("driver_version") or "").strip()
    elements = root.findall("gpu")
    if not re.match(r"^\d{2,4}(\.\d{1,6}){1,2}$", version):
        raise Unmeasured(Reason.UNPARSABLE, f"{SOURCE} has no driver_version: the document is incomplete", SOURCE)
    if len(elements) > MAX_GPUS:
        raise Unmeasured(Reason.UNPARSABLE, f"{SOURCE} lists {len(elements)} GPUs, more than any machine has", SOURCE)
    if not elements:
        raise DriverSilent("no devices were found", f"driver {version} lists no GPU")
    broken = {match.decode().lower() for match in _INFOROM.findall(trailing)}
    attached = (root.findtext("attached_gpus") or "").strip()
    major = int(version.split(".")[0])
    return SmiDocument(
        driver_version=version,
        cuda_version=interpret(_bounded(root.findtext("cuda_version")), str)
        if root.find("cuda_version") is not None
        else _no_cuda(major),
        attached=int(attached) if re.fullmatch(r"\d{1,4}", attached) else None,
        gpus=tuple(
            SmiGpu(
                element, position, major, (element.findtext("pci/pci_bus_id") or "").strip().lower()[_ADDRESS] in broken
            )
            for position, element in enumerate(elements)
        ),
    )


def _no_cuda(major: int) -> Reading:
    state = State.ABSENT if major >= 410 else State.BEYOND_DEPTH
    return Reading(None, state, SOURCE, "no element cuda_version")


def _before_a_warning(data: bytes, problem: Exception) -> tuple[ET.Element, bytes]:
    """nvidia-smi appends its infoROM warning to the document; any other text makes the file unparsable."""
    end = data.rfind(b"</nvidia_smi_log>")
    if end >= 0:
        end += len(b"</nvidia_smi_log>")
        trailing = data[end:]
        if all(_INFOROM.fullmatch(line.strip()) for line in trailing.split(b"\n") if line.strip()):
            try:
                return parse_xml(data[:end].lstrip()), trailing
            except (ET.ParseError, ValueError, LookupError, defusedxml.DefusedXmlException):
                pass
    if b"<nvidia_smi_log" not in data and b"NVSMI LOG" not in data:  # `nvidia-smi -q` as text says "Reset Required: No"
        said = data[:4096].decode("utf-8", "replace")
        for pattern, meaning in DRIVER_TEXTS:
            if pattern.search(said) and "\0" not in said:
                raise DriverSilent(meaning, " ".join(said.split())[:300])
    raise Unmeasured(
        Reason.UNPARSABLE,
        f"{SOURCE} is no well-formed XML ({str(problem)[:120]}); it begins with {excerpt(data)}",
        SOURCE,
    )


def _collect(element: ET.Element, prefix: str, leaves: dict[str, str | None], depth: int = 0) -> None:
    """The text of every element under its path, of those parts of a GPU that some field is read from."""
    for child in element:
        tag = child.tag
        if not prefix and tag not in _READ:
            continue
        path = prefix + tag
        leaves[path] = _bounded(child.text)
        if len(child) and depth < _MAX_DEPTH:
            _collect(child, path + "/", leaves, depth + 1)


@lru_cache(maxsize=1024)
def _not_printed(major: int, field: str) -> Reading:
    return Reading(None, State.BEYOND_DEPTH, SOURCE, f"nvidia-smi of driver {major} does not print {field}")


@lru_cache(maxsize=16384)
def interpret(raw: str | None, convert: Callable[[str], Any], source: str = SOURCE) -> Reading:
    """What nvidia-smi printed for one field, as a reading; the same few texts come back on every GPU of a fleet."""
    said = (raw or "").strip()
    lowered = said.lower()
    if lowered in _UNSUPPORTED:
        return Reading(None, State.UNSUPPORTED, source, said)
    if not said:
        return Reading(None, State.ABSENT, source, "empty element")
    if lowered in _DENIED:
        return Reading(None, State.DENIED, source, said)
    if len(said) > _MAX_TEXT or _BROKEN.match(said):
        return Reading(None, State.BROKEN, source, said[:120])
    try:
        return Reading(convert(said), State.PRESENT, source)
    except ValueError:
        return Reading(None, State.BROKEN, source, said[:120])


def _bounded(said: str | None) -> str | None:
    return said if said is None or len(said) <= _MAX_TEXT else said.strip()[: _MAX_TEXT + 1]


def _mig_device(element: ET.Element) -> MigDevice:
    def number(path: str) -> int | None:
        said = (element.findtext(path) or "").strip().removesuffix(" MiB")
        return int(said) if said.isdecimal() and len(said) < 10 else None

    return MigDevice(
        gpu_instance=(element.findtext("gpu_instance_id") or "").strip()[:_MAX_TEXT],
        compute_instance=(element.findtext("compute_instance_id") or "").strip()[:_MAX_TEXT],
        multiprocessors=number("device_attributes/shared/multiprocessor_count"),
        memory=number("fb_memory_usage/total"),
        uncorrectable=interpret(_bounded(element.findtext("ecc_error_count/volatile_count/sram_uncorrectable")), whole),
    )


def whole(said: str) -> int:
    """A count; ValueError for anything else."""
    if not re.fullmatch(r"\d{1,18}", said):
        raise ValueError(said)
    return int(said)


def quantity(said: str) -> float:
    """A number with its unit (`700.00 W`, `81559 MiB`, `16x`, `58 C`) as a number; ValueError for anything else."""
    match = re.fullmatch(r"(-?\d{1,12}(?:\.\d{1,6})?)\s*(?:[A-Za-z/]{1,5}|x)?", said)
    if match is None:
        raise ValueError(said)
    number = float(match.group(1))
    return int(number) if number.is_integer() else number


def banks(said: str) -> int:
    """A number of memory banks (`640 bank(s)`); ValueError for anything else."""
    return whole(said.removesuffix(" bank(s)"))


def device_id(said: str) -> str:
    """The device part of a PCI id (`233010DE` is device 2330 of vendor 10DE); ValueError for anything else."""
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{8}", said) or said.removeprefix("0x").startswith("0000"):
        raise ValueError(said)
    return said.removeprefix("0x")[:4].upper()


def word(said: str) -> str:
    """A word as standards spell it: lower case."""
    return said.lower()


_OPTIONAL = 10_000  # printed by some driver from some release on: its absence says nothing
_ECC = "ecc_errors/{}/{}"


def _clock_event(name: str) -> tuple[str, str]:
    return (
        f"clocks_event_reasons/clocks_event_reason_{name}",
        f"clocks_throttle_reasons/clocks_throttle_reason_{name}",
    )


class Field(NamedTuple):
    """Where a field stands, how to convert it, and the driver branch from which on it has to be there."""

    paths: tuple[str, ...]
    convert: Callable[[str], Any] = str
    since: int = 0


FIELDS: dict[str, Field] = (
    {
        "product": Field(("product_name",)),
        "architecture": Field(("product_architecture",), str, _OPTIONAL),
        "uuid": Field(("uuid",)),
        "serial": Field(("serial",)),
        "minor": Field(("minor_number",), whole),
        "device-id": Field(("pci/pci_device_id",), device_id),
        "bus-id": Field(("pci/pci_bus_id",)),
        "vbios": Field(("vbios_version",)),
        "inforom.image": Field(("inforom_version/img_version",)),
        "gsp.firmware": Field(("gsp_firmware_version",), str, _OPTIONAL),
        "board.part-number": Field(("board_part_number",), str, _OPTIONAL),
        "memory.total": Field(("fb_memory_usage/total",), quantity),
        "memory.used": Field(("fb_memory_usage/used",), quantity),
        "persistence": Field(("persistence_mode",), word),
        "compute-mode": Field(("compute_mode",)),
        "recovery-action": Field(("gpu_recovery_action",), word, 570),
        "clock-event.hw_slowdown": Field(_clock_event("hw_slowdown"), word),
        "performance-state": Field(("performance_state",)),
        "ecc.current": Field(("ecc_mode/current_ecc",), word),
        "ecc.pending": Field(("ecc_mode/pending_ecc",), word),
        "ecc.sram-threshold-exceeded": Field((_ECC.format("aggregate", "sram_threshold_exceeded"),), word, _OPTIONAL),
        "remap.correctable": Field(("remapped_rows/remapped_row_corr",), whole),
        "remap.uncorrectable": Field(("remapped_rows/remapped_row_unc", "remapped_rows"), whole),
        "remap.pending": Field(("remapped_rows/remapped_row_pending", "remapped_rows"), word),
        "remap.banks-without-spares": Field(
            ("remapped_rows/row_remapper_histogram/row_remapper_histogram_none",), banks, _OPTIONAL
        ),
        "remap.failure": Field(("remapped_rows/remapped_row_failure", "remapped_rows"), word),
        "retired.single-bit": Field(("retired_pages/multiple_single_bit_retirement/retired_count",), whole),
        "retired.double-bit": Field(("retired_pages/double_bit_retirement/retired_count",), whole),
        "retired.pending": Field(("retired_pages/pending_retirement", "retired_pages/pending_blacklist"), word),
        "repair.channel-pending": Field(("ecc_errors/channel_repair_pending",), word, _OPTIONAL),
        "repair.tpc-pending": Field(("ecc_errors/tpc_repair_pending",), word, _OPTIONAL),
        "memory.unrepairable": Field(("ecc_errors/unrepairable_memory",), word, _OPTIONAL),
        "mig.current": Field(("mig_mode/current_mig",), word, 450),
        "mig.pending": Field(("mig_mode/pending_mig",), word, 450),
        "power.limit": Field(
            (
                "gpu_power_readings/current_power_limit",
                "power_readings/enforced_power_limit",
                "power_readings/power_limit",
            ),
            quantity,
        ),
        "power.default-limit": Field(
            ("gpu_power_readings/default_power_limit", "power_readings/default_power_limit"), quantity
        ),
        "pcie.width": Field(("pci/pci_gpu_link_info/link_widths/current_link_width",), quantity),
        "pcie.max-width": Field(("pci/pci_gpu_link_info/link_widths/max_link_width",), quantity),
        "pcie.generation": Field(("pci/pci_gpu_link_info/pcie_gen/max_link_gen",), quantity),
        "pcie.replays": Field(("pci/replay_counter",), whole),
        "clocks.max-sm": Field(("max_clocks/sm_clock",), quantity),
        "clocks.max-memory": Field(("max_clocks/mem_clock",), quantity),
        "clocks.application": Field(("applications_clocks/graphics_clock",), quantity),
        "clocks.default-application": Field(("default_applications_clocks/graphics_clock",), quantity),
        "temperature": Field(("temperature/gpu_temp",), quantity),
        "temperature.margin": Field(("temperature/gpu_temp_tlimit",), quantity, _OPTIONAL),
        "temperature.slowdown-margin": Field(("temperature/gpu_temp_slow_tlimit_threshold",), quantity, _OPTIONAL),
        "temperature.slowdown": Field(("temperature/gpu_temp_slow_threshold",), quantity, _OPTIONAL),
        "fabric.state": Field(("fabric/state",), word, 525),
        "fabric.status": Field(("fabric/status",), word, 525),
        "fabric.cluster": Field(("fabric/clusterUuid",), word, _OPTIONAL),
        "fabric.clique": Field(("fabric/cliqueId",), str, _OPTIONAL),
        "fabric.health": Field(("fabric/health/summary",), word, _OPTIONAL),
        "fabric.bandwidth": Field(("fabric/health/bandwidth",), word, _OPTIONAL),
        "fabric.route-recovery": Field(("fabric/health/route_recovery_in_progress",), word, _OPTIONAL),
        "fabric.route-unhealthy": Field(("fabric/health/route_unhealthy",), word, _OPTIONAL),
        "fabric.access-timeout-recovery": Field(("fabric/health/access_timeout_recovery",), word, _OPTIONAL),
        "fabric.incorrect-configuration": Field(("fabric/health/incorrect_configuration",), word, _OPTIONAL),
    }
    | {
        f"ecc.{period}.{name.replace('_', '-')}": Field((_ECC.format(period, name),), whole, _OPTIONAL)
        for period in ("volatile", "aggregate")
        for name in (
            "dram_uncorrectable",
            "sram_uncorrectable",
            "sram_uncorrectable_parity",
            "sram_uncorrectable_secded",
        )
    }
    | {
        f"ecc.{period}.double-bit": Field((_ECC.format(period, "double_bit/total"),), whole, _OPTIONAL)
        for period in ("volatile", "aggregate")
    }
)

#: Clock events that were told apart later; before, hw_slowdown stood for them.
FIELDS |= {
    f"clock-event.{name}": Field(_clock_event(name), word, _OPTIONAL)
    for name in ("hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
}

#: The children of a `<gpu>` that fields are read from; the others (supported clocks, processes) may be long.
_READ = frozenset(path.split("/")[0] for field in FIELDS.values() for path in field.paths)

#: The uncorrectable counters of one period; which of them a driver prints depends on its generation and the GPU's.
UNCORRECTABLE = (
    "dram-uncorrectable",
    "sram-uncorrectable",
    "sram-uncorrectable-parity",
    "sram-uncorrectable-secded",
    "double-bit",
)

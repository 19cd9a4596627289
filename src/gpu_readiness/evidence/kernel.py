"""What the NVIDIA driver told the kernel log since the machine booted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from gpu_readiness.evidence.kernel_lines import last_boot, read_line, require_kernel_messages

#: A part of a node's kernel log: what it says counts, what it does not say means nothing.
PART = "kernel.part.log"
MAX_BYTES = 64 * 1024 * 1024
MAX_EVENTS = 1000
MAX_MESSAGE = 300

Kind = Literal[
    "xid",
    "sxid",
    "fallen-off-bus",
    "api-mismatch",
    "rm-init-failed",
    "probe-failed",
    "unsupported-gpu",
    "nvlink-rx-detect",
]


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """One kind of driver message about one device, told `count` times.

    `code` is that of an XID or SXID, None if the line names none. `bus` is like "0000:53:00.0". `message`, `line` (from
    1) and `seconds` (since boot; None if the log has other time stamps) are those of the first time. `nvlink_fatal` is
    what the line itself says of an NVLink 5 or NVSwitch error. `versions` are those of the client and of the kernel
    module of an API mismatch.
    """

    kind: Kind
    code: int | None
    bus: str | None
    message: str
    line: int
    seconds: float | None
    nvlink_fatal: bool | None = None
    versions: tuple[str, str] | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class KernelLog:
    """The driver's messages of one boot, in the order of their first appearance.

    `events` has the first thousand distinct ones; `counts`, by kind and code, has them all. `lines` of any origin were
    read. `truncated`: only the last 64 MiB were. `since_boot`: the log reaches back to the boot; if not, older messages
    may have been overwritten. `cut`: its last line has no end, so that later ones are missing. `module_version` is
    that of the module that was loaded last, None if no line tells.
    """

    events: tuple[KernelEvent, ...]
    counts: Counter[tuple[Kind, int | None]]
    lines: int
    truncated: bool
    since_boot: bool
    cut: bool
    module_version: str | None


_BUS = r"(?:PCI:)?((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?)"
_XID = re.compile(rf"NVRM: Xid \({_BUS}[^)]{{0,64}}\)[^:]{{0,64}}: (\d{{1,5}})(?!\d)")
_SXID = re.compile(rf"nvidia-nvswitch\d*: SXid \({_BUS}\): (\d{{1,5}})(?!\d)")
_NVLINK5 = range(144, 151)
_NVLINK5_SAYS = re.compile(r"\b[A-Z_/]+\s+(Fatal|Nonfatal)\b")
_SXID_SAYS = re.compile(r",\s*(Fatal|Non-fatal)\b")
_ANY_BUS = re.compile(rf"\b{_BUS}(?![0-9a-fA-F:])")
_LOADING = re.compile(r"NVRM: loading NVIDIA UNIX .{0,80}?\s(\d+(?:\.\d+)+)\s")
_VERSION = re.compile(r"version\s+(\d+(?:\.\d+)+)")
#: Other messages of the driver, by words that only they have; the first that matches names the event.
_OTHER: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("fallen-off-bus", re.compile(r"fallen off the bus")),
    ("api-mismatch", re.compile(r"API mismatch")),
    ("rm-init-failed", re.compile(r"RmInitAdapter failed|rm_init_adapter failed")),
    ("probe-failed", re.compile(r"probe routine failed|probe routine was not called")),
    ("unsupported-gpu", re.compile(r"not supported by .{0,60}nvidia", re.IGNORECASE)),
    ("nvlink-rx-detect", re.compile(r"Failed to update Rx Detect Link mask|postRxDetLinkMask failed")),
)
#: A message of several lines starts so; it goes on in lines that do not start like a message, up to a full stop.
_OPENING = re.compile(r"NVRM: (?:The NVIDIA GPU |API mismatch)")
_CONTINUATION = re.compile(r"NVRM:\s+((?:[(a-z]|NVIDIA \d).*)")
_MAX_CONTINUATION = 5


class _Line(NamedTuple):
    number: int
    seconds: float | None
    message: str


def parse_kernel_log(data: bytes, source: str = "kernel.log") -> KernelLog:
    """Read the driver's messages since the last boot that the log shows.

    Raises:
        Unmeasured: `missing` if there is no message, `denied` if a tool says so instead, `unparsable` if no line is a
            kernel message.
    """
    skipped = max(0, len(data) - MAX_BYTES)
    lines = data[skipped:].split(b"\n")
    if skipped:
        lines[0] = b""  # most likely the end of a line
    boot = last_boot(lines)
    first = data.count(b"\n", 0, skipped) + (boot or 0) + 1
    lines = lines[boot:]
    require_kernel_messages(lines, source)
    counts: Counter[tuple[Kind, int | None]] = Counter()
    events: dict[tuple[object, ...], KernelEvent] = {}
    times: Counter[tuple[object, ...]] = Counter()
    for event in _events(_whole_messages(_driver_lines(lines, first))):
        counts[event.kind, event.code] += 1
        same = (event.kind, event.code, event.bus, event.nvlink_fatal, event.versions)
        if same in events or len(events) < MAX_EVENTS:
            events.setdefault(same, event)
            times[same] += 1
    return KernelLog(
        events=tuple(replace(event, count=times[same]) for same, event in events.items()),
        counts=counts,
        lines=sum(1 for line in lines if line.strip()),
        truncated=len(data) >= MAX_BYTES,  # the reader of the artefact may have cut it there already
        since_boot=boot is not None,
        cut=not data.endswith(b"\n"),
        module_version=_module_version(lines),
    )


def parse_reported(messages: Iterable[str]) -> tuple[KernelEvent, ...]:
    """The driver's messages among single lines that somebody else quoted from a kernel log; of equal ones the first."""
    lines = [line for message in messages for line in message.split("\n")]
    found = _events(_driver_lines([line.encode() for line in lines], 1))
    return tuple({(event.kind, event.code, event.bus, event.message): event for event in found}.values())


def _driver_lines(lines: list[bytes], first: int) -> Iterator[_Line]:
    for number, line in enumerate(lines, first):
        if b"NVRM:" in line or b"SXid" in line:
            _, seconds, message = read_line(line)
            if message.startswith(("NVRM:", "nvidia-nvswitch")):
                yield _Line(number, seconds, message)


def _module_version(lines: list[bytes]) -> str | None:
    for line in reversed(lines):
        if b"NVRM: loading NVIDIA UNIX" in line and (match := _LOADING.match(read_line(line).message)):
            return match[1]
    return None


def _whole_messages(lines: Iterable[_Line]) -> Iterator[_Line]:
    """The lines, those of a message that the driver broke into several as one."""
    whole: _Line | None = None
    parts = last = 0
    for line in lines:
        if whole is not None:
            more = _CONTINUATION.fullmatch(line.message)
            # Another CPU's message may come between two lines of one.
            if more and parts < _MAX_CONTINUATION and line.number - last <= 2 and not whole.message.endswith("."):
                whole = whole._replace(message=f"{whole.message} {more[1]}")
                parts, last = parts + 1, line.number
                continue
            yield whole
            whole = None
        if _OPENING.match(line.message):
            whole, parts, last = line, 1, line.number
        else:
            yield line
    if whole is not None:
        yield whole


def _events(lines: Iterable[_Line]) -> Iterator[KernelEvent]:
    for number, seconds, message in lines:
        kind: Kind | None
        code = fatal = versions = None
        if message.startswith("NVRM: Xid"):
            kind, match = "xid", _XID.match(message)
        elif message.startswith("nvidia-nvswitch"):
            kind, match = ("sxid" if "SXid (" in message else None), _SXID.match(message)
        else:
            kind, match = next((kind for kind, words in _OTHER if words.search(message)), None), None
        if kind is None:
            continue
        if match:
            code = int(match[2])
            said = _SXID_SAYS.match(message, match.end()) if kind == "sxid" else None
            if kind == "xid" and code in _NVLINK5:
                said = _NVLINK5_SAYS.search(message, match.end())
            fatal = said[1] == "Fatal" if said else None
        if kind == "api-mismatch" and len(found := _VERSION.findall(message)) >= 2:
            versions = (found[0], found[1])
        where = match or _ANY_BUS.search(message)
        bus = _normal_bus(where[1]) if where else None
        yield KernelEvent(kind, code, bus, message[:MAX_MESSAGE], number, seconds, fatal, versions)


@lru_cache(maxsize=256)
def _normal_bus(text: str) -> str:
    address, _, function = text.partition(".")
    *domain, bus, device = address.lower().split(":")
    return f"{int(domain[0], 16) if domain else 0:04x}:{bus}:{device}.{function or 0}"

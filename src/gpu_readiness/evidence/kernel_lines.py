"""The lines of a kernel log: those of this boot, told apart from what programs and other tools write."""

from __future__ import annotations

import re
from typing import NamedTuple

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.text import quote
from gpu_readiness.verdict import Reason

# What dmesg (plain, -T, -x, --time-format iso), /dev/kmsg, journalctl and syslog put before a kernel message.
# A tag other than "kernel:" belongs to a program, which may write anything.
_PREFIX = re.compile(
    r"""\s*+ (?:<\d{1,3}>)?+ \s*+
        (?P<level> [a-z0-9]+\s*:(?:emerg|alert|crit|err|warn|notice|info|debug)\s*:\s* )?+
        (?P<origin>
            \d+,\d+,(?P<micro>\d{1,18}),[^;]{0,64};                            # /dev/kmsg
          | \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-]\d\d:\d\d\s++         # dmesg --time-format iso
          | (?:\S*[^\s:]\s++){1,7}kernel:\s++                             # syslog, journalctl
        )?+
        (?P<stamp>
            \[\s*+ (?: (?P<seconds>\d+\.\d+)
                    | [A-Z][a-z]{2}\s[A-Z][a-z]{2}\s[\s\d]\d\s\d\d:\d\d:\d\d\s\d{4} )\]   # plain, or dmesg -T
            (?:\[\s*+[TC]\d+\s*+\])?+ \s*+
        )?+
    """,
    re.VERBOSE,
)
_BOOT = re.compile(rb"-- (?:Boot [0-9a-f]{32}|Reboot) --\s*")
_DENIED = re.compile(
    r"not permitted|permission denied|insufficient permissions|forbidden|not seeing messages", re.IGNORECASE
)
#: How far to look for the first kernel message; in a kernel log it is the first line, or soon after.
_LOOK_FOR_FIRST = 20_000


class KernelLine(NamedTuple):
    """One line. `seconds` since boot, where it has such a stamp; `is_kernel` if its prefix is one of a kernel log."""

    is_kernel: bool
    seconds: float | None
    message: str


def read_line(line: bytes) -> KernelLine:
    """A line without its prefix, of which at most 2,000 bytes are read."""
    text = line[:2000].decode(errors="replace").rstrip()
    prefix = _PREFIX.match(text)
    assert prefix is not None  # every part of it is optional
    seconds = float(prefix["seconds"]) if prefix["seconds"] else None
    if prefix["micro"]:
        seconds = int(prefix["micro"]) / 1e6
    is_kernel = bool(prefix["level"] or prefix["origin"] or prefix["stamp"])
    return KernelLine(is_kernel, seconds, text[prefix.end() :])


def last_boot(lines: list[bytes]) -> int | None:
    """The index of the line at which the last boot starts; None if no line tells."""
    return next((index for index in reversed(range(len(lines))) if _is_boot(lines[index])), None)


def _is_boot(line: bytes) -> bool:
    if b"Linux version " in line:
        read = read_line(line)
        return read.is_kernel and read.message.startswith("Linux version ") and not (read.seconds and read.seconds >= 1)
    return line.startswith(b"-- ") and _BOOT.fullmatch(line) is not None


def require_kernel_messages(lines: list[bytes], source: str) -> None:
    """Refuse what has no kernel message.

    Raises:
        Unmeasured: `missing`, `denied` or `unparsable`, by what is there instead.
    """
    if any(
        (read := read_line(line)).is_kernel or read.message.startswith("NVRM: ") for line in lines[:_LOOK_FOR_FIRST]
    ):
        return
    text = b"\n".join(lines)[:4096].decode(errors="replace").strip()
    if _DENIED.search(text):
        raise Unmeasured(Reason.DENIED, f"the kernel log could not be read: {quote(text, 200)}", source)
    if not text or "-- No entries --" in text or _BOOT.fullmatch(lines[0]):
        raise Unmeasured(Reason.MISSING, f"{source} has no kernel message, which no booted machine's has", source)
    raise Unmeasured(
        Reason.UNPARSABLE, f"{source} is no kernel log: no line is a kernel message; it starts {quote(text)}", source
    )

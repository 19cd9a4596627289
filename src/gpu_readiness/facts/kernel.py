"""Facts from the kernel log: events graded by the standard's XID table, and versions that do not agree."""

from __future__ import annotations

from dataclasses import dataclass

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.xid import XID, grade, grade_sxid
from gpu_readiness.node import Node


@dataclass(frozen=True, slots=True)
class GradedEvent:
    """A kernel event with what it means: `grade` is fatal, warning or application."""

    field: str
    grade: str
    observed: str
    source: str
    hint: str


def graded_events(node: Node) -> list[GradedEvent]:
    """Every event of this boot, graded by the node's standard and the default table.

    Where there is no kernel log, what Events of the node quote from it.
    """
    try:
        events, place = node.kernel_log.events, "kernel.log line {}"
    except Unmeasured:
        events, place = node.reported_kernel_events, "kernel.part.log, events.json"
    overrides = node.standard.xid if node.has_standard else None
    found = []
    for event in events:
        times = event.count
        repeated = f" ({times} times)" if times > 1 else ""
        if event.kind == "xid" and event.code is not None:
            how = grade(
                event.code,
                nvlink_fatal=event.nvlink_fatal,
                repeated=times > 1,
                fatal=overrides.fatal if overrides else (),
                warning=overrides.warning if overrides else (),
                ignore=overrides.ignore if overrides else (),
            )
            entry = XID.get(event.code)
            hint = f"{entry.description}: {entry.action}" if entry else "not in NVIDIA's catalogue"
            name = f"Xid {event.code}"
        elif event.kind == "sxid" and event.code is not None:
            how = grade_sxid(event.code, said_fatal=bool(event.nvlink_fatal))
            name, hint = f"SXid {event.code}", "NVSwitch error: see the fabric manager's log"
        elif event.kind == "fallen-off-bus":
            how, name, hint = (
                "fatal",
                "GPU has fallen off the bus",
                "reboot the node; replace the GPU if it happens again",
            )
        elif event.kind == "api-mismatch":
            continue
        else:
            how, name, hint = "warning", event.kind, ""
        where = f" on {event.bus}" if event.bus else ""
        found.append(
            GradedEvent(event.kind, how, f"{name}{where}{repeated}: {event.message}", place.format(event.line), hint)
        )
    return found


def fatal_xids(node: Node) -> str:
    """Fatal kernel events in a line, as context for other findings; empty if there is none or no log."""
    try:
        events = graded_events(node)
    except Unmeasured:
        return ""
    fatal = [event.observed for event in events if event.grade == "fatal"]
    return f"kernel log: {'; '.join(fatal[:3])}"[:400] if fatal else ""


def mismatched_modules(node: Node) -> list[str]:
    """Kernel-module versions that an API mismatch in the kernel log names."""
    try:
        return sorted(
            {event.versions[1] for event in node.kernel_log.events if event.kind == "api-mismatch" and event.versions}
        )
    except Unmeasured:
        return []

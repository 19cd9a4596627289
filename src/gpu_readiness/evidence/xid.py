"""How bad an XID or SXID is, who says so, and what cures it.

Sources disagree about XIDs, so the table attributes what each says, and a standard can overrule every grade.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from gpu_readiness.evidence.xid_table import CATALOGUE, NOTES, OPINIONS

Grade = Literal["fatal", "warning", "application"]
Action = Literal[
    "restart-app", "reset", "reboot", "replace", "check-power", "update", "recovery-action", "support", "ignore"
]

_FATAL = frozenset({46, 48, 54, 62, 64, 74, 79, 95, 110, 119, 120, 136, 140, 143, 151, 155, 156, 158, 167})
_FATAL_WHEN_REPEATED = frozenset({109})
_NVLINK5 = frozenset(range(144, 151))
#: The catalogue restarts the application at 94 too, but a memory error has been found.
_WARNING = frozenset({63, 92, 94, 154})
#: Beyond what the catalogue answers with a restart of the application: after-effects, and test messages.
_APPLICATION = frozenset({37, 43, 45, 106, 107})

_ACTIONS: Mapping[str, Action] = {
    "RESTART_APP": "restart-app",
    "IGNORE": "ignore",
    "RESET_GPU": "reset",
    "RESTART_BM": "reboot",
    "RESTART_VM": "reboot",
    "WORKFLOW_XID_45": "ignore",
    "WORKFLOW_XID_48": "reset",
    "WORKFLOW_NVLINK_ERR": "reset",
    "WORKFLOW_NVLINK5_ERR": "reset",
    "CHECK_MECHANICALS": "check-power",
    "UPDATE_SWFW": "update",
    "CHECK_UVM": "support",
    "XID_154": "recovery-action",
    "CONTACT_SUPPORT": "support",
}
#: Codes without a resolution in the catalogue; gpud reboots at these.
_REBOOT = frozenset({163, 166, 167, 169, 172, 173})


@dataclass(frozen=True, slots=True)
class XidEntry:
    """One XID. `grade` is the default; `sources` is who says what of it, NVIDIA's catalogue first."""

    code: int
    mnemonic: str
    description: str
    action: Action
    grade: Grade
    sources: Mapping[str, str]
    note: str


def grade(
    code: int | None,
    *,
    nvlink_fatal: bool | None = None,
    repeated: bool = False,
    fatal: Collection[int] = (),
    warning: Collection[int] = (),
    ignore: Collection[int] = (),
) -> Grade:
    """How bad an XID is: "fatal" for the node, "warning", or "application" (says nothing about the GPU).

    `fatal`, `warning` and `ignore` are a standard's own codes and win, in this order. `nvlink_fatal` is what an
    NVLink 5 line says of itself. A code that nobody has published, or None for a line without one, is a warning.
    """
    if code is None:
        return "warning"
    if code in fatal:
        return "fatal"
    if code in warning:
        return "warning"
    if code in ignore:
        return "application"
    if (nvlink_fatal and code in _NVLINK5) or (repeated and code in _FATAL_WHEN_REPEATED):
        return "fatal"
    return XID[code].grade if code in XID else "warning"


def _default(code: int, resolution: str) -> Grade:
    if code in _FATAL:
        return "fatal"
    if code in _APPLICATION or (resolution == "RESTART_APP" and code not in _WARNING):
        return "application"
    return "warning"


def _sources(code: int, resolution: str) -> Mapping[str, str]:
    said = {"NVIDIA catalogue": resolution} if resolution else {}
    said |= {who: what for who, what, codes in OPINIONS if code in codes}
    return MappingProxyType(said)


XID: Mapping[int, XidEntry] = MappingProxyType(
    {
        code: XidEntry(
            code=code,
            mnemonic=mnemonic,
            description=description,
            action=_ACTIONS[resolution] if resolution else "reboot" if code in _REBOOT else "support",
            grade=_default(code, resolution),
            sources=_sources(code, resolution),
            note=NOTES.get(code, ""),
        )
        for code, mnemonic, resolution, description in CATALOGUE
    }
)

SxidClass = Literal["always-fatal", "potentially-fatal", "noted"]

_SXID_CLASSES: tuple[tuple[SxidClass, tuple[int, ...]], ...] = (
    ("always-fatal", (12020, 22003, 22011, *range(23001, 23018))),
    (
        "potentially-fatal",
        (11001, 11009, 11013, 12001, 12002, 14017, 15001, *range(19047, 19071), 20034, *range(24004, 24008)),
    ),
    ("noted", (11004, 12028, 19084)),
)
#: NVSwitch errors by what gpud makes of them.
SXID: Mapping[int, SxidClass] = MappingProxyType({code: name for name, codes in _SXID_CLASSES for code in codes})


def grade_sxid(code: int | None, *, said_fatal: bool | None = None) -> Grade:
    """How bad an NVSwitch error is: "fatal" if it always is or if its line says Fatal, else "warning"."""
    return "fatal" if said_fatal or (code is not None and SXID.get(code) == "always-fatal") else "warning"

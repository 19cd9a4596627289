"""A reading: one value, where it came from, and whether it is there at all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gpu_readiness.verdict import Reason


class State(StrEnum):
    """Whether a field has a value, and if not, why."""

    PRESENT = "present"
    ABSENT = "absent"  # the artefact has no such field
    UNSUPPORTED = "unsupported"  # the driver answers N/A, NOT_SUPPORTED or "has been deprecated"
    DENIED = "denied"  # not enough rights
    BROKEN = "broken"  # ERR!, [Unknown Error], GPU is lost, text that is no number
    BEYOND_DEPTH = "beyond-depth"  # this depth, or this driver's tool, cannot show the field


@dataclass(frozen=True, slots=True)
class Reading:
    """One field of one subject.

    `value` is None unless `state` is PRESENT; `source` is the artefact that said so; `detail` quotes what was found
    instead of a value.
    """

    value: Any
    state: State
    source: str
    detail: str = ""

    @property
    def there(self) -> bool:
        """Whether there is a value."""
        return self.state is State.PRESENT


class Unmeasured(Exception):
    """Something could not be measured; `reason` is one of the closed list, the text says what was found instead."""

    def __init__(self, reason: Reason, message: str, source: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.source = source


REASON_OF_STATE = {
    State.ABSENT: Reason.MISSING,
    State.UNSUPPORTED: Reason.UNSUPPORTED,
    State.DENIED: Reason.DENIED,
    State.BROKEN: Reason.UNPARSABLE,
    State.BEYOND_DEPTH: Reason.NOT_SELECTED,
}

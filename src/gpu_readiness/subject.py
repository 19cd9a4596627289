"""Subjects of findings: a check says `subject.expect(field, …)`, and everything worth reporting is kept."""

from __future__ import annotations

from typing import Any

from gpu_readiness.declaration import Outcome
from gpu_readiness.evidence.reading import REASON_OF_STATE, Reading, State
from gpu_readiness.standard import Expected
from gpu_readiness.verdict import Finding, Reason, Severity

#: What a standard may ask for that a part without the capability already is.
_WITHOUT = ("disabled", "none")


class Subject:
    """Something with named fields: a GPU, a node. `outcome` is that of the check that is being judged."""

    label: str
    outcome: Outcome

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"

    def read(self, field: str) -> Reading:
        """The reading of a field, without judging it."""
        raise KeyError(field)

    def expect(
        self, field: str, expected: Expected | str | float | None, *, hint: str = "", severity: str | None = None
    ) -> bool:
        """Judge a field against what the standard says; True if it was measured and is so.

        None (the standard is silent) judges nothing, `any` records. A field that the driver does not support is a fault
        where the standard (an `Expected`) wants it, and not measured where only the check (a plain value) asks.
        """
        if expected is None:
            self.outcome.silent += 1
            return False
        return self.judge(field, self.read(field), expected, hint=hint, severity=severity)

    def expect_if_known(
        self, field: str, expected: Expected | None, *, hint: str = "", severity: str | None = None
    ) -> None:
        """As `expect`, for one of several fields of a check: the standard may well be silent about it."""
        if expected is not None:
            self.expect(field, expected, hint=hint, severity=severity)

    def expect_if_supported(
        self, field: str, expected: str | float, *, hint: str = "", severity: str | None = None
    ) -> None:
        """As `expect`, for a field that many products and drivers do not have: nothing is judged without it."""
        reading = self.read(field)
        if reading.state in (State.UNSUPPORTED, State.ABSENT, State.BEYOND_DEPTH):
            self.outcome.recorded += 1
        else:
            self.judge(field, reading, expected, hint=hint, severity=severity)

    def agree(self, field: str, other: str, *, hint: str = "") -> None:
        """Both fields have the same value, where both have one; a value that cannot be read is not measured."""
        first, second = self.read(field), self.read(other)
        if first.there and second.there:
            self.judge(field, first, second.value, hint=hint)
        for name, reading in ((field, first), (other, second)):
            if reading.state in (State.BROKEN, State.DENIED):
                self.judge(name, reading, "")

    def judge_if_known(self, field: str, reading: Reading, expected: Expected | None, *, hint: str = "") -> None:
        """As `judge`; where the standard is silent, that is counted and nothing is judged."""
        if expected is None:
            self.outcome.silent += 1
        else:
            self.judge(field, reading, expected, hint=hint)

    def expect_member(self, field: str, member: str) -> None:
        """A field that is a list (or words) has this among its members."""
        reading = self.read(field)
        if reading.there:
            members = reading.value.split() if isinstance(reading.value, str) else reading.value
            self.require(member in members, field, expected=member, observed="absent", source=reading.source)
        else:
            self.judge(field, reading, member)

    def record(self) -> None:
        """Say that the standard has nothing to judge here: no such thing, or any value will do."""
        self.outcome.recorded += 1

    def judge(
        self,
        field: str,
        reading: Reading,
        expected: Expected | str | float,
        *,
        hint: str = "",
        severity: str | None = None,
    ) -> bool:
        """As `expect`, for a reading that the check has at hand."""
        by_standard = isinstance(expected, Expected)
        if not isinstance(expected, Expected):
            expected = Expected.of(expected)
        outcome = self.outcome
        weight = Severity(severity) if severity else expected.severity or outcome.severity
        if expected.is_consensus:
            said = f"{self.label}: {field}: no consensus; it needs three nodes of this standard, and a majority"
            outcome.unmeasured.append((weight, Reason.NO_STANDARD, said))
            return False
        if reading.state is State.PRESENT:
            if expected.is_any or expected.accepts(reading.value):
                outcome.measured += 1
                return True
            outcome.measured += 1
            if expected.is_absent:
                self._find(field, "absent", _said(reading.value), reading.source, hint, weight)
                return False
            self._find(field, expected.text, _said(reading.value), reading.source, hint, weight)
            return False
        if expected.is_any or expected.is_absent:
            outcome.recorded += 1
        elif reading.state is State.UNSUPPORTED and by_standard:
            if any(expected.accepts(word) for word in _WITHOUT):
                outcome.measured += 1
                return True
            outcome.measured += 1
            self._find(field, expected.text, reading.detail or "not supported", reading.source, hint, weight)
        elif reading.state is State.BEYOND_DEPTH:
            outcome.beyond.append(reading.detail)
        else:
            said = f"{self.label}: {field}: {reading.detail or reading.state.value} ({reading.source})"
            outcome.unmeasured.append((weight, REASON_OF_STATE[reading.state], said))
        return False

    def require(
        self,
        holds: bool,
        field: str,
        *,
        expected: object,
        observed: object,
        source: str,
        hint: str = "",
        severity: str | None = None,
    ) -> bool:
        """Judge something that was measured and is no single field; a finding if it does not hold."""
        self.outcome.measured += 1
        if not holds:
            weight = Severity(severity) if severity else self.outcome.severity
            self._find(field, _said(expected), _said(observed), source, hint, weight)
        return holds

    def unmeasured(self, reason: Reason, message: str, *, severity: str | None = None) -> None:
        """Say that something the check asks for could not be measured."""
        self.outcome.unmeasured.append((Severity(severity) if severity else self.outcome.severity, reason, message))

    def not_shown(self, message: str) -> None:
        """Say that this depth, or this driver's tools, cannot show what the check asks for."""
        self.outcome.beyond.append(message)

    def _find(self, field: str, expected: str, observed: str, source: str, hint: str, severity: Severity) -> None:
        self.outcome.findings.append(
            Finding(self.label, field, expected, observed, source, hint or self.outcome.hint, severity)
        )


def _said(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(map(str, sorted(value, key=str))) or "none"
    return str(value)[:500]

"""The matchers of standards: one expected value, compiled once, asked millions of times."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache
from typing import Any, Literal

from gpu_readiness.standard.errors import StandardError, did_you_mean
from gpu_readiness.standard.values import Number, leading_version_of, number_of, text_of, version_of
from gpu_readiness.verdict import Severity

Kind = Literal["exact", "any", "absent", "consensus", "one-of", "range", "glob"]
Test = Callable[[object], bool]


class Order(StrEnum):
    """How two values of a field compare."""

    NUMBER = "number"  # 700, "700.00" and 700.0 are the same; dotted versions compare by their parts
    VERSION = "version"  # 12.10 is newer than 12.9
    WORD = "word"  # Enabled is enabled


_KEYS = ("value", "source", "severity", "note", "tolerance")
_WORDS: tuple[Kind, ...] = ("any", "absent", "consensus")
_TOLERANCE = re.compile(r"\s*±\s*(?P<amount>\d{1,9}(?:\.\d{1,9})?)\s*(?P<percent>%?)\s*")
_WITH_TOLERANCE = re.compile(r"(?P<centre>[+-]?\d{1,18}(?:\.\d{1,18})?)(?P<tolerance>\s*±.*)")
_BOUND = re.compile(r"\s*(?P<compare>[<>]=?)\s*(?P<bound>v?\d[\w.+-]*)[\s,]*")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SCALARS = frozenset({str, int, float})
_ON_OFF = frozenset({"enabled", "disabled"})


@dataclass(frozen=True, slots=True)
class Expected:
    """What a field has to be.

    `text` is the expectation as reports show it, `source` says who says so, `numbers` are the figures that it names.
    `severity`, where set, is used instead of the check's. `accepts` takes what was observed: text, a number or a
    boolean. None is accepted only where `absent` is expected. `any` accepts every value; `consensus` none: what most
    nodes have is an `Expected` of its own.
    """

    text: str
    kind: Kind
    accepts: Test = field(compare=False, repr=False)
    source: str = ""
    severity: Severity | None = None
    note: str = ""
    numbers: tuple[Number, ...] = field(default=(), repr=False)
    is_any: bool = field(default=False, repr=False)
    is_absent: bool = field(default=False, repr=False)
    is_consensus: bool = field(default=False, repr=False)

    @classmethod
    def of(cls, written: object, order: Order = Order.NUMBER) -> Expected:
        """Compile a scalar, a list of scalars (one of them) or a mapping that has them as its `value`.

        Raises:
            StandardError: `written` is none of these; the message has no place in a file yet.
        """
        if isinstance(written, Expected):
            return written
        if type(written) in _SCALARS:  # not a boolean, which would be found under 0 or 1
            return _cached(written, order)
        if not isinstance(written, Mapping):
            return _compiled(written, order)
        return _from_mapping(written, order)


def _from_mapping(written: Mapping[object, object], order: Order) -> Expected:
    for key in written:
        if key not in _KEYS:
            raise StandardError(f"{key}: unknown key{did_you_mean(str(key), _KEYS)}; there are {', '.join(_KEYS)}")
    if written.get("value") is None:
        raise StandardError("value: missing, say what is expected")
    value, tolerance = written["value"], written.get("tolerance")
    if tolerance is not None:
        if number_of(value) is None:
            raise StandardError(f"tolerance: {text_of(value)!r} is no number that could have one")
        if not _TOLERANCE.fullmatch(text_of(tolerance)):
            raise StandardError(f"tolerance: {text_of(tolerance)!r} cannot be read; write '±2%' or '±5'")
        value = f"{text_of(value)} {text_of(tolerance)}"
    severity = written.get("severity")
    if severity is not None and severity not in tuple(Severity):
        raise StandardError(f"severity: {text_of(severity)!r} is not one of {', '.join(Severity)}")
    found = _compiled(value, order)
    return Expected(
        found.text,
        found.kind,
        found.accepts,
        source=text_of(written.get("source") or ""),
        severity=None if severity is None else Severity(str(severity)),
        note=text_of(written.get("note") or ""),
        numbers=found.numbers,
        is_any=found.is_any,
        is_absent=found.is_absent,
        is_consensus=found.is_consensus,
    )


@lru_cache(maxsize=4096, typed=True)
def _cached(value: object, order: Order) -> Expected:
    return _compiled(value, order)


def _compiled(value: object, order: Order) -> Expected:
    if isinstance(value, (list, tuple)):
        return _one_of(value, order)
    if value is None or not isinstance(value, (str, int, float)):
        raise StandardError(f"{value!r} is no text, number or list of them")
    text = text_of(value).strip()
    if text in _WORDS:
        return _word(text)
    if text.startswith(("<", ">")):
        return _range(text, order)
    toleranced = _WITH_TOLERANCE.fullmatch(text)
    if toleranced:
        return _tolerance(text, toleranced["centre"], toleranced["tolerance"])
    if "*" in text:
        pattern = re.compile(translate(text), re.IGNORECASE if order is Order.WORD else 0)
        return Expected(text, "glob", lambda seen: seen is not None and pattern.match(text_of(seen)) is not None)
    number = number_of(text)
    return Expected(text, "exact", _exact(text, order), numbers=() if number is None else (number,))


def _word(word: str) -> Expected:
    if word == "any":
        return Expected(word, "any", lambda seen: seen is not None, is_any=True)
    if word == "absent":
        return Expected(word, "absent", lambda seen: seen is None, is_absent=True)
    return Expected(word, "consensus", lambda seen: False, is_consensus=True)


def _one_of(values: list[object] | tuple[object, ...], order: Order) -> Expected:
    found = [_compiled(value, order) for value in values if not isinstance(value, (list, tuple))]
    if not found or len(found) < len(values):
        raise StandardError(f"{values!r} is no list of texts and numbers")
    if any(each.is_any or each.is_consensus for each in found):
        raise StandardError("any and consensus stand alone, not in a list")
    if len(found) == 1:
        return found[0]
    tests = tuple(each.accepts for each in found)

    def one_accepts(seen: object) -> bool:
        for test in tests:  # noqa: SIM110 - a generator takes twice the time
            if test(seen):
                return True
        return False

    text = "one of " + ", ".join(each.text for each in found)
    numbers = tuple(number for each in found for number in each.numbers)
    return Expected(text, "one-of", one_accepts, numbers=numbers)


def _range(text: str, order: Order) -> Expected:
    bounds = list(_BOUND.finditer(text))
    if "".join(bound[0] for bound in bounds) != text:
        raise StandardError(f"{text!r} is no range; write '>=580.65', '<90' or '>=1 <=5'")
    numbers = tuple(number for bound in bounds if (number := number_of(bound["bound"])) is not None)
    versions = [leading_version_of(bound["bound"]) for bound in bounds]
    compares = [_COMPARE[bound["compare"]] for bound in bounds]
    if order is Order.VERSION or len(numbers) < len(bounds):
        if None in versions:
            raise StandardError(f"{text!r} is no range of numbers or versions")
        return Expected(text, "range", _within(leading_version_of, compares, versions))
    as_number = _within(number_of, compares, numbers)
    as_version = _within(version_of, compares, versions)
    return Expected(
        text, "range", lambda seen: (as_version if number_of(seen) is None else as_number)(seen), numbers=numbers
    )


def _within(read: Callable[[Any], Any], compares: Sequence[Callable[[Any, Any], bool]], limits: Sequence[Any]) -> Test:
    tests = tuple(zip(compares, limits, strict=True))

    def within(seen: object) -> bool:
        found = read(seen)
        return found is not None and all(compare(found, limit) for compare, limit in tests)

    return within


def _tolerance(text: str, centre: str, tolerance: str) -> Expected:
    amount = _TOLERANCE.fullmatch(tolerance)
    number = number_of(centre)
    if amount is None or number is None:
        raise StandardError(f"{text!r} has no tolerance that can be read; write '700 ±2%' or '700 ±5'")
    margin = float(amount["amount"]) * (abs(number) / 100 if amount["percent"] else 1)
    low, high = number - margin, number + margin
    shown = f"{centre} ±{amount['amount']}{amount['percent']}"

    def near(seen: object) -> bool:
        found = number_of(seen)
        return found is not None and low <= found <= high

    return Expected(shown, "range", near, numbers=(number,))


def _exact(text: str, order: Order) -> Test:
    number = number_of(text) if order is Order.NUMBER else None
    if number is not None:
        return lambda seen: seen == number if type(seen) is int else number_of(seen) == number
    if order is Order.WORD or text.casefold() in _ON_OFF:
        folded = text.casefold()
        return lambda seen: seen == text or text_of(seen).casefold() == folded
    version = version_of(text)
    if version is not None:
        return lambda seen: seen == text or version_of(seen) == version
    return lambda seen: seen == text or text_of(seen) == text

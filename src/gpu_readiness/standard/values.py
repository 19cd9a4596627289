"""How a scalar of a standard, or of a node, reads as text, as a number and as a version."""

from __future__ import annotations

import re

Number = int | float
Version = tuple[int, ...]

_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?")
_VERSION = re.compile(r"v?(\d{1,18}(?:\.\d{1,18})*)")
_LEADING_VERSION = re.compile(r"v?(\d{1,18}(?:\.\d{1,18})*)(?![\d.])")


def text_of(value: object) -> str:
    """As a report shows it; booleans are `true` and `false`, as in YAML and in labels."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def number_of(value: object) -> Number | None:
    """The number that a value is or spells (without unit or exponent); a boolean is none."""
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value.strip())
        return None if found is None else float(value) if found[1] else int(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def version_of(value: object) -> Version | None:
    """The dotted parts of what is a version and nothing else; a leading v and trailing zero parts do not count."""
    found = _VERSION.fullmatch(text_of(value))
    return _parts(found[1]) if found else None


def leading_version_of(value: object) -> Version | None:
    """The version that text begins with, as in `v1.34.2-eks-113cf36` or `4.6.0-4.8.3-distroless`."""
    found = _LEADING_VERSION.match(text_of(value))
    return _parts(found[1]) if found else None


def _parts(dotted: str) -> Version:
    parts = [int(part) for part in dotted.split(".")]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)

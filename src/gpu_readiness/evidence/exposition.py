"""Prometheus' text exposition format, read by prometheus_client.

The library takes 0.11 ms for a sample with an exporter's labels, and those of a GPU are the same in each of its
samples. So each distinct label block and each distinct value goes through the library once per text; a line of any
other shape goes through it whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.text import decode_text, quote
from gpu_readiness.verdict import Reason

MAX_BYTES = 32 * 1024 * 1024
#: The library is quadratic in the length of a line.
MAX_LINE = 16 * 1024

_LINE = re.compile(
    r"""([A-Za-z_:][A-Za-z0-9_:]*+)                             # name
        [ \t]*+
        (?: (\{ (?: [^"{}]++ | "(?:[^"\\]++|\\.)*+" )*+ \})     # labels: braces count only outside quotes
          | (?<=[ \t]) )
        (.*)""",  # value and time stamp
    re.VERBOSE,
)


class Sample(NamedTuple):
    """One line; `value` may be NaN or infinite. The labels may be shared between samples: not to be changed."""

    name: str
    labels: dict[str, str]
    value: float


def parse_exposition(data: bytes, source: str) -> list[Sample]:
    """Every sample, under the very name that the text has.

    Raises:
        Unmeasured: `missing` for an empty text, `unparsable` for anything that is no exposition text, with the line.
            Also for a text whose last line has no end: it was cut off, and who knows how many lines with it.
    """
    text = decode_text(data, source, MAX_BYTES)
    samples = list(_samples(text, source))
    if not text.endswith("\n"):
        raise Unmeasured(Reason.UNPARSABLE, f"{source} was cut off: its last line has no end", source)
    return samples


def _samples(text: str, source: str) -> Iterator[Sample]:
    labels: dict[str, dict[str, str]] = {"": {}}
    values: dict[str, float] = {}
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        try:
            if len(line) > MAX_LINE:
                raise ValueError(f"{len(line)} characters")
            if (match := _LINE.fullmatch(line)) is None:
                yield _by_library(line)
                continue
            name, block, tail = match[1], match[2] or "", match[3]
            if block not in labels:
                labels[block] = _by_library(f"x{block} 0").labels
            if tail not in values:
                values[tail] = _by_library(f"x{{}} {tail}").value
            yield Sample(name, labels[block], values[tail])
        except (ValueError, IndexError, OverflowError) as error:
            raise Unmeasured(
                Reason.UNPARSABLE,
                f"{source} line {number} is no Prometheus sample ({quote(str(error))}): {quote(line)}",
                source,
            ) from error


def _by_library(line: str) -> Sample:
    for family in text_string_to_metric_families(line + "\n"):
        for name, labels, value, *_ in family.samples:
            return Sample(name, labels, float(value))
    raise ValueError("no sample")

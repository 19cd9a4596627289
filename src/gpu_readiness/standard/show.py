"""A standard as rows: what it says, and who says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_readiness.standard.expected import Expected
from gpu_readiness.standard.model import Standard
from gpu_readiness.standard.section import Section, kebab

_OWN = frozenset({"name", "title", "hardware", "digest", "stack", "sharing_name"})


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that a standard says, at its path (`gpu.power-limit`); of hardware, with the name of its entry."""

    path: str
    text: str
    source: str = ""
    hardware: str = ""


def rows(standard: Standard) -> Iterator[Row]:
    """All that a standard says, in the order of its sections, then hardware by hardware."""
    for name in type(standard).model_fields:
        if name in standard.model_fields_set and name not in _OWN:
            yield from _rows(kebab(name), getattr(standard, name), "")
    for entry in standard.hardware:
        yield from _rows("gpu", entry.gpu, entry.name)
        yield from _rows("workload", entry.workload, entry.name)


def _rows(path: str, value: Any, hardware: str) -> Iterator[Row]:
    if isinstance(value, Expected):
        yield Row(path, value.text, value.source, hardware)
    elif isinstance(value, Section):
        said = (name for name in type(value).model_fields if name in value.model_fields_set)
        for name in said:
            yield from _rows(f"{path}.{kebab(name)}", getattr(value, name), hardware)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _rows(f"{path}.{key}", each, hardware)
    elif isinstance(value, tuple) and any(isinstance(each, Section) for each in value):
        for index, each in enumerate(value):
            yield from _rows(f"{path}.{index}", each, hardware)
    elif isinstance(value, tuple):
        yield Row(
            path, ", ".join(each.text if isinstance(each, Expected) else str(each) for each in value), "", hardware
        )
    else:
        yield Row(path, str(value).lower() if isinstance(value, bool) else str(value), "", hardware)

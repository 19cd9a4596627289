"""`consensus`: what most nodes of the same standard have, found out once all of them were seen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpu_readiness.standard.expected import Expected
from gpu_readiness.standard.model import Standard
from gpu_readiness.standard.section import Section, kebab

#: Fewer nodes than this have no majority.
LEAST_NODES = 3
#: Sections of a standard that say nothing of a single node.
_NOT_OF_NODES = frozenset({"match", "hardware", "waivers", "upgrade"})


def consensus_paths(standard: Standard) -> list[str]:
    """The paths (`gpu.power-limit`) at which a standard asks for consensus."""
    return [path for path, expected in _walk(standard, "") if expected.is_consensus]


def with_consensus(standard: Standard, observations: Sequence[Mapping[str, object]]) -> Standard:
    """The standard with a value wherever more than half of at least three measured nodes have the same.

    Elsewhere `consensus` stays: nothing accepts it, and a check that meets it has not measured anything.
    """
    found: dict[str, Expected] = {}
    for path in consensus_paths(standard):
        values = [each[path] for each in observations if each.get(path) is not None]
        counts = Counter(json.dumps(value, sort_keys=True, default=str) for value in values)
        key, times = counts.most_common(1)[0] if counts else ("", 0)
        if len(values) >= LEAST_NODES and 2 * times > len(values):
            source = f"consensus of {times} of {len(values)} nodes"
            found[path] = Expected.of({"value": json.loads(key), "source": source})
    said = standard.model_fields_set - _NOT_OF_NODES
    return standard.with_sections({name: _replaced(getattr(standard, name), kebab(name), found) for name in said})


def _walk(value: Any, path: str) -> Iterator[tuple[str, Expected]]:
    if isinstance(value, Expected):
        yield path, value
    elif isinstance(value, Section):
        for name in type(value).model_fields:
            if path or name not in _NOT_OF_NODES:
                yield from _walk(getattr(value, name), f"{path}.{kebab(name)}" if path else kebab(name))
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _walk(each, f"{path}.{key}")


def _replaced(value: Any, path: str, found: Mapping[str, Expected]) -> Any:
    if isinstance(value, Expected):
        return found.get(path, value) if value.is_consensus else value
    if isinstance(value, Section):
        said = {
            name: _replaced(getattr(value, name), f"{path}.{kebab(name)}", found) for name in value.model_fields_set
        }
        return value.model_copy(update=said)
    if isinstance(value, dict):
        return {key: _replaced(each, f"{path}.{key}", found) for key, each in value.items()}
    return value

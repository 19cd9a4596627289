"""A standard learnt from nodes: what most of them have, and where they differ or were not measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gpu_readiness.standard.document import parse_document
from gpu_readiness.standard.errors import StandardError
from gpu_readiness.standard.expected import Expected
from gpu_readiness.standard.library import Library
from gpu_readiness.standard.model import Document
from gpu_readiness.standard.section import kebab

NODE = "node"
_LABEL = "label."
_PRODUCT_LABEL = f"{_LABEL}nvidia.com/gpu.product"
#: Mappings whose keys have dots of their own.
_DOTTED = ("allocatable.resources", "labels.required", "runtime.conditions", "gpu.products")
#: Sections whose numbers carry a source.
_SOURCED = ("gpu.", "workload.", "serving.")
_TOLERANCES = {"gpu.memory": "±1%"}


@dataclass(frozen=True, slots=True)
class Learned:
    """The text of a standard that can be loaded, and what somebody should look at before it is used."""

    text: str
    doubts: list[str]


def learn(observations: Sequence[Mapping[str, object]], name: str) -> Learned:
    """Make a standard of what most nodes have.

    Each observation is one node: its name under `node`, values under their paths in a standard (`gpu.power-limit`,
    `allocatable.resources.nvidia.com/gpu`) and labels under `label.`. None is a value that could not be measured. What
    has no majority is left out. Where every product has a shipped hardware standard, the result extends it.

    Raises:
        StandardError: there is no observation, or a path that standards do not have.
    """
    if not observations:
        raise StandardError(f"standard {name}: nothing to learn from: no node was observed")
    doubts: list[str] = []
    found: dict[str, tuple[Any, int]] = {}
    for path in dict.fromkeys(path for each in observations for path in each if path != NODE):
        majority = _majority(path, observations, doubts)
        if majority is not None:
            found[path] = majority
    tree: dict[str, Any] = {"name": name, "title": f"Learnt from {_nodes(len(observations))}"}
    library = Library.load()
    tree["extends"] = _hardware(found, library)
    tree["match"] = _match(found, observations)
    for path, (value, count) in found.items():
        _place(tree, path, value, f"learnt from {count} of {_nodes(len(observations))}")
    return Learned(_loadable(tree, name, library, doubts), doubts)


def _majority(path: str, observations: Sequence[Mapping[str, object]], doubts: list[str]) -> tuple[Any, int] | None:
    """The value that more than half of the measured nodes have, and how many do."""
    values: dict[str, Any] = {}
    having: dict[str, list[str]] = {}
    unmeasured = []
    for index, each in enumerate(observations):
        value, node = each.get(path), str(each.get(NODE, f"node {index + 1}"))
        if value is None:
            unmeasured.append(node)
        else:
            key = json.dumps(value, sort_keys=True, default=str)
            values[key] = value
            having.setdefault(key, []).append(node)
    if unmeasured:
        doubts.append(f"{path}: not measured on {_some(unmeasured)}")
    if not values:
        return None
    counts = Counter({key: len(nodes) for key, nodes in having.items()})
    (best, count), *others = counts.most_common()
    said = "; ".join(f"{values[key]} on {_some(having[key])}" for key, _ in others)
    if 2 * count <= sum(counts.values()):
        doubts.append(f"{path}: no majority, left out: {values[best]} on {_some(having[best])}; {said}")
        return None
    if others:
        doubts.append(f"{path}: {values[best]} on {_nodes(count)}, but {said}")
    if isinstance(values[best], str) and Expected.of(values[best]).kind != "exact":
        doubts.append(f"{path}: {values[best]!r} would be read as a matcher, left out")
        return None
    return values[best], count


def _products(found: Mapping[str, tuple[Any, int]]) -> list[str]:
    products = found.get("gpu.products")
    if products is not None:
        return sorted(products[0])
    product = found.get("gpu.product")
    return [] if product is None else [str(product[0])]


def _hardware(found: Mapping[str, tuple[Any, int]], library: Library) -> list[str]:
    entries = [library.hardware_of(product) for product in _products(found)]
    return [entry for entry in entries if entry] if all(entries) else []


def _match(found: Mapping[str, tuple[Any, int]], observations: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    products = _products(found)
    if products:
        return {"products": products}
    if _PRODUCT_LABEL in found:
        return {"labels": {_PRODUCT_LABEL.removeprefix(_LABEL): found[_PRODUCT_LABEL][0]}}
    return {"nodes": sorted(str(each[NODE]) for each in observations if NODE in each) or ["*"]}


def _place(tree: dict[str, Any], path: str, value: Any, source: str) -> None:
    if path.startswith(_LABEL):
        path = f"labels.required.{path.removeprefix(_LABEL)}"
    keys = path.split(".")
    for prefix in _DOTTED:
        if path.startswith(f"{prefix}."):
            keys = [*prefix.split("."), path.removeprefix(f"{prefix}.")]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and path.startswith(_SOURCED) and not path.startswith("gpu.products"):
        value = {"value": value, "source": source}
        if path in _TOLERANCES:
            value["tolerance"] = _TOLERANCES[path]
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def _loadable(tree: dict[str, Any], name: str, library: Library, doubts: list[str]) -> str:
    """The text, without the shipped hardware if what was learnt cannot be true of it."""
    order = ["name", "title", "extends", *map(kebab, Document.model_fields)]
    ordered = {key: tree[key] for key in sorted(tree, key=order.index) if tree[key]}
    text = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=110)
    document = parse_document(text, name)
    try:
        library.check(document)
    except StandardError as problem:
        if not tree["extends"]:
            raise
        doubts.append(str(problem))
        return _loadable({**tree, "extends": []}, name, library, doubts)
    return text


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _some(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")

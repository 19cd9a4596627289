"""Whose a standard is: what is known of a node, and how specifically a match speaks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gpu_readiness.standard.model import device_key, product_key
from gpu_readiness.standard.sections import Match

Specificity = tuple[bool, int, bool, bool]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is known of a node before it is judged; `products` and `device_ids` without repetition.

    `stack` and `sharing` are the caller's findings (`detect.stack_of`, `detect.sharing_of`), None where nothing says.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    products: tuple[str, ...] = ()
    device_ids: tuple[str, ...] = ()
    stack: str | None = None
    sharing: str | None = None
    mock: bool = False
    replicas: int | None = None


def specificity(match: Match, facts: NodeFacts) -> Specificity | None:
    """How specific a match is that holds; greater is more so. None if it does not hold."""
    products = {product_key(name) for name in match.products}
    ids = {device_key(each) for each in match.device_ids}
    has_product = not products.isdisjoint(map(product_key, facts.products))
    has_id = not ids.isdisjoint(map(device_key, facts.device_ids))
    holds = (
        (not match.nodes or any(fnmatchcase(facts.name, pattern) for pattern in match.nodes))
        and all(fnmatchcase(facts.labels.get(key, "\0"), pattern) for key, pattern in match.labels.items())
        and (not (products or ids) or has_product or has_id)
        and (match.stack is None or match.stack == facts.stack)
    )
    return (bool(match.nodes), len(match.labels), bool(products or ids), match.stack is not None) if holds else None

"""Choosing nodes: by label selector as kubectl takes it, or by names and globs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

_TERM = re.compile(
    r"\s*(?:(?P<key>!?\s*[A-Za-z0-9./_-]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[A-Za-z0-9._-]*)"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Nodes that all `terms` hold for, or whose name one of `names` matches; with neither, every node."""

    terms: tuple[tuple[str, str, frozenset[str]], ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Selection:
        """`pool=a,zone in (x, y),!cordoned`, or names and globs: `gpu-01,gpu-1*`.

        Raises:
            ValueError: neither.
        """
        text = text.strip()
        if not text:
            return cls()
        if not re.search(r"[=!(]", text):
            names = tuple(part.strip() for part in text.split(",") if part.strip())
            if not names:
                raise ValueError(f"--readiness-nodes: {text!r} names no node")
            return cls(names=names)
        terms, position = [], 0
        while position < len(text):
            match = _TERM.match(text, position)
            if match is None or (match["key"].startswith("!") and (match["op"] or match["set"])):
                rest = text[position : position + 20]
                raise ValueError(f"--readiness-nodes: {text!r} is no label selector at {rest!r}; write key=value")
            key = match["key"].strip()
            if match["set"]:
                values = frozenset(part.strip() for part in match["values"].split(","))
                terms.append((key, match["set"], values))
            elif match["op"]:
                terms.append((key, "notin" if match["op"] == "!=" else "in", frozenset({match["value"]})))
            else:
                terms.append((key.lstrip("! "), "absent" if key.startswith("!") else "present", frozenset()))
            position = match.end()
        return cls(terms=tuple(terms))

    @property
    def plain_names(self) -> frozenset[str]:
        """The names that are no globs."""
        return frozenset(name for name in self.names if not any(each in name for each in "*?["))

    def takes(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a node is chosen."""
        if self.names:
            return any(fnmatchcase(name, pattern) for pattern in self.names)
        return all(_holds(labels.get(key), how, values) for key, how, values in self.terms)


def _holds(value: str | None, how: str, values: frozenset[str]) -> bool:
    if how == "present":
        return value is not None
    if how == "absent":
        return value is None
    return (value in values) if how == "in" else (value not in values)

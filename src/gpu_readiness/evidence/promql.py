"""As much of PromQL as it takes to know what a query asks of an exporter's series.

Selectors, ranges, subqueries, offsets, functions and aggregations of one vector, `or`, and comparisons with a number.
Of anything else nothing is known, and its answers are no evidence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

#: Queries longer than this, or nested deeper, are nobody's that asks for GPUs.
MAX_LENGTH = 4096
_MAX_DEPTH = 30

_TOKEN = re.compile(
    r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
             | (?P<duration>(?:\d{1,9}(?:ms|[smhdwy]))+(?![\w.]))
             | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))
             | (?P<word>[A-Za-z_][\w:]*)
             | (?P<sign>==|!=|>=|<=|=~|!~|[><=(){}\[\],:]) )""",
    re.VERBOSE,
)
_UNIT = re.compile(r"(\d+)(ms|[smhdwy])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_AGGREGATIONS = frozenset({"max", "min", "sum", "avg", "count", "group", "count_values"})
_COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})


@dataclass(frozen=True, slots=True)
class Query:
    """What a query does to series, outermost step first.

    `names` are the metrics it selects (none where a matcher of `__name__` says which), `matched` the labels that it
    selects by. `window` and `step` are those of its range in seconds, 0 where it has none; `offset` likewise. `label`
    is the one that `count_values` makes.
    """

    steps: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    matched: frozenset[str] = frozenset()
    window: float = 0.0
    step: float = 0.0
    offset: float = 0.0
    label: str = ""


def parse_query(text: str) -> Query | None:
    """What a query asks; None if it is beyond this subset."""
    if len(text) > MAX_LENGTH:
        return None
    try:
        return _Reader(_tokens(text)).whole()
    except _Beyond:
        return None


def seconds_of(duration: str) -> float:
    """A duration as Prometheus writes it (`24h`, `1h30m`), in seconds."""
    return float(sum(int(number) * _SECONDS[unit] for number, unit in _UNIT.findall(duration)))


class _Beyond(Exception):
    """The query is none of those that are understood."""


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _Beyond
        found.append((match.lastgroup or "", match[match.lastgroup or 0]))
        position = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Query:
        found = self._expression()
        if self._at < len(self._tokens):
            raise _Beyond
        return found

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self, kind: str, text: str = "") -> str:
        if self._at >= len(self._tokens):
            raise _Beyond
        found, said = self._tokens[self._at]
        if found != kind or (text and said != text):
            raise _Beyond
        self._at += 1
        return said

    def _took(self, text: str) -> bool:
        taken = self._peek() == text
        self._at += taken
        return taken

    def _expression(self) -> Query:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _Beyond
        found = self._compared()
        while self._took("or"):
            other = self._compared()
            if replace(other, names=frozenset()) != replace(found, names=frozenset()):
                raise _Beyond
            found = replace(found, names=found.names | other.names)
        self._depth -= 1
        return found

    def _compared(self) -> Query:
        found = self._term()
        if self._peek() in _COMPARISONS:
            self._at += 1
            self._took("bool")
            self._take("number")
            found = replace(found, steps=("compare", *found.steps))
        return found

    def _term(self) -> Query:
        if self._took("("):
            found = self._expression()
            self._take("sign", ")")
        elif self._peek() == "{":
            found = Query(matched=self._matchers())
        else:
            found = self._named(self._take("word"))
        return self._ranged(found)

    def _named(self, word: str) -> Query:
        if word in _AGGREGATIONS and self._peek() in ("by", "("):
            self._grouping()
            found = self._call(word)
            self._grouping()
            return found
        if self._peek() == "(":
            return self._call(word)
        return Query(names=frozenset({word}), matched=self._matchers())

    def _call(self, word: str) -> Query:
        self._take("sign", "(")
        if self._took(")"):
            return Query(steps=(word,))
        label = ""
        if word == "count_values":
            label = self._take("string")[1:-1]
            self._take("sign", ",")
        found = self._expression()
        self._take("sign", ")")
        if label and found.label:
            raise _Beyond
        return replace(found, steps=(word, *found.steps), label=label or found.label)

    def _grouping(self) -> None:
        if not self._took("by"):
            return
        self._take("sign", "(")
        while not self._took(")"):
            self._take("word")
            self._took(",")

    def _matchers(self) -> frozenset[str]:
        found: set[str] = set()
        if not self._took("{"):
            return frozenset()
        while not self._took("}"):
            found.add(self._take("word"))
            if self._peek() not in ("=", "!=", "=~", "!~"):
                raise _Beyond
            self._at += 1
            self._take("string")
            self._took(",")
        return frozenset(found)

    def _ranged(self, found: Query) -> Query:
        if self._took("["):
            window, step = seconds_of(self._take("duration")), 0.0
            if self._took(":") and self._peek() != "]":
                step = seconds_of(self._take("duration"))
            self._take("sign", "]")
            if found.window:
                raise _Beyond
            found = replace(found, steps=("range", *found.steps), window=window, step=step)
        if self._took("offset"):
            found = replace(found, steps=("offset", *found.steps), offset=seconds_of(self._take("duration")))
        return found

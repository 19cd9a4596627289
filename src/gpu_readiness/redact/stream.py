"""Files of any size in pieces: JSON item by item, text in blocks that split nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TextIO

_BLOCK = 1 << 20
#: Characters that one item of a list, or a text without a gap, may have.
_MAX_ITEM = 64 << 20
_GAPS = (("\n", "}"), (" ", ",", "</", "\0"))
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()

Change = Callable[[str, Any], Any]


def blocks(file: TextIO) -> Iterator[str]:
    """The text in blocks of about a million characters, which end where nothing is cut in two."""
    rest = ""
    while more := file.read(_BLOCK):
        rest += more
        ends = (max(rest.rfind(gap) + len(gap) if gap in rest else 0 for gap in gaps) for gaps in _GAPS)
        end = next(filter(None, ends), 0)
        if not end and len(rest) < _MAX_ITEM:
            continue
        yield rest[: end or len(rest)]
        rest = rest[end or len(rest) :]
    if rest:
        yield rest


def changed_json(file: TextIO, change: Change) -> Iterator[str]:
    """A JSON document in pieces, with `change` made to it; items of a list in the document come one by one.

    Args:
        file: the document.
        change: makes a new value out of the name of the field it is in and the old one; "" is no field.

    Raises:
        ValueError: no JSON, or a number that is none in JSON.
        RecursionError: nested too deep.
    """
    source = _Source(file)
    if source.next() == "{":
        yield "{"
        for gap in source.members("}"):
            key = source.value()
            if not isinstance(key, str):
                raise ValueError("a key that is no text")
            source.take(":")
            yield f"{gap}{_written(change('', key))}:"
            yield from _member(source, key, change)
        yield "}\n"
    else:
        yield _written(change("", source.value()))
    if source.next():
        raise ValueError("text after the document")


def _member(source: _Source, key: str, change: Change) -> Iterator[str]:
    if source.next() != "[":
        yield _written(change(key, source.value()))
        return
    yield "["
    for gap in source.members("]"):
        yield f"{gap}\n{_written(change(key, source.value()))}"
    yield "]"


def _written(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class _Source:
    """A text that is read on when a value is not complete."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._ended = False

    def next(self) -> str:
        """The next character that is no space, which is not taken; "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, character: str) -> None:
        """Go past a character that has to be there."""
        if self.next() != character:
            raise ValueError(f"expected {character!r}")
        self._at += 1

    def members(self, end: str) -> Iterator[str]:
        """Stop at each member of an object or list, up to its end; gives what has to be written before it."""
        self._at += 1
        gap = ""
        while self.next() != end or gap:
            yield gap
            gap = "," if self.next() == "," else ""
            if gap:
                self._at += 1
            elif self.next() != end:
                raise ValueError(f"expected ',' or {end!r}")
        self._at += 1

    def value(self) -> Any:
        """Take one value."""
        self.next()
        while True:
            try:
                found, end = _DECODER.raw_decode(self._text, self._at)
            except ValueError:
                if len(self._text) - self._at > _MAX_ITEM or not self._more():
                    raise
                continue
            if end + 2 < len(self._text) or not self._more():  # a number may go on, by a dot or e+
                self._at = end
                return found

    def _more(self) -> bool:
        """Read on, as much again as is there already, so that a long value is not begun too often."""
        rest = self._text[self._at :]
        more = "" if self._ended else self._file.read(max(_BLOCK, len(rest)))
        self._ended = not more
        if more:
            self._text, self._at = rest + more, 0
        return bool(more)

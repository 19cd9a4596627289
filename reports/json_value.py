"""Typed access to parsed JSON that names the place of whatever is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, TypeVar

from gpu_readiness.reports.text import clean

_Word = TypeVar("_Word", bound=StrEnum)
_NOTHING = object()


class UnexpectedJson(Exception):
    """Something else than `expected` is at `place`; the text is one line."""

    def __init__(self, place: str, expected: str, found: object) -> None:
        got = "nothing" if found is _NOTHING else clean(repr(found), 60)
        super().__init__(f"{clean(place, 120) or 'the document'}: expected {expected}, got {got}")


class JsonValue:
    """A parsed value that knows where it is in its document; every accessor raises UnexpectedJson on another type."""

    __slots__ = ("_key", "_parent", "value")

    def __init__(self, value: Any, parent: JsonValue | None = None, key: str | int = "") -> None:
        self.value = value
        self._parent = parent
        self._key = key

    @property
    def place(self) -> str:
        """As in ``results[17].verdict``."""
        if self._parent is None:
            return ""
        above = self._parent.place
        if isinstance(self._key, int):
            return f"{above}[{self._key}]"
        return f"{above}.{self._key}" if above else self._key

    def __getitem__(self, key: str) -> JsonValue:
        """The value of a key; a missing one fails where it is used."""
        return self.get(key, _NOTHING)

    def get(self, key: str, default: object) -> JsonValue:
        """The value of a key, or `default` where the object lacks it."""
        return JsonValue(self._typed(dict, "an object").get(key, default), self, key)

    def __iter__(self) -> Iterator[JsonValue]:
        """The entries of an array."""
        for index, each in enumerate(self._typed(list, "an array")):
            yield JsonValue(each, self, index)

    def entries(self) -> Iterator[tuple[str, JsonValue]]:
        """The keys and values of an object."""
        for key, each in self._typed(dict, "an object").items():
            yield key, JsonValue(each, self, key)

    def text(self) -> str:
        """A string."""
        found: str = self._typed(str, "text")
        return found

    def optional_text(self) -> str | None:
        """A string, or None where the document says null."""
        return None if self.value is None else self.text()

    def number(self) -> int:
        """An integer."""
        found: int = self._typed(int, "an integer")
        return found

    def pair(self) -> tuple[int, int]:
        """An array of two integers."""
        numbers = [each.number() for each in self]
        if len(numbers) != 2:
            raise UnexpectedJson(self.place, "two integers", self.value)
        return numbers[0], numbers[1]

    def word(self, kind: type[_Word]) -> _Word:
        """One of a closed list of words."""
        try:
            return kind(self.value)
        except ValueError:
            raise UnexpectedJson(self.place, f"one of {', '.join(kind)}", self.value) from None

    def _typed(self, kind: type, expected: str) -> Any:
        if type(self.value) is not kind:
            raise UnexpectedJson(self.place, expected, self.value)
        return self.value

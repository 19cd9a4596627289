"""What a standard can be refused for, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 400


class StandardError(ValueError):
    """A standard cannot be used: one line that says which one, where in it, what is there and what was expected."""

    def __init__(self, message: str) -> None:
        line = "".join(each if each.isprintable() else " " for each in message)
        super().__init__(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean x?` for the known word that looks most like `word`; empty if none does."""
    close = get_close_matches(word[:_LONGEST], list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""

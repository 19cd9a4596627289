"""Makes text that a cluster, a driver or a pod wrote harmless before it enters a report.

Whoever can create a pod chooses some of this text. It may try to repaint a terminal, to reverse the reading direction,
to hide words from a human reader, or to end the document that quotes it.
"""

from __future__ import annotations

import re

_LINE_END = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_TERMINAL_SEQUENCE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    "|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)"  # window titles, hyperlinks
    "|\x1b[ -/]*[0-~]"
)
_PLAIN_WORD = re.compile("[A-Za-z0-9]{1,30}(-[A-Za-z0-9]{1,30}){0,3}")
_BACKTICKS = re.compile("`+")
_LEGAL_WHITE_SPACE = frozenset("\n\t")
_TO_SPACES = str.maketrans("\n\t", "  ")


def clean(text: str, limit: int = 500) -> str:
    """One line of printable text of at most `limit` characters.

    Terminal sequences go, white space of any kind becomes a space, and whatever else cannot be seen (control
    characters, direction overrides, zero-width characters, lone surrogates) becomes U+FFFD, so that its presence
    shows. A cut is marked with "…".
    """
    if not text.isprintable():
        text = _legal(text).translate(_TO_SPACES)
    return _cut(text, limit)


def code_span(text: str, limit: int = 500) -> str:
    """A Markdown code span that shows `text`, cleaned, and that nothing in it can end.

    Outside a table only: a table splits its cells before it looks for code spans, see `code_cell`.
    """
    text = clean(text, limit)
    if not text.strip():
        return "(empty)"
    runs = {len(run) for run in _BACKTICKS.findall(text)}
    fence = "`" * next(length for length in range(1, len(runs) + 2) if length not in runs)
    padding = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def code_cell(text: str, limit: int = 500) -> str:
    r"""A code span for a cell of a Markdown table.

    Renderers disagree on what a backslash before an escaped pipe does, so `\|` in the text gets a space in between.
    """
    return code_span(text, limit).replace("\\|", "\\ |").replace("|", "\\|")


def word(text: str) -> str:
    """A name as it is if it is a plain word, which no Markdown renderer can misread; else a code span."""
    return text if _PLAIN_WORD.fullmatch(text) else code_span(text, 80)


def xml_text(text: str, limit: int = 20_000) -> str:
    """At most `limit` characters that XML 1.0 allows: as `clean`, but line breaks and tabs stay."""
    return _cut(text if text.isprintable() else _legal(text), limit)


def _legal(text: str) -> str:
    text = _TERMINAL_SEQUENCE.sub("", _LINE_END.sub("\n", text))
    return "".join(
        char if char.isprintable() or char in _LEGAL_WHITE_SPACE else " " if char.isspace() else "\ufffd"
        for char in text
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"

"""Bytes of an artefact that ought to be text: decoded, or refused with the reason."""

from __future__ import annotations

import re

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

_HTML = re.compile(r"\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)


def decode_text(data: bytes, source: str, limit: int) -> str:
    """The text of an artefact of at most `limit` bytes.

    Raises:
        Unmeasured: `missing` if there is nothing but white space, `unparsable` if it is too long, binary or HTML.
    """
    if not data.strip():
        raise Unmeasured(Reason.MISSING, f"{source} is empty: was its command run to the end?", source)
    if len(data) > limit:
        raise Unmeasured(Reason.UNPARSABLE, f"{source} has {len(data)} bytes, expected at most {limit}", source)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unmeasured(
            Reason.UNPARSABLE, f"{source} is no UTF-8 text: {error.reason} at byte {error.start}", source
        ) from error
    if "\0" in text:
        raise Unmeasured(Reason.UNPARSABLE, f"{source} is binary: NUL at character {text.index(chr(0))}", source)
    if _HTML.match(text):
        raise Unmeasured(
            Reason.UNPARSABLE,
            f"{source} is an HTML page (a proxy's error?), which starts {quote(text.strip())}",
            source,
        )
    return text


def quote(text: str, length: int = 80) -> str:
    """The start of foreign text for a message: at most `length` characters, escaped so that they are one line."""
    return repr(text if len(text) <= length else text[:length] + "…")

"""Reading JSON and XML from strangers: bounded, without entities, one object at a time."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator
from typing import Any

import defusedxml
import defusedxml.ElementTree

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

Json = dict[str, Any]

_SPACE = re.compile(r"[ \t\n\r]*")


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
#: What an API server's refusal means where a list was asked for.
_STATUS_REASONS = {403: Reason.DENIED, 401: Reason.DENIED, 404: Reason.MISSING, 504: Reason.TIMEOUT}
#: What the fast XML path takes: no internal subset (nothing can declare an entity), and an encoding that hides nothing.
_SAFE_HEAD = re.compile(
    rb"""\s*(<\?xml[^>]{0,200}\?>)?\s*(<!DOCTYPE\s+[\w.:-]+(\s+SYSTEM\s+(["'])[^"'<>\[\]]{0,200}\4)?\s*>)?\s*<\w"""
)
_ENCODING = re.compile(rb"""encoding\s*=\s*["']([\w.-]+)["']""")


def parse_json(data: bytes, source: str) -> Any:
    """One JSON value.

    Raises:
        Unmeasured: `missing` if the file is empty, `unparsable` if it is no JSON or nests too deep.
    """
    try:
        return json.loads(_text(data, source), parse_constant=_no_number)
    except (ValueError, RecursionError) as problem:
        raise _unparsable(source, data, problem) from None


def iter_items(data: bytes, source: str, kinds: Collection[str] = ()) -> Iterator[Json]:
    """The objects of what kubectl prints: the items of a List, or the one object itself.

    Items are decoded one by one, so that a list of 100 MB never stands in memory as objects.

    Args:
        data: the document.
        source: its name, for messages.
        kinds: what the objects may be, where they say it; any if empty.

    Raises:
        Unmeasured: as `parse_json`; also if an item is no object or another kind of object, and if the document is an
            API server's refusal.
    """
    text = _text(data, source)
    try:
        yield from _items(text, source, kinds)
    except (ValueError, RecursionError) as problem:
        raise _unparsable(source, data, problem) from None


def _items(text: str, source: str, kinds: Collection[str]) -> Iterator[Json]:
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        raise ValueError("no JSON object")
    rest: Json = {}
    is_list = False
    position = _skip(text, position + 1)
    while text[position : position + 1] != "}":
        key, position = _DECODER.raw_decode(text, position)
        if not isinstance(key, str):
            raise ValueError("a key that is no text")
        position = _expect(text, position, ":")
        if key == "items" and is_list:
            raise ValueError("items twice")
        if key == "items" and text[position : position + 1] == "[":
            is_list = True
            position = _skip(text, position + 1)
            while text[position : position + 1] != "]":
                item, position = _DECODER.raw_decode(text, position)
                if not isinstance(item, dict):
                    raise ValueError("an item of the list is no object")
                _check_kind(item.get("kind"), kinds)
                yield item
                position = _comma(text, position, "]")
            position += 1
        else:
            rest[key], position = _DECODER.raw_decode(text, position)
        position = _comma(text, position, "}")
    if text[position + 1 :].strip():
        raise ValueError("text after the document")
    kind = rest.get("kind")
    if is_list or ("items" in rest and rest["items"] is None):
        _check_kind(kind.removesuffix("List") if isinstance(kind, str) else None, kinds)
        return
    _refuse_status(rest, source)
    if "items" in rest or not _named(rest):
        found = ", ".join(map(str, list(rest)[:4])) or "nothing"
        raise ValueError(f"neither a List nor a Kubernetes object, but an object with {found}")
    _check_kind(kind, kinds)
    yield rest


def _named(found: Json) -> bool:
    meta = found.get("metadata")
    return isinstance(meta, dict) and bool(meta.get("name"))


def _check_kind(kind: Any, kinds: Collection[str]) -> None:
    """An empty kind is that of a plain List, and of items of a typed list."""
    if isinstance(kind, str) and kind and kinds and kind not in kinds:
        raise ValueError(f"an object of kind {kind[:60]}")


def _refuse_status(found: Json, source: str) -> None:
    """What the API server answers instead of a list reads like an object without anything in it."""
    if found.get("kind") != "Status":
        return
    code = found.get("code")
    reason = _STATUS_REASONS.get(code, Reason.UNPARSABLE) if isinstance(code, int) else Reason.UNPARSABLE
    said = str(found.get("message") or found.get("reason"))[:300]
    raise Unmeasured(reason, f"{source}: the API server refused: {said}", source)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _expect(text: str, position: int, character: str) -> int:
    position = _skip(text, position)
    if text[position : position + 1] != character:
        raise ValueError(f"expected {character!r} at character {position}")
    return _skip(text, position + 1)


def _comma(text: str, position: int, end: str) -> int:
    position = _skip(text, position)
    if text[position : position + 1] == ",":
        position = _skip(text, position + 1)
        if text[position : position + 1] == end:
            raise ValueError(f"nothing after the comma at character {position}")
        return position
    if text[position : position + 1] != end:
        raise ValueError(f"expected ',' or {end!r} at character {position}")
    return position


def _text(data: bytes, source: str) -> str:
    if not data.strip():
        raise Unmeasured(Reason.MISSING, f"{source} is empty", source)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _unparsable(source, data, problem) from None


def _unparsable(source: str, data: bytes, problem: Exception) -> Unmeasured:
    said = "nested too deep" if isinstance(problem, RecursionError) else str(problem)[:160]
    return Unmeasured(Reason.UNPARSABLE, f"{source} is no JSON ({said}); it begins with {excerpt(data)}", source)


def excerpt(data: bytes, limit: int = 60) -> str:
    """The beginning of a file as quoted text, for messages."""
    return repr(data[:limit].decode("utf-8", "replace").strip())


def parse_xml(data: bytes) -> ET.Element:
    """An XML document without entities; a plain DOCTYPE is allowed.

    Only a document that can declare an entity (internal subset, unusual encoding) takes defusedxml's slower road, where
    it is refused; nothing else can hide one.

    Raises:
        ET.ParseError: not well-formed.
        defusedxml.DefusedXmlException: entities or external references.
    """
    head = data[:600]
    encoding = _ENCODING.search(head)
    plain = encoding is None or encoding.group(1).lower() in (b"utf-8", b"us-ascii", b"ascii")
    if plain and b"\0" not in head and b"<!ENTITY" not in data and _SAFE_HEAD.match(head):
        return ET.fromstring(data)  # noqa: S314 - see the docstring
    return defusedxml.ElementTree.fromstring(data, forbid_dtd=False, forbid_entities=True, forbid_external=True)

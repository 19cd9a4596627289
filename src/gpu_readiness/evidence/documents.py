"""Reading JSON and XML from strangers: bounded, without entities, one object at a time."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import defusedxml
import defusedxml.ElementTree

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

Json = dict[str, Any]

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
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
        return json.loads(_text(data, source))
    except (ValueError, RecursionError) as problem:
        raise _unparsable(source, data, problem) from None


def iter_items(data: bytes, source: str) -> Iterator[Json]:
    """The objects of what kubectl prints: the items of a List, or the one object itself.

    Items are decoded one by one, so that a list of 100 MB never stands in memory as objects.

    Raises:
        Unmeasured: as `parse_json`; also if an item is no object.
    """
    text = _text(data, source)
    try:
        yield from _items(text, source)
    except (ValueError, RecursionError) as problem:
        raise _unparsable(source, data, problem) from None


def _items(text: str, source: str) -> Iterator[Json]:
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        raise ValueError("no JSON object")
    rest: Json = {}
    is_list = False
    position = _skip(text, position + 1)
    while text[position : position + 1] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _expect(text, position, ":")
        if key == "items" and text[position : position + 1] == "[":
            is_list = True
            position = _skip(text, position + 1)
            while text[position : position + 1] != "]":
                item, position = _DECODER.raw_decode(text, position)
                if not isinstance(item, dict):
                    raise ValueError("an item of the list is no object")
                yield item
                position = _comma(text, position, "]")
            position += 1
        else:
            rest[key], position = _DECODER.raw_decode(text, position)
        position = _comma(text, position, "}")
    if text[position + 1 :].strip():
        raise ValueError("text after the document")
    if is_list:
        return
    if "metadata" not in rest:
        raise ValueError(
            f"neither a List nor a Kubernetes object, but an object with {', '.join(map(str, list(rest)[:4])) or 'nothing'}"
        )
    yield rest


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
        return _skip(text, position + 1)
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

"""The JSON Schema of standards, for editors and for whoever writes them with other tools."""

from __future__ import annotations

import json
from typing import Any

from gpu_readiness.standard.model import Document
from gpu_readiness.standard.shape import MARK

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def standard_schema() -> dict[str, Any]:
    """Keys, words and types of a standard; whether a number can be true is for the loader to say."""
    definitions: dict[str, Any] = {}
    found = _tidy(Document.model_json_schema(by_alias=True), definitions)
    found["$defs"] |= definitions
    return {"$schema": _DIALECT, "title": "gpu-readiness node standard", **found}


def schema_text() -> str:
    """The text of `profiles/schema.json`."""
    return json.dumps(standard_schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _tidy(node: Any, definitions: dict[str, Any]) -> Any:
    """Put references in place of shapes, and leave out what pydantic adds for itself."""
    if isinstance(node, list):
        return [_tidy(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if MARK in node:
        shape = node[MARK]
        definitions[shape.name] = shape.definition()
        return {"$ref": f"#/$defs/{shape.name}"}
    return {
        key: _tidy(each, definitions)
        for key, each in node.items()
        if key != "default" and not (key == "title" and isinstance(each, str))
    }

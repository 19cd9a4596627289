"""What an expected value of one field may be written as: how it compares, which words it knows, and its JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gpu_readiness.standard.errors import StandardError
from gpu_readiness.standard.expected import Expected, Order
from gpu_readiness.standard.values import text_of
from gpu_readiness.verdict import Severity

#: Stands for a shape in a schema until `schema.standard_schema` puts a reference to its definition there.
MARK = "x-shape"
_EVERYWHERE = ("any", "absent", "consensus")


@dataclass(frozen=True, slots=True)
class Shape:
    """The validator of a field: `words` are the only ones it knows besides any, absent and consensus."""

    order: Order = Order.NUMBER
    words: tuple[str, ...] = ()
    numeric: bool = False

    def validate(self, written: object) -> Expected:
        """Compile what is written; StandardError says what is wrong with it."""
        expected = Expected.of(written, self.order)
        for text in _scalars(written):
            if self.words and text.casefold() not in {word.casefold() for word in self.words}:
                raise StandardError(f"{text!r} is not one of {', '.join(self.words)}, any")
            if self.numeric and not Expected.of(text).numbers:
                raise StandardError(f"{text!r} is no number; write 700, '>=650', '700 ±2%', a list of them, or any")
        return expected

    @property
    def name(self) -> str:
        """What its definition is called in the JSON Schema."""
        return "expected-" + ("-".join(self.words).lower().replace("_", "-") or ("number" if self.numeric else "text"))

    def definition(self) -> dict[str, Any]:
        """Its definition in the JSON Schema."""
        scalar: dict[str, Any] = {"type": ["number", "string"] if self.numeric else ["number", "string", "boolean"]}
        if self.words:
            scalar = {"enum": [*self.words, *_EVERYWHERE]}
        written = [scalar, {"type": "array", "minItems": 1, "items": scalar}]
        properties = {
            "value": {"anyOf": written},
            "source": {"type": "string"},
            "severity": {"enum": list(Severity)},
            "note": {"type": "string"},
            "tolerance": {"type": "string", "pattern": "^\\s*±"},
        }
        mapping = {"type": "object", "additionalProperties": False, "required": ["value"], "properties": properties}
        return {"anyOf": [*written, mapping]}

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {MARK: self}


@dataclass(frozen=True, slots=True)
class NullMeans:
    """A field in which a key without a value says something: what extends another standard takes a word of it back."""

    value: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda written: self.value if written is None else written, handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _scalars(written: object) -> list[str]:
    """The scalars that an expected value is written with, apart from the words that every field knows."""
    value = written.get("value") if isinstance(written, Mapping) else written
    values = value if isinstance(value, (list, tuple)) else [value]
    texts = [text_of(each).strip() for each in values if isinstance(each, (str, int, float))]
    return [text for text in texts if text not in _EVERYWHERE]


Amount = Annotated[Expected, Shape(numeric=True)]
Release = Annotated[Expected, Shape(Order.VERSION)]
Text = Annotated[Expected, Shape()]
Word = Annotated[Expected, Shape(Order.WORD)]
Switch = Annotated[Expected, Shape(Order.WORD, ("enabled", "disabled"))]
ComputeMode = Annotated[Expected, Shape(Order.WORD, ("Default", "Exclusive_Process", "Exclusive_Thread", "Prohibited"))]
Flavour = Annotated[Expected, Shape(Order.WORD, ("open", "proprietary"))]

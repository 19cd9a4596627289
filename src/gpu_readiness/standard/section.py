"""The base of everything that is written in a standard: kebab-case keys, each optional, none unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from gpu_readiness.standard.errors import did_you_mean

V = TypeVar("V")


def kebab(name: str) -> str:
    """The key of a field: `class_` is `class`, `power_limit` is `power-limit`."""
    return name.rstrip("_").replace("_", "-")


class Section(BaseModel):
    """A part of a standard. None, or an empty mapping, means that the standard is silent."""

    model_config = ConfigDict(
        alias_generator=kebab, extra="forbid", frozen=True, arbitrary_types_allowed=True, ser_json_inf_nan="strings"
    )

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, written: Any) -> Any:
        """Refuse unknown keys with the nearest known one; a key without a value is a key that is not there."""
        if written is None:
            return {}
        if not isinstance(written, Mapping):
            return written
        known = [kebab(name) for name in cls.model_fields]
        for key in written:
            if key not in known:
                hint = did_you_mean(str(key), known) or f", expected {', '.join(known)}"
                raise PydanticCustomError("unknown_key", "unknown key{hint}", {"key": str(key), "hint": hint})
        return {key: value for key, value in written.items() if value is not None}

    def over(self, base: Self) -> Self:
        """This section laid over another: own keys win, mappings are laid over each other key by key."""
        said = self.model_fields_set
        return self.model_copy(
            update={
                name: laid_over(theirs, getattr(self, name)) if name in said else theirs
                for name in base.model_fields_set
                if (theirs := getattr(base, name)) is not None
            }
        )

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing at all."""
        return not self.model_fields_set


def laid_over(base: Any, own: V) -> V:
    """`own` over `base`, key by key where both are sections or mappings; else `own`."""
    if isinstance(own, Section) and isinstance(base, type(own)):
        return cast("V", own.over(base))
    if isinstance(own, dict) and isinstance(base, dict):
        return cast("V", {**base, **{key: laid_over(base.get(key), value) for key, value in own.items()}})
    return own

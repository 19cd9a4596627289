"""From documents to standards: `extends` is followed, hardware is collected, the rest is laid over each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from gpu_readiness.standard.errors import StandardError, did_you_mean
from gpu_readiness.standard.expected import Expected
from gpu_readiness.standard.model import Body, Document, HardwareEntry, Standard
from gpu_readiness.standard.plausible import refuse_implausible
from gpu_readiness.standard.section import kebab, laid_over
from gpu_readiness.standard.sections import Match

_COLLECTED = ("hardware", "mock")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A document with all that it extends. `stack` and `sharing` are bare names."""

    body: Body
    hardware: tuple[HardwareEntry, ...] = ()
    stack: str | None = None
    sharing: str | None = None

    def over(self, base: Resolved) -> Resolved:
        """Laid over another; hardware adds up, and an entry of the same name is replaced."""
        hardware = {entry.name: entry for entry in (*base.hardware, *self.hardware)}
        return Resolved(
            self.body.over(base.body),
            tuple(hardware.values()),
            self.stack or base.stack,
            self.sharing or base.sharing,
        )


NOTHING = Resolved(Body())


def family(name: str) -> str:
    """The folder of a name: `hardware`, `sharing`, `stack`, `mock`; empty where it has none."""
    return name.rpartition("/")[0]


def resolve(document: Document, documents: Mapping[str, Document], path: Sequence[str] = ()) -> Resolved:
    """Follow `extends`, which is looked up in `documents`.

    Raises:
        StandardError: a name is not known, or leads back to itself.
    """
    if document.name in path:
        raise StandardError(f"standard {path[0]}: extends itself: {' -> '.join((*path, document.name))}")
    below = NOTHING
    for name in document.extends:
        if name not in documents:
            raise StandardError(
                f"standard {document.name}: extends: {name!r} is not known{did_you_mean(name, documents)}; "
                "`gpu-readiness standard list` shows the shipped ones"
            )
        below = resolve(documents[name], documents, (*path, document.name)).over(below)
    if family(document.name) in _COLLECTED:
        return _collected(document, below)
    own = Body.model_construct(**{key: getattr(document, key) for key in _said_by(document)})
    bare = document.name.rpartition("/")[2]
    found = Resolved(
        own,
        stack=bare if family(document.name) == "stack" else None,
        sharing=bare if family(document.name) == "sharing" else None,
    )
    return found.over(below)


def _said_by(document: Document) -> set[str]:
    """The sections that are passed on; whom a standard is for, and its title, are its own affair."""
    return document.model_fields_set & Body.model_fields.keys() - {"title", "match"}


def _collected(document: Document, below: Resolved) -> Resolved:
    """A hardware file is one entry; what it extends is the base of that entry, not an entry of its own."""
    strange = sorted(kebab(key) for key in _said_by(document) - {"gpu", "workload"})
    if strange:
        raise StandardError(
            f"standard {document.name}: {strange[0]}: a hardware standard says match, gpu and workload only"
        )
    entry = HardwareEntry.of(document)
    for base in below.hardware:
        entry = HardwareEntry(
            entry.name,
            entry.names or base.names,
            entry.device_ids or base.device_ids,
            entry.gpu.over(base.gpu),
            laid_over(base.workload, entry.workload),
        )
    return Resolved(below.body, (entry,), below.stack, below.sharing)


def finish(name: str, resolved: Resolved, *, title: str = "", match: Match | None = None) -> Standard:
    """The standard that nodes are judged by.

    Raises:
        StandardError: a number cannot be true of the hardware.
    """
    body = resolved.body
    runtime = body.runtime
    wanted = {key: part for key, part in runtime.components.items() if part.when != "never"}
    applicable = {check: why for check, why in body.not_applicable.items() if why}
    values = {key: getattr(body, key) for key in body.model_fields_set}
    values |= {"not_applicable": applicable, "title": title, "match": match or Match()}
    if wanted != runtime.components:
        values["runtime"] = runtime.model_copy(update={"components": wanted})
    standard = Standard.model_construct(
        **{
            **values,
            "name": name,
            "hardware": resolved.hardware,
            "stack": resolved.stack,
            "sharing_name": resolved.sharing,
            "digest": _digest(values, resolved.hardware),
        }
    )
    for entry in resolved.hardware:
        refuse_implausible(name, body.gpu.over(entry.gpu), laid_over(entry.workload, body.workload), entry)
    return standard


def _digest(values: Mapping[str, Any], hardware: Sequence[HardwareEntry]) -> str:
    content = {key: value for key, value in values.items() if key not in ("title", "match")}
    content["hardware"] = [[entry.gpu, entry.workload] for entry in hardware]
    text = json.dumps(_plain(content), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _plain(value: Any) -> Any:
    """Canonical JSON of what is said; what is not said is left out."""
    if isinstance(value, Expected):
        return [value.text, value.severity, value.source]
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)

"""Reading one standard from YAML. What comes from elsewhere is bounded before it is built."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError

from gpu_readiness.standard.errors import StandardError
from gpu_readiness.standard.model import Document
from gpu_readiness.standard.values import text_of

MAX_BYTES = 1 << 20
MAX_DEPTH = 30
MAX_NODES = 50_000

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KEPT = {
    "tag:yaml.org,2002:null": re.compile(r"^(?:~|null|)$"),
    "tag:yaml.org,2002:bool": re.compile(r"^(?:true|false)$"),
    "tag:yaml.org,2002:int": re.compile(r"^-?(?:0|[1-9][0-9]{0,17})$"),
    "tag:yaml.org,2002:merge": re.compile(r"^<<$"),
}


class _Loader(_Base):  # type: ignore[misc]
    """Keeps scalars as they are written, but for null, true, false and plain integers.

    YAML 1.1 would make 570.10 the number 570.1, `on` the boolean true and 12:30 the number 750.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Keys are text; one that is written twice is refused."""
        self.flatten_mapping(node)
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (dict, list)):
                raise yaml.constructor.ConstructorError(None, None, "a key has to be text", key_node.start_mark)
            if text_of(key) in found:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is written twice", key_node.start_mark)
            found[text_of(key)] = self.construct_object(value_node, deep=True)
        return found


for _tag, _pattern in _KEPT.items():
    _Loader.add_implicit_resolver(_tag, _pattern, None)


def read_document(path: Path, name: str = "") -> Document:
    """One file as a document; its name is what it says, else `name`, else the file's stem.

    Raises:
        StandardError: it cannot be read, is no YAML, too large, or not what a standard may say.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise StandardError(f"standard {path.name}: cannot be read: {problem.strerror or problem}") from problem
    if len(raw) > MAX_BYTES:
        raise StandardError(f"standard {path.name}: larger than {MAX_BYTES >> 20} MiB")
    document = parse_document(raw, path.name)
    return document if document.name else document.model_copy(update={"name": name or path.stem})


def parse_document(raw: bytes | str, label: str) -> Document:
    """Text as a document; `label` is what errors call it."""
    written = _yaml(raw, label)
    if not isinstance(written, dict):
        raise StandardError(f"standard {label}: not a mapping of sections, but {_kind(written)}")
    try:
        return Document.model_validate(written)
    except ValidationError as problem:
        raise StandardError(f"standard {label}: {_said(problem)}") from problem


def _yaml(raw: bytes | str, label: str) -> Any:
    try:
        _bound(raw, label)
        return yaml.load(raw, _Loader)  # noqa: S506 - a safe loader that keeps scalars as written
    except yaml.MarkedYAMLError as problem:
        where = f"line {problem.problem_mark.line + 1}: " if problem.problem_mark else ""
        raise StandardError(f"standard {label}: {where}{problem.problem}") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise StandardError(f"standard {label}: no YAML text: {str(problem).splitlines()[0]}") from problem


def _bound(raw: bytes | str, label: str) -> None:
    """Count what the document would be with every alias written out, before any of it is built."""
    open_nodes: list[tuple[str | None, int]] = []
    sizes: dict[str | None, int] = {}
    total = 0
    for event in yaml.parse(raw, _Base):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionStartEvent):
            total += 1
            open_nodes.append((event.anchor, total))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor] = total - before + 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise StandardError(f"standard {label}: line {line}: an alias inside of what it names")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes[event.anchor] = 1
        if len(open_nodes) > MAX_DEPTH:
            raise StandardError(f"standard {label}: line {line}: nested deeper than {MAX_DEPTH}")
        if total > MAX_NODES:
            raise StandardError(f"standard {label}: line {line}: more than {MAX_NODES} values, aliases written out")


def _said(problem: ValidationError) -> str:
    """The first problem in one line, and how many more there are."""
    errors = problem.errors(include_url=False)
    first = errors[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "unknown_key":
        place.append(first["ctx"]["key"])
        message = first["msg"]
    elif first["type"] == "value_error":
        message = str(first["ctx"]["error"])
    else:
        message = f"{first['msg'][:1].lower()}{first['msg'][1:]}, got {_kind(first['input'])}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{'.'.join(place)}: {message}{more}"


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return repr(value)

"""A whole snapshot without serial numbers, UUIDs and addresses, which is judged as the one it was made of."""

from __future__ import annotations

import errno
import json
import os
import secrets
from pathlib import Path
from typing import Any, TextIO

from gpu_readiness.redact.rules import Rules
from gpu_readiness.redact.standins import StandIns
from gpu_readiness.redact.stream import blocks, changed_json
from gpu_readiness.verdict import Reason

_JSON = (".json", ".error")
#: Bytes of text that does not say how it is encoded: as Latin-1 every byte comes out again as it went in.
_BYTES = "latin-1"


class Redactor:
    """One run's stand-ins: the same value has the same one in all texts and files that one redactor sees.

    Replaced are UUIDs (with or without `GPU-`, `MIG-` and the like), serial numbers, fabric GUIDs, machine, boot, cloud
    instance and provider ids, account numbers of ARNs, IP and hardware addresses, and addresses in names such as
    ip-10-0-3-7.ec2.internal. Names stay otherwise: of nodes, pods, namespaces, images and registries; so do PCI bus
    ids, versions and times.

    A snapshot is judged by its stand-ins as it was by its values. A standard that names a node by a name with an
    address in it no longer finds the node.
    """

    def __init__(self, salt: bytes | None = None) -> None:
        """`salt` makes the stand-ins; whoever has it can find out values by trying. Random, and then lost, if None."""
        self._rules = Rules(StandIns(secrets.token_bytes(32) if salt is None else salt))

    def text(self, text: str) -> str:
        """A text, or a name, with stand-ins."""
        return self._rules.text(text)

    def value(self, value: Any, key: str = "") -> Any:
        """A JSON value with stand-ins, names of fields included; `key` is the name of the field that it is in."""
        if isinstance(value, str):
            return self._rules.field(key, value)
        if isinstance(value, dict):
            return {self._rules.field("", name): self.value(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self.value(each, key) for each in value]
        return self._rules.number(key, value)

    def tree(self, source: Path, target: Path) -> None:
        """Write the files of a snapshot directory anew, with stand-ins in their names too.

        A link, or anything else that is no file, is not followed; in its place is a record that it could not be read,
        so that it is judged as before. A value that is nowhere said to be an identity cannot be recognised as one.

        Raises:
            OSError: `target` is there and not empty, or something cannot be read or written.
        """
        folders, files = _listed(source)
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise FileExistsError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(target))
        for path in files:
            if _is_file(source / path):
                with _open(source / path) as file:
                    for block in blocks(file):
                        self._rules.learn(block)
        for path in folders:
            self._place(target, path).mkdir()
        for path in files:
            self._file(source / path, self._place(target, path))

    def _place(self, target: Path, path: Path) -> Path:
        return target.joinpath(*(self._rules.text(part) for part in path.parts))

    def _file(self, source: Path, target: Path) -> None:
        if not _is_file(source):
            _record_no_file(target)
            return
        if target.suffix in _JSON:
            try:
                with source.open(encoding="utf-8-sig") as file, target.open("w", encoding="utf-8") as out:
                    out.writelines(changed_json(file, lambda key, value: self.value(value, key)))
                    return
            except (ValueError, RecursionError):
                pass  # no JSON: whatever it is, it has to stay so
        with _open(source) as text, target.open("w", encoding=text.encoding, newline="") as out:
            for block in blocks(text):
                out.writelines(self._rules.text(line) for line in block.splitlines(keepends=True))


def _listed(source: Path) -> tuple[list[Path], list[Path]]:
    """Folders and everything else in a directory, by their paths in it; each folder before what is in it."""
    folders: list[Path] = []
    files: list[Path] = []
    for place, inner, names in os.walk(source, onerror=_raise):
        links = [name for name in inner if Path(place, name).is_symlink()]
        inner[:] = sorted({*inner} - {*links})
        folders += (Path(place, name).relative_to(source) for name in inner)
        files += (Path(place, name).relative_to(source) for name in sorted([*names, *links]))
    return folders, files


def _raise(problem: OSError) -> None:
    raise problem


def _is_file(place: Path) -> bool:
    return place.is_file() and not place.is_symlink()


def _open(place: Path) -> TextIO:
    """A file as text: UTF-16 where its first bytes show it, else byte by byte."""
    with place.open("rb") as file:
        head = file.read(4)
    encoding = _BYTES
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif len(head) == 4 and head[1] == head[3] == 0 != head[0]:
        encoding = "utf-16-le"
    elif len(head) == 4 and head[0] == head[2] == 0 != head[1]:
        encoding = "utf-16-be"
    return place.open(encoding=encoding, errors="replace", newline="")


def _record_no_file(target: Path) -> None:
    """Say what a snapshot says of a link; a link in place of such a record is no record."""
    if target.name.endswith(".error"):
        target.touch()
        return
    message = f"{target.name} is no regular file; links are not followed"
    record = json.dumps({"reason": Reason.UNPARSABLE, "message": message})
    target.with_name(f"{target.name}.error").write_text(record, encoding="utf-8")

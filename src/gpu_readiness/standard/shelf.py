"""Where standards come from: the package, files and folders. Each is read when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from gpu_readiness.standard.document import read_document
from gpu_readiness.standard.errors import StandardError, did_you_mean
from gpu_readiness.standard.model import Document

_SUFFIXES = (".yaml", ".yml")


class Shelf(Mapping[str, Document]):
    """Documents by name, each read when it is first asked for."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)
        self._read: dict[str, Document] = {}

    def __getitem__(self, name: str) -> Document:
        if name not in self._read:
            self._read[name] = read_document(self._paths[name], name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def put(self, document: Document) -> None:
        """Add a document, in place of another of its name."""
        self._paths[document.name] = Path(document.name)
        self._read[document.name] = document


def shipped() -> Shelf:
    """The standards that come with the package, by names such as `hardware/h100-sxm5-80gb`."""
    folder = Path(str(files("gpu_readiness.profiles")))
    return Shelf(_files(folder))


def documents_at(path: str | Path, documents: Shelf) -> list[Document]:
    """The documents that a shipped name, a file or a folder stands for.

    Raises:
        StandardError: it is none of them, or one of the documents cannot be read.
    """
    if isinstance(path, str) and path in documents:
        return [documents[path]]
    place = Path(path)
    if place.is_dir():
        found = _files(place)
        if not found:
            raise StandardError(f"standard {path}: no *.yaml in this folder")
        return [read_document(each, name) for name, each in found.items()]
    if place.is_file():
        return [read_document(place)]
    raise StandardError(
        f"standard {path}: neither a shipped standard nor a file or folder{did_you_mean(str(path), documents)}; "
        "`gpu-readiness standard list` shows the shipped ones"
    )


def _files(folder: Path) -> dict[str, Path]:
    """YAML files of a folder by name: their place in it, without the suffix."""
    found = sorted(each for each in folder.rglob("*") if each.suffix in _SUFFIXES and each.is_file())
    return {each.relative_to(folder).with_suffix("").as_posix(): each for each in found}

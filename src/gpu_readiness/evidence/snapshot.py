"""A snapshot on disk: a directory of raw artefacts, or an archive of one, from whoever sent it.

Nothing outside of the directory is ever read: links are refused, a node's name is only ever compared with the names
of the directories that are there, and every size is bounded.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Self

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

#: Bytes that are read of one artefact at most. Kernel logs are read from their end instead.
MAX_ARTEFACT = 64 << 20
MAX_CLUSTER_LIST = 1 << 30
_MAX_ABOUT = 1 << 20
MAX_ARCHIVE = 16 << 30
#: How much an archive may grow when it is unpacked: text of a fleet grows 10 to 100 times, a bomb a thousand times.
MAX_GROWTH = 300
FREE_GROWTH = 256 << 20
MAX_MEMBERS = 1_000_000
#: Bytes of a header that goes on in blocks of its own (long names); tarfile keeps all of it in memory.
MAX_HEADER = 1 << 20
_LONG_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class SnapshotError(ValueError):
    """The snapshot cannot be judged at all; one line says why."""


class Snapshot:
    """Access to the artefacts of one snapshot directory."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name
        self._node_dirs = {place.name for place in _entries(root / "nodes") if _is_directory(place)}

    @property
    def taken(self) -> float | None:
        """When it was taken, in seconds since 1970; None if snapshot.json does not say."""
        try:
            said = json.loads(self._read(self.root, "snapshot.json", 1 << 20))["taken"]
            return dt.datetime.fromisoformat(said).timestamp()
        except (Unmeasured, ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
            return None

    @property
    def node_dirs(self) -> frozenset[str]:
        """Names of nodes that have artefacts of their own."""
        return frozenset(self._node_dirs)

    def notes(self) -> list[str]:
        """What whoever took the snapshot has to say about it, in `snapshot.json`."""
        try:
            about = json.loads(self._read(self.root, "snapshot.json", _MAX_ABOUT))
        except (Unmeasured, ValueError, RecursionError):
            return []
        said = about.get("notes") if isinstance(about, dict) else None
        return [each[:1000] for each in said[:20] if isinstance(each, str)] if isinstance(said, list) else []

    def cluster_list(self, kind: str) -> bytes:
        """`cluster/<kind>.json`.

        Raises:
            Unmeasured: there is none, or the attempt to read it failed.
        """
        return self._read(self.root / "cluster", f"{kind}.json", MAX_CLUSTER_LIST)

    def artefact(self, node: str, name: str, limit: int = MAX_ARTEFACT, *, tail: bool = False) -> bytes:
        """`nodes/<node>/<name>`; with `tail`, the last `limit` bytes of a longer file.

        Raises:
            Unmeasured: there is none, it is no regular file, it is too large, or an `.error` lies beside it.
        """
        if node not in self._node_dirs:
            raise Unmeasured(Reason.MISSING, f"no nodes/{node[:100]}/{name}", name)
        return self._read(self.root / "nodes" / node, name, limit, tail=tail)

    def has(self, node: str, name: str) -> bool:
        """Whether there is such an artefact, or the record of a failed attempt at it."""
        if node not in self._node_dirs:
            return False
        place = self.root / "nodes" / node
        return _mode(place / name) is not None or _mode(place / f"{name}.error") is not None

    def workloads(self, node: str) -> list[str]:
        """Names of the workloads that left artefacts on a node."""
        if node not in self._node_dirs:
            return []
        entries = _entries(self.root / "nodes" / node / "workloads")
        return sorted({each.name.removesuffix(".error").rsplit(".", 1)[0] for each in entries})

    def _read(self, folder: Path, name: str, limit: int, *, tail: bool = False) -> bytes:
        self._raise_recorded(folder / f"{name}.error", name)
        place = folder / name
        mode = _mode(place)
        if mode is None or not _is_directory(folder):
            raise Unmeasured(Reason.MISSING, f"no {name} in the snapshot", name)
        if not stat.S_ISREG(mode):
            raise Unmeasured(Reason.UNPARSABLE, f"{name} is no regular file; links are not followed", name)
        try:
            with place.open("rb") as file:
                size = place.stat().st_size
                if size > limit and not tail:
                    raise Unmeasured(Reason.UNPARSABLE, f"{name} has {size >> 20} MiB, more than {limit >> 20}", name)
                file.seek(max(0, size - limit))
                return file.read(limit)
        except OSError as problem:
            reason = Reason.DENIED if isinstance(problem, PermissionError) else Reason.UNPARSABLE
            raise Unmeasured(reason, f"{name} cannot be read: {problem.strerror}", name) from None

    def _raise_recorded(self, place: Path, name: str) -> None:
        mode = _mode(place)
        if mode is None:
            return
        reason, message = Reason.UNPARSABLE, f"{name}.error is no JSON object with a reason"
        if stat.S_ISREG(mode):
            try:
                with place.open("rb") as file:
                    record = json.loads(file.read(1 << 20))
                reason = Reason(record["reason"])
                message = str(record.get("message", ""))[:1000]
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                pass
        raise Unmeasured(reason, message, name)


def _mode(place: Path) -> int | None:
    try:
        return place.lstat().st_mode
    except (OSError, ValueError):
        return None


def _is_directory(place: Path) -> bool:
    mode = _mode(place)
    return mode is not None and stat.S_ISDIR(mode)


def _entries(place: Path) -> list[Path]:
    """What is in a directory; nothing if it is none."""
    try:
        return list(place.iterdir()) if _is_directory(place) else []
    except OSError as problem:
        raise SnapshotError(f"snapshot: {place} cannot be listed: {problem.strerror}") from None


@contextmanager
def open_snapshot(path: Path) -> Iterator[Snapshot]:
    """A snapshot directory, or a `.tar`, `.tar.gz` or `.tar.zst` of one, unpacked for as long as the context lasts.

    Raises:
        SnapshotError: nothing there, no snapshot, or an archive with members that reach outside of it.
    """
    if path.is_dir():
        yield _snapshot(path, str(path))
        return
    if not path.is_file():
        raise SnapshotError(f"snapshot {path}: no such directory or archive")
    with scratch_folder() as scratch:
        _unpack(path, scratch)
        yield _snapshot(_top(scratch), str(path))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder that is gone when the context ends."""
    scratch = Path(tempfile.mkdtemp(prefix="gpu-readiness-"))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _snapshot(root: Path, name: str) -> Snapshot:
    if _mode(root / "cluster" / "nodes.json") is None:
        there = sorted(each.name for each in _entries(root))[:6]
        raise SnapshotError(
            f"snapshot {name}: no cluster/nodes.json, the one file that has to be there; "
            f"found {', '.join(there) or 'nothing'}"
        )
    return Snapshot(root, name)


def _top(scratch: Path) -> Path:
    """The directory in an archive that holds `cluster`: its top, or the one folder in it."""
    entries = list(scratch.iterdir())
    if len(entries) == 1 and entries[0].name not in ("cluster", "nodes") and entries[0].is_dir():
        return entries[0]
    return scratch


def _unpack(path: Path, scratch: Path) -> None:
    total = members = 0
    try:
        with _open_archive(path) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as archive:
            for member in archive:
                members += 1
                total += max(0, member.size) + tarfile.BLOCKSIZE
                _refuse(path, member, total, members)
                if member.isdir():
                    continue
                target = scratch.joinpath(*_parts(member.name))
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                if source is not None:
                    with target.open("wb") as out:
                        shutil.copyfileobj(source, out)
    except (tarfile.TarError, OSError, EOFError, ValueError) as problem:
        if isinstance(problem, SnapshotError):
            raise
        raise SnapshotError(f"snapshot {path}: no readable archive ({str(problem)[:120]})") from None


class _Member(tarfile.TarInfo):
    """A member whose header is bounded; where headers break off is not the end, as it would be for tarfile."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header.

        Raises:
            ReadError: cut off, damaged, or too long.
            HeaderError: the end of the archive.
        """
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as problem:
            if buf.count(0) == tarfile.BLOCKSIZE:
                raise
            raise tarfile.ReadError(f"cut off or damaged: {problem}") from None
        if found.type in _LONG_HEADERS and found.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {found.size >> 20} MiB")
        return found


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name).parts if part != ".")


def _refuse(path: Path, member: tarfile.TarInfo, total: int, members: int) -> None:
    parts = _parts(member.name)
    shown = member.name[:120].encode("unicode_escape").decode()
    if member.name.startswith("/") or ".." in parts or "\0" in member.name or "\\" in member.name:
        raise SnapshotError(f"snapshot {path}: refused, member {shown} reaches outside of the archive")
    if not (member.isreg() or member.isdir()):
        raise SnapshotError(f"snapshot {path}: refused, member {shown} is a link or special file")
    limit = min(MAX_ARCHIVE, FREE_GROWTH + MAX_GROWTH * path.stat().st_size)
    if total > limit or members > MAX_MEMBERS:
        raise SnapshotError(f"snapshot {path}: refused, more than {limit >> 20} MiB or {MAX_MEMBERS} members unpacked")


@contextmanager
def _open_archive(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic != b"\x28\xb5\x2f\xfd":
            yield file
            return
        try:
            import zstandard
        except ImportError:
            raise SnapshotError(
                f"snapshot {path}: reading .tar.zst needs zstandard: pip install 'pytest-gpu-readiness[zstd]'"
            ) from None
        try:
            with zstandard.ZstdDecompressor().stream_reader(file) as reader:
                yield reader
        except zstandard.ZstdError as problem:
            raise SnapshotError(f"snapshot {path}: no readable zstd archive ({problem})") from None

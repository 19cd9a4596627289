"""What `test_archives` leaves: directories that cannot be read, bounds, and archives that break off."""

from __future__ import annotations

import gzip
import io
import os
import resource
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_readiness.evidence import snapshot as module
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.snapshot import Snapshot, SnapshotError, open_snapshot
from gpu_readiness.verdict import Reason

NODES = b'{"items": []}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "snapshot"
    for name, content in {
        "cluster/nodes.json": NODES,
        "nodes/n/kernel.log": b"0123456789",
        "nodes/n/workloads/gemm.log": b"",
        "nodes/n/workloads/gemm.json": b"",
        "nodes/n/workloads/nccl.log.error": b"{}",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


def read(root: Path, name: str = "kernel.log", **how: object) -> bytes:
    with open_snapshot(root) as snapshot:
        return snapshot.artefact("n", name, **how)  # type: ignore[arg-type]


def unmeasured(root: Path, name: str = "kernel.log", **how: object) -> Unmeasured:
    with pytest.raises(Unmeasured) as raised:
        read(root, name, **how)
    return raised.value


def refused(path: Path) -> str:
    with pytest.raises(SnapshotError) as raised, open_snapshot(path):
        pass
    said = str(raised.value)
    assert "\n" not in said
    assert said.startswith("snapshot ")
    return said


# --- directories -----------------------------------------------------------------------------------------------------


def test_what_is_there(folder: Path) -> None:
    with open_snapshot(folder) as snapshot:
        assert snapshot.node_dirs == {"n"}
        assert snapshot.workloads("n") == ["gemm", "nccl"]
        assert snapshot.workloads("other") == []
        assert snapshot.has("n", "kernel.log")
        assert snapshot.has("n", "workloads/nccl.log")  # the record of a failed attempt
        assert not snapshot.has("n", "dcgm.prom")
        assert not snapshot.has("other", "kernel.log")
        assert snapshot.cluster_list("nodes") == NODES
        with pytest.raises(Unmeasured, match=r"no pods\.json"):
            snapshot.cluster_list("pods")


def test_nothing_there(tmp_path: Path) -> None:
    assert "no such directory or archive" in refused(tmp_path / "nowhere")


def test_a_directory_that_is_no_snapshot_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    assert "found holiday.jpg" in refused(tmp_path)


def test_an_empty_directory_is_no_snapshot(tmp_path: Path) -> None:
    assert "found nothing" in refused(tmp_path)


@pytest.mark.parametrize("limit", [0, 4, 9])
def test_a_file_over_its_limit_was_not_measured(folder: Path, limit: int) -> None:
    assert unmeasured(folder, limit=limit).reason is Reason.UNPARSABLE


@pytest.mark.parametrize(("limit", "content"), [(4, b"6789"), (10, b"0123456789"), (99, b"0123456789")])
def test_of_a_log_the_end_is_read(folder: Path, limit: int, content: bytes) -> None:
    assert read(folder, limit=limit, tail=True) == content


def test_a_sparse_file_of_a_terabyte_is_refused_without_being_read(folder: Path) -> None:
    os.truncate(folder / "nodes/n/kernel.log", 1 << 40)
    started = time.monotonic()
    assert unmeasured(folder).reason is Reason.UNPARSABLE
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("kind", ["directory", "fifo", "link to a file", "link to nothing", "link to itself"])
def test_what_is_no_regular_file_was_not_measured(folder: Path, kind: str) -> None:
    place = folder / "nodes/n/dcgm.prom"
    if kind == "directory":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        targets = {"link to a file": "kernel.log", "link to nothing": "nowhere", "link to itself": "dcgm.prom"}
        place.symlink_to(targets[kind])
    assert unmeasured(folder, "dcgm.prom").reason is Reason.UNPARSABLE


@pytest.mark.parametrize("part", ["cluster", "nodes", "nodes/n/workloads"])
def test_linked_directories_are_not_followed(folder: Path, part: str) -> None:
    (folder / part).rename(folder.parent / "elsewhere")
    (folder / part).symlink_to(folder.parent / "elsewhere")
    snapshot = Snapshot(folder, "s")
    if part == "cluster":
        with pytest.raises(Unmeasured):
            snapshot.cluster_list("nodes")
    elif part == "nodes":
        assert snapshot.node_dirs == frozenset()
    else:
        assert snapshot.workloads("n") == []


@pytest.mark.parametrize("name", ["kernel.log", "cluster list"])
def test_an_error_that_is_a_link_or_a_directory_still_counts(folder: Path, name: str) -> None:
    place = folder / ("nodes/n/kernel.log.error" if name == "kernel.log" else "cluster/pods.json.error")
    (folder / "cluster/pods.json").write_bytes(NODES)
    place.symlink_to("nowhere")
    with open_snapshot(folder) as snapshot, pytest.raises(Unmeasured) as raised:
        snapshot.artefact("n", "kernel.log") if name == "kernel.log" else snapshot.cluster_list("pods")
    assert raised.value.reason is Reason.UNPARSABLE


def test_the_message_of_an_error_is_kept_and_bounded(folder: Path) -> None:
    place = folder / "nodes/n/kernel.log.error"
    place.write_text('{"reason": "timeout", "message": "' + "x" * 5000 + '"}')
    found = unmeasured(folder)
    assert (found.reason, found.message) == (Reason.TIMEOUT, "x" * 1000)
    place.write_text('{"reason": "busy", "message": {"a": 1}, "more": 2}')
    assert unmeasured(folder).reason is Reason.BUSY


@pytest.fixture
def unprivileged(folder: Path) -> Iterator[Path]:
    """A snapshot that the test may be kept from reading, which root never is."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "snapshot"
        folder.rename(root)
        if os.geteuid():
            yield root
        else:
            Path(place).chmod(0o755)
            os.seteuid(65534)
            try:
                yield root
            finally:
                os.seteuid(0)
                for each in root.rglob("*"):
                    each.chmod(0o755)


@pytest.mark.parametrize("part", ["nodes/n/kernel.log", "nodes/n/kernel.log.error"])
def test_a_file_that_may_not_be_read_was_not_measured(unprivileged: Path, part: str) -> None:
    _as_owner(unprivileged, part)
    reason = Reason.UNPARSABLE if part.endswith(".error") else Reason.DENIED
    assert unmeasured(unprivileged).reason is reason


@pytest.mark.parametrize("part", ["nodes", "nodes/n/workloads"])
def test_a_folder_that_may_not_be_listed_is_said(unprivileged: Path, part: str) -> None:
    _as_owner(unprivileged, part)
    with pytest.raises(SnapshotError, match="cannot be listed"), open_snapshot(unprivileged) as snapshot:
        snapshot.workloads("n")


def _as_owner(root: Path, part: str) -> None:
    """Take all rights of one part away; the test itself runs without root's."""
    effective = os.geteuid()
    if not os.getuid():
        os.seteuid(0)
    place = root / part
    if not place.exists():
        place.write_bytes(b"{}")
    place.chmod(0)
    os.seteuid(effective)


# --- archives --------------------------------------------------------------------------------------------------------


def packed(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


WHOLE = (("cluster/nodes.json", NODES), ("nodes/n/kernel.log", b"x" * 2000), ("nodes/n/dcgm.prom", b"y"))


@pytest.mark.parametrize("cut", range(0, 5 * 512 + 2048, 256))
@pytest.mark.parametrize("compressed", [True, False])
def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path: Path, scratch: Path, cut: int, compressed: bool) -> None:
    """Between two members too, where the rest would read as a snapshot with less in it."""
    path = packed(tmp_path / "s.tar", *WHOLE)
    data = path.read_bytes()[:cut]
    path.write_bytes(gzip.compress(data) if compressed else data)
    refused(path)


def test_a_damaged_header_is_no_end_of_the_archive(tmp_path: Path, scratch: Path) -> None:
    path = packed(tmp_path / "s.tar", *WHOLE)
    data = bytearray(path.read_bytes())
    data[1024 + 3] ^= 0xFF
    path.write_bytes(data)
    assert "cut off or damaged" in refused(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_is_a_bomb_is_refused_unread(tmp_path: Path, scratch: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 4 << 30
    path = tmp_path / "s.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(info.tobuf())
        for _ in range(64):
            out.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    assert "a header of 4096 MiB" in refused(path)
    assert time.monotonic() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_long_and_foreign_names_are_legal(tmp_path: Path, scratch: Path) -> None:
    node = "gpu-" + "n" * 180 + "é"
    with open_snapshot(packed(tmp_path / "s.tar", *WHOLE, (f"nodes/{node}/kernel.log", b"z"))) as found:
        assert found.artefact(node, "kernel.log") == b"z"


@pytest.mark.parametrize("many", [31, 3000])
def test_many_members_are_counted_with_their_headers(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Empty files take no byte of their own, and a million of them take long."""
    monkeypatch.setattr(module, "MAX_MEMBERS", 30 if many == 31 else 10_000)
    monkeypatch.setattr(module, "FREE_GROWTH", 1 << 20)
    monkeypatch.setattr(module, "MAX_GROWTH", 1)
    path = packed(tmp_path / "s.tar", *WHOLE, *((f"nodes/n/{number}", b"") for number in range(many)))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert "refused, more than" in refused(path)


@pytest.mark.parametrize(
    "members",
    [
        (("nodes/n/kernel.log", b"x"),),
        (("a/b/cluster/nodes.json", NODES),),
        (("cluster/nodes.json/x", NODES), ("cluster/nodes.json", NODES)),
        (*WHOLE, ("nodes/n", b"a file where a folder is")),
        (*WHOLE, ("nodes/n/kernel.log/x", b"a folder where a file is")),
        (*WHOLE, ("nodes/" + "x" * 300 + "/kernel.log", b"")),
        (*WHOLE, (".", b"")),
    ],
)
def test_an_archive_that_is_no_snapshot_is_refused(
    tmp_path: Path, scratch: Path, members: tuple[tuple[str, bytes], ...]
) -> None:
    refused(packed(tmp_path / "s.tar", *members))


def test_nothing_stays_where_judging_it_broke(tmp_path: Path, scratch: Path) -> None:
    def interrupted() -> None:
        with open_snapshot(packed(tmp_path / "s.tar", *WHOLE)):
            assert len(list(scratch.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

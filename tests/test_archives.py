"""Snapshots as archives, from whoever sent them: nothing outside is read or written, and nothing is left behind."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from nodes import h100

from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.snapshot import SnapshotError, open_snapshot
from gpu_readiness.verdict import Reason

NODES = b'{"items": []}'


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


GOOD = (member("snapshot/cluster/nodes.json"), NODES)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archive_is_read_and_nothing_of_it_stays(mode: str, tmp_path: Path, scratch: Path) -> None:
    path = archive(tmp_path / "s.tar", GOOD, (member("snapshot/nodes/n1/kernel.log"), b"x\n"), mode=mode)
    with open_snapshot(path) as snapshot:
        assert snapshot.cluster_list("nodes") == NODES
        assert snapshot.artefact("n1", "kernel.log") == b"x\n"
        assert snapshot.node_dirs == {"n1"}
    assert list(scratch.iterdir()) == []


def test_zstandard_archive_is_read(tmp_path: Path, scratch: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="reading .tar.zst needs zstandard")
    plain = archive(tmp_path / "s.tar", GOOD, mode="w").read_bytes()
    packed = tmp_path / "s.tar.zst"
    packed.write_bytes(zstandard.ZstdCompressor().compress(plain))
    with open_snapshot(packed) as snapshot:
        assert snapshot.cluster_list("nodes") == NODES


@pytest.mark.parametrize(
    "hostile",
    [
        member("snapshot/../../escaped"),
        member("/etc/escaped"),
        member("snapshot\\..\\escaped"),
        member("snapshot/nodes/n1/kernel.log", tarfile.SYMTYPE, "/etc/passwd"),
        member("snapshot/nodes/n1/kernel.log", tarfile.LNKTYPE, "/etc/passwd"),
        member("snapshot/nodes/n1/kernel.log", tarfile.CHRTYPE),
        member("snapshot/nodes/n1/kernel.log", tarfile.FIFOTYPE),
    ],
    ids=["climbs", "absolute", "backslash", "symlink", "hardlink", "device", "fifo"],
)
def test_member_that_reaches_outside_is_refused(hostile: tarfile.TarInfo, tmp_path: Path, scratch: Path) -> None:
    path = archive(tmp_path / "s.tar.gz", GOOD, (hostile, b""))
    with pytest.raises(SnapshotError, match="refused, member"), open_snapshot(path):
        pass
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "escaped").exists()


def test_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, scratch: Path) -> None:
    info = member("snapshot/nodes/n1/kernel.log")
    info.size = 8 << 30
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb") as out:
        out.write(info.tobuf())
        out.write(bytes(1 << 20))
    with pytest.raises(SnapshotError, match="more than"), open_snapshot(path):
        pass
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"not an archive at all",
        lambda data: data[10:],
    ],
    ids=["half", "empty", "text", "headless"],
)
def test_spoilt_archive_is_refused_in_one_line(spoil: Callable[[bytes], bytes], tmp_path: Path, scratch: Path) -> None:
    path = archive(tmp_path / "s.tar.gz", GOOD, (member("snapshot/nodes/n1/kernel.log"), b"x" * 100_000))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(SnapshotError) as refused, open_snapshot(path):
        pass
    assert "\n" not in str(refused.value)
    assert list(scratch.iterdir()) == []


def test_link_in_a_directory_is_not_followed(tmp_path: Path) -> None:
    h100().write(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("root:x:0", encoding="utf-8")
    with open_snapshot(tmp_path) as snapshot:
        node = next(iter(snapshot.node_dirs))
    log = tmp_path / "nodes" / node / "kernel.log"
    log.unlink(missing_ok=True)
    log.symlink_to(secret)
    (tmp_path / "nodes" / "linked").symlink_to(tmp_path / "nodes" / node)
    with open_snapshot(tmp_path) as snapshot:
        assert "linked" not in snapshot.node_dirs
        with pytest.raises(Unmeasured) as problem:
            snapshot.artefact(node, "kernel.log")
    assert problem.value.reason is Reason.UNPARSABLE


@pytest.mark.parametrize("node", ["../cluster", "..", "", "/etc", "n1/../../cluster", "n\0"])
def test_name_of_a_node_is_no_path(node: str, tmp_path: Path) -> None:
    h100().write(tmp_path)
    with open_snapshot(tmp_path) as snapshot:
        assert not snapshot.has(node, "nodes.json")
        with pytest.raises(Unmeasured):
            snapshot.artefact(node, "nodes.json")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b'{"reason": "denied", "message": "no"}', Reason.DENIED),
        (b'{"reason": "hung"}', Reason.HUNG),
        (b'{"reason": "nonsense"}', Reason.UNPARSABLE),
        (b"[" * 100_000, Reason.UNPARSABLE),
        (b"", Reason.UNPARSABLE),
        (b"\xff\xfe", Reason.UNPARSABLE),
        (b"null", Reason.UNPARSABLE),
    ],
)
def test_recorded_failure_counts_before_the_artefact(record: bytes, reason: Reason, tmp_path: Path) -> None:
    h100().write(tmp_path)
    with open_snapshot(tmp_path) as snapshot:
        node = next(iter(snapshot.node_dirs))
        (tmp_path / "nodes" / node / "kernel.log.error").write_bytes(record)
        with pytest.raises(Unmeasured) as problem:
            snapshot.artefact(node, "kernel.log")
    assert problem.value.reason is reason

from __future__ import annotations

from pathlib import Path

import pytest
from factories_report import a_mixed_report, a_pass, a_report

from gpu_readiness.report import Report
from gpu_readiness.reports import WRITERS, ReportError, write_all


def test_every_format_is_written_in_order_into_a_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert write_all(a_mixed_report(), folder) == [folder / "report.json", folder / "junit.xml", folder / "report.md"]
    assert sorted(path.name for path in folder.iterdir()) == ["junit.xml", "report.json", "report.md"]
    assert list(WRITERS) == ["json", "junit", "md"]


def test_the_files_can_be_read_by_others_as_the_user_allows(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in write_all(a_mixed_report(), tmp_path)} == {plain.stat().st_mode}


def test_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    write_all(a_mixed_report(), tmp_path)
    for path in write_all(a_report([a_pass("other", "driver.nvml")]), tmp_path):
        assert "gpu-c" not in path.read_text(encoding="utf-8")


def test_a_writer_that_fails_leaves_the_earlier_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_text(encoding="utf-8") for path in write_all(a_mixed_report(), tmp_path)}

    def broken(_report: Report, folder: Path) -> Path:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setitem(WRITERS, "md", broken)
    with pytest.raises(ReportError, match="No space left on device; give another --readiness-output"):
        write_all(a_report([]), tmp_path)
    assert {path: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == before


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(ReportError, match=r"^the report cannot be written to \S+/taken: File exists; give another"):
        write_all(a_report([]), tmp_path / "taken")


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep", encoding="utf-8")
    (tmp_path / "report.json").symlink_to(tmp_path / "precious")
    write_all(a_report([]), tmp_path)
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "keep"
    assert not (tmp_path / "report.json").is_symlink()

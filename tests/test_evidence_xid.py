from __future__ import annotations

from pathlib import Path

import pytest
from corpus import needs_corpus, recorded

from gpu_readiness.evidence.kernel import parse_kernel_log
from gpu_readiness.evidence.xid import SXID, XID, grade, grade_sxid

PAGE = Path(__file__).resolve().parents[1] / "docs" / "xid.md"


@pytest.mark.parametrize(
    "code", [46, 48, 54, 62, 64, 74, 79, 95, 110, 119, 120, 136, 140, 143, 151, 155, 156, 158, 167]
)
def test_fatal(code: int) -> None:
    assert grade(code) == "fatal"


@pytest.mark.parametrize("code", [8, 11, 13, 25, 31, 32, 37, 43, 45, 68, 69, 70, 71, 72, 80])
def test_of_the_application(code: int) -> None:
    assert grade(code) == "application"


@pytest.mark.parametrize("code", [9, 38, 63, 92, 94, 109, 121, 137, 144, 149, 154, 171, 173, 100_000, -1, None])
def test_warning(code: int | None) -> None:
    assert grade(code) == "warning"


@pytest.mark.parametrize("code", range(144, 151))
def test_nvlink_5_as_its_line_says(code: int) -> None:
    assert grade(code, nvlink_fatal=True) == "fatal"
    assert grade(code, nvlink_fatal=False) == "warning"


def test_a_repeated_context_switch_timeout_is_fatal() -> None:
    assert grade(109, repeated=True) == "fatal"
    assert grade(13, repeated=True) == "application"


def test_a_standard_overrules_the_table() -> None:
    assert grade(13, fatal=[13]) == "fatal"
    assert grade(79, warning=[79]) == "warning"
    assert grade(79, ignore=[79]) == "application"
    assert grade(149, nvlink_fatal=True, ignore=[149]) == "application"
    assert grade(79, fatal=[79], warning=[79], ignore=[79]) == "fatal"


def test_contradicting_sources_are_attributed() -> None:
    assert XID[63].sources["NVIDIA catalogue"] == "IGNORE"
    assert XID[63].sources["gpud"] == "fatal"
    assert XID[63].sources["DCGM health"] == "warn"
    assert XID[109].sources["NVIDIA device plugin"] == "ignored"
    assert XID[109].sources["AWS EKS"] == "repair"
    assert "thermal" in XID[62].note


def test_the_table_is_whole() -> None:
    assert len(XID) == 131
    assert list(XID) == sorted(XID)
    assert sum(entry.sources.get("gpud") == "fatal" for entry in XID.values()) == 43
    assert all(entry.description and entry.mnemonic for entry in XID.values())
    assert XID[79].action == "reboot"
    assert XID[154].action == "recovery-action"


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (22003, None, "fatal"),
        (22003, False, "fatal"),
        (20034, True, "fatal"),
        (20034, False, "warning"),
        (12028, False, "warning"),
        (99999, True, "fatal"),
        (99999, None, "warning"),
        (None, None, "warning"),
    ],
)
def test_sxids(code: int | None, said: bool | None, expected: str) -> None:
    assert grade_sxid(code, said_fatal=said) == expected


def test_the_page_says_what_the_table_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and line[2].isdigit()]
    expected = []
    for entry in XID.values():
        said = "; ".join(
            [f"{who}: {what}" for who, what in entry.sources.items()] + ([f"*{entry.note}*"] if entry.note else [])
        )
        cells = (str(entry.code), entry.mnemonic, entry.description, entry.grade, entry.action, said)
        expected.append(f"| {' | '.join(cells)} |")
    assert rows == expected
    for name in set(SXID.values()):
        assert f"| {name} | " in page


@needs_corpus
@pytest.mark.parametrize(
    ("name", "grades"),
    [
        ("kernel-xid13-app-error-oom", {13: "application", 43: "application"}),
        ("kernel-xid13-flood", {13: "application", 43: "application"}),
        ("kernel-xid144-nonfatal-vs-149-fatal", {144: "warning", 149: "fatal"}),
        ("kernel-xid48-63-94-dbe", {48: "fatal", 63: "warning", 94: "warning"}),
    ],
)
def test_recorded_kernel_logs(name: str, grades: dict[int, str]) -> None:
    log = parse_kernel_log(recorded(f"logs/{name}.log"))
    assert {event.code: grade(event.code, nvlink_fatal=event.nvlink_fatal) for event in log.events} == grades

"""The demo: the same fleet every time, exactly its faults found, and a failure where they are not."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_readiness.demo.command import DemoProblem, compare, prepare
from gpu_readiness.demo.command import demo as run_demo
from gpu_readiness.demo.faults import FAULTS, Fault
from gpu_readiness.demo.fleet import make_fleet
from gpu_readiness.demo.pools import POOLS
from gpu_readiness.report import Report
from gpu_readiness.reports import json_report
from gpu_readiness.verdict import NodeVerdict, Verdict


def _command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = "from gpu_readiness.cli import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A demo of the usual size, run from an empty folder."""
    folder = tmp_path_factory.mktemp("empty")
    return folder / "readiness-demo", _command("demo", cwd=folder)


@pytest.fixture(scope="module")
def report(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> Report:
    return json_report.read(demo[0] / "report" / "report.json")


def test_the_usual_demo_finds_its_dozen_and_nothing_else(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    done = demo[1]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 of 12 faults found, 12 of 12 other nodes ready" in done.stdout
    assert "fleet's own exit code: 1 (not-ready)" in done.stdout
    assert "✗" not in done.stdout
    assert "\x1b" not in done.stdout
    assert not done.stderr


def test_the_command_it_names_judges_it_again(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = demo
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("  gpu-readiness check ")]
    again = _command(*line.split()[1:], "--readiness-output", "again", cwd=folder.parent)
    assert again.returncode == 1, again.stdout + again.stderr
    assert (folder.parent / "again" / "report.json").exists()


def test_every_check_that_the_faults_name_exists(report: Report) -> None:
    named = {fault.check for faults in FAULTS.values() for fault in faults}
    assert named <= set(report.checks)


@pytest.mark.parametrize(
    "fault", [each for faults in FAULTS.values() for each in faults], ids=lambda each: each.seed.__name__
)
def test_a_story_is_one_sentence(fault: Fault) -> None:
    assert fault.story.endswith(".")
    assert "\n" not in fault.story
    assert len(fault.story) <= 120


@pytest.mark.parametrize(("size", "faults"), [(6, 6), (7, 6), (13, 7), (24, 12), (100, 12)])
def test_a_fleet_has_every_pool_and_at_most_a_dozen_faults(size: int, faults: int) -> None:
    nodes, seeded = make_fleet(size)
    assert len({node.name for node in nodes}) == size
    assert {node.pool.key for node in nodes} == {pool.key for pool in POOLS}
    assert set(seeded) <= {node.name for node in nodes}
    assert len({id(fault) for fault in seeded.values()}) == faults == len(seeded)


def test_the_smallest_demo_works(tmp_path: Path) -> None:
    done = _command("demo", "--nodes", 6, "--output", "six", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6 faults found" in done.stdout


def test_an_output_without_utf8_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = _command("demo", "--nodes", 6, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\\u2713 6 of 6 faults found" in done.stdout


def test_an_interrupted_run_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gpu_readiness.demo.command.run", lambda _: int(pytest.ExitCode.INTERRUPTED))
    assert run_demo(6, tmp_path) == pytest.ExitCode.INTERRUPTED
    said = capsys.readouterr().out
    assert "Nothing to compare: the run did not come to its end (exit code 2)" in said
    assert "What was seeded" not in said


def test_two_demos_are_the_same_to_the_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare(12, tmp_path / name)
    found = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    ]
    assert found[0] == found[1]
    assert len(found[0]) > 12 * 3


def test_a_second_demo_takes_the_place_of_the_first(tmp_path: Path) -> None:
    prepare(24, tmp_path)
    prepare(6, tmp_path)
    assert len(list((tmp_path / "snapshot" / "nodes").iterdir())) == 6


@pytest.mark.parametrize("size", [-1, 0, 5, 10_001])
def test_a_size_out_of_bounds_is_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(DemoProblem, match=f"--nodes {size}: give 6"):
        prepare(size, tmp_path)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "snapshot" / "snapshot.json"
    mine.parent.mkdir()
    mine.write_text(json.dumps({"cluster": "production"}))
    done = _command("demo", "--output", tmp_path, cwd=tmp_path)
    assert done.returncode == 4
    assert "give another folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(mine.read_text()) == {"cluster": "production"}


def test_an_output_that_is_a_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = _command("demo", "--output", "taken", cwd=tmp_path)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1


def test_a_fault_that_was_not_found_is_said(report: Report) -> None:
    _, seeded = make_fleet(24)
    passed = [
        dataclasses.replace(each, verdict=Verdict.PASS, findings=()) if each.check == "gpu.ecc-mode" else each
        for each in report.results
    ]
    failing = [each for each in compare(dataclasses.replace(report, results=passed), seeded) if not each.holds]
    assert [each.node for each in failing] == ["h100-04"]
    assert "gpu.ecc-mode: pass" in failing[0].said


def test_a_false_alarm_is_said(report: Report) -> None:
    _, seeded = make_fleet(24)
    del seeded["h100-04"]
    failing = [each for each in compare(report, seeded) if not each.holds]
    assert [(each.node, each.fault, each.said) for each in failing] == [("h100-04", None, "not-ready, gpu.ecc-mode")]


def test_a_seeded_node_without_a_report_is_said(report: Report) -> None:
    _, seeded = make_fleet(24)
    left = [node for node in report.nodes if node.name != "gb200-04"]
    results = [each for each in report.results if each.node != "gb200-04"]
    failing = [
        each for each in compare(dataclasses.replace(report, nodes=left, results=results), seeded) if not each.holds
    ]
    assert [(each.node, each.said) for each in failing] == [("gb200-04", "not in the report")]


def test_a_node_that_nobody_asked_is_unknown(report: Report) -> None:
    (node,) = [each for each in report.nodes if each.name == "t4-shared-04"]
    assert node.verdict is NodeVerdict.UNKNOWN


def test_the_page_lists_the_faults_as_they_are_seeded() -> None:
    _, seeded = make_fleet(24)
    page = (Path(__file__).parent.parent / "docs" / "demo.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    told = {row[1].strip(" `"): row[3].strip(" `") for row in rows if row[1].strip(" `") in seeded}
    assert told == {name: fault.check for name, fault in seeded.items()}

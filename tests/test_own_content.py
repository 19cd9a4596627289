"""Checks and workloads of a user's own: what they may do, and what becomes of those that go wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nodes import h100
from sessions import Done, check, own_check, write

CHECK = '@check("gpu.mine")\ndef test_mine({arguments}):\n    """My GPUs are as I want them."""\n    {body}\n'


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nodes that are ready, and one whose driver nobody asked."""
    fleet = h100(nodes=3).file("nvidia-smi.xml", None, node="gpu-3")
    return write(fleet, tmp_path_factory.mktemp("own") / "snapshot")


def judged(pytester: pytest.Pytester, snapshot: Path, text: str, *arguments: str) -> Done:
    """A run of a file with a check, among the shipped ones of its layer."""
    return check(pytester, snapshot, str(own_check(pytester.path, text)), "--readiness-layers", "gpu", *arguments)


def mine(pytester: pytest.Pytester, snapshot: Path, body: str, arguments: str = "node") -> Done:
    return judged(pytester, snapshot, CHECK.format(arguments=arguments, body=body), "-k", "gpu.mine")


def verdicts(done: Done) -> list[str]:
    """Of the own check, on all three nodes."""
    return [done.verdicts(f"gpu-{number}")["gpu.mine"] for number in (1, 2, 3)]


# --- what a check may end in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["node", "node, tmp_path"], ids=["engine", "fixture"])
@pytest.mark.parametrize(
    ("body", "expected", "code"),
    [
        ("assert len(node.gpus) == 2", "pass pass untested", 6),
        ("assert len(node.gpus) == 2 * (node.name != 'gpu-2'), 'one went missing'", "pass fail untested", 1),
        ("[gpu.expect('ecc.current', 'enabled') for gpu in node.gpus]", "pass pass untested", 6),
        ("[gpu.expect('ecc.current', 'disabled') for gpu in node.gpus]", "fail fail untested", 1),
        ("assert 1 == 1", "untested untested untested", 6),
        ("pass", "untested untested untested", 6),
        ("node.gpus", "untested untested untested", 6),
        ("{}[node.name]", "error error error", 6),
        ("raise SystemExit(0)", "error error error", 6),
        ("raise Unmeasured(Reason.DENIED, 'no key')", "untested untested untested", 6),
        ("raise Unmeasured(Reason.TIMEOUT, 'no answer')", "error error error", 6),
        ("raise NotApplicable('has none')", "not-applicable not-applicable not-applicable", 6),
        ("node.gpus[7]", "error error untested", 6),
    ],
)
def test_what_a_check_does_decides_its_verdict(
    arguments: str, body: str, expected: str, code: int, snapshot: Path, pytester: pytest.Pytester
) -> None:
    if "SystemExit" in body and "tmp_path" in arguments:
        pytest.skip("pytest itself ends where an ordinary test exits")
    done = mine(pytester, snapshot, body, arguments)
    assert " ".join(verdicts(done)) == expected, done.said
    assert done.code == code


def test_a_failed_assertion_says_what_it_says(snapshot: Path, pytester: pytest.Pytester) -> None:
    done = mine(pytester, snapshot, "assert len(node.gpus) == 3, 'one went missing'")
    (finding,) = done.result("gpu-1", "gpu.mine")["findings"]
    assert finding["expected"] == "My GPUs are as I want them."
    assert "one went missing" in finding["observed"]
    assert finding["subject"] == "gpu-1"


def test_a_broken_check_says_how_and_leaves_the_others_alone(snapshot: Path, pytester: pytest.Pytester) -> None:
    done = judged(pytester, snapshot, CHECK.format(arguments="node", body="{}['rack']"))
    assert done.result("gpu-1", "gpu.mine")["detail"] == "the check itself broke: KeyError: 'rack'"
    assert done.verdicts("gpu-1")["gpu.ecc-mode"] == "pass"
    assert "gpu.mine: error (unparsable): the check itself broke: KeyError: 'rack'" in done.out


# --- with all that pytest has ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "expected"), [("skip", "untested"), ("fail", "fail")])
def test_skip_and_fail_of_pytest_are_never_a_pass(
    how: str, expected: str, snapshot: Path, pytester: pytest.Pytester
) -> None:
    done = mine(pytester, snapshot, f"pytest.{how}('no key')", "node, tmp_path")
    assert verdicts(done) == [expected] * 3
    assert "no key" in done.out
    assert verdicts(mine(pytester, snapshot, f"pytest.{how}('no key')")) == ["error"] * 3


@pytest.mark.parametrize("mark", ["skip(reason='later')", "skipif(True, reason='later')"])
@pytest.mark.parametrize("where", ["on the check", "on the module"])
def test_a_skip_mark_is_no_pass(mark: str, where: str, snapshot: Path, pytester: pytest.Pytester) -> None:
    body = CHECK.format(arguments="node", body="assert node.gpus")
    text = f"@pytest.mark.{mark}\n{body}" if where == "on the check" else f"pytestmark = pytest.mark.{mark}\n{body}"
    done = judged(pytester, snapshot, text, "-k", "gpu.mine")
    assert verdicts(done) == ["untested"] * 3
    assert done.result("gpu-1", "gpu.mine")["detail"] == "skipped: later"


def test_marks_of_the_user_choose_checks(snapshot: Path, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = slow\n")
    text = "@pytest.mark.slow\n" + CHECK.format(arguments="node", body="assert node.gpus")
    place = str(own_check(pytester.path, text))
    done = check(pytester, snapshot, place, "-m", "slow and critical")
    assert set(done.verdicts("gpu-1")) == {"gpu.mine"}


def test_a_check_can_use_fixtures(snapshot: Path, pytester: pytest.Pytester) -> None:
    fixture = "@pytest.fixture(scope='session')\ndef inventory():\n    return {'gpu-1': 2, 'gpu-2': 8}\n\n"
    body = "node.require(len(node.gpus) == inventory[node.name], 'GPUs', expected=inventory[node.name], "
    body += "observed=len(node.gpus), source='inventory')"
    text = fixture + CHECK.format(arguments="node, inventory", body=body)
    done = judged(pytester, snapshot, text, "-k", "gpu.mine")
    assert verdicts(done) == ["pass", "fail", "untested"]
    assert "gpu.mine: GPUs: expected 8, observed 2  (inventory)" in done.out


@pytest.mark.parametrize("fixture", ["raise OSError('unreachable')", "pytest.skip('unreachable')"])
def test_a_fixture_that_breaks_is_no_pass(fixture: str, snapshot: Path, pytester: pytest.Pytester) -> None:
    text = f"@pytest.fixture\ndef inventory():\n    {fixture}\n\n"
    text += CHECK.format(arguments="node, inventory", body="assert node.gpus")
    done = judged(pytester, snapshot, text, "-k", "gpu.mine")
    assert set(verdicts(done)) <= {"error", "untested"}
    assert "unreachable" in done.result("gpu-1", "gpu.mine")["detail"]
    assert done.code == 6


def test_a_fixture_that_breaks_at_its_end_fails_the_run(snapshot: Path, pytester: pytest.Pytester) -> None:
    text = "@pytest.fixture\ndef ends():\n    yield\n    raise OSError\n\n"
    text += CHECK.format(arguments="node, ends", body="assert node.gpus")
    done = judged(pytester, snapshot, text, "-k", "gpu.mine and gpu-1")
    assert done.verdicts("gpu-1")["gpu.mine"] == "pass"
    assert done.code == 1


def test_a_method_can_be_a_check(snapshot: Path, pytester: pytest.Pytester) -> None:
    text = 'class TestMine:\n    @check("gpu.mine")\n    def test_mine(self, node):\n        """Mine."""\n'
    done = judged(pytester, snapshot, f"{text}        assert node.gpus\n", "-k", "gpu.mine")
    assert verdicts(done) == ["pass", "pass", "untested"]


def test_a_parametrised_check_is_refused_for_its_results_would_hide_each_other(
    snapshot: Path, pytester: pytest.Pytester
) -> None:
    text = '@pytest.mark.parametrize("n", [3, 2])\n' + CHECK.format(
        arguments="node, n", body="assert len(node.gpus) == n"
    )
    done = judged(pytester, snapshot, text)
    assert done.code == 4
    assert "ERROR: check gpu.mine: has several results on node gpu-1" in done.said
    assert not (pytester.path / "readiness-report").exists()


# --- declarations that cannot be used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('@check("gpu.ecc-mode")\ndef test_x(node):\n    """Taken."""\n', "check gpu.ecc-mode exists twice"),
        ('@check("disk.size")\ndef test_x(node):\n    """Size."""\n', "'disk' is no layer; layers are driver, gpu,"),
        ('@check("gpu.size")\ndef test_x(node):\n    pass\n', "check gpu.size: its docstring is its title"),
        ('@check("size")\ndef test_x(node):\n    """Size."""\n', "check 'size': an id is layer.name"),
        ('@check("gpu.a", severity="major")\ndef test_x(node):\n    """Size."""\n', "'major' is not a valid Severity"),
        ('@check("gpu.a")\ndef test_x(tmp_path):\n    """Size."""\n', "test_x: a check has to ask for `node`"),
        ("import nosuchmodule\n", "No module named 'nosuchmodule'"),
    ],
)
def test_a_check_that_cannot_be_used_stops_the_run(
    text: str, said: str, snapshot: Path, pytester: pytest.Pytester
) -> None:
    place = str(own_check(pytester.path, text))
    done = check(pytester, snapshot, place, may_break=True)
    assert done.code == pytest.ExitCode.INTERRUPTED
    assert said in done.out
    assert "session.py" not in done.out, "it is no place of ours that went wrong"
    assert done.out.count("the run ended before it") == 0, "it says one thing, not a line for every check"
    assert done.report["verdict"]["word"] == "unknown"


# --- workloads -------------------------------------------------------------------------------------------------

WORKLOAD = """
name: checkpoint
title: A checkpoint is written and read back
severity: warning
judge: {success: restored, failure: ["CUDA error.*"], figures: {write-gbs: 'write: ([0-9.]+) GB/s'}}
"""


def own_workload(folder: Path, text: str) -> str:
    place = folder / "my_workloads" / "checkpoint"
    place.mkdir(parents=True)
    (place / "workload.yaml").write_text(text, encoding="utf-8")
    return str(place.parent)


def test_an_own_workload_is_judged_by_its_words_and_the_standards_figures(pytester: pytest.Pytester) -> None:
    fleet = h100(nodes=4).says(workload={"checkpoint": {"write-gbs": {"value": ">=2.5", "source": "acceptance"}}})
    for node, output in {
        "gpu-1": "write: 3.1 GB/s\ncheckpoint restored\n",
        "gpu-2": "write: 1.9 GB/s\ncheckpoint restored\n",
        "gpu-3": "write: 3.0 GB/s\nCUDA error 700: illegal address\n",
    }.items():
        fleet.file("workloads/checkpoint.log", output, node=node)
    place = own_workload(pytester.path, WORKLOAD)
    done = check(pytester, write(fleet, pytester.path / "snapshot"), "--readiness-workloads", place)
    found = [done.verdicts(f"gpu-{number}")["workload.checkpoint"] for number in (1, 2, 3, 4)]
    assert found == ["pass", "fail", "fail", "untested"]
    assert done.report["checks"]["workload.checkpoint"] == {
        "layer": "workload",
        "severity": "warning",
        "title": "A checkpoint is written and read back",
    }
    assert "write-gbs: expected >=2.5, observed 1.9" in done.out
    assert "observed failure: CUDA error 700: illegal address" in done.out
    assert done.code == 6, "a warning does not fail, but what did not run on the fourth node was not measured"


def test_an_own_workload_that_ran_nowhere_is_not_planned(snapshot: Path, pytester: pytest.Pytester) -> None:
    place = own_workload(pytester.path, WORKLOAD)
    done = check(pytester, snapshot, "--readiness-workloads", place, "-m", "workload or labels")
    assert "workload.checkpoint" not in done.verdicts("gpu-1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WORKLOAD.replace("checkpoint\n", "nccl\n", 1), "the name nccl is taken; choose another"),
        (WORKLOAD.replace("name: checkpoint", "name: Check Point"), "name: "),
        (WORKLOAD.replace("restored", "'('"), "judge.success: "),
        (WORKLOAD + "retries: 3\n", "retries: "),
        (WORKLOAD.replace("judge: {", "judge: ["), "no readable YAML"),
        ("", "document: "),
    ],
)
def test_a_workload_that_cannot_be_used_is_refused_in_one_line(
    text: str, said: str, snapshot: Path, pytester: pytest.Pytester
) -> None:
    place = own_workload(pytester.path, text)
    done = check(pytester, snapshot, "--readiness-workloads", place)
    assert done.code == 4
    assert re.fullmatch(r"ERROR: workload .*my_workloads/checkpoint/workload.yaml: .+\n*", done.err)
    assert said in done.err

"""A readiness run is a pytest run: its options, its exit codes, and how it ends."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import re
import signal
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from nodes import h100
from sessions import (
    CHECKS,
    COMMAND,
    PYTEST,
    Done,
    check,
    environment,
    eventually,
    own_check,
    run,
    source,
    spoilt,
    write,
)

BROKEN_XML = "<nvidia_smi_log><gpu>"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of three nodes that are ready."""
    return write(h100(nodes=3), tmp_path_factory.mktemp("good") / "snapshot")


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of three nodes: not ready, ready, unknown."""
    return write(spoilt(h100(nodes=3)), tmp_path_factory.mktemp("bad") / "snapshot")


def nodes_of(done: Done) -> dict[str, str]:
    return {node["name"]: node["verdict"] for node in done.report["nodes"]}


def planned(done: Done) -> set[tuple[str, str]]:
    results = done.report["results"]
    return {(each["node"], each["check"]) for each in results if each["reason"] != "not-selected"}


def counts(line: str) -> dict[str, int]:
    """pytest's last line: `1 failed, 2 passed in 0.1s`."""
    return {word: int(number) for number, word in re.findall(r"(\d+) ([a-z/]+)", line.partition(" in ")[0])}


# --- one run, two ways to start it -----------------------------------------------------------------------------


def _timeless(done: Done) -> tuple[object, str, str]:
    report = done.report
    for key in ("id", "started", "finished"):
        del report["run"][key]
    texts = [(done.folder / "readiness-report" / name).read_text("utf-8") for name in ("junit.xml", "report.md")]
    junit, page = (re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z|\b[0-9a-f]{12}\b", "*", text) for text in texts)
    return report, junit, page


@pytest.mark.parametrize("arguments", [[], ["-k", "gpu-1", "-x", "--readiness-gate", "pre-upgrade"]], ids=str)
def test_pytest_and_the_command_give_the_same_exit_code_and_reports(
    arguments: list[str], bad: Path, tmp_path: Path
) -> None:
    by_pytest, by_command = tmp_path / "pytest", tmp_path / "command"
    by_pytest.mkdir()
    by_command.mkdir()
    one = run([*PYTEST, *CHECKS, *source(bad), *arguments], by_pytest)
    other = run([*COMMAND, "check", *source(bad), *arguments], by_command)
    assert one.code == other.code == 1, one.said + other.said
    assert _timeless(one) == _timeless(other)


@pytest.mark.parametrize(
    ("nodes", "code", "word"), [("gpu-2", 0, "ready"), ("gpu-3", 6, "unknown"), ("gpu-1", 1, "not")]
)
def test_the_exit_code_is_what_the_nodes_deserve(
    nodes: str, code: int, word: str, bad: Path, pytester: pytest.Pytester
) -> None:
    done = check(pytester, bad, "--readiness-nodes", nodes)
    assert done.code == done.report["verdict"]["exit_code"] == code
    assert re.search(rf"^{word}.*; exit {code}$", done.out, re.MULTILINE)


# --- choosing --------------------------------------------------------------------------------------------------


def test_k_takes_the_name_of_a_node(good: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, good, "-k", "gpu-2")
    assert done.code == 0
    assert {node for node, _ in planned(done)} == {"gpu-2"}


def test_k_takes_the_id_of_a_check(good: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, good, "-k", "gpu.ecc-mode")
    assert done.code == 0
    assert planned(done) == {(f"gpu-{number}", "gpu.ecc-mode") for number in (1, 2, 3)}


def test_k_takes_a_layer(good: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, good, "-k", "telemetry and gpu-1")
    found = {id for _, id in planned(done)}
    assert found
    assert {id.partition(".")[0] for id in found} == {"telemetry"}


@pytest.mark.parametrize(
    ("marks", "layers", "severities"),
    [
        ("labels", {"labels"}, {"critical", "warning"}),
        ("warning", {"driver", "gpu", "runtime", "labels", "telemetry"}, {"warning"}),
        ("gpu and warning", {"gpu"}, {"warning"}),
    ],
)
def test_m_takes_layers_and_severities(
    marks: str, layers: set[str], severities: set[str], good: Path, pytester: pytest.Pytester
) -> None:
    done = check(pytester, good, "-m", marks, "--strict-markers")
    found = {id for _, id in planned(done)}
    assert {id.partition(".")[0] for id in found} == layers
    assert {done.report["checks"][id]["severity"] for id in found} == severities
    assert done.code == 0


def test_what_was_deselected_is_said_and_counts_in_no_coverage(good: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, good, "-k", "gpu.ecc-mode and gpu-1")
    assert done.report["verdict"]["coverage"]["checks"] == [1, 1]
    assert done.result("gpu-1", "gpu.inforom")["reason"] == "not-selected"
    assert "checks not selected): 1 ready" in done.out


def test_nothing_left_to_judge_is_no_success(good: Path, pytester: pytest.Pytester) -> None:
    assert check(pytester, good, "-k", "nosuchcheck").code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not (pytester.path / "readiness-report").exists()


@pytest.mark.parametrize(
    ("arguments", "layers"),
    [
        (["--readiness-gate", "drift"], "driver gpu runtime allocatable labels telemetry"),
        (["--readiness-gate", "pre-upgrade"], "driver gpu runtime allocatable labels telemetry upgrade"),
        (["--readiness-layers", "driver, labels"], "driver labels"),
        (["--readiness-gate", "pre-upgrade", "--readiness-layers", "gpu"], "gpu"),
    ],
    ids=str,
)
def test_gate_and_layers_choose_the_checks(
    arguments: list[str], layers: str, good: Path, pytester: pytest.Pytester
) -> None:
    done = check(pytester, good, *arguments, "-q")
    assert {each["layer"] for each in done.report["checks"].values()} == set(layers.split())
    gate = arguments[1] if "gate" in arguments[0] else "acceptance"
    assert done.report["run"]["gate"] == gate


def test_depth_api_asks_no_driver_and_says_so(bad: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, bad, "--readiness-depth", "api", "-q")
    assert "ready at depth api (" in done.out
    assert done.result("gpu-1", "driver.nvml")["reason"] == "not-selected"
    assert done.report["verdict"]["nodes"]["not-ready"] == 0


# --- stopping early, and what failed last ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first_node", "code", "verdict"), [(None, 6, "unknown"), ("gone", 1, "not-ready"), (BROKEN_XML, 6, "unknown")]
)
def test_x_stops_and_leaves_the_rest_untested(
    first_node: str | None, code: int, verdict: str, pytester: pytest.Pytester
) -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    fleet = h100(nodes=2).file("nvidia-smi.xml", said if first_node == "gone" else first_node)
    fleet.file("nvidia-smi.xml", BROKEN_XML, node="gpu-2")
    done = check(pytester, write(fleet, pytester.path / "snapshot"), "-x")
    assert done.code == done.report["verdict"]["exit_code"] == code, done.said
    assert nodes_of(done)["gpu-1"] == verdict
    assert "stopping after 1 failures" in done.out
    if first_node is not None:  # nobody got as far as the second node
        assert set(done.verdicts("gpu-2").values()) == {"untested"}
        assert done.result("gpu-2", "driver.nvml")["detail"] == "the run ended before it"
        assert re.search(r"^    \d\d checks untested: the run ended before it$", done.out, re.MULTILINE)


def test_lf_runs_what_failed(bad: Path, pytester: pytest.Pytester) -> None:
    assert check(pytester, bad, "-q").code == 1
    done = check(pytester, bad, "--lf")
    assert done.code == 1
    assert planned(done) == {("gpu-1", "gpu.ecc-mode")}


# --- what is printed -------------------------------------------------------------------------------------------


def test_v_prints_a_line_for_each_check_and_node(bad: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, bad, "-v", "-k", "gpu.ecc-mode")
    lines = re.findall(r"::test_ecc_mode\[(gpu-\d)\] ([A-Z]+)", done.out.partition("GPU node readiness")[0])
    assert lines == [("gpu-1", "FAILED"), ("gpu-2", "PASSED"), ("gpu-3", "UNTESTED")]


def test_without_v_no_line_of_the_progress_is_left(bad: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, bad)
    assert "test_ecc_mode" not in done.out
    collected, _, rest = done.out.partition("collected 150 items\n")
    assert collected
    assert rest.startswith("\n====")
    assert counts(done.out.splitlines()[-1])["failed"] == 1


def test_q_prints_two_lines(bad: Path, pytester: pytest.Pytester) -> None:
    lines = check(pytester, bad, "-q").out.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("not-ready at depth smi")


def test_ra_names_items_with_their_verdicts(bad: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, bad, "-rA", "-k", "gpu.ecc-mode")
    _, _, summary = done.out.partition("short test summary info")
    assert re.search(r"^PASSED \S*test_2_gpu.py::test_ecc_mode\[gpu-2\]$", summary, re.MULTILINE)
    assert re.search(r"^FAILED \S*test_2_gpu.py::test_ecc_mode\[gpu-1\] - GPU-h100-0-0 ecc", summary, re.MULTILINE)


@pytest.mark.parametrize("quiet", [[], ["-q"]], ids=["co", "co-q"])
def test_co_lists_items_and_judges_nothing(quiet: list[str], bad: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, bad, "--co", "-k", "gpu.ecc-mode", *quiet)
    assert done.code == 0
    assert done.out.count("test_ecc_mode[gpu-") == 3
    assert "not-ready" not in done.out
    assert not (pytester.path / "readiness-report").exists()


def test_listing_fixtures_writes_no_report(bad: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, bad, "--fixtures")
    assert done.code == 0
    assert "exit 6" not in done.out
    assert not (pytester.path / "readiness-report").exists()


def test_junitxml_of_pytest_has_the_items_too(bad: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, bad, "--junitxml", "own.xml", "-k", "gpu.ecc-mode or driver.nvml")
    (suite,) = ET.parse(pytester.path / "own.xml").getroot()
    assert done.code == 1
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "1",
        "errors": "0",
        "skipped": "2",
    }


# --- beside other plugins --------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_xdist_is_refused_and_n_0_is_no_xdist(good: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, good, "-n", "2")
    assert done.code == 4
    assert re.fullmatch(r"ERROR: -n: .+ leave -n away, or give -n 0\n*", done.said)
    assert check(pytester, good, "-n", "0", "-q").code == 0


ORDINARY = """
import pytest

@pytest.fixture
def node():
    return "mine"

def test_passes(node):
    assert node == "mine"

@pytest.mark.skip
def test_skips(): pass

def test_fails():
    assert 1 == 2
"""


def _session(folder: Path, *arguments: str) -> str:
    said = run([*PYTEST, "-p", "no:cacheprovider", *arguments], folder).said
    return re.sub(r"^plugins: .*\n|\d\.\d\ds| at 0x\w+", "", said, flags=re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["-v"], ["-rA", "--strict-markers"], ["--markers"], ["--fixtures"]], ids=str)
def test_an_ordinary_session_is_as_if_the_plugin_were_not_installed(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_ordinary.py").write_text(ORDINARY)
    with_us = _session(tmp_path, *arguments)
    assert with_us == _session(tmp_path, *arguments, "-p", "no:gpu_readiness")
    assert "readiness" not in with_us


def test_without_the_plugin_its_options_are_unknown(good: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, good, "-p", "no:gpu_readiness")
    assert done.code == 4
    assert "unrecognized arguments: --readiness-snapshot" in done.err


@pytest.mark.parametrize("failing", [False, True])
def test_ordinary_tests_run_beside_checks(failing: bool, good: Path, pytester: pytest.Pytester) -> None:
    (pytester.path / "test_ordinary.py").write_text(f"def test_one():\n    assert not {failing}\n")
    done = check(pytester, good, "test_ordinary.py")
    assert done.code == done.report["verdict"]["exit_code"] == int(failing)
    assert set(nodes_of(done).values()) == {"ready"}
    assert counts(done.out.splitlines()[-1])["passed"] == 135 + (not failing)


# --- nothing to judge ------------------------------------------------------------------------------------------


def test_checks_without_a_source_are_refused_in_one_line(tmp_path: Path) -> None:
    done = run([*PYTEST, *CHECKS], tmp_path)
    assert done.code == 4
    assert re.fullmatch(r"ERROR: \d+ readiness checks collected and nothing to judge; give .+\n*", done.err)


@pytest.mark.parametrize("arguments", [[], ["-q"], ["--readiness-context", "x"]])
def test_the_command_without_a_cluster_says_so_in_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = run([*COMMAND, "check", *arguments], tmp_path)
    assert done.code == 4
    assert re.fullmatch(r"ERROR: no cluster to judge: there is no kubeconfig \S+/none, and .+\n*", done.err)


def _cluster(folder: Path, text: str) -> Path:
    (folder / "cluster").mkdir(parents=True)
    (folder / "cluster" / "nodes.json").write_text(text)
    return folder


CPU_NODES = json.dumps({"items": [{"metadata": {"name": f"cpu-{number}"}} for number in range(12)]})


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (CPU_NODES, "12 nodes seen, none has a GPU label"),
        ('{"items": []}', "lists no node at all"),
        ("<html>502</html>", "nodes.json is no JSON"),
        ("", "nodes.json is empty"),
    ],
    ids=["cpu", "none", "html", "empty"],
)
def test_a_cluster_without_gpu_nodes_is_refused_and_says_what_was_seen(
    nodes: str, said: str, pytester: pytest.Pytester
) -> None:
    done = check(pytester, _cluster(pytester.path / "snapshot", nodes))
    assert done.code == 4
    assert said in done.err


USAGE = {
    "snapshot": (["--readiness-snapshot", "nosuch"], "snapshot nosuch: no such directory"),
    "snapshot-without-value": (["--readiness-snapshot"], "expected one argument"),
    "archive": (["--readiness-snapshot", "garbage.tar.gz"], "snapshot garbage.tar.gz: no readable archive"),
    "folder": (["--readiness-snapshot", "empty"], "no cluster/nodes.json"),
    "standard": (["--readiness-standard", "nosuch"], "standard nosuch: neither a shipped standard nor"),
    "standard-typo": (["--readiness-standard", "hardware/h10"], "did you mean hardware/"),
    "standard-yaml": (["--readiness-standard", "garbage.tar.gz"], "standard garbage.tar.gz: not a mapping"),
    "standard-folder": (["--readiness-standard", "empty"], "no *.yaml"),
    "nodes": (["--readiness-nodes", "gpu-9*"], "3 GPU nodes of 3 seen, none matches 'gpu-9*'"),
    "selector": (["--readiness-nodes", "pool in (a"], "--readiness-nodes: 'pool in (a' is no label selector"),
    "layers": (["--readiness-layers", "driver,gpus"], "'gpus' is no layer; layers are driver, gpu"),
    "layers-empty": (["--readiness-layers", ""], "'' is no layer"),
    "coverage-101": (["--readiness-min-coverage", "101"], "101 is no percentage"),
    "coverage-nan": (["--readiness-min-coverage", "nan"], "nan is no percentage"),
    "coverage-word": (["--readiness-min-coverage", "all"], "invalid float value: 'all'"),
    "depth": (["--readiness-depth", "deep"], "invalid choice: 'deep'"),
    "gate": (["--readiness-gate", "nightly"], "invalid choice: 'nightly'"),
    "workloads": (["--readiness-workloads", "nosuch"], "workloads nosuch: no such folder"),
    "unknown": (["--readiness-snapshots", "x"], "unrecognized arguments: --readiness-snapshots"),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_bad_value_is_exit_4_and_says_what_is_wrong(case: str, good: Path, pytester: pytest.Pytester) -> None:
    arguments, said = USAGE[case]
    (pytester.path / "empty").mkdir()
    (pytester.path / "garbage.tar.gz").write_text("garbage")
    done = check(pytester, good, *arguments)
    assert done.code == 4
    assert said in done.err
    assert len(done.err.strip().splitlines()) in (1, 4), "one line, or argparse's four"
    assert not (pytester.path / "readiness-report").exists()


@pytest.mark.parametrize("taken", ["file", "file/below"])
def test_a_report_that_cannot_be_written_is_exit_4(taken: str, bad: Path, pytester: pytest.Pytester) -> None:
    (pytester.path / "file").write_text("mine")
    done = check(pytester, bad, "--readiness-output", taken)
    assert done.code == 4
    assert f"ERROR: the report cannot be written to {taken}: " in done.out
    assert "; exit 4\n" in done.out
    assert "✗ gpu-1  not-ready" in done.out
    assert (pytester.path / "file").read_text() == "mine"


# --- strictness ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def degraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of a node with a warning, and with a warning check that could not be measured."""
    fleet = h100().says(gpu={"persistence": "enabled"})
    del fleet.lists["clusterpolicies"]
    return write(fleet, tmp_path_factory.mktemp("degraded") / "snapshot")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 6),
        (["--readiness-min-coverage", "90"], 0),
        (["--readiness-min-coverage", "0"], 0),
        (["--readiness-min-coverage", "90", "--readiness-strict"], 1),
    ],
    ids=str,
)
def test_coverage_and_strictness_decide_over_a_degraded_node(
    arguments: list[str], code: int, degraded: Path, pytester: pytest.Pytester
) -> None:
    done = check(pytester, degraded, *arguments)
    assert done.report["verdict"]["word"] == "degraded"
    assert done.code == done.report["verdict"]["exit_code"] == code
    measured, all_of_them = done.report["verdict"]["coverage"]["checks"]
    assert measured == all_of_them - 1
    assert "runtime.operator: untested (missing) on gpu-1" in done.out


def test_a_warning_is_shown_as_warned_and_fails_nothing(degraded: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, degraded, "-v", "-k", "gpu.persistence or gpu.ecc-mode")
    assert done.code == 0
    assert "test_persistence[gpu-1] WARNED" in done.out
    assert "gpu.persistence [warning]: GPUs 0, 1: persistence: expected enabled, observed disabled" in done.out
    assert counts(done.out.splitlines()[-1]) == {"passed": 1, "deselected": 48, "warned": 1}


@pytest.mark.parametrize(("days", "code", "verdict"), [(1, 0, "waived"), (0, 0, "waived"), (-1, 1, "fail")])
def test_a_waiver_counts_until_its_last_day(days: int, code: int, verdict: str, pytester: pytest.Pytester) -> None:
    until = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days)
    fleet = h100().smi("ecc_mode/current_ecc", "Disabled")
    waiver = {"check": "gpu.ecc-mode", "nodes": ["gpu-*"], "reason": "vendor case 12", "until": str(until)}
    fleet.says(waivers=[waiver])
    done = check(pytester, write(fleet, pytester.path / "snapshot"), "-v", "-k", "gpu.ecc-mode")
    assert done.code == code, done.said
    assert done.verdicts("gpu-1")["gpu.ecc-mode"] == verdict
    assert ("WAIVED (waived: " in done.out) == (verdict == "waived")


# --- clean -----------------------------------------------------------------------------------------------------


def test_a_run_gives_no_warning_and_needs_no_bytecode(bad: Path, tmp_path: Path) -> None:
    place = own_check(tmp_path, '@check("gpu.mine")\ndef test_mine(node):\n    """Mine."""\n    assert node.gpus\n')
    archive = tmp_path / "snapshot.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(bad, "snapshot")
    options = [
        "-X",
        "dev",
        "-W",
        "error",
        "-m",
        "pytest",
        *CHECKS,
        "my_checks",
        "-W",
        "error",
        "--readiness-layers",
        "gpu",
    ]
    done = run([PYTEST[0], *options, "--readiness-snapshot", str(archive)], tmp_path, PYTHONDONTWRITEBYTECODE="1")
    assert done.code == 1
    assert not done.err
    assert not re.search(r"Warning:|\bwarnings?( summary| in )", done.out)
    assert not list(place.rglob("*.pyc"))


# --- interrupted -----------------------------------------------------------------------------------------------

WAITS = """
import os, pathlib, time

@check("upgrade.waits")
def test_waits(node):
    \"\"\"It waits for Ctrl-C on the second node.\"\"\"
    pathlib.Path(node.name).touch()
    time.sleep(60 * (node.name == "gpu-2"))
"""


def test_an_interrupted_run_writes_its_report_and_leaves_nothing_behind(good: Path, tmp_path: Path) -> None:
    own_check(tmp_path, WAITS)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with tarfile.open(tmp_path / "snapshot.tar.gz", "w:gz") as file:
        file.add(good, "snapshot")
    options = ["check", "my_checks", "--readiness-snapshot", "snapshot.tar.gz", "--readiness-layers", "driver,upgrade"]
    process = subprocess.Popen(
        [*COMMAND, *options],
        cwd=tmp_path,
        env=environment(TMPDIR=str(scratch)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert eventually((tmp_path / "gpu-2").exists)
    assert list(scratch.iterdir()), "the archive was unpacked somewhere else"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    done = Done(process.returncode, out, err, tmp_path)
    assert done.code == done.report["verdict"]["exit_code"] == pytest.ExitCode.INTERRUPTED, done.said
    assert "Traceback" not in done.said
    assert "KeyboardInterrupt" in done.out
    assert done.verdicts("gpu-1")["driver.nvml"] == "pass"
    assert set(done.verdicts("gpu-3").values()) == {"untested"}
    assert not list(scratch.iterdir())


def test_checks_beside_ordinary_tests_are_left_out_and_that_is_said(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from gpu_readiness import check

        @check("gpu.own")
        def test_own(node):
            \"\"\"The own thing holds.\"\"\"

        def test_ordinary():
            pass
        """
    )
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["1 readiness checks were not run: nothing to judge, no --readiness-snapshot or --readiness-cluster"]
    )

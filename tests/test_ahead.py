"""The worker that judges ahead only ever saves time: no result depends on it, and it outlives nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nodes import h100
from sessions import PYTEST, environment, eventually, is_running, own_check, run, source, write

from gpu_readiness import ahead
from gpu_readiness.ahead import Ahead

NAMES = [f"node-{number}" for number in range(20)]
needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="no worker is started on one core")
pytestmark = needs_two_cores


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ahead]]:
    """Starts a worker however few names there are, and ends it after the test."""
    monkeypatch.setattr(ahead, "LEAST_NODES", 1)
    started: list[Ahead] = []

    def start(judge: Callable[[str], Any], names: list[str] = NAMES) -> Ahead:
        started.append(Ahead(names, judge))
        assert started[-1]._worker, "no worker was started"
        return started[-1]

    yield start
    for each in started:
        each.close()


def gone(worker: int) -> bool:
    return eventually(lambda: not is_running(worker), 10)


def test_it_delivers_what_it_judged(start: Callable[..., Ahead]) -> None:
    found = start(lambda name: {"name": name, "large": "x" * 100_000})
    assert eventually(lambda: found.take(NAMES[0]) is not None)
    for name in NAMES[1:]:
        assert found.take(name) == {"name": name, "large": "x" * 100_000}
    assert found.take(NAMES[5]) is None, "what was taken is not kept"


def test_it_starts_at_the_end_and_delivers_at_once(start: Callable[..., Ahead]) -> None:
    def judge(name: str) -> str:
        time.sleep(60 * (name == NAMES[9]))
        return name

    found = start(judge)
    assert eventually(lambda: found.take(NAMES[10]) is not None, 10), "what was judged is not kept back"
    assert found.take(NAMES[19]) == NAMES[19]
    assert found.take(NAMES[0]) is None


def test_few_nodes_get_no_worker() -> None:
    assert not Ahead(NAMES, str)._worker


def test_a_process_with_threads_gets_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "LEAST_NODES", 1)
    monkeypatch.setattr(ahead.threading, "active_count", lambda: 2)
    assert not Ahead(NAMES, str)._worker


def _raises(name: str) -> str:
    if name == NAMES[15]:
        raise ValueError(name)
    return name


def _cannot_be_sent(name: str) -> object:
    return name if name != NAMES[15] else lambda: None


def _is_killed(name: str) -> str:
    if name == NAMES[15]:
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def _leaves(name: str) -> str:
    if name == NAMES[15]:
        sys.exit(0)
    return name


@pytest.mark.parametrize("judge", [_raises, _cannot_be_sent, _is_killed, _leaves])
def test_a_worker_that_dies_delivers_nothing_wrong(
    judge: Callable[[str], Any], start: Callable[..., Ahead], capfd: pytest.CaptureFixture[str]
) -> None:
    found = start(judge)
    worker = found._worker
    assert gone(worker)
    for name in NAMES:
        taken = found.take(name)
        assert taken is None or (taken == judge(name) and name > NAMES[15])
    assert not found._worker, "it was waited for"
    assert capfd.readouterr().err == ""


def test_closing_ends_a_worker_that_hangs(start: Callable[..., Ahead]) -> None:
    found = start(lambda name: time.sleep(60))
    worker = found._worker
    assert is_running(worker)
    found.close()
    assert not is_running(worker)
    with pytest.raises(ChildProcessError):
        os.waitpid(worker, os.WNOHANG)
    found.close()
    assert found.take(NAMES[0]) is None


def test_no_file_stays_open(start: Callable[..., Ahead]) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    found = start(str)
    assert eventually(lambda: found.take(NAMES[0]) is not None)
    found.close()
    assert set(Path("/proc/self/fd").iterdir()) <= before


PARENT = """
import sys, time
from gpu_readiness import ahead
ahead.LEAST_NODES = 1

def judge(name):
    time.sleep({seconds})
    return name * {size}

found = ahead.Ahead([str(number) for number in range(100_000)], judge)
print(found._worker, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("seconds", "size", "blow"),
    [(0.05, 1, signal.SIGKILL), (0.05, 1, signal.SIGTERM), (0, 1_000_000, signal.SIGKILL), (60, 1, signal.SIGKILL)],
    ids=["killed", "terminated", "blocked by a full pipe", "hangs"],
)
def test_a_worker_ends_soon_after_its_run(seconds: float, size: int, blow: signal.Signals) -> None:
    program = PARENT.format(seconds=seconds, size=size)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_running(worker)
        parent.send_signal(blow)
        parent.wait(10)
        ended = gone(worker)
        if not ended:
            os.kill(worker, signal.SIGKILL)
    assert ended


# --- in a run --------------------------------------------------------------------------------------------------

#: A check that says which process judged a node, and does to a worker what the test is about.
CHECK = """
import os, pathlib, signal, time
from gpu_readiness import ahead
ahead.LEAST_NODES = 1
RUN = os.getpid()

@check("upgrade.who")
def test_who(node):
    \"\"\"It tells who judged.\"\"\"
    pathlib.Path(f"{node.name}.{os.getpid()}").touch()
    assert node.gpus
    if os.getpid() != RUN:
        HOW
    else:
        time.sleep(0.15)
"""


def _prepare(folder: Path, how: str) -> list[str]:
    own_check(folder, CHECK.replace("HOW", how))
    layers = ["--readiness-layers", "driver,upgrade"]
    fleet = h100(nodes=6).file("nvidia-smi.xml", None, node="gpu-6")
    return [*PYTEST, "my_checks", *source(write(fleet, folder / "snapshot")), *layers]


def _judged_by(folder: Path) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for each in folder.glob("gpu-*.*"):
        found.setdefault(int(each.suffix[1:]), set()).add(each.stem)
    return found


@pytest.mark.parametrize(
    "how", ["pass", "os.kill(os.getpid(), signal.SIGKILL)", "time.sleep(60)", "raise KeyboardInterrupt"]
)
def test_no_result_depends_on_the_worker(how: str, tmp_path: Path) -> None:
    done = run(_prepare(tmp_path, how), tmp_path)
    judged_by = _judged_by(tmp_path)
    assert len(judged_by) == 2, "there was a worker"
    assert min(map(len, judged_by.values())) < 6, "one was given what the other had judged"
    if how != "pass":
        assert all("gpu-5" in each for each in judged_by.values()), "the run judged what the worker died over"
    assert [done.verdicts(f"gpu-{number}")["upgrade.who"] for number in range(1, 7)] == ["pass"] * 5 + ["untested"]
    assert done.code == 6
    assert not done.err
    assert all(map(gone, judged_by))


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_a_run_that_was_stopped(blow: signal.Signals, tmp_path: Path) -> None:
    command = _prepare(tmp_path, "time.sleep(0.1)")
    (tmp_path / "my_checks" / "conftest.py").write_text(
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) as process:
        assert eventually(lambda: len(_judged_by(tmp_path)) == 2)
        process.send_signal(blow)
        process.wait(30)
    assert process.returncode == (2 if blow == signal.SIGINT else -signal.SIGKILL)
    assert all(map(gone, _judged_by(tmp_path)))

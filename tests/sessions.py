"""Runs as a user starts them, what they printed, and the report that they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from nodes import Fleet

PYTEST = [sys.executable, "-m", "pytest"]
CHECKS = ["--pyargs", "gpu_readiness.checks"]
#: The `gpu-readiness` script; Ctrl-C reaches it even if whoever runs the tests is deaf to it.
_PROGRAM = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); from gpu_readiness.cli import main; main()"
COMMAND = [sys.executable, "-c", _PROGRAM]
#: Loading hypothesis' plugin takes longer than a run.
_NOT_NEEDED = "-p no:hypothesispytest"
_FOREIGN = ("PYTEST_", "PY_COLORS", "FORCE_COLOR", "GITHUB_ACTIONS", "CI", "PYTHONWARNINGS")

#: GPUs of the first node have ECC off, nobody asked the driver of the third.
FAULTY = ("gpu-1", "gpu-3")


@dataclass(frozen=True, slots=True)
class Done:
    """A run that ended."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        """report.json, from where a run writes it unless it is told otherwise."""
        found: dict[str, Any] = json.loads((self.folder / "readiness-report" / "report.json").read_text("utf-8"))
        return found

    @property
    def said(self) -> str:
        return self.out + self.err

    def verdicts(self, node: str) -> dict[str, str]:
        """Verdicts of a node by check; of what is not selected, there is none."""
        own = (each for each in self.report["results"] if each["node"] == node)
        return {each["check"]: each["verdict"] for each in own if each["reason"] != "not-selected"}

    def result(self, node: str, check: str) -> dict[str, Any]:
        (found,) = (each for each in self.report["results"] if (each["node"], each["check"]) == (node, check))
        return dict(found)


def run(command: list[str], folder: Path, *, may_break: bool = False, **env: str) -> Done:
    """Run a command in a folder, without what the surrounding pytest run has in its environment.

    A traceback is a fault of ours, unless something of the user's `may_break`.
    """
    done = subprocess.run(
        command, cwd=folder, env=environment(**env), capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    return _without_traceback(Done(done.returncode, done.stdout, done.stderr, folder), may_break)


def _without_traceback(done: Done, may_break: bool) -> Done:
    assert may_break or "Traceback (most recent call last)" not in done.said, done.said
    return done


def environment(**env: str) -> dict[str, str]:
    """The environment of a run."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    return {**kept, "PYTEST_ADDOPTS": _NOT_NEEDED, "COLUMNS": "100", "NO_COLOR": "1", **env}


def check(pytester: pytest.Pytester, snapshot: Path, *arguments: str, may_break: bool = False) -> Done:
    """`pytest --pyargs gpu_readiness.checks` on a snapshot that `write` wrote, without the cost of a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        patch.setenv("NO_COLOR", "1")
        result = pytester.runpytest_inprocess(*_NOT_NEEDED.split(), *CHECKS, *source(snapshot), *arguments)
    done = Done(int(result.ret), result.stdout.str(), result.stderr.str(), pytester.path)
    return _without_traceback(done, may_break)


def source(snapshot: Path) -> list[str]:
    standard = snapshot.with_suffix(".yaml")
    return ["--readiness-snapshot", str(snapshot), *(["--readiness-standard", str(standard)] * standard.is_file())]


def write(fleet: Fleet, snapshot: Path) -> Path:
    """Write a snapshot, and the fleet's standard beside it."""
    fleet.write(snapshot)
    snapshot.with_suffix(".yaml").write_text(yaml.safe_dump(fleet.standard), encoding="utf-8")
    return snapshot


def spoilt(fleet: Fleet) -> Fleet:
    """One node not ready and one unknown of a fleet of three."""
    fleet.smi("ecc_mode/current_ecc", "Disabled")
    return fleet.file("nvidia-smi.xml", None, node=FAULTY[1])


def own_check(folder: Path, body: str) -> Path:
    """A folder of checks of a user's own, with one file."""
    place = folder / "my_checks"
    place.mkdir(exist_ok=True)
    head = "import pytest\nfrom gpu_readiness import NotApplicable, Reason, Unmeasured, check\n\n"
    (place / "test_mine.py").write_text(head + body, encoding="utf-8")
    return place


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody waited for has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")

"""How long judging a fleet takes, beside the least that any judge has to do: `judge.py [NODES ...]`."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fleet import write_fleet
from rich.console import Console
from rich.table import Table

PLAIN = Path(__file__).with_name("plain.py")
SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: wall time in seconds, peak resident memory in MiB, and its exit code."""

    seconds: float
    peak_mib: float
    code: int


def measure(*command: str | Path) -> Cost:
    """Run a command by itself and wait for it."""
    begun = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    in_mib = 2**20 if sys.platform == "darwin" else 2**10  # the unit of ru_maxrss is not the same everywhere
    return Cost(seconds, usage.ru_maxrss / in_mib, process.returncode)


def judge(size: int, folder: Path) -> tuple[Cost, Cost]:
    """What a plain pass over a fleet of `size` nodes takes, and what judging it takes."""
    write_fleet(size, folder)
    snapshot, standard, report = folder / "snapshot", folder / "standard.yaml", folder / "report"
    options = ("--readiness-snapshot", snapshot, "--readiness-standard", standard, "--readiness-output", report)
    return measure(sys.executable, PLAIN, snapshot), measure(SCRIPTS / "gpu-readiness", "check", "-qq", *options)


def median(*command: str | Path, times: int = 10) -> float:
    """The median wall time of a command in milliseconds."""
    return 1000 * statistics.median(measure(*command).seconds for _ in range(times))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", nargs="*", type=int, default=[500, 2000, 5000], help="sizes of the fleets")
    sizes = parser.parse_args().nodes
    console = Console()
    table = Table("nodes", "plain s", "plain MiB", "check s", "check MiB", "ratio", "ms/node", "exit")
    for column in table.columns:
        column.justify = "right"
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            plain, check = judge(size, Path(folder))
        figures = (plain.seconds, plain.peak_mib, check.seconds, check.peak_mib, check.seconds / plain.seconds)
        per_node = 1000 * check.seconds / size
        table.add_row(str(size), *(f"{each:.1f}" for each in figures), f"{per_node:.2f}", str(check.code))
    console.print(table)
    print(f"gpu-readiness --help: {median(SCRIPTS / 'gpu-readiness', '--help'):.0f} ms (median of 10)")
    pytest = (SCRIPTS / "pytest", "--version")
    loaded, unloaded = median(*pytest), median(*pytest, "-p", "no:gpu_readiness")
    print(f"pytest --version: {loaded:.0f} ms, without the plugin {unloaded:.0f} ms (median of 10)")


if __name__ == "__main__":
    main()

"""`gpu-readiness demo`: write the fleet, judge it as `check` would, and compare what was found with what was seeded."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from gpu_readiness.demo.faults import Fault
from gpu_readiness.demo.fleet import CLUSTER, make_fleet, write_snapshot
from gpu_readiness.demo.pools import POOLS
from gpu_readiness.demo.standards import standard_of
from gpu_readiness.plugin import run
from gpu_readiness.report import NodeReport, Report
from gpu_readiness.reports import ReportError, json_report
from gpu_readiness.verdict import NOT_MEASURED, ExitCode, NodeVerdict, Result, Verdict

MAX_NODES = 10_000
_FOLDERS = ("snapshot", "standards", "report")


class DemoProblem(ValueError):
    """The demo cannot start; one line says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A node against what was seeded on it: `holds` if it was judged so, `said` is what the report says of it."""

    node: str
    fault: Fault | None
    holds: bool
    said: str


def demo(size: int, folder: Path) -> int:
    """Run the demo with `size` nodes in `folder` and say what came out.

    Returns:
        0 if exactly the seeded faults were found, 1 if not, 4 if the demo cannot start; of a run that was interrupted
        or broke, its own exit code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8, as pytest itself does it
    out = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        seeded = prepare(size, folder)
    except DemoProblem as problem:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"error: {problem}")
        return ExitCode.USAGE
    place = folder / "snapshot"
    out.print(f"A made-up fleet of {size} nodes in {len(POOLS)} pools, {len(seeded)} of them with a fault: {place}")
    paths = ["--readiness-snapshot", str(place), "--readiness-standard", str(folder / "standards")]
    code = run(["--pyargs", "gpu_readiness.checks", "-qq", *paths, "--readiness-output", str(folder / "report")])
    if code not in (ExitCode.READY, ExitCode.NOT_READY, ExitCode.UNKNOWN):
        out.print(f"\nNothing to compare: the run did not come to its end (exit code {code})")
        return code
    try:
        report = json_report.read(folder / "report" / json_report.NAME)
    except ReportError as problem:
        out.print(f"\nNothing to compare: {problem}")
        return ExitCode.NOT_READY
    right = _show(out, compare(report, seeded))
    out.print(f"\nThe fleet's own exit code: {code} ({report.word.value}). To look further:")
    out.print(f"  {folder / 'report'} has the findings of every node, and what to do about them")
    out.print(f"  gpu-readiness check {shlex.join(paths)}")
    return ExitCode.READY if right else ExitCode.NOT_READY


def prepare(size: int, folder: Path) -> dict[str, Fault]:
    """Write snapshot and standards into `folder`, in place of those of an earlier demo; the faults by node.

    Raises:
        DemoProblem: too few or too many nodes, or the folder holds something else or cannot be written.
    """
    if not len(POOLS) <= size <= MAX_NODES:
        raise DemoProblem(f"--nodes {size}: give {len(POOLS)} (one for each pool) to {MAX_NODES}")
    nodes, seeded = make_fleet(size)
    try:
        _make_room(folder)
        write_snapshot(folder / "snapshot", nodes)
        (folder / "standards").mkdir()
        for pool in POOLS:
            (folder / "standards" / f"{pool.key}.yaml").write_text(standard_of(pool), encoding="utf-8")
    except OSError as problem:
        raise DemoProblem(f"--output {folder}: cannot be written: {problem.strerror}; give another folder") from problem
    return seeded


def _make_room(folder: Path) -> None:
    there = [folder / name for name in _FOLDERS if (folder / name).exists()]
    if not there:
        return
    try:
        earlier = json.loads((folder / "snapshot" / "snapshot.json").read_text(encoding="utf-8"))["cluster"] == CLUSTER
    except (OSError, ValueError, KeyError, TypeError):
        earlier = False
    if not earlier:
        raise DemoProblem(f"--output {folder}: {there[0].name} is there and is of no demo; give another folder")
    for each in there:
        shutil.rmtree(each)


def compare(report: Report, seeded: Mapping[str, Fault]) -> list[Comparison]:
    """Every node of the report, and every seeded one, against what was seeded; the seeded ones first."""
    faulty = {name: Comparison(name, fault, False, "not in the report") for name, fault in seeded.items()}
    others = []
    for node, results in report.by_node():
        if node.name in seeded:
            faulty[node.name] = _compare_faulty(node, results, seeded[node.name])
        else:
            ready = node.verdict is NodeVerdict.READY
            others.append(Comparison(node.name, None, ready, f"{node.verdict.value}, {node.first_broken}"))
    return [*faulty.values(), *others]


def _compare_faulty(node: NodeReport, results: list[Result], fault: Fault) -> Comparison:
    result = next((each for each in results if each.check == fault.check), None)
    if result is None:
        return Comparison(node.name, fault, False, f"{fault.check} was not run")
    not_ready = fault.verdict is NodeVerdict.NOT_READY
    found = result.verdict is Verdict.FAIL if not_ready else result.verdict in NOT_MEASURED
    if not found or node.verdict is not fault.verdict:
        said = f"{fault.check}: {result.verdict.value}; the node is {node.verdict.value}"
        return Comparison(node.name, fault, False, said)
    if not result.findings:
        said = f"{fault.check}: {result.verdict.value} ({result.reason}): {result.detail}"
        return Comparison(node.name, fault, True, said)
    first = result.findings[0]
    said = f"{fault.check}: {first.field}: expected {first.expected}, observed {first.observed}"
    return Comparison(node.name, fault, True, said)


def _show(out: Console, comparisons: list[Comparison]) -> bool:
    """Print the comparison; whether it holds for every node."""
    faulty = [each for each in comparisons if each.fault is not None]
    others = [each for each in comparisons if each.fault is None]
    width = max((len(each.node) for each in comparisons), default=0)
    out.print("\nWhat was seeded, and what found it:")
    for each in faulty:
        assert each.fault is not None
        _mark(out, each.holds, f"{each.node:{width}}  {each.fault.story}")
        out.print(f"  {'':{width}}  {each.said}", style="dim" if each.holds else "red")
    for each in others:
        if not each.holds:
            _mark(out, False, f"{each.node:{width}}  healthy, and called {each.said}")
    ready = sum(1 for each in others if each.holds)
    found = sum(1 for each in faulty if each.holds)
    right = found == len(faulty) and ready == len(others)
    out.print()
    _mark(out, right, f"{found} of {len(faulty)} faults found, {ready} of {len(others)} other nodes ready")
    return right


def _mark(out: Console, holds: bool, text: str) -> None:
    out.print("✓" if holds else "✗", style="green" if holds else "red", end=" ")
    out.print(text)

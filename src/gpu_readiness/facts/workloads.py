"""Judging what a workload printed: its own verdict, its pod's end, and its figures against standard and neighbours."""

from __future__ import annotations

from statistics import median

from gpu_readiness.evidence.reading import Reading, State, Unmeasured
from gpu_readiness.evidence.workload_outcome import WorkloadOutcome
from gpu_readiness.node import Node
from gpu_readiness.standard import Standard
from gpu_readiness.verdict import Reason

#: A GPU may be slower than the median of its node by this share.
NEIGHBOUR_TOLERANCE = 0.1


def judge_workload(node: Node, standard: Standard, name: str) -> None:
    """Expect that a workload succeeded on the node, and that its figures are the standard's."""
    run = node.workload(name)
    outcome, source = run.outcome, f"workloads/{name}.log"
    for problem in outcome.problems:
        severity = None if outcome.ok is False else "warning"  # the workload itself says that these are no faults
        field, said = f"{name}: {problem.layer}", f"{problem.code}: {problem.text}"
        node.require(False, field, expected="no fault", observed=said, source=source, severity=severity)
    failed = [each for each in run.pod.containers if each.exit_code] if run.pod is not None else []
    for container in failed:
        said = f"exit code {container.exit_code} ({container.terminated})"
        field = f"{name}: container {container.name}"
        node.require(False, field, expected="exit code 0", observed=said, source=f"workloads/{name}.json")
    if outcome.ok is None and not failed:
        skipped = f"; not run: {', '.join(outcome.skipped)}" if outcome.skipped else ""
        node.unmeasured(Reason.MISSING, f"{source} does not say whether it succeeded{skipped}")
        return
    field = "result"
    node.require(
        outcome.ok is not False or bool(outcome.problems), field, expected="success", observed="failure", source=source
    )
    _figures(node, standard, name, source)


def _figures(node: Node, standard: Standard, name: str, source: str) -> None:
    outcome = node.workload(name).outcome
    wanted = dict(standard.workload.get(name, {}))
    for hardware in standard.hardware:
        for figure, each in hardware.workload.get(name, {}).items():
            wanted.setdefault(figure, each)
    for figure, expected in wanted.items():
        values = {gpu: own[figure] for gpu, own in outcome.per_gpu.items() if figure in own}
        if figure in outcome.figures:
            node.judge(f"{name}: {figure}", node.said(outcome.figures[figure], source), expected)
        elif values:
            for gpu, value in values.items():
                node.judge(f"{name}: {figure} of {gpu}", node.said(value, source), expected)
        elif expected.severity is None:
            node.unmeasured(Reason.MISSING, f"{source} has no {figure}")
    for figure in {figure for own in outcome.per_gpu.values() for figure in own}:
        values = {gpu: own[figure] for gpu, own in outcome.per_gpu.items() if figure in own}
        usual = median(values.values())
        for gpu, value in values.items():
            near = value >= (1 - NEIGHBOUR_TOLERANCE) * usual
            node.require(
                near,
                f"{name}: {figure} of {gpu}",
                expected=f"{usual:g} as the others",
                observed=f"{value:g}",
                source=source,
            )


def serving_run(node: Node) -> WorkloadOutcome:
    """What the model server's workload left on the node, whichever server it was.

    Raises:
        Unmeasured: no serving workload left anything.
    """
    names = [name for name in node.workload_names if name == "serving" or name.startswith("serving-")]
    if not names:
        raise Unmeasured(Reason.MISSING, "no serving workload ran on this node", "workloads")
    return node.workload(names[0]).outcome


def serving_figure(run: WorkloadOutcome, name: str) -> Reading:
    """A figure of the server's result."""
    value = run.figures.get(name)
    source = "workloads/serving.log"
    if value is None:
        return Reading(None, State.ABSENT, source, f"the result has no {name}")
    return Reading(value, State.PRESENT, source)

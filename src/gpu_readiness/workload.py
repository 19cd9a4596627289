"""Workloads: a folder with a `workload.yaml` that says how its output is judged. What ran on a node is read here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from gpu_readiness.evidence import kube
from gpu_readiness.evidence.benchmark_logs import parse_gemm_sweep, parse_nccl
from gpu_readiness.evidence.dcgm_diag import parse_dcgm_diag
from gpu_readiness.evidence.documents import iter_items
from gpu_readiness.evidence.nvbandwidth import parse_nvbandwidth
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.workload_logs import parse_result, parse_smi_list, parse_vectoradd
from gpu_readiness.evidence.workload_outcome import Problem, WorkloadOutcome, output_text
from gpu_readiness.verdict import Reason

MAX_LOG = 16 << 20
MAX_DEFINITION = 1 << 20

_PARSERS: dict[str, Callable[[bytes, str], WorkloadOutcome]] = {
    "vectoradd": parse_vectoradd,
    "smi-list": parse_smi_list,
    "gemm-sweep": parse_gemm_sweep,
    "nvbandwidth": parse_nvbandwidth,
    "nccl-tests": parse_nccl,
    "dcgm-diag": parse_dcgm_diag,
}


class WorkloadError(ValueError):
    """A workload's definition cannot be used; one line says why."""


def _alias(name: str) -> str:
    return name.replace("_", "-")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=_alias, populate_by_name=True)


class Judging(_Model):
    """How the output is judged.

    The program's own result line (schema `gpu-readiness.workload/v1`) counts before all else. Without one, `parser`
    names a known format, or `success` and `failure` are patterns: the first has to appear, none of the others may,
    and `figures` are numbers by pattern (the first group), held against the standard's `workload.<name>`. `names`
    gives figures of a known format the names that standards use.
    """

    parser: Literal["vectoradd", "smi-list", "gemm-sweep", "nvbandwidth", "nccl-tests", "dcgm-diag", "log"] = "log"
    success: str | None = None
    failure: tuple[str, ...] = ()
    figures: dict[str, str] = {}
    names: dict[str, str] = {}

    @field_validator("success", "failure", "figures")
    @classmethod
    def _compiles(cls, value: Any) -> Any:
        for pattern in (
            [value] if isinstance(value, str) else value.values() if isinstance(value, dict) else value or ()
        ):
            try:
                re.compile(pattern)
            except re.error as problem:
                raise ValueError(f"{pattern!r} is no pattern: {problem}") from None
        return value


class Workload(_Model):
    """One `workload.yaml`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    title: str = Field(min_length=1)
    severity: Literal["critical", "warning", "info"] = "critical"
    hint: str = ""
    judge: Judging
    _own: bool = PrivateAttr(default=False)

    @property
    def own(self) -> bool:
        """Whether it is the user's: then no shipped check judges it."""
        return self._own


def load_workloads(folders: Sequence[Path] = ()) -> dict[str, Workload]:
    """The shipped workloads and those in `folders`, by name; a folder holds one folder per workload, or is one.

    Raises:
        WorkloadError: a definition that cannot be used, or a name that is taken.
    """
    found: dict[str, Workload] = {}
    for place in [Path(str(files("gpu_readiness.workloads"))), *folders]:
        if not place.is_dir():
            raise WorkloadError(f"workloads {place}: no such folder")
        definitions = (
            [place / "workload.yaml"] if (place / "workload.yaml").is_file() else sorted(place.glob("*/workload.yaml"))
        )
        if not definitions:
            raise WorkloadError(f"workloads {place}: no workload.yaml in it or in a folder of it")
        for path in definitions:
            workload = _load(path)
            if workload.name in found:
                raise WorkloadError(f"workload {path}: the name {workload.name} is taken; choose another")
            workload._own = place in folders
            found[workload.name] = workload
    return found


def _load(path: Path) -> Workload:
    try:
        data = path.read_bytes()[: MAX_DEFINITION + 1]
        if len(data) > MAX_DEFINITION:
            raise WorkloadError(f"workload {path}: more than 1 MiB")
        return Workload.model_validate(yaml.safe_load(data))
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise WorkloadError(f"workload {path}: {where}: {first['msg']}") from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as problem:
        said = " ".join(str(problem).split())[:160]
        raise WorkloadError(f"workload {path}: no readable YAML ({said})") from None


@dataclass(frozen=True, slots=True)
class WorkloadRun:
    """What a workload left on a node: what its output says, and its pod where that was kept."""

    outcome: WorkloadOutcome
    pod: kube.Pod | None


def read_workload(artefacts: Any, node: str, workload: Workload) -> WorkloadRun:
    """Read the artefacts of one workload on one node.

    Raises:
        Unmeasured: there is no output, it says nothing, or its pod never ran for a reason that is not the node's.
    """
    name = f"workloads/{workload.name}"
    pod = None
    if artefacts.has(node, f"{name}.json"):
        items = iter_items(artefacts.artefact(node, f"{name}.json"), f"{name}.json", ("Pod",))
        pod = next((kube.Pod.of(item) for item in items), None)
    if pod is not None:
        _never_ran(pod)
    data = artefacts.artefact(node, f"{name}.log", MAX_LOG, tail=True)
    return WorkloadRun(read_output(data, workload, f"{name}.log"), pod)


def read_output(data: bytes, workload: Workload, source: str) -> WorkloadOutcome:
    """What an output says, by the workload's own way of judging it."""
    if b'"gpu-readiness.workload/v1"' in data:
        return parse_result(data, source)
    if workload.judge.parser != "log":
        outcome = _PARSERS[workload.judge.parser](data, source)
        named = {name: outcome.figures[own] for name, own in workload.judge.names.items() if own in outcome.figures}
        return replace(outcome, figures={**outcome.figures, **named}) if named else outcome
    text = output_text(data, source)
    problems = tuple(
        Problem("failure", match.group(0)[:300], "workload")
        for pattern in workload.judge.failure
        if (match := re.search(pattern, text)) is not None
    )
    figures = {}
    for figure, pattern in workload.judge.figures.items():
        match = re.search(pattern, text)
        if match is not None:
            figures[figure] = _number(match)
    succeeded = workload.judge.success is not None and re.search(workload.judge.success, text) is not None
    ok = False if problems else True if succeeded else None
    return WorkloadOutcome(
        ok=ok, figures={key: value for key, value in figures.items() if value is not None}, problems=problems
    )


def _number(match: re.Match[str]) -> float | None:
    try:
        return float(match.group(1))
    except (ValueError, IndexError):
        return None


#: Why a pod did not run that has nothing to do with the node's GPUs, and what that makes of the check.
_NOT_THE_NODE: tuple[tuple[str, Reason], ...] = (
    (r"ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull", Reason.MISSING),
    (r"OutOfnvidia\.com|OutOfcpu|OutOfmemory|OutOfpods|Insufficient nvidia\.com|Unschedulable", Reason.BUSY),
    (r"request for .{0,60}shared|exceeded quota|forbidden|PodSecurity|denied the request", Reason.DENIED),
)


def _never_ran(pod: kube.Pod) -> None:
    """Raise what explains a pod that never ran for reasons that are not the node's GPUs."""
    if any(each.exit_code is not None for each in pod.containers) or pod.phase in ("Running", "Succeeded"):
        return
    said = " ".join(
        filter(None, (pod.reason, pod.message, *(f"{each.waiting} {each.message}" for each in pod.containers)))
    )
    for pattern, reason in _NOT_THE_NODE:
        if re.search(pattern, said):
            raise Unmeasured(reason, f"the pod did not run: {said.strip()[:300]}", "pod")

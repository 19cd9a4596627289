"""A run: which nodes, judged by which standards, on which checks; and what came out, as a report.

The engine knows nothing of pytest. A node is judged as a whole, once, when its first result is asked for; its
evidence is dropped right after, so that thousands of nodes fit into memory.
"""

from __future__ import annotations

import datetime as dt
import gc
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from gpu_readiness import __version__
from gpu_readiness.ahead import Ahead
from gpu_readiness.declaration import LAYERS, Check, Depth
from gpu_readiness.evidence import gathered
from gpu_readiness.evidence.cluster import Cluster, is_gpu_node
from gpu_readiness.evidence.gathered import parse_asked
from gpu_readiness.evidence.kernel import PART
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.snapshot import Snapshot
from gpu_readiness.facts.kernel import graded_events
from gpu_readiness.facts.workloads import judge_workload
from gpu_readiness.judge import Judge
from gpu_readiness.node import Node
from gpu_readiness.observe import observe
from gpu_readiness.report import AskedInfo, CheckInfo, GpuInfo, Report, Run, StandardInfo
from gpu_readiness.selection import Selection
from gpu_readiness.standard import Library, NodeFacts, Standard
from gpu_readiness.standard.consensus import consensus_paths, with_consensus
from gpu_readiness.standard.detect import sharing_of, stack_of
from gpu_readiness.summary import Judged, summarise
from gpu_readiness.verdict import ExitCode, Reason, Result, Severity, Verdict, exit_code
from gpu_readiness.workload import load_workloads

GATES: Mapping[str, tuple[str, ...]] = {
    "acceptance": LAYERS[:8],
    "drift": LAYERS[:6],
    "pre-upgrade": (*LAYERS[:6], "upgrade"),
}
#: Layers that a snapshot has only where somebody ran them.
_BY_ARTEFACT = ("workload", "serving")
#: Checks that are planned where a Prometheus was asked, or where a standard demands one.
_OF_PROMETHEUS = ("telemetry.prometheus", "telemetry.history")
_LABEL_PATH = "labels.required."


class UsageProblem(ValueError):
    """The run cannot start; one line says why, and what was seen."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user asked for. `layers` and `depth` are None where the gate, or the evidence, decides.

    `expected` are nodes that are judged even if the cluster does not show them.
    """

    gate: str = "acceptance"
    layers: tuple[str, ...] | None = None
    depth: str = "auto"
    nodes: str = ""
    standards: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    strict: bool = False
    min_coverage: float = 100.0
    expected: frozenset[str] = frozenset()


class Engine:
    """One run over one snapshot."""

    def __init__(self, snapshot: Snapshot, settings: Settings, source: str = "snapshot") -> None:
        """Read the cluster's nodes and choose among them; `source` is what the snapshot was made of for this run.

        Raises:
            UsageProblem: nodes.json cannot be read, or no node is to be judged.
            StandardError: a standard cannot be used.
        """
        self.snapshot = snapshot
        self.settings = settings
        self.started = _now()
        self.library = Library.load(settings.standards)
        self.workloads = load_workloads([Path(each) for each in settings.workloads])
        self.source = source
        self.cluster = Cluster(snapshot)
        self.nodes = self._select()
        self.depth = self._depth()
        self.layers = settings.layers or GATES[settings.gate]
        self._left = sorted({name for node in self.nodes for name in snapshot.workloads(node)})
        self._kernel_logs = any(snapshot.has(node, "kernel.log") for node in self.nodes)
        self._prometheus = any(snapshot.has(node, "prometheus.json") for node in self.nodes)
        self.checks: dict[str, Check] = {}
        self.plan: dict[str, dict[str, None]] = {}
        self._left_out: dict[str, list[str]] = {}
        self._external: set[str] = set()
        self._done: dict[str, Judged] = {}
        self._not_ready = 0
        self._seen: dict[str, list[Mapping[str, object]]] = {}
        self._with_consensus: dict[str, Standard] = {}
        self._ahead: Ahead | None = None
        self._reported = [name for name in self.nodes if self._reports_fatal(name)]

    # --- choosing ----------------------------------------------------------------------------------------------------

    def _select(self) -> list[str]:
        candidates = {name for name, node in self.cluster.nodes.items() if is_gpu_node(node)}
        candidates |= self.cluster.nodes_with_slices | self.snapshot.node_dirs | set(self.library.named_nodes())
        candidates |= self.settings.expected
        try:
            selection = Selection.parse(self.settings.nodes)
        except ValueError as problem:
            raise UsageProblem(str(problem)) from None
        if self.cluster.unlisted is not None:
            if self.source == "snapshot" or self.cluster.unlisted.reason is not Reason.DENIED:
                raise UsageProblem(f"{self.source} {self.snapshot.name}: {self.cluster.unlisted.message}")
            # Nodes that are asked for by name are unknown then, which is more than to say nothing of them.
            candidates |= selection.plain_names
        elif not self.cluster.nodes:
            where = f"{self.source} {self.snapshot.name}"
            raise UsageProblem(f"no node to judge in {where}: 0 nodes seen, nodes.json lists no node at all")
        chosen = sorted(name for name in candidates if selection.takes(name, self._labels(name)))
        if not chosen:
            raise UsageProblem(self._nothing_to_judge(candidates))
        return chosen

    def _nothing_to_judge(self, candidates: Collection[str]) -> str:
        where = f"{self.source} {self.snapshot.name}"
        if self.cluster.unlisted is not None:
            return f"{where}: {self.cluster.unlisted.message}"
        seen = len(self.cluster.nodes)
        if candidates:
            said = f"{len(candidates)} GPU nodes of {seen} seen, none matches {self.settings.nodes!r}"
        else:
            said = f"{seen} node{'s' if seen != 1 else ''} seen, none has a GPU label, a GPU resource or artefacts"
        return f"no node to judge in {where}: {said}"

    def _labels(self, name: str) -> Mapping[str, str]:
        node = self.cluster.nodes.get(name)
        return node.labels if node is not None else {}

    def _depth(self) -> Depth:
        if self.settings.depth != "auto":
            return Depth[self.settings.depth.upper()]
        probed = any(self.snapshot.has(node, "probe.json") for node in self.nodes)
        return Depth.PROBE if probed else Depth.SMI

    def planned(self, check: Check) -> bool:
        """Whether a check belongs to this run at all."""
        if check.layer not in self.layers:
            return False
        if check.layer in _BY_ARTEFACT and self.settings.layers is None:
            name = check.id.removeprefix("workload.") if check.layer == "workload" else "serving"
            return any(each == name or each.startswith(f"{name}-") for each in self._left)
        if check.id == "driver.xid":
            return self._kernel_logs or self.depth >= Depth.PROBE or bool(self._reported)
        if check.id in _OF_PROMETHEUS:
            return self._prometheus or self.library.demands_prometheus()
        return True

    def nodes_for(self, check: Check) -> list[str]:
        """The nodes that a check which belongs to the run is judged on: all, but where single nodes asked for it."""
        if check.id == "driver.xid" and not (self._kernel_logs or self.depth >= Depth.PROBE):
            return self._reported
        return self.nodes

    def _reports_fatal(self, name: str) -> bool:
        """Whether somebody quoted something from the node's kernel log that condemns it; less would ask for more."""
        try:
            quoted = any("NVRM" in event.message for event in self.cluster.events_of(name))
        except Unmeasured:
            quoted = False
        if not quoted and not self.snapshot.has(name, PART):
            return False
        node = self.node(name)
        found = any(event.grade == "fatal" for event in graded_events(node))
        node.release()
        return found

    def register(self, check: Check, *, external: bool = False) -> None:
        """Add a check; an `external` one is run by somebody else, who hands in what came out.

        Raises:
            UsageProblem: an unknown layer, or a check of another file with the same id.
        """
        if check.layer not in LAYERS:
            raise UsageProblem(f"check {check.id}: {check.layer!r} is no layer; layers are {', '.join(LAYERS)}")
        other = self.checks.setdefault(check.id, check)
        if _home(other) != _home(check):
            raise UsageProblem(
                f"check {check.id} exists twice, in {_home(other)[0]} and in {_home(check)[0]}; give one another id"
            )
        if external:
            self._external.add(check.id)

    def own_workload_checks(self) -> list[Check]:
        """A check for each workload of the user's: those that no shipped check judges."""
        return [
            Check(
                id=f"workload.{name}",
                severity=Severity(workload.severity),
                title=workload.title,
                function=partial(_judge_own, name),
                needs=("driver.nvml",),
                hint=workload.hint,
                parameters=("node", "standard"),
            )
            for name, workload in self.workloads.items()
            if workload.own
        ]

    def plan_for(self, selected: Iterable[tuple[str, Check]], left_out: Iterable[tuple[str, Check]]) -> None:
        """What is judged on which node, and what was deselected there.

        Raises:
            UsageProblem: a check that somebody else runs would have two results for one node; one could hide the other.
        """
        for node, check in selected:
            planned = self.plan.setdefault(node, {})
            if check.id in planned and check.id in self._external:
                raise UsageProblem(
                    f"check {check.id}: has several results on node {node}, and a check has one; "
                    "leave its parameters away, or make a check of each"
                )
            planned[check.id] = None
        for node, check in left_out:
            if check.id not in self.plan.get(node, {check.id: None}):
                self._left_out.setdefault(node, []).append(check.id)

    # --- judging -----------------------------------------------------------------------------------------------------

    def results_of(self, name: str) -> dict[str, Result]:
        """The results of a node; the first call judges it."""
        return self._judged(name).results

    def _judged(self, name: str) -> Judged:
        if name not in self._done:
            if self._ahead is None:
                self._look_for_consensus()
                self._ahead = Ahead(list(self.plan), self._judge_node)
            judged: Judged | None = self._ahead.take(name)
            if judged is None:
                judged = self._judge_node(name)
            self._done[name] = judged
            fails = (each for each in judged.results.values() if each.verdict is Verdict.FAIL)
            self._not_ready += any(each.severity is Severity.CRITICAL for each in fails)
            if len(self._done) == len(self.plan):
                self._ahead.close()
        return self._done[name]

    def _judge_node(self, name: str) -> Judged:
        with no_garbage_collection():
            node = self.node(name)
            ids = [id for id in self.plan[name] if id not in self._external]
            judged = Judged(gpus=_gpus(node), results={each.check: each for each in self._the_judge.judge(node, ids)})
            if node.has_standard:
                judged.standard = StandardInfo(node.standard.name, node.standard.digest)
                judged.expected_gpus = _expected_gpus(node.standard)
            judged.asked = self._asked(name)
            node.release()
        return judged

    def _asked(self, name: str) -> AskedInfo | None:
        try:
            asked = parse_asked(self.snapshot.artefact(name, gathered.SOURCE, 1 << 20))
        except Unmeasured:
            return None
        return AskedInfo(asked.way, asked.by, tuple(asked.not_by.items()))

    def close(self) -> None:
        """Stop whatever still works for this run."""
        if self._ahead is not None:
            self._ahead.close()

    @cached_property
    def _the_judge(self) -> Judge:
        return Judge(self.checks, self.depth, self.started.date())

    def judge_external(self, name: str, check: Check, node: Node | None, problem: BaseException | None) -> Result:
        """Take what came of a check that was run by somebody else, with the node it was given."""
        result = self._the_judge.conclude(name, node, check, problem)
        self._judged(name).results[check.id] = result
        return result

    def progress(self) -> tuple[int, int]:
        """How many nodes have been judged, and how many of them are not ready."""
        return len(self._done), self._not_ready

    def node(self, name: str) -> Node:
        """A node with its evidence, and with the standard it is judged by."""
        node = Node(name, self.cluster, self.snapshot, self.depth, self.workloads)
        node.prometheus_asked = self._prometheus
        node.bind(self._agreed(self.library.for_node(self._facts(node))))
        return node

    def _agreed(self, standard: Standard | None) -> Standard | None:
        """A standard with what its nodes have in common in place of `consensus`, as far as they were looked at."""
        if standard is None or standard.name not in self._seen:
            return standard
        if standard.digest not in self._with_consensus:
            self._with_consensus[standard.digest] = with_consensus(standard, self._seen[standard.name])
        return self._with_consensus[standard.digest]

    def _look_for_consensus(self) -> None:
        """Where standards ask for consensus, look at all their nodes before the first is judged."""
        if not self.library.asks_for_consensus():
            return
        seen: dict[str, list[Mapping[str, object]]] = {}
        for name in self.nodes:
            node = self.node(name)
            paths = consensus_paths(node.standard) if node.has_standard else []
            if paths:
                labels = [path.removeprefix(_LABEL_PATH) for path in paths if path.startswith(_LABEL_PATH)]
                own = {key.replace("label.", _LABEL_PATH, 1): value for key, value in observe(node, labels).items()}
                seen.setdefault(node.standard.name, []).append({path: own.get(path) for path in paths})
            node.release()
        self._seen = seen

    def _facts(self, node: Node) -> NodeFacts:
        products, devices, mig = _hardware(node)
        labels = self._labels(node.name)
        kube = self.cluster.nodes.get(node.name)
        if not products:
            product = labels.get("nvidia.com/gpu.product") or labels.get("cloud.google.com/gke-accelerator")
            products = (product,) if product else ()
        sharing, replicas = sharing_of(labels, mig)
        stack = stack_of(
            labels,
            kube.info.get("osImage", "") if kube else "",
            kube.info.get("kubeletVersion", "") if kube else "",
            self._has_policy(),
            node.name in self.cluster.nodes_with_slices,
            (kube.capacity if kube else None) or {},
        )
        mock = any("mock" in product.lower() for product in products)
        return NodeFacts(node.name, labels, products, devices, stack, sharing, mock, replicas)

    def _has_policy(self) -> bool:
        try:
            return bool(self.cluster.cluster_policies())
        except Unmeasured:
            return False

    # --- reporting ---------------------------------------------------------------------------------------------------

    def report(self, *, forced_exit: int | None = None, others_failed: bool = False) -> Report:
        """The report of all nodes in the plan; what was planned and not judged is untested."""
        found = summarise(self._done, self.plan, self._left_out, self._checks_in_order(), self.depth.label)
        code = exit_code(
            (node.verdict for node in found.nodes),
            covered=found.checks.percent,
            min_coverage=self.settings.min_coverage,
            strict=self.settings.strict,
        )
        if others_failed and code == ExitCode.READY:
            code = ExitCode.NOT_READY
        return Report(
            run=self._run(found.standards),
            exit_code=code if forced_exit is None else forced_exit,
            checks={
                check.id: CheckInfo(check.layer, check.severity, check.title)
                for check in self._checks_in_order()
                if self.planned(check)
            },
            nodes=found.nodes,
            results=found.results,
            coverage_nodes=found.seen,
            coverage_gpus=found.gpus,
            coverage_checks=found.checks,
            notes=self.snapshot.notes(),
        )

    def _checks_in_order(self) -> list[Check]:
        return sorted(self.checks.values(), key=lambda each: LAYERS.index(each.layer))

    def _run(self, standards: tuple[StandardInfo, ...]) -> Run:
        return Run(
            id=secrets.token_hex(6),
            started=_rfc3339(self.started),
            finished=_rfc3339(_now()),
            gate=self.settings.gate,
            depth=self.depth.label,
            source_kind=self.source,
            source_name=Path(self.snapshot.name).name if self.source == "snapshot" else self.snapshot.name,
            version=__version__,
            standards=standards,
        )


def _hardware(node: Node) -> tuple[tuple[str, ...], tuple[str, ...], bool | None]:
    """Products and PCI device ids that the driver names, and whether MIG is on anywhere; empty where it is silent."""
    try:
        gpus = node.gpus
    except Unmeasured:
        return (), (), None
    devices = dict.fromkeys(str(reading.value) for gpu in gpus if (reading := gpu.read("device-id")).there)
    return node.products, tuple(devices), any(gpu.mig_enabled for gpu in gpus)


def _gpus(node: Node) -> tuple[GpuInfo, ...]:
    try:
        return tuple(GpuInfo(gpu.index, gpu.uuid, gpu.product) for gpu in node.gpus)
    except Unmeasured:
        return ()


def _expected_gpus(standard: Standard) -> int | None:
    count = standard.gpu.count
    return int(count.numbers[0]) if count is not None and count.kind == "exact" and count.numbers else None


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A node's evidence is thousands of objects that live shortly; looking for cycles among them doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _judge_own(name: str, node: Node, standard: Standard) -> None:
    judge_workload(node, standard, name)


def _home(check: Check) -> tuple[Path, int]:
    if isinstance(check.function, partial):
        return Path("workload.yaml"), 0
    code = check.function.__code__
    return Path(code.co_filename).resolve(), code.co_firstlineno


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _rfc3339(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

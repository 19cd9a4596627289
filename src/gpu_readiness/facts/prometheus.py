"""Facts from what Prometheus has of a node: which GPUs, how fresh, and what came up over a window."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass

from gpu_readiness.declaration import Depth, NotApplicable
from gpu_readiness.evidence.prometheus import SOURCE, Prometheus, PrometheusGpu
from gpu_readiness.evidence.prometheus_queries import (
    COVERAGE,
    ECC,
    ECC_COUNTERS,
    GPUS,
    REMAPPED_ROWS,
    REPLAY_RATE,
    REPLAYS,
    THROTTLE,
    XID_GAUGE,
    XIDS,
)
from gpu_readiness.evidence.reading import Reading, State, Unmeasured
from gpu_readiness.evidence.xid import XID, grade
from gpu_readiness.node import Node
from gpu_readiness.standard import Expected, GpuStandard, Standard
from gpu_readiness.verdict import Reason

#: Where a standard says nothing of it: seconds that a sample may be old, and the share of the window (%) to be there.
LOOKS_BACK = Expected.of("<=300")
LEAST_COVERAGE = Expected.of(">=50")
#: Replays per minute and lane that DCGM's health check lets pass, by PCIe generation (DcgmHealthWatch).
REPLAYS_PER_LANE = {1: 0.15, 2: 0.3, 3: 0.48, 4: 0.96, 5: 1.92, 6: 3.84}
#: Seconds within which a new node sets itself up, and below which it is too young to have a history.
SET_UP, TOO_YOUNG = 1800.0, 3600.0
#: Seconds by which a sample may lie in the future.
AHEAD = 300.0
_NONE = Expected.of(0)
_COUNTERS = {
    "ECC_DBE_VOL_TOTAL": "volatile double-bit errors",
    "ECC_DBE_AGG_TOTAL": "aggregate double-bit errors",
    REMAPPED_ROWS: "remapped rows",
}


@dataclass(frozen=True, slots=True)
class History:
    """One thing that may have come up on a GPU, and how much of it may; None if the standard is silent."""

    field: str
    reading: Reading
    limit: Expected | None
    hint: str = ""


def prometheus_series(node: Node, standard: Standard) -> Iterator[tuple[str, Reading, Expected]]:
    """Each GPU of the node by UUID, with the age (s) of its newest sample in Prometheus and what it may be.

    The reading is absent if there is no series.

    Which GPUs there are is known from NVML, else from the exporter; else all that is known is how many there should be.

    Raises:
        Unmeasured: Prometheus was not asked for series of GPUs, or failed to answer, or nothing says which GPUs there
            are.
    """
    found = node.prometheus
    if problem := found.problems.get(GPUS):
        raise problem
    known = known_gpus(node)
    own = {uuid: gpu for uuid, gpu in found.gpus.items() if gpu.present and (uuid in known or not _strange(node, gpu))}
    if GPUS not in found.answered and not (own and own.keys() >= set(known)):
        raise Unmeasured(Reason.MISSING, f"{SOURCE}: no query asks for the series of all GPUs", SOURCE)
    if not known:
        count = _count(node, standard)
        if count is None:
            raise Unmeasured(Reason.MISSING, "nothing says which GPUs, or how many, Prometheus should have", SOURCE)
        known = [*own, *(f"GPU {number} of {count}" for number in range(len(own) + 1, count + 1))]
    limit = standard.telemetry.sample_age or LOOKS_BACK
    for uuid in known:
        gpu = own.get(uuid)
        yield uuid, Reading(None, State.ABSENT, SOURCE, "no series") if gpu is None else _age(gpu, limit), limit


def known_gpus(node: Node) -> list[str]:
    """UUIDs of the node's GPUs as far as the depth lets NVML, or else the exporter, tell; empty if neither does."""
    if node.depth >= Depth.SMI:
        try:
            found = [gpu.uuid for gpu in node.gpus if gpu.uuid]
        except Unmeasured:
            found = []
        if found:
            return found
    try:
        return list(node.exporter.gpus)
    except (Unmeasured, NotApplicable):
        return []


def _strange(node: Node, gpu: PrometheusGpu) -> bool:
    """Whether its series say that it is another node's, as they do in an answer about a whole fleet."""
    return node.name not in gpu.hosts and any(host in node.cluster.nodes for host in gpu.hosts)


def _count(node: Node, standard: Standard) -> int | None:
    """How many GPUs the standard, or else the label, says there are."""
    count = standard.gpu.count
    if count is not None and count.kind == "exact" and count.numbers:
        return int(count.numbers[0])
    try:
        label = node.labels.get("nvidia.com/gpu.count", "")
    except Unmeasured:
        return None
    mig = node.labels.get("nvidia.com/mig.strategy") == "single"  # the label counts MIG devices then
    return int(label) if label.isdecimal() and len(label) < 5 and not mig else None


def _age(gpu: PrometheusGpu, limit: Expected) -> Reading:
    if gpu.age is None:
        bound = gpu.age_at_most
        if bound is not None and limit.accepts(bound):
            return Reading(bound, State.PRESENT, SOURCE)
        return Reading(None, State.BROKEN, SOURCE, "an instant query does not say how old a sample is: use timestamp()")
    if gpu.age < -AHEAD:
        return Reading(None, State.BROKEN, SOURCE, f"its newest sample is {-gpu.age:.0f} s ahead of the answer")
    return Reading(round(max(0.0, gpu.age)), State.PRESENT, SOURCE)


# --- over the window -------------------------------------------------------------------------------------------------


def gpu_history(node: Node, standard: Standard) -> Iterator[History]:
    """What came up on each GPU of the node over the window, and what nobody can tell.

    Raises:
        Unmeasured: there is no answer about the past, or none about a GPU of this node.
    """
    found = node.prometheus
    if not found.windows and not found.problems:
        raise Unmeasured(Reason.MISSING, f"{SOURCE}: no query looks back in time", SOURCE)
    known = known_gpus(node) or [uuid for uuid, gpu in found.gpus.items() if not _strange(node, gpu)]
    if not known:
        raise Unmeasured(Reason.MISSING, f"{SOURCE}: Prometheus has no GPU of this node", SOURCE)
    for uuid in known:
        gpu = found.gpus.get(uuid)
        if gpu is None:
            yield History(f"history of {uuid}", Reading(None, State.ABSENT, SOURCE, "no series"), LEAST_COVERAGE)
        else:
            yield from _OfGpu(node, standard, found, gpu).all()


class _OfGpu:
    """The history of one GPU."""

    def __init__(self, node: Node, standard: Standard, found: Prometheus, gpu: PrometheusGpu) -> None:
        self.standard = standard
        self.wanted = standard.telemetry.history
        self.found = found
        self.gpu = gpu
        self.life = _life(node, found.asked)
        self.hardware = _hardware(node, standard, gpu)
        self.young = self.life is not None and self.life < TOO_YOUNG

    def all(self) -> Iterator[History]:
        topics = [*self._xids(), *self._replays(), *self._ecc(), *self._throttle()]
        yield self._coverage()
        if self.young:
            topics = [each for each in topics if _is_fault(each)]
        elif not any(each.reading.there for each in topics):
            words = "Prometheus has no series of XIDs, replays, ECC errors or slowdown"
            yield History(self._of("history"), Reading(None, State.ABSENT, SOURCE, words), _NONE)
        yield from topics

    def _of(self, what: str) -> str:
        return f"{what} of {self.gpu.uuid} in {self.wanted.span}"

    def _coverage(self) -> History:
        """That there was enough to look at: as much as the node's life has of the window, at most."""
        limit = self.wanted.coverage or LEAST_COVERAGE
        span = float(self.wanted.seconds)
        if self.young:
            words = f"the node is {(self.life or 0) / 60:.0f} minutes old: too young for a history"
            return History(self._of("history"), Reading(None, State.BEYOND_DEPTH, SOURCE, words), limit)
        if self.life is not None and self.life < span:
            span = self.life - SET_UP
        problem = self._problem(COVERAGE)
        if problem is None and self.gpu.covered is None:
            problem = Reading(None, State.ABSENT, SOURCE, "no query tells how much of the window Prometheus has")
        share = min(100.0, 100.0 * (self.gpu.covered or 0.0) / span)
        if problem is None and not limit.accepts(share):
            words = f"Prometheus has series of it for {share:.0f} % of the time, {limit.text} is needed"
            problem = Reading(None, State.ABSENT, SOURCE, words)
        return History(self._of("history"), problem or Reading(share, State.PRESENT, SOURCE), limit)

    def _problem(self, topic: str) -> Reading | None:
        """Why a topic was not measured although somebody asked."""
        if problem := self.found.problems.get(topic):
            state = State.BROKEN if problem.reason in (Reason.UNPARSABLE, Reason.TIMEOUT) else State.ABSENT
            return Reading(None, state, SOURCE, problem.message)
        window = self.found.windows.get(topic)
        if window is not None and window < 0.95 * self.wanted.seconds:
            words = f"the queries look back {window:.0f} s, the standard {self.wanted.seconds} s"
            return Reading(None, State.ABSENT, SOURCE, words)
        return None

    def _not_there(self, topic: str, words: str) -> Reading:
        """Series that many exporters do not have are missed only where the standard requires them."""
        state = State.ABSENT if topic in self.wanted.required else State.BEYOND_DEPTH
        return Reading(None, state, SOURCE, words)

    def _xids(self) -> Iterator[History]:
        if problem := self._problem(XIDS):
            yield History(self._of("XIDs"), problem, _NONE)
            return
        own = self.standard.xid
        for code, times in self.gpu.xids.items():
            how = grade(code, fatal=own.fatal, warning=own.warning, ignore=own.ignore)
            limit = self.wanted.xid.get(str(code)) or (None if how == "application" else _NONE)
            if limit is not None:
                entry = XID.get(code)
                hint = f"{entry.description}: {entry.action}" if entry else ""
                yield History(self._of(f"XID {code}"), Reading(times, State.PRESENT, SOURCE), limit, hint)
        if self.gpu.xid_changed:
            words = "the last XID changed, and nothing says to which"
            yield History(self._of("XIDs"), Reading(None, State.BROKEN, SOURCE, words), _NONE)
        elif XIDS in self.found.answered and (self.gpu.has_xids or self._would_have_xids):
            yield History(self._of("other XIDs"), Reading(0, State.PRESENT, SOURCE), _NONE)
        else:
            yield History(self._of("XIDs"), self._not_there(XIDS, "no series of XIDs"), _NONE)

    @property
    def _would_have_xids(self) -> bool:
        """Newer exporters have no series while there is no XID; that of another default counter stands in."""
        return XID_GAUGE in self.found.answered and bool({REPLAYS, REMAPPED_ROWS} & self.gpu.growth.keys())

    def _replays(self) -> Iterator[History]:
        grown = self.gpu.growth.get(REPLAYS)
        limit = self.wanted.replay_rate or _replays_of(self.hardware)
        reading = self._problem(REPLAY_RATE)
        if reading is None and grown is None:
            reading = self._not_there(REPLAY_RATE, "no series of PCIe replays")
        elif reading is None and grown is not None:
            minutes = min(grown.window, self.gpu.covered or grown.window) / 60
            reading = Reading(round(grown.amount / max(minutes, 1.0), 2), State.PRESENT, SOURCE)
        assert reading is not None
        yield History(self._of("PCIe replays per minute"), reading, limit)

    def _ecc(self) -> Iterator[History]:
        there = [name for name in ECC_COUNTERS if name in self.gpu.growth]
        if problem := self._problem(ECC):
            yield History(self._of("ECC errors"), problem, self.wanted.ecc)
        elif not there:
            reading = self._not_there(ECC, "no series of ECC errors or remapped rows")
            yield History(self._of("ECC errors"), reading, self.wanted.ecc)
        for name in there:
            reading = Reading(round(self.gpu.growth[name].amount), State.PRESENT, SOURCE)
            yield History(self._of(_COUNTERS[name]), reading, self.wanted.ecc)

    def _throttle(self) -> Iterator[History]:
        reading = self._problem(THROTTLE)
        if reading is None and not self.gpu.throttled:
            reading = self._not_there(THROTTLE, "no series of clock event reasons or violations")
        elif reading is None:
            reading = Reading(round(100 * max(self.gpu.throttled.values()), 2), State.PRESENT, SOURCE)
        assert reading is not None
        yield History(self._of("% of time slowed down"), reading, self.wanted.throttle)


def _is_fault(each: History) -> bool:
    return each.reading.there and each.limit is not None and not each.limit.accepts(each.reading.value)


def _life(node: Node, asked: float | None) -> float | None:
    """How old the node was when Prometheus was asked, in seconds; None if nothing says."""
    try:
        return None if asked is None else max(0.0, asked - dt.datetime.fromisoformat(node.kube.created).timestamp())
    except (Unmeasured, ValueError, OverflowError):
        return None


def _hardware(node: Node, standard: Standard, gpu: PrometheusGpu) -> GpuStandard | None:
    """What the standard says of this GPU's product, by NVML's name or that of its series."""
    try:
        own = next((each for each in node.gpus if each.uuid == gpu.uuid), None) if node.depth >= Depth.SMI else None
    except Unmeasured:
        own = None
    return own.standard if own is not None and own.known else standard.gpu_for(gpu.product or None, None)


def _replays_of(gpu: GpuStandard | None) -> Expected | None:
    """DCGM's own limit for the link that the standard says this product has."""
    if gpu is None or gpu.pcie_generation is None or gpu.pcie_width is None:
        return None
    generation, width = max(gpu.pcie_generation.numbers, default=0), max(gpu.pcie_width.numbers, default=0)
    rate = REPLAYS_PER_LANE.get(int(generation))
    return Expected.of(f"<={math.ceil(rate * width)}") if rate is not None and width else None

"""What a Prometheus server remembers of the GPUs of a node: `prometheus.json`, answers of its query API by query.

What an answer means follows from its query, so that a file made by hand will do (docs/telemetry.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_readiness.evidence.documents import Json, parse_json
from gpu_readiness.evidence.prometheus_gpu import LOOKBACK, GpuRecord, Growth, Samples
from gpu_readiness.evidence.prometheus_queries import GPUS, HOST_LABELS, Meaning, meaning_of, metric_of
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.text import quote
from gpu_readiness.verdict import Reason

SOURCE = "prometheus.json"
#: Seconds by which the snapshot may be younger than an answer; beyond, the answer is as old as the snapshot says.
SLACK = 900.0
_UUID = ("UUID", "uuid", "exported_UUID")


@dataclass(frozen=True, slots=True)
class PrometheusGpu:
    """What Prometheus has of one GPU.

    `hosts` are what its series call their node. `present`: it had series when it was asked; `age` is that of the
    newest sample then, in seconds, `age_at_most` a bound where nothing says it exactly. `covered` are the seconds of
    the window in which it had series, None where nobody asked. `xids` are the codes that came up in the window with how
    often at least; `has_xids` says that there was such a series at all, `xid_changed` that it changed, and nobody knows
    to what. `growth` is by canonical metric, `throttled` the share of time by the metric that says so.
    """

    uuid: str
    product: str
    hosts: frozenset[str]
    present: bool
    age: float | None
    age_at_most: float | None
    covered: float | None
    xids: Mapping[int, int]
    has_xids: bool
    xid_changed: bool
    growth: Mapping[str, Growth]
    throttled: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """All answers about one node.

    `asked` is when, in seconds since 1970, None if nothing says. `answered` are the topics and canonical metrics of
    which all that Prometheus has is here, `windows` how many seconds those of the past look back, `problems` the topics
    of which a query failed.
    """

    asked: float | None
    gpus: Mapping[str, PrometheusGpu]
    answered: frozenset[str]
    windows: Mapping[str, float]
    problems: Mapping[str, Unmeasured]


def parse_prometheus(data: bytes, taken: float | None = None) -> Prometheus:
    """Read the answers about a node; `taken` is when its snapshot was, in seconds since 1970.

    Raises:
        Unmeasured: `missing` if there is no query at all, `unparsable` if the file is no map of queries to answers; if
            every query failed, what the first one failed of.
    """
    document = parse_json(data, SOURCE)
    if not isinstance(document, dict):
        raise _garbled("expected an object of queries and their answers")
    if not document:
        raise Unmeasured(Reason.MISSING, f"{SOURCE} has no query in it", SOURCE)
    file, failed = _File(), []
    for text, response in document.items():
        if not isinstance(response, dict) or response.get("status") not in ("success", "error"):
            raise _garbled(f"{quote(text)} is not followed by an answer of Prometheus' query API")
        meaning = meaning_of(text)
        problem = _problem(text, response)
        if problem is None:
            file.add(text, meaning, response.get("data"))
        else:
            failed.append(problem)
            file.problems.setdefault(meaning.topic if meaning is not None else "", problem)
    if len(failed) == len(document):
        raise failed[0]
    return file.finish(taken)


def _problem(text: str, response: Json) -> Unmeasured | None:
    """What an answer says of itself that makes it none."""
    said = response.get("warnings")
    # Notes about the query itself came as warnings for a while; the others say that something could not be read.
    partial = [each for each in said if not str(each).startswith("PromQL")] if isinstance(said, list) else []
    if response.get("isPartial") is True:
        partial.append("isPartial")
    reason = Reason.UNPARSABLE
    if response["status"] == "error":
        kind = response.get("errorType")
        reason = Reason.TIMEOUT if kind in ("timeout", "canceled") else reason
        words = f"{kind}: {response.get('error')}"
    elif partial:
        words = f"the answer is partial: {partial[0]}"
    else:
        return None
    return Unmeasured(reason, f"{SOURCE}: {quote(text)}: {quote(words, 200)}", SOURCE)


def _garbled(said: str) -> Unmeasured:
    return Unmeasured(Reason.UNPARSABLE, f"{SOURCE}: {said}", SOURCE)


def _rows(text: str, answer: Any) -> Iterator[tuple[Mapping[str, str], Samples, bool]]:
    """Labels and samples of each series, and whether their time is that of the answer; a scalar has no labels."""
    kind, result = (answer.get("resultType"), answer.get("result")) if isinstance(answer, dict) else (None, None)
    if not isinstance(result, list) or kind not in ("vector", "matrix", "scalar", "string"):
        raise _garbled(f"the answer to {quote(text)} has no result of a known type")
    if kind == "scalar":
        yield {}, (_sample(text, result),), True
    for row in result if kind in ("vector", "matrix") else ():
        labels = row.get("metric") if isinstance(row, dict) else None
        if not isinstance(labels, dict) or not all(isinstance(each, str) for each in labels.values()):
            raise _garbled(f"a series in the answer to {quote(text)} has no labels")
        if "histogram" in row or "histograms" in row:
            continue
        values = [row.get("value")] if kind == "vector" else row.get("values")
        if not isinstance(values, list):
            raise _garbled(f"a series in the answer to {quote(text)} has no values")
        yield labels, tuple(_sample(text, each) for each in values), kind == "vector"


def _sample(text: str, pair: Any) -> tuple[float, float]:
    """A finite time, and a value that may be NaN or infinite."""
    if isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (int, float) and isinstance(pair[1], str):
        try:
            at, value = float(pair[0]), float(pair[1])
        except (ValueError, OverflowError):
            at = value = math.nan
        if math.isfinite(at):
            return at, value
    raise _garbled(f"the answer to {quote(text)} has no time and value but {quote(repr(pair))}")


class _File:
    """Answers as they come."""

    def __init__(self) -> None:
        self.problems: dict[str, Unmeasured] = {}
        self._gpus: dict[str, GpuRecord] = {}
        self._products: dict[str, str] = {}
        self._hosts: dict[str, set[str]] = {}
        self._asked: float | None = None
        self._answered: set[str] = set()
        self._windows: dict[str, float] = {}
        self._sampled: dict[str, list[float]] = {}

    def add(self, text: str, meaning: Meaning | None, answer: Any) -> None:
        """Take the answer to one query."""
        for labels, samples, at_once in _rows(text, answer):
            if at_once:
                self._asked = max(samples[0][0], self._asked or samples[0][0])
            uuid = next((labels[each] for each in _UUID if labels.get(each)), None)
            if meaning is None or uuid is None or not samples:
                continue
            if not at_once:
                self._sampled.setdefault(meaning.topic, []).extend((samples[0][0], samples[-1][0]))
            metric = next(iter(meaning.metrics)) if len(meaning.metrics) == 1 else metric_of(labels.get("__name__", ""))
            self._gpus.setdefault(uuid, GpuRecord()).add(meaning, metric, labels, samples)
            self._products.setdefault(uuid, labels.get("modelName", ""))
            self._hosts.setdefault(uuid, set()).update(labels[each] for each in HOST_LABELS if labels.get(each))
        if meaning is None:
            return
        if window := meaning.query.window:
            self._windows[meaning.topic] = min(window, self._windows.get(meaning.topic, window))
        if meaning.complete and (window or meaning.topic == GPUS or meaning.topic in self._sampled):
            self._answered |= {meaning.topic, *meaning.metrics}

    def finish(self, taken: float | None) -> Prometheus:
        """What all of them say."""
        asked = self._asked if self._asked is not None else taken
        if asked is not None and taken is not None and taken - asked > SLACK:
            asked = taken
        for topic, times in self._sampled.items():
            self._windows.setdefault(topic, max(times) - min(times))
        start = min((min(times) for times in self._sampled.values()), default=0.0)
        return Prometheus(
            asked=asked,
            gpus={uuid: self._gpu(uuid, record, asked, start) for uuid, record in self._gpus.items()},
            answered=frozenset(self._answered - self.problems.keys()),
            windows={topic: window for topic, window in self._windows.items() if topic != GPUS and window > 0},
            problems=self.problems,
        )

    def _gpu(self, uuid: str, record: GpuRecord, asked: float | None, start: float) -> PrometheusGpu:
        record.add_up(start)
        xids = record.xids()
        age, seen = (None if at is None or asked is None else asked - at for at in (record.sampled, record.seen))
        return PrometheusGpu(
            uuid=uuid,
            product=self._products[uuid],
            hosts=frozenset(self._hosts[uuid]),
            present=record.seen is not None,
            age=age,
            age_at_most=None if seen is None else seen + LOOKBACK,
            covered=record.covered,
            xids=xids,
            has_xids=record.has_xids,
            xid_changed=record.xid_changed and not xids,
            growth=record.growth,
            throttled=record.throttled(self._windows.get("throttle", 0.0)),
        )

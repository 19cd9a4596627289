"""What answers about one GPU add up to: codes, growth and slowdown over a window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gpu_readiness.evidence.dcgm import is_blank
from gpu_readiness.evidence.prometheus_queries import (
    EVENTS,
    REASONS,
    SLOWED,
    XID_GAUGE,
    XID_TOTAL,
    XID_WINDOWED,
    Meaning,
)

#: Seconds that an instant query looks back for a sample, unless the server is told otherwise.
LOOKBACK = 300.0
#: Hardware slowdown, its thermal one, and the power brake: in the bit mask, and as the exporter's own counter says.
_HARDWARE_BITS = 0x8 | 0x40 | 0x80
_HARDWARE_EVENTS = frozenset({"hw_slowdown", "hw_thermal", "hw_power_brake"})
#: Seconds that the exporter's windowed counters look back unless they say otherwise.
_EXPORTER_WINDOW = 300.0

Samples = tuple[tuple[float, float], ...]
#: Metric, and the labels by which an exporter's own counters tell series of one GPU apart.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Growth:
    """By how much a counter grew over how many seconds, resets left out."""

    amount: float
    window: float


@dataclass(slots=True)
class GpuRecord:
    """What is known of a GPU so far.

    `seen` is when it had series last, `sampled` when its newest sample was taken, both in seconds since 1970. `values`
    are the seconds for which a series had each value within the window, `before` the values at its beginning.
    """

    seen: float | None = None
    sampled: float | None = None
    covered: float | None = None
    values: dict[Key, dict[float, float]] = field(default_factory=dict)
    before: dict[Key, set[float]] = field(default_factory=dict)
    growth: dict[str, Growth] = field(default_factory=dict)
    samples: dict[str, dict[float, float]] = field(default_factory=dict)
    xid_changed: bool = False

    def add(self, meaning: Meaning, metric: str, labels: Mapping[str, str], samples: Samples) -> None:
        """Take one series of an answer; `samples` are pairs of time and value."""
        at, value = samples[-1]
        query, how = meaning.query, meaning.how
        if how == "samples" or (how == "now" and len(samples) > 1):
            self._keep(metric, samples)
        elif how == "now":
            self.seen = _later(self.seen, at)
        elif not _is_sane(value):
            return
        elif how == "sample time":
            self.seen, self.sampled = _later(self.seen, at), _later(self.sampled, value)
        elif how == "coverage":
            self.covered = (self.covered or 0.0) + value * query.step
        elif how in ("growth", "rate"):
            grown = Growth(max(0.0, value * (query.window if how == "rate" else 1.0)), query.window)
            self.growth[metric] = max(self.growth.get(metric, grown), grown, key=lambda each: each.amount)
        elif how == "changes":
            self.xid_changed |= metric == XID_GAUGE and value > 0
            self.values.setdefault((metric, "", ""), {})
        else:
            key = (metric, labels.get("xid") or labels.get("clock_event") or "", labels.get("window_size_in_ms", ""))
            if how == "highest":
                self._note(key, repr(value), 0.0)
            else:
                self._note(key, labels.get(query.label, ""), value * query.step if how == "values" else None)

    def _note(self, key: Key, said: str, seconds: float | None) -> None:
        try:
            value = float(said)
        except ValueError:
            return
        if not _is_sane(value):
            return
        if seconds is None:
            self.before.setdefault(key, set()).add(value)
        else:
            seen = self.values.setdefault(key, {})
            seen[value] = seen.get(value, 0.0) + seconds

    def _keep(self, metric: str, samples: Samples) -> None:
        """Raw samples; of those of one moment, from series that labels of pods keep apart, the highest counts."""
        for at, value in samples:
            if math.isfinite(at):
                self.seen, self.sampled = _later(self.seen, at), _later(self.sampled, at)
                if _is_sane(value):
                    known = self.samples.setdefault(metric, {})
                    known[at] = max(value, known.get(at, -math.inf))

    def add_up(self, start: float) -> None:
        """Make of raw samples what queries about a window would have said; `start` is when the window began."""
        for metric, samples in self.samples.items():
            pairs = sorted(samples.items())
            times, values = [at for at, _ in pairs], [value for _, value in pairs if not is_blank(value)]
            gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
            self.covered = max(self.covered or 0.0, sum(gap for gap in gaps if gap <= LOOKBACK))
            if metric == XID_GAUGE and values and times[0] - start <= LOOKBACK:
                self.before[metric, "", ""] = {values[0]}
            if metric in (XID_GAUGE, REASONS):
                seen = self.values.setdefault((metric, "", ""), {})
                for value in values:
                    seen[value] = seen.get(value, 0.0) + 1.0
            if len(values) > 1:
                steps = itertools.pairwise(values)
                grown = sum(new - old if new >= old else new for old, new in steps)
                self.growth.setdefault(metric, Growth(grown, times[-1] - times[0]))

    @property
    def has_xids(self) -> bool:
        """Whether there is any series that would tell of an XID."""
        return any(metric in (XID_GAUGE, XID_WINDOWED, XID_TOTAL) for metric, _, _ in self.values)

    def xids(self) -> dict[int, int]:
        """Codes that came up within the window, and how often at least.

        The gauge keeps the last code, so one that was there before the window is no news. The exporter's own counters
        say how often: the windowed one for each stretch of its length, the total by what it has more than before.
        """
        found: dict[int, int] = {}
        for key, values in self.values.items():
            metric, label, size = key
            before = self.before.get(key, set())
            if metric == XID_GAUGE:
                for code in _codes(set(values) - before):
                    found.setdefault(code, 1)
            elif metric in (XID_WINDOWED, XID_TOTAL) and label.isdecimal() and len(label) < 6:
                times = _windowed(values, size) if metric == XID_WINDOWED else _beyond(values, before)
                if times:
                    found[int(label)] = max(times, found.get(int(label), 0))
        return found

    def throttled(self, window: float) -> dict[str, float]:
        """The share of time in which the hardware slowed the GPU down, by the metric that says so."""
        found: dict[str, float] = {}
        there = min(self.covered or window, window or math.inf)
        for (metric, event, _), values in self.values.items():
            if metric == REASONS:
                masks = {int(each): time for each, time in values.items() if 0 <= each < 2**31 and not is_blank(each)}
                total = sum(masks.values())
                if total:
                    found[REASONS] = sum(time for mask, time in masks.items() if mask & _HARDWARE_BITS) / total
            elif metric == EVENTS and there:
                slow = sum(time for value, time in values.items() if value > 0) if event in _HARDWARE_EVENTS else 0.0
                found[EVENTS] = max(found.get(EVENTS, 0.0), min(1.0, slow / there))
        for metric in SLOWED:
            grown = self.growth.get(metric)
            if grown is not None and grown.window:
                found[metric] = min(1.0, grown.amount / 1e9 / min(there or math.inf, grown.window))
        return found


def _is_sane(value: float) -> bool:
    """Whether it is a number that a counter of anything could have; sums of such numbers are finite."""
    return math.isfinite(value) and abs(value) < 1e20


def _later(known: float | None, at: float) -> float:
    return at if known is None else max(known, at)


def _codes(values: Iterable[float]) -> Iterator[int]:
    return (int(value) for value in values if 0 < value < 100_000 and not is_blank(value))


def _windowed(values: Mapping[float, float], size: str) -> int:
    length = int(size) / 1000 if size.isdecimal() and len(size) < 12 and int(size) else _EXPORTER_WINDOW
    counted = {value: time for value, time in values.items() if value > 0}
    return max(1, math.ceil(sum(value * time / length for value, time in counted.items()))) if counted else 0


def _beyond(totals: Mapping[float, float], before: set[float]) -> int:
    """What a total that begins anew with its exporter came to beyond what it was before."""
    highest = max((value for value in totals if value not in before), default=0.0)
    return math.ceil(highest - max((value for value in before if value < highest), default=0.0))

"""The queries about an exporter's series: those that gathering asks, and what the answers to any query mean.

The canonical ones all keep to one moment, survive the labels that come and go with the pods that hold a GPU, and count
time in steps of a subquery, for which no scrape interval has to be known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gpu_readiness.evidence.dcgm import RENAMED, canonical
from gpu_readiness.evidence.promql import Query, parse_query

#: Labels that name the node: by the exporter, by Prometheus' target, or by both.
HOST_LABELS = (
    "Hostname",
    "hostname",
    "exported_Hostname",
    "exported_hostname",
    "node",
    "exported_node",
    "kubernetes_node",
)
#: What queries are about; standards call the last four so under `telemetry.history`.
GPUS, COVERAGE, XIDS, REPLAY_RATE, ECC, THROTTLE = "gpus", "coverage", "xid", "replay-rate", "ecc", "throttle"

XID_GAUGE, XID_WINDOWED, XID_TOTAL = "XID_ERRORS", "DCGM_EXP_XID_ERRORS_COUNT", "DCGM_EXP_XID_ERRORS_TOTAL"
REASONS, EVENTS = "CLOCKS_EVENT_REASONS", "DCGM_EXP_CLOCK_EVENTS_COUNT"
REPLAYS, REMAPPED_ROWS = "PCIE_REPLAY_COUNTER", "UNCORRECTABLE_REMAPPED_ROWS"
#: Counters of uncorrectable memory errors; the exporter's default counters file has only the last.
ECC_COUNTERS = ("ECC_DBE_VOL_TOTAL", "ECC_DBE_AGG_TOTAL", REMAPPED_ROWS)
#: Counters of nanoseconds slowed down; the last counts slowdown by the driver's own thermal control as well.
SLOWED = (
    "CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS",
    "CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS",
    "THERMAL_VIOLATION",
)
#: What every exporter has for every GPU: an empty answer about one of these says that Prometheus has no such GPU.
_ALWAYS = frozenset({"GPU_TEMP", "POWER_USAGE", "SM_CLOCK", "MEM_CLOCK", "FB_FREE", "FB_USED", "GPU_UTIL"})
_OLDER = {"CLOCK_THROTTLE_REASONS": REASONS}
_TOPICS = {
    **dict.fromkeys((XID_GAUGE, XID_WINDOWED, XID_TOTAL), XIDS),
    **dict.fromkeys((REASONS, EVENTS, *SLOWED), THROTTLE),
    **dict.fromkeys(ECC_COUNTERS, ECC),
    REPLAYS: REPLAY_RATE,
}

#: A GPU, and what tells GPUs of one UUID apart; the first query knows the node of each by more labels.
_JOIN = "UUID, Hostname, hostname, node"
_PRESENCE = ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", "DCGM_FI_DEV_FB_USED")


def canonical_queries(window: str, step: int) -> dict[str, str]:
    """The queries by what they are for, most important first; `window` as Prometheus writes it, `step` in seconds."""
    over = f"[{window}:{step}s]"

    def values(names: Iterable[str], *labels: str) -> str:
        by = ", ".join((_JOIN, *labels))
        return f'count_over_time(count_values by ({by}) ("value", {" or ".join(names)}){over})'

    def before(names: Iterable[str], *labels: str) -> str:
        by, earlier = ", ".join((_JOIN, *labels)), " or ".join(f"{name} offset {window}" for name in names)
        return f'count_values by ({by}) ("value", {earlier})'

    def growth(metric: str, below: str = "2147483632") -> str:  # DCGM's lowest blank
        return f"increase(max by ({_JOIN}) (({' or '.join(spellings(metric))}) < {below}){over})"

    return {
        "time": "time()",
        GPUS: f"max by (UUID, {', '.join(HOST_LABELS)}, modelName, instance, namespace, pod) "
        f"({' or '.join(f'timestamp({name})' for name in _PRESENCE)})",
        COVERAGE: f"count_over_time(count by ({_JOIN}) ({' or '.join(_PRESENCE)}){over})",
        "xid": values(spellings(XID_GAUGE)),
        "xid before": before(spellings(XID_GAUGE)),
        "xid windowed": values([XID_WINDOWED], "xid", "window_size_in_ms"),
        "xid total": values([XID_TOTAL], "xid"),
        "xid total before": before([XID_TOTAL], "xid"),
        "replays": growth(REPLAYS),
        **{name: growth(name) for name in ECC_COUNTERS},
        "reasons": values(spellings(REASONS)),
        "events": values([EVENTS], "clock_event"),
        **{name: growth(name, "9e18") for name in SLOWED},
    }


def spellings(metric: str) -> list[str]:
    """The names under which exporters print a metric."""
    others = [name for names in (_OLDER, RENAMED) for name, meant in names.items() if meant == metric]
    return [f"DCGM_FI_DEV_{name}" for name in (metric, *others)]


@dataclass(frozen=True, slots=True)
class Meaning:
    """How the answers to a query are to be read, of which metrics (canonical names; none: see `__name__`), about what.

    `complete`: what is not among the answers is not in Prometheus.
    """

    how: str
    metrics: frozenset[str]
    topic: str
    query: Query
    complete: bool


_HOW = {
    (): "now",
    ("count",): "now",
    ("group",): "now",
    ("timestamp",): "sample time",
    ("range",): "samples",
    ("increase", "range"): "growth",
    ("rate", "range"): "rate",
    ("changes", "range"): "changes",
    ("max_over_time", "range"): "highest",
    ("count_over_time", "range", "count_values"): "values",
    ("count_values", "offset"): "values before",
    ("count_over_time", "range"): "coverage",
    ("count_over_time", "range", "count"): "coverage",
}
#: Labels by which a query may choose among nodes; others choose among their GPUs.
_OF_NODES = frozenset(
    {*HOST_LABELS, "__name__", "instance", "job", "namespace", "pod", "service", "container", "endpoint", "cluster"}
)
#: What leaves values as they are; comparisons leave series out.
_TRANSPARENT = frozenset({"max", "min", "sum", "avg", "compare"})
_NOW = ("now", "sample time", "samples")


@lru_cache(maxsize=256)
def meaning_of(text: str) -> Meaning | None:
    """What a query asks of an exporter's series; None if it is none of those that are understood."""
    query = parse_query(text)
    how = _HOW.get(tuple(step for step in query.steps if step not in _TRANSPARENT)) if query is not None else None
    if query is None or how is None or (how == "coverage" and not query.step):
        return None
    metrics = frozenset(map(metric_of, query.names))
    topics = {_TOPICS.get(each, "") for each in metrics}
    if how in _NOW and (metrics & _ALWAYS or not metrics):
        topics = {GPUS}
    elif how == "coverage":
        topics = {COVERAGE}
    if len(topics) != 1 or (how not in (*_NOW, "coverage") and (len(metrics) != 1 or topics == {""})):
        return None
    if how in ("highest", "changes") and topics != {XIDS}:
        return None
    # Blanks are filtered out of the canonical counters: that leaves no series out that has a value.
    filtered = "compare" in query.steps and how != "growth"
    return Meaning(how, metrics, topics.pop(), query, not filtered and query.matched <= _OF_NODES)


def metric_of(name: str) -> str:
    """The canonical name of a metric, as in `evidence.dcgm`; also for spellings that no scrape is asked for."""
    short = canonical(name)
    return _OLDER.get(short, short)

"""What a Prometheus that collects from a healthy fleet answers, for tests to spoil.

answers = Answers(h100())
answers.set("xid", 79, seconds=3600, gpu=1)
assert answers.judge("telemetry.history").verdict == "fail"
"""

from __future__ import annotations

from typing import Any

from nodes import Fleet

from gpu_readiness.evidence.prometheus_queries import canonical_queries
from gpu_readiness.verdict import Result

Json = dict[str, Any]

NOW = 1_787_302_800.0  # 2026-08-21T09:00:00Z
DAY = 86400
STEP = 300
#: What an exporter with its default counters lets Prometheus grow.
DEFAULT_COUNTERS = ("replays", "UNCORRECTABLE_REMAPPED_ROWS")


def success(result: list[Any], kind: str = "vector") -> Json:
    """An answer of the query API."""
    return {"status": "success", "data": {"resultType": kind, "result": result}}


def row(number: float, /, **labels: str) -> Json:
    """A series of an instant vector."""
    return {"metric": labels, "value": [NOW, f"{number:g}" if number < 1e6 else repr(number)]}


class Answers:
    """Answers to the canonical queries about the first node, by what they are for."""

    def __init__(self, fleet: Fleet, *, window: str = "24h", xid_zero: bool = True) -> None:
        self.fleet = fleet
        self.queries = canonical_queries(window, STEP)
        self.answers: dict[str, Json] = {key: success([]) for key in self.queries}
        self.answers["time"] = success([NOW, repr(NOW)], "scalar")
        for gpu in range(len(fleet.gpus[fleet.first])):
            self.add("gpus", NOW - 12, gpu=gpu, modelName="NVIDIA H100 80GB HBM3", instance="10.0.0.7:9400")
            self.add("coverage", DAY / STEP, gpu=gpu)
            if xid_zero:
                self.add("xid", DAY / STEP, gpu=gpu, value="0").add("xid before", 1, gpu=gpu, value="0")
            for key in DEFAULT_COUNTERS:
                self.add(key, 0, gpu=gpu)

    def rows(self, key: str) -> list[Json]:
        found: list[Json] = self.answers[key]["data"]["result"]
        return found

    def add(self, key: str, number: float, *, gpu: int = 0, **labels: str) -> Answers:
        """Add a series to an answer."""
        said = {"UUID": self.fleet.uuid(gpu), "Hostname": self.fleet.first, **labels}
        self.rows(key).append(row(number, **said))
        return self

    def put(self, key: str, number: float, *, gpu: int = 0) -> Answers:
        """Give the series of a GPU in an answer another number."""
        for each in self.rows(key):
            if each["metric"]["UUID"] == self.fleet.uuid(gpu):
                each["value"][1] = repr(number)
        return self

    def drop(self, key: str, *, gpu: int | None = None) -> Answers:
        """Take a GPU out of an answer, or all of them."""
        rows = self.rows(key)
        rows[:] = [each for each in rows if gpu is not None and each["metric"]["UUID"] != self.fleet.uuid(gpu)]
        return self

    def xid(self, code: int, *, gpu: int = 0, before: bool = False) -> Answers:
        """Let the exporter's gauge show a code for an hour of the window, or from before it on."""
        if before:
            self.add("xid before", 1, gpu=gpu, value=str(code))
        return self.add("xid", 3600 / STEP, gpu=gpu, value=str(code))

    def fail(self, key: str, said: Json | None = None) -> Answers:
        """Let Prometheus refuse a query, or say something else of it."""
        self.answers[key] = said or {"status": "error", "errorType": "execution", "error": "too many samples"}
        return self

    def document(self) -> Json:
        return {self.queries[key]: answer for key, answer in self.answers.items()}

    def into(self) -> Fleet:
        """The fleet with these answers."""
        return self.fleet.file("prometheus.json", self.document())

    def judge(self, check: str, **settings: Any) -> Result:
        return self.into().judge(check, **settings)


def collected(fleet: Fleet) -> Fleet:
    """A fleet of which a Prometheus collects, and all is well."""
    return Answers(fleet).into()

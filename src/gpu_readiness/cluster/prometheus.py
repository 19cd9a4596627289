"""Asking a Prometheus server about a whole fleet, and dividing its answers among the nodes.

The number of queries does not depend on the number of nodes, and no more than one answer is ever held as it came.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpu_readiness.cluster.prometheus_access import Client, PrometheusAccess
from gpu_readiness.cluster.prometheus_services import Discovery, PrometheusService, find_prometheus
from gpu_readiness.evidence.prometheus import SOURCE
from gpu_readiness.evidence.prometheus_queries import GPUS, HOST_LABELS, canonical_queries
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

__all__ = [
    "Discovery",
    "PrometheusAccess",
    "PrometheusService",
    "PrometheusTarget",
    "find_prometheus",
    "gather_prometheus",
]

Json = dict[str, Any]
Write = Callable[[str, str, bytes], None]

#: Values that a subquery may come to: Prometheus refuses at 50 million, and MIG has seven series per GPU.
MAX_POINTS = 5_000_000
_WINDOW = re.compile(r"[1-9]\d{0,4}[smhdw]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class PrometheusTarget:
    """A node to be found among series: its GPUs' UUIDs as far as known, its exporter's pods (namespace and name)."""

    name: str
    uuids: frozenset[str] = frozenset()
    exporter_pods: frozenset[tuple[str, str]] = frozenset()
    addresses: frozenset[str] = frozenset()


def gather_prometheus(
    access: PrometheusAccess,
    nodes: Sequence[PrometheusTarget],
    write: Write,
    *,
    window: str,
    deadline_s: float,
    found: bool = False,
) -> str:
    """Write `prometheus.json` of every node, or `prometheus.json.error` where the server did not answer.

    Args:
        access: the server.
        nodes: whom to ask about.
        write: takes a node, the name of a file and its content.
        window: how far to look back, such as `24h`.
        deadline_s: seconds for all of it.
        found: the server was found and not named: one that knows of no GPU at all, or refuses us, is none of ours, and
            nothing is written.

    Returns:
        What came of it, in a sentence.
    """
    end = time.monotonic() + deadline_s
    try:
        answers = _Answers(nodes)
        asked = _ask_all(Client(access), answers, window, end)
    except Unmeasured as problem:
        if found and problem.reason is Reason.DENIED:
            return f"{access.url} was found and does not let us ask: {problem.message}"
        record = json.dumps({"reason": problem.reason.value, "message": problem.message}, ensure_ascii=False)
        for node in nodes:
            write(node.name, f"{SOURCE}.error", record.encode())
        return problem.message
    if found and not answers.rows_seen:
        return f"{access.url} was found and has no series of GPUs: taken for another one's Prometheus"
    seen = 0
    for node in nodes:
        content, some = answers.of(node.name, asked)
        seen += some
        write(node.name, SOURCE, content)
    return f"{access.url} has series of {seen} of {len(nodes)} nodes"


def _ask_all(client: Client, answers: _Answers, window: str, end: float) -> list[str]:
    """Ask everything; the first queries have to succeed, those about the past may fail one by one."""
    if not _WINDOW.fullmatch(window):
        raise ValueError(f"window {window!r}: expected a number and one of s, m, h, d, w")
    span = int(window[:-1]) * _SECONDS[window[-1]]
    first = canonical_queries(window, 1)
    result = client.ask(first["time"], {}, end)["data"]["result"]
    at = _clock(result)
    answers.add_to_all(first["time"], result)
    answers.take(first[GPUS], client.ask(first[GPUS], {"time": at}, end))
    answers.learn(first[GPUS])
    step = max(1, -(-span // 288), span * answers.rows_seen // MAX_POINTS)
    queries = list(canonical_queries(window, step).values())
    for query in queries:
        if query not in (first["time"], first[GPUS]):
            try:
                answers.take(query, client.ask(query, {"time": at}, end))
            except Unmeasured as problem:
                answers.fail(query, problem)
    return queries


def _clock(result: Any) -> float:
    if isinstance(result, list) and len(result) == 2 and isinstance(result[0], (int, float)):
        return float(result[0])
    raise Unmeasured(Reason.UNPARSABLE, "Prometheus does not know what time it is", SOURCE)


# --- dividing the answers ---------------------------------------------------------------------------------------------


class _Answers:
    """Answers divided among nodes: by UUID, else by what a series calls its node, pod or address."""

    def __init__(self, nodes: Sequence[PrometheusTarget]) -> None:
        self.rows_seen = 0
        self._rows: dict[str, dict[str, list[str]]] = {node.name: {} for node in nodes}
        self._failed: dict[str, str] = {}
        self._common: dict[str, str] = {}
        self._names = {node.name for node in nodes}
        self._uuids: dict[str, set[str]] = defaultdict(set)
        self._by_uuid: dict[str, set[str]] = defaultdict(set)
        self._by_pod: dict[tuple[str, str], str] = {}
        self._by_address: dict[str, str] = {}
        for node in nodes:
            for uuid in node.uuids:
                self._by_uuid[uuid].add(node.name)
            self._by_pod |= dict.fromkeys(node.exporter_pods, node.name)
            self._by_address |= dict.fromkeys(node.addresses, node.name)

    def add_to_all(self, query: str, result: Any) -> None:
        """An answer that is every node's."""
        self._common[query] = json.dumps(
            {"status": "success", "data": {"resultType": "scalar", "result": result}}, ensure_ascii=False
        )

    def take(self, query: str, response: Json) -> None:
        """Divide an answer."""
        warned = response.get("warnings")
        if response.get("isPartial") is True or (isinstance(warned, list) and warned):
            self._failed[query] = json.dumps({"warnings": warned or ["isPartial"]}, ensure_ascii=False)[1:-1]
        for row in response["data"]["result"]:
            labels = row.get("metric") if isinstance(row, dict) else None
            if not isinstance(labels, dict):
                raise Unmeasured(Reason.UNPARSABLE, f"a series without labels: {str(row)[:100]}", SOURCE)
            self.rows_seen += 1
            node = self._node_of(labels)
            if node is not None:
                self._rows[node].setdefault(query, []).append(json.dumps(row, ensure_ascii=False))
                self._uuids[node].add(str(labels.get("UUID", "")))

    def learn(self, query: str) -> None:
        """Take the GPUs in the answer to this query for those of the nodes that they were given to."""
        for node, uuids in self._uuids.items():
            for uuid in uuids - {""}:
                self._by_uuid[uuid].add(node)

    def fail(self, query: str, problem: Unmeasured) -> None:
        """Keep why a query has no answer, in the words in which Prometheus says so."""
        kind = "timeout" if problem.reason is Reason.TIMEOUT else "execution"
        self._common[query] = json.dumps(
            {"status": "error", "errorType": kind, "error": problem.message}, ensure_ascii=False
        )

    def _node_of(self, labels: Mapping[str, Any]) -> str | None:
        by_uuid = self._by_uuid.get(str(labels.get("UUID")), set())
        if len(by_uuid) == 1:
            return next(iter(by_uuid))
        by_label = self._by_labels(labels)
        return by_label if not by_uuid or by_label in by_uuid else None

    def _by_labels(self, labels: Mapping[str, Any]) -> str | None:
        pod = self._by_pod.get((str(labels.get("namespace")), str(labels.get("pod"))))
        if pod is not None:
            return pod
        for label in reversed(HOST_LABELS):  # what the target says first: an exporter may call its host localhost
            if labels.get(label) in self._names:
                return str(labels[label])
        host = re.sub(r":\d+$", "", str(labels.get("instance", ""))).strip("[]")
        return host if host in self._names else self._by_address.get(host)

    def of(self, node: str, asked: Iterable[str]) -> tuple[bytes, bool]:
        """The file of a node, and whether Prometheus has anything of it."""
        rows = self._rows.pop(node)
        parts = []
        for query in asked:
            answer = self._common.get(query)
            if answer is None:
                note = f", {self._failed[query]}" if query in self._failed else ""
                data = f'{{"resultType": "vector", "result": [{", ".join(rows.get(query, ()))}]}}'
                answer = f'{{"status": "success", "data": {data}{note}}}'
            parts.append(f"{json.dumps(query)}: {answer}")
        return ("{\n" + ",\n".join(parts) + "\n}\n").encode(), bool(rows)

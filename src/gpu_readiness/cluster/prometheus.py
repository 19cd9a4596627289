"""Asking a Prometheus server about a whole fleet, and dividing its answers among the nodes.

The number of queries does not depend on the number of nodes. Whatever the server does, this ends in time, and never
holds more than one answer.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from gpu_readiness.cluster.prometheus_services import Discovery, PrometheusService, find_prometheus
from gpu_readiness.evidence.documents import excerpt
from gpu_readiness.evidence.prometheus import SOURCE
from gpu_readiness.evidence.prometheus_queries import GPUS, HOST_LABELS, canonical_queries
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

__all__ = ["Discovery", "PrometheusAccess", "PrometheusService", "PrometheusTarget", "find_prometheus"]

T = TypeVar("T")
Json = dict[str, Any]
Write = Callable[[str, str, bytes], None]

#: Bytes of an answer; one of 40,000 GPUs has 20 MB.
MAX_ANSWER = 64 << 20
#: Values that a subquery may come to: Prometheus refuses at 50 million, and MIG has seven series per GPU.
MAX_POINTS = 5_000_000
CONNECT_SECONDS = 10.0
#: The least that any query gets, and the share of what is left that one may take.
LEAST_SECONDS, SHARE = 5.0, 0.5
TRIES = 3
THREAD = "gpu-readiness-prometheus"
_CHUNK = 1 << 16
_PASSING = frozenset({429, 502, 503, 504})
_WINDOW = re.compile(r"[1-9]\d{0,4}[smhdw]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
#: Credentials shorter than this are not looked for in answers: they would be found in any.
_LEAST_SECRET = 6


# --- who asks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PrometheusAccess:
    """A server and how to reach it. `verify` is whether to check certificates, or the file of a CA; `cert` and key.

    `auth` is user and password. Secrets are in `headers` and `auth` alone, and neither is ever shown.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | str = True
    cert: tuple[str, str] | str | None = None
    auth: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str, environment: Mapping[str, str] = os.environ) -> PrometheusAccess:
        """From a URL and the environment: `GPU_READINESS_PROMETHEUS_TOKEN`, or `_USER` and `_PASSWORD`, and `_CA`.

        Raises:
            ValueError: no URL of a server, or credentials that cannot be used; the message has no secret in it.
        """
        prefix = "GPU_READINESS_PROMETHEUS_"
        said = {key: environment.get(prefix + key, "").strip() for key in ("TOKEN", "USER", "PASSWORD", "CA")}
        address, user, password = _split(url)
        if said["USER"]:
            user, password = said["USER"], said["PASSWORD"]
        token, ca = said["TOKEN"], said["CA"]
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise ValueError(f"{prefix}TOKEN is no bearer token: it has characters that no token has")
        if ca and not Path(ca).is_file():
            raise ValueError(f"{prefix}CA: there is no file {ca}")
        return cls(
            address,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            verify=ca or True,
            auth=(user, password) if user and not token else None,
        )

    @property
    def secrets(self) -> list[str]:
        """What must be shown nowhere."""
        found = [part for value in self.headers.values() for part in (value, value.rpartition(" ")[2])]
        if self.auth is not None:
            found += [self.auth[1], base64.b64encode(":".join(self.auth).encode()).decode()]
        return [each for each in found if len(each) >= _LEAST_SECRET]


def _split(url: str) -> tuple[str, str, str]:
    """The address without user, password, query and the pages that people copy, and the user and password."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("expected the URL of a Prometheus server, such as https://prometheus.example.com")
    place = f"[{host}]" if ":" in host else host
    path = re.sub(r"/(graph|query|classic/graph|api/v1(/query)?)?/*$", "", parts.path)
    address = urlunsplit((parts.scheme, f"{place}:{port}" if port else place, path.rstrip("/"), "", ""))
    return address, unquote(parts.username or ""), unquote(parts.password or "")


def _shown(url: str) -> str:
    try:
        return _split(url)[0]
    except ValueError:
        return "another page"


@dataclass(frozen=True, slots=True)
class PrometheusTarget:
    """A node to be found among series: its GPUs' UUIDs as far as known, its exporter's pods (namespace and name)."""

    name: str
    uuids: frozenset[str] = frozenset()
    exporter_pods: frozenset[tuple[str, str]] = frozenset()
    addresses: frozenset[str] = frozenset()


# --- the whole --------------------------------------------------------------------------------------------------------


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
        found: the server was found and not named: one that knows of no GPU at all is another one, and nothing is
            written.

    Returns:
        What came of it, in a sentence.
    """
    end = time.monotonic() + deadline_s
    try:
        answers = _Answers(nodes)
        asked = _ask_all(_Client(access), answers, window, end)
    except Unmeasured as problem:
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


def _ask_all(client: _Client, answers: _Answers, window: str, end: float) -> list[str]:
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


# --- asking -----------------------------------------------------------------------------------------------------------


class _Client:
    """Queries by prometheus-api-client, each in time and within bounds."""

    def __init__(self, access: PrometheusAccess) -> None:
        self._access = access

    def ask(self, query: str, parameters: Mapping[str, object], end: float) -> Json:
        """The answer to a query as the API gives it, with status, data and warnings.

        Raises:
            Unmeasured: there is none, with the reason.
        """
        for attempt in range(1, TRIES + 1):
            left = end - time.monotonic()
            if left <= 0.1:
                raise Unmeasured(Reason.TIMEOUT, f"{self._access.url}: no time was left to ask", SOURCE)
            seconds = min(left, max(LEAST_SECONDS, SHARE * left))
            session = _Session(self._access, time.monotonic() + seconds)
            try:
                _within(seconds, partial(self._query, session, query, parameters))
            except Exception as problem:  # noqa: BLE001 - every fault of a stranger's server is one of measurement
                if not session.passing or attempt == TRIES or time.monotonic() + attempt >= end:
                    raise self._why(session, problem) from None
                time.sleep(0.5 * attempt)
            else:
                return self._valid(session)
            finally:
                session.close()
        raise AssertionError("unreachable")

    def _query(self, session: _Session, query: str, parameters: Mapping[str, object]) -> None:
        from prometheus_api_client import PrometheusConnect

        client = PrometheusConnect(
            self._access.url, headers=dict(self._access.headers), session=session, auth=_Credentials(self._access)
        )
        client.custom_query(query, params={**parameters, "timeout": f"{max(1, int(session.left()))}s"})

    def _valid(self, session: _Session) -> Json:
        said = session.document
        if self._repeats_secrets(session):
            raise self._why(session, ValueError())
        if (
            not isinstance(said, dict)
            or said.get("status") != "success"
            or not isinstance(said["data"]["result"], list)
        ):
            raise Unmeasured(Reason.UNPARSABLE, f"{self._access.url}: no answer of Prometheus' query API", SOURCE)
        return said

    def _repeats_secrets(self, session: _Session) -> bool:
        return any(secret.encode() in session.content for secret in self._access.secrets)

    def _why(self, session: _Session, problem: Exception) -> Unmeasured:
        """What went wrong, as evidence. Of an answer that has our credentials in it nothing is quoted."""
        if self._repeats_secrets(session):
            said = f"{self._access.url}: the answer repeats our credentials"
            return Unmeasured(Reason.DENIED if session.status in (401, 403) else Reason.UNPARSABLE, said, SOURCE)
        reason, words = _explained(session, problem)
        for secret in self._access.secrets:
            words = words.replace(secret, "[removed]")
        return Unmeasured(reason, f"{self._access.url}: {words}"[:700], SOURCE)


def _explained(session: _Session, problem: Exception) -> tuple[Reason, str]:
    import requests
    from urllib3.exceptions import HTTPError

    status, said = session.status, session.complaint()
    if isinstance(problem, TimeoutError | requests.Timeout):
        return Reason.TIMEOUT, f"no complete answer in time; {session.size} bytes had come"
    if isinstance(problem, Unmeasured):
        return problem.reason, problem.message
    if isinstance(problem, HTTPError):
        return Reason.TIMEOUT, f"the answer broke off after {session.size} bytes: {_brief(problem)}"
    if status in (401, 403):
        return Reason.DENIED, f"{said} (HTTP {status}); {_NEEDED}"
    if status == 404:
        return Reason.MISSING, f"{said} (HTTP 404): there is no query API at this address"
    if status is not None and 300 <= status < 400:
        return Reason.MISSING, f"leads on to {session.location} (HTTP {status}): give the address that answers itself"
    if status is not None and status >= 400:
        late = status in _PASSING or "timeout" in said
        return Reason.TIMEOUT if late else Reason.UNPARSABLE, f"{said} (HTTP {status})"
    if status is not None:
        return Reason.UNPARSABLE, f"no answer of Prometheus' query API; it begins with {excerpt(session.content)}"
    if isinstance(problem, requests.exceptions.SSLError):
        return Reason.DENIED, f"{_brief(problem)}; name the CA that signed it in GPU_READINESS_PROMETHEUS_CA"
    return Reason.TIMEOUT, f"no answer: {_brief(problem)}"


_NEEDED = (
    "needed: a bearer token in GPU_READINESS_PROMETHEUS_TOKEN, or GPU_READINESS_PROMETHEUS_USER and _PASSWORD; "
    "through the API server, get on services/proxy; on OpenShift, cluster-monitoring-view and the route's address"
)


def _brief(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:300] or type(problem).__name__


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do something, and wait no longer than this: names that do not resolve and headers that drip know no deadline.

    Raises:
        TimeoutError: it is not done; the thread that does it is left alone.
    """
    failed: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - raised again below, by whom it concerns
            failed.append(problem)

    thread = threading.Thread(target=run, name=THREAD, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if failed:
        raise failed[0]


class _Credentials:
    """Puts the credentials into a request, so that no other source of them (.netrc) is looked at."""

    def __init__(self, access: PrometheusAccess) -> None:
        self._access = access

    def __call__(self, request: Any) -> Any:
        if self._access.auth is not None:
            from requests.auth import HTTPBasicAuth

            return HTTPBasicAuth(*self._access.auth)(request)
        return request


class _Session:
    """What PrometheusConnect takes for a requests.Session: one request, bounded, and its answer kept."""

    def __init__(self, access: PrometheusAccess, end: float) -> None:
        import requests

        self._session = requests.Session()
        self._end = end
        self.verify = access.verify
        self.cert = access.cert
        self.status: int | None = None
        self.location = ""
        self.content = b""
        self.size = 0
        self.document: Any = None

    def left(self) -> float:
        """Seconds that this request still has."""
        return max(0.1, self._end - time.monotonic())

    @property
    def passing(self) -> bool:
        """Whether another attempt may well succeed."""
        return self.status in _PASSING

    def mount(self, prefix: str, adapter: object) -> None:
        """Retries are ours: the library's would read a refusal to its end, however long."""

    def request(self, method: str, url: str, **options: Any) -> _Session:
        """Send it; the answer is this session, read to its end or to where it is too much."""
        options |= {"timeout": (min(CONNECT_SECONDS, self.left()), self.left())}
        with warnings.catch_warnings():
            if not self.verify:  # and whoever says so knows
                warnings.simplefilter("ignore")
            response = self._session.request(method, url, stream=True, allow_redirects=False, **options)
        try:
            self.location = _shown(response.headers.get("location", ""))
            chunks = []
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                self.size += len(chunk)
                if self.size > MAX_ANSWER:
                    words = f"the answer is larger than {MAX_ANSWER >> 20} MiB, the rest was not read"
                    raise Unmeasured(Reason.UNPARSABLE, words, SOURCE)
                if time.monotonic() > self._end:
                    raise TimeoutError
                chunks.append(chunk)
            self.content = b"".join(chunks)
        finally:
            self.status = response.status_code
            response.close()
        return self

    @property
    def status_code(self) -> int | None:
        """As a response has it."""
        return self.status

    def json(self) -> Any:
        """As a response has it: the document, refused where it nests too deep."""
        try:
            self.document = json.loads(self.content)
        except RecursionError:
            raise ValueError("nested too deep") from None
        return self.document

    def complaint(self) -> str:
        """What the server says of its refusal."""
        try:
            said = json.loads(self.content[:_CHUNK])
            return str(said.get("error") or said.get("message") or "")[:300] or "refused"
        except (ValueError, AttributeError, RecursionError):
            return excerpt(self.content) if self.content.strip() else "refused"

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

"""A Prometheus server, who asks it, and one query at a time: in time and within bounds, whatever the server does."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from gpu_readiness.evidence.documents import excerpt
from gpu_readiness.evidence.prometheus import SOURCE
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

Json = dict[str, Any]

#: Bytes of an answer; one of 40,000 GPUs has 20 MB.
MAX_ANSWER = 64 << 20
CONNECT_SECONDS = 10.0
#: The least that any query gets, and the share of what is left that one may take.
LEAST_SECONDS, SHARE = 5.0, 0.5
TRIES = 3
THREAD = "gpu-readiness-prometheus"
_CHUNK = 1 << 16
_PASSING = frozenset({429, 502, 503, 504})
#: Credentials shorter than this are not looked for in answers: they would be found in any.
_LEAST_SECRET = 6


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


class Client:
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

"""An API server as one identity reaches it: bounded requests with deadlines, retries and honest refusals."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from gpu_readiness.evidence.documents import excerpt
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

T = TypeVar("T")

#: Seconds to wait for a connection, and for the next byte of an answer that was begun.
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
#: Connections that are kept open; more may be used at once.
POOL = 64
_CHUNK = 1 << 16
#: Bytes of an error's body that are read.
_MAX_STATUS = 1 << 16
#: Answers that may be another one a moment later.
PASSING = frozenset({429, 500, 502, 503, 504})
TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class AccessProblem(ValueError):
    """There is no cluster to talk to; one line says why."""


class Refused(Exception):
    """The API server, or what it forwarded to, answered with an error.

    `status` is HTTP's, `details` the Status object that came with it; `retry_after` is in seconds.
    """

    def __init__(self, status: int, message: str, details: Mapping[str, Any], retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details
        self.retry_after = retry_after


class Garbled(Exception):
    """The answer was complete, and is not what was asked for."""


class Stopped(Exception):
    """The run was stopped while a request was under way."""


def as_unmeasured(problem: Exception, source: str, right: str = "") -> Unmeasured:
    """What an attempt that ended in `problem` is as evidence; `right` is the RBAC rule that would have allowed it."""
    if isinstance(problem, Unmeasured):
        return problem
    if not isinstance(problem, Refused):
        return Unmeasured(Reason.TIMEOUT, f"no answer in time: {problem}"[:500], source)
    said = f"{problem.message} (HTTP {problem.status})"[:500]
    if problem.status in (401, 403):
        needed = f"; needed: {right}" if right and problem.status == 403 else ""
        return Unmeasured(Reason.DENIED, f"{said}{needed}", source)
    return Unmeasured(Reason.MISSING if problem.status == 404 else Reason.TIMEOUT, said, source)


class ApiServer:
    """One API server, one identity. Safe to use from many threads."""

    def __init__(self, configuration: Any, name: str, namespace: str) -> None:
        import urllib3
        from kubernetes.client import ApiClient

        from gpu_readiness import __version__

        configuration.connection_pool_maxsize = POOL
        configuration.retries = urllib3.Retry(0)
        self.configuration = configuration
        self.name = name
        self.namespace = namespace
        self.host: str = configuration.host.rstrip("/")
        self._agent = f"gpu-readiness/{__version__}"
        self._pool = ApiClient(configuration).rest_client.pool_manager
        self._stopped = threading.Event()

    @classmethod
    def connect(cls, kubeconfig: str | None = None, context: str | None = None) -> ApiServer:
        """By kubeconfig and context as kubectl takes them, or as the service account of the pod that this runs in.

        Raises:
            AccessProblem: no such file or context, or credentials that cannot be had.
        """
        import yaml
        from kubernetes import config
        from kubernetes.client import Configuration

        configuration = Configuration()
        if kubeconfig is None and context is None and _in_cluster():
            try:
                config.load_incluster_config(client_configuration=configuration)
            except config.ConfigException as problem:
                raise AccessProblem(f"in-cluster service account: {problem}") from None
            return cls(configuration, "in-cluster", NAMESPACE_FILE.read_text(encoding="utf-8").strip())
        shown = kubeconfig or os.environ.get("KUBECONFIG") or config.KUBE_CONFIG_DEFAULT_LOCATION
        if not any(Path(each).expanduser().is_file() for each in shown.split(os.pathsep)):
            where = "" if kubeconfig else ", and this is no pod of a cluster"
            raise AccessProblem(
                f"no cluster to judge: there is no kubeconfig {shown}{where}; "
                "give --readiness-kubeconfig FILE or --readiness-snapshot DIR (try `gpu-readiness demo` for one)"
            )
        try:
            contexts, active = config.list_kube_config_contexts(kubeconfig)
            config.load_kube_config(kubeconfig, context, configuration)
        except config.ConfigException as problem:
            raise AccessProblem(f"kubeconfig {shown}: {_brief(problem)}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as problem:
            raise AccessProblem(f"kubeconfig {shown}: cannot be used ({_brief(problem)})") from None
        chosen = next((each for each in contexts if each["name"] == context), active) if context else active
        namespace = chosen.get("context", {}).get("namespace") or "default"
        return cls(configuration, chosen["name"], namespace)

    def stop(self) -> None:
        """Let no request begin or wait any more."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait; Stopped if the run is stopped meanwhile."""
        if self._stopped.wait(seconds):
            raise Stopped

    def headers(self) -> dict[str, str]:
        """What identifies this client and its user; a token that has expired is renewed first."""
        found = {"user-agent": self._agent, "accept": "application/json"}
        for setting in self.configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                found[setting["key"]] = setting["value"]
        return found

    def get(
        self, path: str, *, seconds: float, limit: int = 16 << 20, query: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """The JSON object that a GET of at most `limit` bytes answers, within `seconds`, retries included.

        Raises:
            Refused: the answer is an error that stays.
            Unmeasured: `timeout` if there was no whole answer in time, `unparsable` if it is larger or no JSON object.
        """
        return self._exchange("GET", _url(path, query), None, seconds, lambda got, end: _json(got, end, limit))

    def save(
        self,
        path: str,
        target: Path,
        *,
        seconds: float,
        limit: int,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Mapping[str, str]:
        """The answer to a GET in a file, never whole in memory: its headers, with names in lower case.

        Nothing is left there on failure. Raises as `get`.
        """

        def take(response: BaseHTTPResponse, end: float) -> dict[str, str]:
            with target.open("wb") as file:
                for chunk in _body(response, end, limit):
                    file.write(chunk)
            return {name.lower(): value for name, value in response.headers.items()}

        try:
            return self._exchange("GET", path, None, seconds, take, tries=2, headers={"accept": "*/*", **headers})
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def send(self, method: str, path: str, body: object = None, *, seconds: float = 30.0) -> dict[str, Any]:
        """Create, change or delete an object: the answer as JSON. Raises as `get`."""
        data = json.dumps(body).encode() if body is not None else None
        return self._exchange(method, path, data, seconds, lambda got, end: _json(got, end, 16 << 20))

    def lines(
        self, path: str, *, seconds: float, query: Mapping[str, object], opened: Callable[[BaseHTTPResponse], None]
    ) -> Iterator[bytes]:
        """The lines of a watch, as they come, for at most `seconds`; ends where the server ends it. Raises as `get`.

        `opened` hears of the connection, so that somebody else can `hang_up`.
        """
        end = time.monotonic() + seconds
        response = self._open("GET", _url(path, query), None, end, {})
        opened(response)
        rest = b""
        try:
            for chunk in _body(response, end, 1 << 32):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from filter(None, whole)
                if self._stopped.is_set():
                    raise Stopped
        finally:
            response.close()

    def _exchange(
        self,
        method: str,
        path: str,
        data: bytes | None,
        seconds: float,
        take: Callable[[BaseHTTPResponse, float], T],
        *,
        tries: int = 6,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> T:
        from urllib3.exceptions import HTTPError

        end = time.monotonic() + seconds
        for attempt in range(1, tries + 1):
            try:
                response = self._open(method, path, data, end, headers)
                try:
                    return take(response, end)
                except BaseException:
                    response.close()  # a connection with an unread rest cannot be used again
                    raise
            except Refused as problem:
                failure: Exception = problem
                if problem.status not in PASSING:
                    raise
            except Garbled as problem:
                failure = Unmeasured(Reason.UNPARSABLE, str(problem), path)
            except (HTTPError, OSError, EOFError) as problem:
                failure = Unmeasured(Reason.TIMEOUT, f"no answer within {seconds:g} s: {_brief(problem)}", path)
            pause = getattr(failure, "retry_after", None) or min(4.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
            if attempt == tries or time.monotonic() + pause >= end:
                raise failure
            self.pause(pause)
        raise AssertionError("unreachable")

    def _open(self, method: str, path: str, data: bytes | None, end: float, own: Mapping[str, str]) -> BaseHTTPResponse:
        import urllib3

        if self._stopped.is_set():
            raise Stopped
        left = max(0.1, end - time.monotonic())
        headers = self.headers() | {"accept-encoding": "gzip", **own}
        if data is not None:
            headers["content-type"] = "application/json"
        response = self._pool.request(
            method,
            self.host + path,
            body=data,
            headers=headers,
            preload_content=False,
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, left), read=min(READ_TIMEOUT, left)),
        )
        if response.status >= 300:
            raise _refused(response, end)
        return response


def hang_up(response: BaseHTTPResponse) -> None:
    """Have whoever waits for more of an answer wait no longer."""
    held = getattr(response.connection, "sock", None)
    if held is not None:
        with suppress(OSError):
            held.shutdown(socket.SHUT_RDWR)


def _in_cluster() -> bool:
    """Whether this runs in a pod and nothing says to talk to another cluster."""
    return "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ and TOKEN_FILE.is_file()


def _url(path: str, query: Mapping[str, object] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _body(response: BaseHTTPResponse, end: float, limit: int) -> Iterator[bytes]:
    """The body as it comes, not waiting for whole chunks: a server that drips does not outlast the deadline."""
    size = 0
    while chunk := response.read1(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise Unmeasured(Reason.UNPARSABLE, f"the answer is larger than {limit >> 20} MiB, the rest was not read")
        if time.monotonic() > end:
            raise Unmeasured(Reason.TIMEOUT, f"the answer was not complete in time; {size} bytes had come")
        yield chunk


def _json(response: BaseHTTPResponse, end: float, limit: int) -> dict[str, Any]:
    data = b"".join(_body(response, end, limit))
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Garbled(f"the answer is no JSON object; it begins with {excerpt(data)}")
    return found


def _refused(response: BaseHTTPResponse, end: float) -> Refused:
    from urllib3.exceptions import HTTPError

    try:
        body = b"".join(_body(response, end, _MAX_STATUS))
    except (HTTPError, OSError, Unmeasured):
        body = b""
    finally:
        response.close()
    try:
        details = json.loads(body)
    except (ValueError, RecursionError):
        details = None
    if not isinstance(details, dict):
        details = {}
    said = (
        details.get("message") or body[:300].decode("utf-8", "replace").strip() or response.reason or "no reason given"
    )
    after = response.headers.get("retry-after", "")
    return Refused(response.status, str(said), details, float(after) if after.isdecimal() else None)


def _brief(problem: BaseException) -> str:
    """One line of an exception that may have several, or none."""
    return " ".join(str(problem).split())[:300] or type(problem).__name__

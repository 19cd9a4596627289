"""A proxy between a client of ours and an API server, which breaks the answers that a test wants broken.

    with FaultProxy("https://127.0.0.1:6443", token=token) as proxy:
        proxy.inject(r"GET /api/v1/pods", cut(1000), times=1)
        ...  # a client whose server is `proxy.url`
        assert proxy.count(r"GET /api/v1/pods") == 2

It listens on loopback without TLS, and speaks HTTP/1.1 on both sides: bodies of a known length, chunked ones, watches
that go on for minutes, and upgraded connections (exec by WebSocket), of which it hands on the bytes as they come.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import re
import select
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

_PIECE = 1 << 16
_HOP_BY_HOP = re.compile(
    "(?:proxy-)?connection|keep-alive|te|trailer|transfer-encoding|upgrade|host|authorization", re.IGNORECASE
)
#: Where Kubernetes has another word than HTTP.
_REASONS = {410: "Expired", 500: "InternalError", 504: "Timeout"}

# --- what can go wrong ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Action:
    """What is done to a request; made by the functions below."""

    name: str
    code: int = 0
    after: int = 0
    seconds: float = 0.0
    retry_after: float | None = None
    fresh: bool | str = False


def status(code: int, *, retry_after: float | None = None) -> Action:
    """Answer with this HTTP status and a Status object, as an API server does; the request goes nowhere."""
    return Action("status", code=code, retry_after=retry_after)


def drop() -> Action:
    """Close the connection before there is any answer."""
    return Action("drop")


def cut(after_bytes: int) -> Action:
    """Close the connection after so many bytes of the body; a body that is not longer passes whole."""
    return Action("cut", after=after_bytes)


def half_open() -> Action:
    """Never answer, and keep the connection."""
    return Action("half_open")


def stall(seconds: float) -> Action:
    """Wait, then go on as if nothing had been."""
    return Action("stall", seconds=seconds)


def stall_body(after_bytes: int, seconds: float) -> Action:
    """Wait after so many bytes of the body, then go on; a body that is not longer passes at once."""
    return Action("stall_body", after=after_bytes, seconds=seconds)


def garbage() -> Action:
    """Answer 200 and something that is no JSON, as captive portals and load balancers do."""
    return Action("garbage")


def truncate() -> Action:
    """Answer with the first half of the body, under a Content-Length that is right for it."""
    return Action("truncate")


def expired(*, fresh: bool | str = False) -> Action:
    """Answer 410 Expired, as to a `continue` token that is too old.

    `fresh` offers a token to go on with from where the request's token was, at a newer version of the list: True makes
    one of the request's own, which the API server takes; a text is that token.
    """
    return Action("expired", code=410, fresh=fresh)


# --- what is remembered --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in; `fault` is the action's name, empty if it was handed on. `at` is monotonic time."""

    method: str
    path: str
    query: str
    fault: str
    at: float

    @property
    def line(self) -> str:
        """What rules are matched with."""
        return f"{self.method} {self.path}" + (f"?{self.query}" if self.query else "")


@dataclass(slots=True)
class Rule:
    """An action for requests whose line a pattern is found in; `hits` is how often it was applied."""

    pattern: re.Pattern[str]
    action: Action
    left: int | None
    hits: int = field(default=0)


class FaultProxy:
    """The proxy, which runs as long as the context does. Safe to use from many threads."""

    def __init__(self, upstream: str, *, token: str = "", ca_file: Path | None = None) -> None:
        """`token` replaces whatever the client authenticates with; without `ca_file`, any certificate will do."""
        self.upstream = urlsplit(upstream)
        self.token = token
        self.closing = threading.Event()
        self.problems: list[BaseException] = []
        self.context: ssl.SSLContext | None = None
        if self.upstream.scheme == "https":
            self.context = ssl.create_default_context(cafile=ca_file)
            if ca_file is None:
                self.context.check_hostname = False
                self.context.verify_mode = ssl.CERT_NONE
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._log: list[Request] = []
        self._sockets: set[socket.socket] = set()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The address for a kubeconfig."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._lock:
            left = list(self._sockets)
        for each in left:
            _shut(each)
        if self.problems and value is None:
            raise AssertionError(f"the fault proxy broke: {self.problems[0]!r}") from self.problems[0]

    def inject(self, match: str, action: Action, *, times: int | None = None) -> Rule:
        """Apply an action to requests, forever or so many times; of several rules, the first that is not used up.

        Args:
            match: a regular expression, searched for in "METHOD path?query".
            action: what to do to them.
            times: how often; None is forever.
        """
        rule = Rule(re.compile(match), action, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules; what was logged stays."""
        with self._lock:
            self._rules.clear()

    @property
    def log(self) -> list[Request]:
        """All requests, in the order in which they came."""
        with self._lock:
            return list(self._log)

    @property
    def by_path(self) -> Counter[str]:
        """How many requests there were for each path, whatever their query."""
        return Counter(each.path for each in self.log)

    def count(self, match: str) -> int:
        """How many requests a pattern is found in, as for `inject`."""
        return sum(1 for each in self.log if re.search(match, each.line))

    def take(self, method: str, target: str) -> Action | None:
        """Log a request and say what is to be done to it."""
        path, _, query = target.partition("?")
        seen = Request(method, path, query, "", time.monotonic())
        with self._lock:
            for rule in self._rules:
                if rule.left != 0 and rule.pattern.search(seen.line):
                    rule.left = None if rule.left is None else rule.left - 1
                    rule.hits += 1
                    self._log.append(replace(seen, fault=rule.action.name))
                    return rule.action
            self._log.append(seen)
        return None

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection, so that nobody waits for it once the proxy is gone."""
        with self._lock:
            self._sockets.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._sockets.discard(connection)

    def connect(self) -> http.client.HTTPConnection:
        """A new connection to the API server."""
        host, port = self.upstream.hostname or "", self.upstream.port
        if self.context is not None:
            return http.client.HTTPSConnection(host, port, context=self.context)
        return http.client.HTTPConnection(host, port)


# --- how it is done ------------------------------------------------------------------------------------------


class _Broken(Exception):
    """The connection to the client is to be closed now."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news; anything else is a bug of the proxy, which its test has to see."""
        problem = sys.exc_info()[1]
        if problem is not None and not isinstance(problem, OSError):
            self.proxy.problems.append(problem)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.proxy.opened(self.connection)

    def finish(self) -> None:
        self.server.proxy.closed(self.connection)
        with suppress(OSError):  # what was left to say to a client that is gone
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Requests are in the proxy's log."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (_Broken, OSError):
            self.close_connection = True
            _shut(self.connection)

    def _any(self) -> None:
        action = self.server.proxy.take(self.command, self.path)
        match action.name if action is not None else "":
            case "drop":
                raise _Broken
            case "half_open":
                self.server.proxy.closing.wait()
                raise _Broken
            case "status" | "expired" | "garbage":
                assert action is not None
                self._skip_body()
                self._answer(action)
                return
            case "stall":
                assert action is not None
                self.server.proxy.closing.wait(action.seconds)
        if "upgrade" in self.headers.get("Connection", "").lower():
            self._upgrade(action)
        else:
            self._forward(action)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _any  # noqa: N815 - names of the library

    def _answer(self, action: Action) -> None:
        """Answer without asking anybody."""
        code, body = 200, b"<html><body>Please log in</body></html>"
        if action.name != "garbage":
            code, metadata = action.code, {}
            if action.fresh:
                metadata["continue"] = action.fresh if isinstance(action.fresh, str) else self._newer_token()
            said: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure"}
            said |= {"message": f"injected: {action.name}", "reason": _reason(code), "code": code}
            if action.retry_after is not None:
                said["details"] = {"retryAfterSeconds": int(action.retry_after)}
            body = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        if action.retry_after is not None:
            self.send_header("Retry-After", f"{action.retry_after:g}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _newer_token(self) -> str:
        """The request's own token, for the newest version of the list (which the API server calls -1)."""
        (token,) = parse_qs(urlsplit(self.path).query).get("continue", [""])
        try:
            said = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except (ValueError, binascii.Error):
            said = {"v": "meta.k8s.io/v1", "start": ""}
        said["rv"] = -1
        return base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).decode().rstrip("=")

    def _forward(self, action: Action | None) -> None:
        connection = self.server.proxy.connect()
        try:
            try:
                connection.connect()
                self.server.proxy.opened(connection.sock)
                headers = self._headers()
                if action is not None and action.name == "truncate":
                    headers["Accept-Encoding"] = "identity"
                chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
                if chunked:
                    headers["Transfer-Encoding"] = "chunked"
                has_body = chunked or "Content-Length" in self.headers
                body = self._body() if has_body else None
                connection.request(self.command, self._target(), body, headers, encode_chunked=chunked)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as problem:
                self.close_connection = True
                self.send_error(502, f"the fault proxy's upstream: {type(problem).__name__}")
                return
            self._hand_on(response, action)
        finally:
            if connection.sock is not None:
                self.server.proxy.closed(connection.sock)
            connection.close()

    def _hand_on(self, response: http.client.HTTPResponse, action: Action | None) -> None:
        pieces: Iterable[bytes] = iter(lambda: response.read1(_PIECE), b"")
        length = response.getheader("Content-Length")
        bare = self.command == "HEAD" or response.status in (204, 304)
        if action is not None and action.name == "truncate" and not bare:
            whole = response.read()
            pieces, length = [whole[: len(whole) // 2]], str(len(whole) // 2)
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if not _HOP_BY_HOP.fullmatch(name) and name.lower() != "content-length":
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", length)
        elif not bare:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if bare:
            return
        sent = 0
        try:
            for piece in pieces:
                self._send(piece, _later(action, sent), chunked=length is None)
                sent += len(piece)
        except http.client.HTTPException:
            raise _Broken from None
        if length is None:
            self.wfile.write(b"0\r\n\r\n")
        elif sent != int(length):
            raise _Broken  # the answer broke off there already: it breaks off here too

    def _send(self, piece: bytes, action: Action | None, *, chunked: bool) -> None:
        """Send a piece of a body, as far as the action lets it."""
        if chunked:
            self.wfile.write(f"{len(piece):x}\r\n".encode())
        if action is not None and action.name in ("cut", "stall_body") and 0 <= action.after < len(piece):
            self.wfile.write(piece[: action.after])
            self.wfile.flush()
            if action.name == "cut":
                raise _Broken
            self.server.proxy.closing.wait(action.seconds)
            piece = piece[action.after :]
        self.wfile.write(piece + (b"\r\n" if chunked else b""))
        self.wfile.flush()

    def _upgrade(self, action: Action | None) -> None:
        """Hand on the request as it is, and then bytes in both directions until one side has no more."""
        self.close_connection = True
        connection = self.server.proxy.connect()
        connection.connect()
        upstream = connection.sock
        self.server.proxy.opened(upstream)
        try:
            headers = self._headers() | {"Connection": "Upgrade", "Upgrade": self.headers.get("Upgrade", "")}
            headers["Host"] = self.server.proxy.upstream.netloc
            lines = [
                f"{self.command} {self._target()} HTTP/1.1",
                *(f"{name}: {said}" for name, said in headers.items()),
            ]
            upstream.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            head = b""
            while b"\r\n\r\n" not in head and (more := upstream.recv(_PIECE)):
                head += more
            head, mark, rest = head.partition(b"\r\n\r\n")
            self.wfile.write(head + mark)
            upstream.sendall(self._read_ahead())
            self._pipe(upstream, rest, action)
        finally:
            self.server.proxy.closed(upstream)
            connection.close()
            _shut(self.connection)

    def _read_ahead(self) -> bytes:
        """What the client has sent already, after the head of its request."""
        self.connection.setblocking(False)
        ahead = self.rfile.peek()  # type: ignore[attr-defined]
        self.connection.setblocking(True)
        return self.rfile.read(len(ahead))

    def _pipe(self, upstream: socket.socket, piece: bytes, action: Action | None) -> None:
        sent = 0
        while True:
            if piece:
                self._send(piece, _later(action, sent), chunked=False)
                sent += len(piece)
            piece = b""
            waiting = isinstance(upstream, ssl.SSLSocket) and upstream.pending() > 0
            ready = select.select([self.connection, upstream], [], [], 0 if waiting else None)[0]
            if self.connection in ready:
                if not (more := self.connection.recv(_PIECE)):
                    return
                upstream.sendall(more)
            if (waiting or upstream in ready) and not (piece := upstream.recv(_PIECE)):
                return

    def _headers(self) -> dict[str, str]:
        kept = {name: said for name, said in self.headers.items() if not _HOP_BY_HOP.fullmatch(name)}
        if self.server.proxy.token:
            kept["Authorization"] = f"Bearer {self.server.proxy.token}"
        elif "Authorization" in self.headers:
            kept["Authorization"] = self.headers["Authorization"]
        return kept

    def _target(self) -> str:
        return self.server.proxy.upstream.path.rstrip("/") + self.path

    def _body(self) -> Iterator[bytes]:
        """The request's body as it comes."""
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            left = int(self.headers.get("Content-Length", 0))
            while left > 0 and (piece := self.rfile.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _skip_body(self) -> None:
        for _ in self._body():
            pass


def _reason(code: int) -> str:
    return _REASONS.get(code) or HTTPStatus(code).phrase.replace(" ", "")


def _later(action: Action | None, sent: int) -> Action | None:
    """The same action for the next piece of a body."""
    return None if action is None else replace(action, after=action.after - sent)


def _shut(connection: socket.socket) -> None:
    """End a connection in both directions, whoever waits on it."""
    with suppress(OSError):  # it may have ended already
        connection.shutdown(socket.SHUT_RDWR)

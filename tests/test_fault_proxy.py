"""The fault proxy itself: it hands on what it should, and breaks what it should, against a small server of our own."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from faults import (
    Action,
    FaultProxy,
    cut,
    drop,
    expired,
    garbage,
    half_open,
    stall,
    stall_body,
    status,
    truncate,
)

ITEMS = json.dumps({"kind": "PodList", "items": [{"n": number} for number in range(2000)]}).encode()


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]
    go_on: threading.Event

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        pass

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _reply(self, body: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.seen.append({"path": self.path, **{name.lower(): said for name, said in self.headers.items()}})
        match self.path.partition("?")[0]:
            case "/chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for at in range(0, len(ITEMS), 1000):
                    self._chunk(ITEMS[at : at + 1000])
                self._chunk(b"")
            case "/watch":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self._chunk(b'{"type":"ADDED"}\n')
                self.go_on.wait(10)
                self._chunk(b'{"type":"DELETED"}\n')
                self._chunk(b"")
            case "/broken":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"half")
                self.close_connection = True
            case "/exec":
                self._exec()
            case "/forbidden":
                self._reply(b'{"kind":"Status","code":403}', 403)
            case _:
                self._reply(ITEMS)

    def _exec(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello ")
        self.wfile.flush()
        while data := self.rfile.read1(1000):  # type: ignore[attr-defined]
            self.wfile.write(data.upper())
            self.wfile.flush()
            if data.endswith(b"bye"):
                return

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._reply(body[::-1], 201)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "123")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away here all the time."""


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    Upstream.seen, Upstream.go_on = [], threading.Event()
    server = Server(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    Upstream.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def proxy(upstream: ThreadingHTTPServer) -> Iterator[FaultProxy]:
    with FaultProxy(f"http://127.0.0.1:{upstream.server_address[1]}", token="good") as found:
        yield found


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=5)
    yield connection
    connection.close()


def get(client: http.client.HTTPConnection, path: str = "/api/v1/pods") -> tuple[http.client.HTTPResponse, bytes]:
    client.request("GET", path, headers={"Authorization": "Bearer bad", "Accept": "application/json"})
    response = client.getresponse()
    return response, response.read()


# --- what is handed on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/pods?limit=500&continue=x", "/chunked"])
def test_bodies_are_handed_on_over_one_connection(
    path: str, proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    for _ in range(3):
        response, body = get(client, path)
        assert response.status == 200
        assert body == ITEMS
    assert [each["path"] for each in Upstream.seen] == [path] * 3
    assert {each["authorization"] for each in Upstream.seen} == {"Bearer good"}
    assert {each["accept"] for each in Upstream.seen} == {"application/json"}


def test_errors_of_the_server_are_handed_on(client: http.client.HTTPConnection) -> None:
    response, body = get(client, "/forbidden")
    assert (response.status, json.loads(body)["code"]) == (403, 403)


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_requests_are_handed_on(chunked: bool, client: http.client.HTTPConnection) -> None:
    body = b"0123456789" * 20_000
    pieces = iter([body[:70_000], body[70_000:]]) if chunked else body
    client.request("POST", "/api/v1/pods", pieces, encode_chunked=chunked)
    response = client.getresponse()
    assert (response.status, response.read()) == (201, body[::-1])


def test_answers_without_a_body_have_none(client: http.client.HTTPConnection) -> None:
    client.request("HEAD", "/")
    response = client.getresponse()
    assert (response.getheader("Content-Length"), response.read()) == ("123", b"")
    client.request("DELETE", "/")
    response = client.getresponse()
    assert (response.status, response.read()) == (204, b"")
    assert get(client)[1] == ITEMS


def test_watch_comes_as_it_happens(client: http.client.HTTPConnection) -> None:
    client.request("GET", "/watch")
    response = client.getresponse()
    assert response.readline() == b'{"type":"ADDED"}\n'
    Upstream.go_on.set()
    assert response.readline() == b'{"type":"DELETED"}\n'
    assert response.read() == b""


def upgraded(proxy: FaultProxy, early: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=5)
    head = "GET /exec?command=x HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    connection.sendall(head.encode() + early)
    return connection


def read(connection: socket.socket, *, until: bytes) -> bytes:
    found = b""
    while until not in found and (more := connection.recv(1000)):
        found += more
    return found


@pytest.mark.parametrize("early", [b"", b"early "])
def test_upgraded_connection_is_a_pipe(early: bytes, proxy: FaultProxy) -> None:
    with upgraded(proxy, early) as connection:
        found = read(connection, until=b"hello " + early.upper())
        assert found.startswith(b"HTTP/1.1 101 ")
        for word in (b"one", b"two", b"x" * 5000 + b"."):
            connection.sendall(word)
            assert read(connection, until=word[-3:].upper()).replace(b"\r\n", b"")
        connection.sendall(b"bye")
        assert read(connection, until=b"never").endswith(b"BYE")


def test_many_clients_at_once(proxy: FaultProxy) -> None:
    def one(number: int) -> int:
        client = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)
        try:
            return sum(len(get(client, f"/api/v1/nodes/{number}")[1]) for _ in range(5))
        finally:
            client.close()

    with ThreadPoolExecutor(30) as pool:
        assert set(pool.map(one, range(60))) == {5 * len(ITEMS)}
    assert len(proxy.log) == 300
    assert set(proxy.by_path.values()) == {5}


@pytest.mark.parametrize("trusted", [True, False])
def test_server_with_tls(trusted: bool, upstream: ThreadingHTTPServer, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    upstream.socket = context.wrap_socket(upstream.socket, server_side=True)
    url = f"https://127.0.0.1:{upstream.server_address[1]}"
    with FaultProxy(url, ca_file=certificate if trusted else None) as proxy:
        client = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=5)
        assert get(client)[1] == ITEMS
        client.close()
        with upgraded(proxy) as connection:
            connection.sendall(b"and bye")
            assert read(connection, until=b"never").endswith(b"hello AND BYE")
    assert Upstream.seen[0]["authorization"] == "Bearer bad", "without a token of its own, the client's"


def test_server_that_is_not_there(upstream: ThreadingHTTPServer) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with FaultProxy(f"http://127.0.0.1:{nobody.getsockname()[1]}") as proxy:
            client = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=5)
            assert get(client)[0].status == 502
            client.close()


def test_answer_that_breaks_off_breaks_off_here(client: http.client.HTTPConnection) -> None:
    with pytest.raises(http.client.IncompleteRead):
        get(client, "/broken")


# --- what is broken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [(429, "TooManyRequests"), (500, "InternalError"), (502, "BadGateway"), (503, "ServiceUnavailable")],
)
def test_status(code: int, reason: str, proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(r"GET /api/v1/pods", status(code, retry_after=1), times=2)
    for _ in range(2):
        response, body = get(client)
        said = json.loads(body)
        assert (response.status, response.getheader("Retry-After")) == (code, "1")
        assert (said["kind"], said["reason"], said["code"]) == ("Status", reason, code)
    assert get(client)[1] == ITEMS
    assert len(Upstream.seen) == 1


def test_status_does_not_take_the_body_of_a_request_for_the_next_one(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.inject("POST", status(500), times=1)
    for code in (500, 201):
        client.request("POST", "/x", b"GET / HTTP/1.1\r\n\r\n")
        response = client.getresponse()
        response.read()
        assert response.status == code


def test_drop(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject("pods", drop(), times=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        get(client)
    client.close()
    assert get(client)[1] == ITEMS


@pytest.mark.parametrize("path", ["/api/v1/pods", "/chunked"])
@pytest.mark.parametrize("after", [0, 1, 1000, 1001, 5555])
def test_cut(path: str, after: int, proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(path, cut(after))
    client.request("GET", path)
    response = client.getresponse()
    assert response.status == 200
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as caught:
        response.read()
    if isinstance(caught.value, http.client.IncompleteRead):
        assert ITEMS[:after].startswith(caught.value.partial)


def test_cut_beyond_the_end_does_nothing(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject("", cut(len(ITEMS)))
    assert get(client)[1] == ITEMS
    assert get(client, "/chunked")[1] == ITEMS


def test_watch_is_cut_after_its_first_event(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject("watch", cut(17))
    client.request("GET", "/watch")
    response = client.getresponse()
    assert response.readline() == b'{"type":"ADDED"}\n'
    Upstream.go_on.set()
    with pytest.raises(http.client.IncompleteRead):
        response.read()


def test_upgraded_connection_is_cut(proxy: FaultProxy) -> None:
    proxy.inject("exec", cut(8))
    with upgraded(proxy) as connection:
        connection.sendall(b"something long")
        assert read(connection, until=b"never").endswith(b"\r\n\r\nhello SO")


def test_half_open(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject("pods", half_open(), times=1)
    client.timeout = 0.3
    with pytest.raises(TimeoutError):
        get(client)
    client.close()
    client.timeout = 5
    assert get(client)[1] == ITEMS


def test_half_open_connections_end_with_the_proxy(upstream: ThreadingHTTPServer) -> None:
    with FaultProxy(f"http://127.0.0.1:{upstream.server_address[1]}") as proxy:
        proxy.inject("", half_open())
        connection = socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=5)
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while not proxy.log:
            time.sleep(0.01)
    assert connection.recv(1) == b""
    connection.close()


@pytest.mark.parametrize("action", [stall(0.3), stall_body(700, 0.3)])
@pytest.mark.parametrize("path", ["/api/v1/pods", "/chunked"])
def test_stalls_go_on(action: Action, path: str, proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject("", action)
    started = time.monotonic()
    assert get(client, path)[1] == ITEMS
    assert time.monotonic() - started >= 0.3


def test_stalled_body_has_begun(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject("", stall_body(700, 30))
    client.request("GET", "/chunked")
    response = client.getresponse()
    assert response.read(700) == ITEMS[:700]
    client.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        response.read(1)


def test_garbage(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject("", garbage())
    response, body = get(client)
    assert response.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    assert Upstream.seen == []


@pytest.mark.parametrize("path", ["/api/v1/pods", "/chunked"])
def test_truncate(path: str, proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject("", truncate())
    response, body = get(client, path)
    assert response.status == 200
    assert response.getheader("Content-Length") == str(len(body))
    assert body == ITEMS[: len(ITEMS) // 2]


def token(**said: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


def test_expired(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(r"continue=", expired(), times=1)
    proxy.inject(r"continue=", expired(fresh="mine"), times=1)
    proxy.inject(r"continue=", expired(fresh=True), times=1)
    old = token(v="meta.k8s.io/v1", rv=4711, start="ns/pod\0")
    found = [get(client, f"/api/v1/pods?limit=5&continue={old}") for _ in range(3)]
    said = [json.loads(body) for _, body in found]
    assert {
        (response.status, each["reason"], each["code"]) for (response, _), each in zip(found, said, strict=True)
    } == {(410, "Expired", 410)}
    assert said[0]["metadata"] == {}
    assert said[1]["metadata"] == {"continue": "mine"}
    fresh = said[2]["metadata"]["continue"]
    assert json.loads(base64.urlsafe_b64decode(fresh + "=" * (-len(fresh) % 4))) == {
        "v": "meta.k8s.io/v1",
        "rv": -1,
        "start": "ns/pod\0",
    }


# --- rules and log -------------------------------------------------------------------------------------------


def test_rules_are_used_in_their_order_and_used_up(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    first = proxy.inject(r"GET /api/v1/pods\?limit=5$", status(500), times=1)
    second = proxy.inject("pods", status(503))
    codes = [get(client, path)[0].status for path in ("/api/v1/pods?limit=5", "/api/v1/pods?limit=5", "/api/v1/nodes")]
    assert codes == [500, 503, 200]
    assert (first.hits, second.hits) == (1, 1)
    proxy.clear()
    assert get(client)[0].status == 200
    assert [each.fault for each in proxy.log] == ["status", "status", "", ""]


def test_requests_are_counted(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    for path in ("/api/v1/pods?limit=1", "/api/v1/pods?limit=2", "/api/v1/nodes"):
        get(client, path)
    assert proxy.by_path == {"/api/v1/pods": 2, "/api/v1/nodes": 1}
    assert proxy.count(r"^GET /api/v1/pods\?limit=2$") == 1
    assert proxy.count("POST") == 0
    assert [each.line for each in proxy.log][2] == "GET /api/v1/nodes"
    assert [each.at for each in proxy.log] == sorted(each.at for each in proxy.log)

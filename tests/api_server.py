"""A stand-in for an API server: it serves a snapshot over loopback as one does, and runs the pods that it is given.

    with StandIn(snapshot) as server:
        server.forbidden.add("list pods")
        ...  # a client whose kubeconfig is `server.kubeconfig(folder)`
        assert server.count(r"GET /api/v1/nodes\\?") == 1

It knows what a run of ours asks for, but for exec, and nothing else; tests/live has a real control plane.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import kubernetes.client
import kubernetes.stream.ws_client  # noqa: F401 - pytester forgets what was imported in a run, and it takes long to import
import pytest
import yaml
from nodes import Fleet
from sessions import CHECKS, Done

Json = dict[str, Any]

#: By whom kinds are served; of those that the core has, there may be none.
SERVED = {
    "nodes": "v1",
    "pods": "v1",
    "events": "v1",
    "services": "v1",
    "daemonsets": "apps/v1",
    "jobs": "batch/v1",
    "runtimeclasses": "node.k8s.io/v1",
    "poddisruptionbudgets": "policy/v1",
    "clusterpolicies": "nvidia.com/v1",
    "nvidiadrivers": "nvidia.com/v1alpha1",
    "nodefeatures": "nfd.k8s-sigs.io/v1alpha1",
    "resourceslices": "resource.k8s.io/v1",
    "deviceclasses": "resource.k8s.io/v1",
    "resourceclaims": "resource.k8s.io/v1",
    "resourceclaimtemplates": "resource.k8s.io/v1",
}
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.2"}
_PATH = re.compile(r"/apis?/(v1|[^/]+/[^/]+)/(?:namespaces/([^/]+)/)?([a-z]+)(?:/([^/]+)(?:/(.*))?)?")
_DISCOVERY = re.compile(r"/apis/([^/]+/[^/]+)")
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_VERBS = {"POST": "create", "DELETE": "delete"}
#: Bytes from which on lists are compressed, as API servers do.
_COMPRESSED = 1 << 17


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; with `cut`, the connection is closed after so many bytes of its body."""

    status: int = 200
    body: Json | bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None


_WATCH = Reply()


def refusal(code: int, message: str = "no", **more: Any) -> Reply:
    """An error as an API server words it."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return Reply(code, said | more)


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `line` is what patterns are matched with, `right` what RBAC would be asked for."""

    method: str
    path: str
    query: dict[str, str]
    body: Json
    line: str
    right: str


@dataclass(slots=True)
class Script:
    """Answers for requests whose line a pattern is found in: `left` of them, or for ever."""

    pattern: re.Pattern[str]
    answer: Callable[[Request], Reply | None]
    left: int | None


@dataclass(frozen=True, slots=True)
class Ends:
    """What becomes of a pod on a node: by default it prints the node's nvidia-smi.xml and succeeds.

    Without a `phase` nothing is heard of it; where it is Pending, `waiting` and `said` say why, and `placed` whether
    the scheduler found a place. Without a `code` its container never ran.
    """

    phase: str = "Succeeded"
    code: int | None = 0
    reason: str = ""
    said: str = ""
    waiting: str = ""
    log: bytes | None = None
    placed: bool = True

    def status(self) -> Json:
        state: Json = {"running": {}}
        if self.waiting:
            state = {"waiting": {"reason": self.waiting, "message": self.said}}
        elif self.phase in ("Succeeded", "Failed"):
            state = {"terminated": {"exitCode": self.code, "reason": "Error" if self.code else "Completed"}}
            state["terminated"]["message"] = self.said
        found: Json = {"phase": self.phase, "reason": self.reason, "message": self.said}
        if self.code is not None or self.waiting:
            found["containerStatuses"] = [{"name": "probe", "state": state}]
        return found


@dataclass
class StandIn:
    """The server, which runs as long as the context does; whatever is here may be changed while it does.

    `lists` are the objects by kind; a kind without a list is not there, unless the core has it. `forbidden` are rights
    ("list pods", "get pods/log"; "*" is all of them), and `reviews` what is said of a right where that is not the
    truth; None: nothing. `ends` says by node what becomes of pods that a client makes.
    """

    snapshot: Path
    lists: dict[str, list[Json]] = field(default_factory=dict)
    served: dict[str, str] = field(default_factory=lambda: dict(SERVED))
    forbidden: set[str] = field(default_factory=set)
    reviews: dict[str, bool | None] = field(default_factory=dict)
    ends: dict[str, Ends] = field(default_factory=dict)
    #: Items of a page at most.
    page: int = 1 << 30
    requests: list[Request] = field(default_factory=list)
    made: dict[str, Json] = field(default_factory=dict)
    problems: list[BaseException] = field(default_factory=list)
    #: Answers that were compressed.
    compressed: int = 0

    def __post_init__(self) -> None:
        for path in (self.snapshot / "cluster").glob("*.json"):
            items = json.loads(path.read_text(encoding="utf-8")).get("items")
            if isinstance(items, list):
                self.lists[path.stem] = items
        self.closing = threading.Event()
        self._scripts: list[Script] = []
        self._changes: list[tuple[str, Json]] = []
        self._changed = threading.Condition()
        self._broken = 0
        self._server = _Server(self)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        if self.problems and value is None:
            raise AssertionError(f"the stand-in broke: {self.problems[0]!r}") from self.problems[0]

    # --- for tests -------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig for this server, with a context that is called standin and its namespace probes."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "standin",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "any"}}],
            "contexts": [{"name": "standin", "context": {"cluster": "c", "user": "u", "namespace": "probes"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def answer(self, pattern: str, reply: Reply | Callable[[Request], Reply | None], times: int | None = None) -> None:
        """Answer matching requests like this, before all else; of several such answers, the one that came first.

        A function that returns None lets the request go on.
        """
        found = reply if callable(reply) else lambda request: reply
        self._scripts.append(Script(re.compile(pattern), found, times))

    def count(self, pattern: str) -> int:
        """How many requests there were whose line a pattern is found in."""
        return sum(1 for each in list(self.requests) if re.search(pattern, each.line))

    def bodies(self, pattern: str) -> list[Json]:
        """What was sent with them."""
        return [each.body for each in list(self.requests) if re.search(pattern, each.line)]

    def break_watches(self) -> None:
        """Close the connections of all watches, in the middle."""
        with self._changed:
            self._broken += 1
            self._changed.notify_all()

    def change(self, node: str, ends: Ends) -> None:
        """Let something else become of the pods that are on a node."""
        self.ends[node] = ends
        for path, item in list(self.made.items()):
            if item.get("kind") == "Pod" and _node_of(item) == node:
                self._put(path, self._run(item), "MODIFIED")

    # --- answers ---------------------------------------------------------------------------------------------

    def respond(self, request: Request) -> Reply:
        """What a request is answered with."""
        for script in self._scripts:
            if script.left != 0 and script.pattern.search(request.line):
                if script.left is not None:
                    script.left -= 1
                if (found := script.answer(request)) is not None:
                    return found
        if request.path == "/version":
            return Reply(body=VERSION)
        if request.path == _REVIEWS:
            return self._review(request.body)
        if match := _DISCOVERY.fullmatch(request.path):
            return self._discovery(match[1])
        match = _PATH.fullmatch(request.path)
        if match is None:
            return refusal(404, "404 page not found")
        if self._forbids(request.right):
            verb, _, resource = request.right.partition(" ")
            group = match[1].rpartition("/")[0]
            return refusal(403, f'User "test" cannot {verb} resource "{resource}" in API group "{group}"')
        group, _, resource, name, rest = match.groups()
        if self.served.get(resource) != group:
            return refusal(404, "the server could not find the requested resource")
        if request.method != "GET":
            return self._write(request, name)
        if rest:
            return self._subresource(request, resource, name, rest)
        return _WATCH if "watch" in request.query else self._list(request, resource)

    def _forbids(self, right: str) -> bool:
        return right in self.forbidden or "*" in self.forbidden

    def _review(self, body: Json) -> Reply:
        asked = body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked["subresource"])))
        right = f"{asked['verb']} {resource}"
        allowed = self.reviews.get(right, not self._forbids(right))
        return (
            refusal(403, "nobody may ask") if allowed is None else Reply(body={**body, "status": {"allowed": allowed}})
        )

    def _is_served(self, resource: str) -> bool:
        return resource in self.lists or self.served[resource] in ("v1", "batch/v1")

    def _discovery(self, group: str) -> Reply:
        names = [name for name, served in self.served.items() if served == group and self._is_served(name)]
        if not names:
            return refusal(404, "404 page not found")
        resources = [{"name": name, "namespaced": True, "verbs": ["list"]} for name in names]
        return Reply(body={"kind": "APIResourceList", "groupVersion": group, "resources": resources})

    def _list(self, request: Request, resource: str) -> Reply:
        if not self._is_served(resource):
            return refusal(404, "the server could not find the requested resource")
        items = self.lists.get(resource, [])
        wanted = request.query.get("fieldSelector", "").removeprefix("involvedObject.kind=")
        if wanted:
            items = [each for each in items if each["involvedObject"]["kind"] == wanted]
        start = int(request.query.get("continue", "from-0").removeprefix("from-"))
        end = start + min(self.page, int(request.query.get("limit", 1 << 30)))
        meta: Json = {"resourceVersion": "1000"}
        if end < len(items):
            meta |= {"continue": f"from-{end}", "remainingItemCount": len(items) - end}
        bare = [_without_kind(each) for each in items[start:end]]
        return Reply(body={"kind": "List", "apiVersion": "v1", "metadata": meta, "items": bare})

    def _subresource(self, request: Request, resource: str, name: str, rest: str) -> Reply:
        if (resource, rest) == ("pods", "log"):
            item = self.made.get(request.path.removesuffix("/log"))
            if item is None:
                return refusal(404, f'pods "{name}" not found')
            node = _node_of(item)
            said = self.ends.get(node, Ends()).log
            return self._artefact(node, "nvidia-smi.xml") if said is None else Reply(body=said)
        if (resource, rest) == ("pods", "proxy/metrics"):
            own = name.split(":")[1]
            pods = self.lists.get("pods", [])
            node = next(each["spec"]["nodeName"] for each in pods if each.get("metadata", {}).get("name") == own)
            return self._artefact(node, "dcgm.prom")
        if (resource, rest) == ("nodes", "proxy/logs/kern.log"):
            return self._artefact(name, "kernel.log")
        return refusal(404, f"{resource}/{rest} not found")

    def _artefact(self, node: str, name: str) -> Reply:
        place = self.snapshot / "nodes" / node / name
        if not place.is_file():
            return refusal(404, f"{name} not found")
        written = formatdate(place.stat().st_mtime, usegmt=True)
        return Reply(body=place.read_bytes(), headers=(("Content-Type", "text/plain"), ("Last-Modified", written)))

    # --- objects of clients ----------------------------------------------------------------------------------

    def _write(self, request: Request, name: str | None) -> Reply:
        if request.method == "DELETE":
            item = self._remove(request.path)
            return refusal(404, f'"{name}" not found') if item is None else Reply(body=item)
        path = f"{request.path}/{request.body['metadata']['name']}"
        if path in self.made:
            return refusal(409, "already exists")
        item = json.loads(json.dumps(request.body))
        item["metadata"]["uid"] = f"uid-{len(self.requests)}"
        self._put(path, item, "ADDED")
        if item["kind"] == "Pod":
            self._put(path, self._run(item), "MODIFIED")
        return Reply(201, item)

    def _run(self, item: Json) -> Json:
        """A pod as it is when what becomes of it has become of it."""
        ends = self.ends.get(_node_of(item), Ends())
        if not ends.phase:
            return item
        spec = {**item["spec"], "nodeName": _node_of(item)} if ends.placed else item["spec"]
        return {**item, "spec": spec, "status": ends.status()}

    def _put(self, path: str, item: Json, kind: str) -> None:
        with self._changed:
            self.made[path] = item
            self._changes.append((kind, item))
            self._changed.notify_all()

    def _remove(self, path: str) -> Json | None:
        with self._changed:
            item = self.made.pop(path, None)
            if item is not None:
                self._changes.append(("DELETED", item))
                self._changed.notify_all()
        owner = item["metadata"]["uid"] if item is not None else None
        for own, each in list(self.made.items()):
            if owner in [above["uid"] for above in each["metadata"].get("ownerReferences", ())]:
                self._remove(own)
        return item

    def watch(self, request: Request) -> Iterator[bytes]:
        """What there is of the pods of a label, then what becomes of them."""
        key, _, value = request.query.get("labelSelector", "").partition("=")
        end = time.monotonic() + int(request.query.get("timeoutSeconds", 60))
        with self._changed:
            position, broken = len(self._changes), self._broken
            pending = [("ADDED", each) for each in self.made.values()]
        while True:
            for kind, item in pending:
                if item["kind"] == "Pod" and item["metadata"]["labels"].get(key) == value:
                    yield json.dumps({"type": kind, "object": item}).encode() + b"\n"
            with self._changed:
                while len(self._changes) == position:
                    if self.closing.is_set() or time.monotonic() > end:
                        return
                    if self._broken != broken:
                        raise ConnectionError
                    self._changed.wait(0.2)
                pending = self._changes[position:]
                position = len(self._changes)


def _without_kind(item: Json) -> Json:
    """As in a typed list."""
    return {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}


def _node_of(pod: Json) -> str:
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    node: str = terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
    return node


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        own = self.server.own
        url = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = unquote(url.path)
        request = Request(
            self.command, path, query, body, f"{self.command} {self.path}", _right(self.command, path, query)
        )
        own.requests.append(request)
        with suppress(ConnectionError):
            reply = own.respond(request)
            if reply is _WATCH:
                self._stream(own.watch(request))
            else:
                self._send(reply)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - the base class calls them so

    def _send(self, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = dict(reply.headers)
        if len(body) > _COMPRESSED and "gzip" in self.headers.get("accept-encoding", ""):
            body = gzip.compress(body, 1)
            self.server.own.compressed += 1
            headers["Content-Encoding"] = "gzip"
        self.send_response(reply.status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": len(body)} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[: reply.cut])
        self.wfile.flush()
        self.close_connection = reply.cut is not None

    def _stream(self, lines: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        for line in lines:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Nothing."""


def _right(method: str, path: str, query: dict[str, str]) -> str:
    match = _PATH.fullmatch(path)
    if match is None:
        return ""
    _, _, resource, name, rest = match.groups()
    if rest:
        resource = f"{resource}/{rest.partition('/')[0]}"
    verb = _VERBS.get(method, "get" if name else "watch" if "watch" in query else "list")
    return f"{verb} {resource}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, own: StandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.own = own
        self._sockets: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._sockets.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up; nothing else may go wrong here."""
        problem = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
        if problem is not None and not isinstance(problem, OSError):
            self.own.problems.append(problem)


# --- runs ----------------------------------------------------------------------------------------------------


@contextmanager
def serving(fleet: Fleet, folder: Path) -> Iterator[StandIn]:
    """A stand-in with a fleet; its standard is `standard.yaml` in the folder."""
    fleet.write(folder / "served")
    (folder / "standard.yaml").write_text(yaml.safe_dump(fleet.standard), encoding="utf-8")
    with StandIn(folder / "served") as server:
        yield server


def options(server: StandIn, folder: Path) -> list[str]:
    """The options of a run over a stand-in that `serving` made in this folder."""
    standard = ["--readiness-standard", str(folder / "standard.yaml")]
    return ["--readiness-kubeconfig", str(server.kubeconfig(folder)), *standard]


def judge(pytester: pytest.Pytester, server: StandIn, *arguments: str) -> Done:
    """`pytest --pyargs gpu_readiness.checks` on a stand-in that `serving` made in pytester's folder.

    Every run has a folder of its own for its report.
    """
    folder = pytester.path / f"run-{len(list(pytester.path.glob('run-*')))}"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        patch.setenv("NO_COLOR", "1")
        own = ["-p", "no:hypothesispytest", "-p", "no:cacheprovider", *CHECKS, *options(server, pytester.path)]
        own += ["--readiness-output", str(folder / "readiness-report")]
        result = pytester.runpytest_inprocess(*own, *arguments)
    done = Done(int(result.ret), result.stdout.str(), result.stderr.str(), folder)
    assert "Traceback (most recent call last)" not in done.said, done.said
    return done

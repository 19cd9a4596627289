from __future__ import annotations

import base64
import gzip
import json
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from answers import NOW, row, success
from nodes import fails, h100, passes, untested

from gpu_readiness.cluster import prometheus, prometheus_access
from gpu_readiness.cluster.prometheus import (
    PrometheusAccess,
    PrometheusService,
    PrometheusTarget,
    find_prometheus,
    gather_prometheus,
)
from gpu_readiness.evidence.prometheus import parse_prometheus
from gpu_readiness.evidence.prometheus_queries import canonical_queries

Json = dict[str, Any]
Reply = Callable[["Handler", str], None]

QUERIES = canonical_queries("24h", 300)
KEYS = {query: key for key, query in QUERIES.items()}
TOKEN, PASSWORD = "sha256~a-very-secret-token", "correct horse battery"
NAMES = ["gpu-1", "gpu-2"]


class Handler(BaseHTTPRequestHandler):
    """Does what the test says with each query."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query).get("query", [""])[0]
        self.server.asked.append((url.path, query, {key.lower(): value for key, value in self.headers.items()}))
        with suppress(OSError):
            self.server.reply(self, query)

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Nothing."""


class Server(ThreadingHTTPServer):
    """A Prometheus of the test's making."""

    daemon_threads = True
    reply: Reply
    asked: list[tuple[str, str, dict[str, str]]]
    url: str

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hung up, it was to be expected."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.asked, made.reply, made.url = [], answering({}), f"http://127.0.0.1:{made.server_port}"
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def answering(answers: dict[str, Json]) -> Reply:
    """Answers by what a canonical query is for; what is not there has no series."""

    def reply(handler: Handler, query: str) -> None:
        clock = success([NOW, str(NOW)], "scalar")
        answer = clock if query == "time()" else answers.get(KEYS.get(query, ""), success([]))
        status = 422 if answer.get("status") == "error" else 200
        handler.send(json.dumps(answer).encode(), status, Content_Type="application/json")

    return reply


def saying(body: bytes, status: int = 200, **headers: str) -> Reply:
    return lambda handler, query: handler.send(body, status, **headers)


def of_fleet(nodes: int = 2) -> dict[str, Json]:
    """What Prometheus has of nodes with two GPUs each."""
    answers = {key: success([]) for key in QUERIES}
    for number in range(nodes):
        for gpu in range(2):
            labels = {"UUID": f"GPU-h100-{number}-{gpu}", "Hostname": f"gpu-{number + 1}"}
            for key, value in {"gpus": NOW - 12, "coverage": 288.0, "replays": 0.0}.items():
                answers[key]["data"]["result"].append(row(value, **labels))
            answers["xid"]["data"]["result"].append(row(288, **labels, value="0"))
    return answers


def targets(nodes: int = 2, *, known: bool = True) -> list[PrometheusTarget]:
    return [
        PrometheusTarget(
            f"gpu-{number + 1}",
            frozenset({f"GPU-h100-{number}-0", f"GPU-h100-{number}-1"} if known else ()),
        )
        for number in range(nodes)
    ]


class Gathered:
    """What was written, by node and file."""

    def __init__(
        self, access: PrometheusAccess | Server, nodes: list[PrometheusTarget] | None = None, **how: Any
    ) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        access = access if isinstance(access, PrometheusAccess) else PrometheusAccess(access.url)
        started = time.monotonic()
        how = {"window": "24h", "deadline_s": 20.0} | how
        self.said = gather_prometheus(access, nodes if nodes is not None else targets(), self._write, **how)
        self.seconds = time.monotonic() - started

    def _write(self, node: str, name: str, content: bytes) -> None:
        assert (node, name) not in self.files
        self.files[node, name] = content

    def uuids(self, node: str, key: str = "gpus") -> list[str]:
        document = json.loads(self.files[node, "prometheus.json"])
        return sorted(each["metric"].get("UUID", "") for each in document[QUERIES[key]]["data"]["result"])

    def refused(self, reason: str, words: str) -> bool:
        assert set(self.files) == {(name, "prometheus.json.error") for name in NAMES}
        for content in self.files.values():
            record = json.loads(content)
            assert record["reason"] == reason, record
            assert words in record["message"], record
        return True


# --- the whole -----------------------------------------------------------------------------------------------


def test_what_is_gathered_is_what_is_judged(server: Server) -> None:
    server.reply = answering(of_fleet())
    gathered = Gathered(server)
    assert set(gathered.files) == {(name, "prometheus.json") for name in NAMES}
    fleet = h100(nodes=2)
    for node in NAMES:
        fleet.file("prometheus.json", gathered.files[node, "prometheus.json"], node=node)
        assert gathered.uuids(node) == [fleet.uuid(gpu, node) for gpu in range(2)]
    assert passes(fleet.judge("telemetry.prometheus"))
    assert passes(fleet.judge("telemetry.history"))
    assert gathered.said == f"{server.url} has series of 2 of 2 nodes"


def test_a_node_of_which_prometheus_has_nothing_was_measured_and_fails(server: Server) -> None:
    server.reply = answering(of_fleet(nodes=1))
    gathered = Gathered(server)
    fleet = h100(nodes=2).file("prometheus.json", gathered.files["gpu-2", "prometheus.json"])
    assert fails(fleet.judge("telemetry.prometheus"), f"series of {fleet.uuid(0)}", "missing")
    assert gathered.said.endswith("has series of 1 of 2 nodes")


@pytest.mark.parametrize("nodes", [1, 300])
def test_the_number_of_queries_is_that_of_one_node_and_all_are_about_one_moment(nodes: int, server: Server) -> None:
    times = []

    def reply(handler: Handler, query: str) -> None:
        times.append(parse_qs(urlsplit(handler.path).query).get("time"))
        answering(of_fleet(nodes))(handler, query)

    server.reply = reply
    gathered = Gathered(server, targets(nodes))
    assert [query for _, query, _ in server.asked] == list(QUERIES.values())
    assert times == [None] + [[str(NOW)]] * (len(QUERIES) - 1)
    assert len(gathered.files) == nodes
    assert list(json.loads(gathered.files[f"gpu-{nodes}", "prometheus.json"])) == list(QUERIES.values())


def test_a_found_server_that_knows_no_gpu_is_none_of_this_cluster(server: Server) -> None:
    assert not Gathered(server, found=True).files
    assert set(Gathered(server).files) == {(name, "prometheus.json") for name in NAMES}
    server.reply = answering(of_fleet(nodes=1))
    assert set(Gathered(server, found=True).files) == {(name, "prometheus.json") for name in NAMES}


def test_the_step_grows_with_a_very_large_fleet(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_POINTS", 4 * 86400 // 600)
    server.reply = answering(of_fleet())
    Gathered(server)
    assert any("[24h:600s]" in query for _, query, _ in server.asked)


@pytest.mark.parametrize("window", ["", "1y", "24", "0h", "24h] or vector(1)", "-1h"])
def test_a_window_is_a_window(window: str, server: Server) -> None:
    with pytest.raises(ValueError, match="window"):
        Gathered(server, window=window)


# --- whose series ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        {"Hostname": "gpu-2"},
        {"hostname": "gpu-2"},
        {"Hostname": "nvidia-dcgm-exporter-x7x2p", "node": "gpu-2"},
        {"Hostname": "gpu-1", "kubernetes_node": "gpu-2"},
        {"hostname": "10.1.2.3", "exported_hostname": "gpu-2"},
        {"exported_node": "gpu-2"},
        {"instance": "gpu-2:9400"},
        {"instance": "10.0.0.2:9400", "Hostname": "localhost"},
        {"instance": "[fd00::2]:9400"},
        {"namespace": "gpu-operator", "pod": "exporter-b", "Hostname": "gpu-1"},
        {"namespace": "gpu-operator", "pod": "exporter-b", "exported_pod": "train-0", "exported_namespace": "team"},
    ],
    ids=",".join,
)
def test_series_of_unknown_gpus_are_their_hosts(labels: dict[str, str], server: Server) -> None:
    nodes = [
        PrometheusTarget("gpu-1", exporter_pods=frozenset({("gpu-operator", "exporter-a")})),
        PrometheusTarget(
            "gpu-2",
            exporter_pods=frozenset({("gpu-operator", "exporter-b")}),
            addresses=frozenset({"10.0.0.2", "fd00::2"}),
        ),
    ]
    answers = of_fleet(nodes=0)
    answers["gpus"] = success([row(NOW - 5, UUID="GPU-x", **labels)])
    answers["replays"] = success([row(3, UUID="GPU-x")])
    server.reply = answering(answers)
    gathered = Gathered(server, nodes)
    assert gathered.uuids("gpu-2") == ["GPU-x"]
    assert gathered.uuids("gpu-2", "replays") == ["GPU-x"], "the first query teaches whose GPU it is"
    assert not gathered.uuids("gpu-1")


def test_a_uuid_says_more_than_any_label(server: Server) -> None:
    answers = of_fleet()
    for each in answers["gpus"]["data"]["result"]:
        each["metric"] |= {"Hostname": "gpu-1", "node": "gpu-1", "instance": "gpu-1:9400"}
    server.reply = answering(answers)
    gathered = Gathered(server)
    assert gathered.uuids("gpu-2") == ["GPU-h100-1-0", "GPU-h100-1-1"]


@pytest.mark.parametrize("known", [True, False])
def test_a_uuid_that_several_nodes_have_is_divided_by_labels(known: bool, server: Server) -> None:
    """Mocked GPUs are alike on all nodes."""
    uuids = frozenset({"GPU-mock"} if known else ())
    answers = of_fleet(nodes=0)
    for key in ("gpus", "replays"):
        answers[key] = success([row(5, UUID="GPU-mock", Hostname=name) for name in NAMES])
    server.reply = answering(answers)
    gathered = Gathered(server, [PrometheusTarget(name, uuids) for name in NAMES])
    assert [gathered.uuids(name, key) for name in NAMES for key in ("gpus", "replays")] == [["GPU-mock"]] * 4


def test_a_uuid_that_several_nodes_have_is_nobodys_where_labels_name_a_third(server: Server) -> None:
    uuids = frozenset({"GPU-mock"})
    answers = of_fleet(nodes=0)
    answers["gpus"] = success([row(5, UUID="GPU-mock", Hostname="gpu-3")])
    server.reply = answering(answers)
    nodes = [PrometheusTarget(name, uuids if name != "gpu-3" else frozenset()) for name in (*NAMES, "gpu-3")]
    gathered = Gathered(server, nodes)
    assert [gathered.uuids(node.name) for node in nodes] == [[], [], []]


def test_series_of_other_clusters_are_nobodys(server: Server) -> None:
    answers = of_fleet()
    answers["gpus"]["data"]["result"] += [row(5, UUID="GPU-far", Hostname="far-1"), row(5, Hostname=""), row(5)]
    server.reply = answering(answers)
    gathered = Gathered(server)
    assert [len(gathered.uuids(name)) for name in NAMES] == [2, 2]


# --- who asks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://prometheus:9090", "http://prometheus:9090"),
        ("https://prometheus.example.com/", "https://prometheus.example.com"),
        ("https://example.com/prometheus/graph?g0.expr=up", "https://example.com/prometheus"),
        ("https://example.com/api/v1/query?query=up#x", "https://example.com"),
        (f"https://admin:{PASSWORD}@example.com:8443/p", "https://example.com:8443/p"),
        ("http://[fd00::1]:9090", "http://[fd00::1]:9090"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    assert PrometheusAccess.of(url, {}).url == address


@pytest.mark.parametrize(
    "url",
    ["", "prometheus:9090", "ftp://example.com", "http://", f"//admin:{PASSWORD}@x", f"http://u:{PASSWORD}@x:port"],
)
def test_what_is_no_address_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match="expected the URL") as raised:
        PrometheusAccess.of(url, {})
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "späť"])
def test_a_token_that_is_none_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError, match="no bearer token") as raised:
        PrometheusAccess.of("http://x", {"GPU_READINESS_PROMETHEUS_TOKEN": token})
    assert token not in str(raised.value)


def test_a_ca_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no file /nowhere"):
        PrometheusAccess.of("http://x", {"GPU_READINESS_PROMETHEUS_CA": "/nowhere"})


BASIC = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    ("userinfo", "environment", "header"),
    [
        ("", {}, None),
        ("", {"TOKEN": f"{TOKEN}\n"}, f"Bearer {TOKEN}"),
        ("", {"USER": "admin", "PASSWORD": PASSWORD}, f"Basic {BASIC}"),
        (f"admin:{PASSWORD.replace(' ', '%20')}@", {}, f"Basic {BASIC}"),
        ("somebody:else@", {"USER": "admin", "PASSWORD": PASSWORD}, f"Basic {BASIC}"),
        ("", {"TOKEN": TOKEN, "USER": "admin", "PASSWORD": PASSWORD}, f"Bearer {TOKEN}"),
    ],
)
def test_credentials_are_sent_and_shown_nowhere(
    userinfo: str,
    environment: dict[str, str],
    header: str | None,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login wrong password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.reply = answering(of_fleet())
    url = server.url.replace("//", f"//{userinfo}")
    access = PrometheusAccess.of(url, {f"GPU_READINESS_PROMETHEUS_{key}": value for key, value in environment.items()})
    gathered = Gathered(access)
    assert {headers.get("authorization") for _, _, headers in server.asked} == {header}
    said = repr(access) + gathered.said + "".join(content.decode() for content in gathered.files.values())
    assert not [each for each in (TOKEN, PASSWORD, BASIC, "else@") if each in said]


def test_headers_of_an_api_servers_proxy_and_its_path(server: Server) -> None:
    server.reply = answering(of_fleet())
    path = PrometheusService("monitoring", "prometheus-k8s", "9090", "http").path
    access = PrometheusAccess(server.url + path, headers={"Authorization": f"Bearer {TOKEN}", "X-Other": "1"})
    assert Gathered(access).uuids("gpu-1")
    assert {where for where, _, _ in server.asked} == {
        "/api/v1/namespaces/monitoring/services/http:prometheus-k8s:9090/proxy/api/v1/query"
    }
    assert server.asked[0][2]["x-other"] == "1"


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 422, 500])
@pytest.mark.parametrize("body", ["you said {}", '{{"status": "error", "error": "{}"}}', "xxxxxxxxxxxxxxxxxxxxx {}"])
def test_a_server_that_repeats_credentials_is_not_quoted(status: int, body: str, server: Server) -> None:
    def reply(handler: Handler, query: str) -> None:
        handler.send(body.format(handler.headers["Authorization"]).encode(), status, Location=f"https://x/?t={TOKEN}")

    server.reply = reply
    for environment in ({"TOKEN": TOKEN}, {"USER": "admin", "PASSWORD": PASSWORD}):
        said = {f"GPU_READINESS_PROMETHEUS_{key}": value for key, value in environment.items()}
        gathered = Gathered(PrometheusAccess.of(server.url, said), deadline_s=5)
        written = gathered.said + "".join(map(str, gathered.files.values()))
        assert not [each for each in (TOKEN[:12], PASSWORD[:8], BASIC[:8]) if each in written]
        assert {name for _, name in gathered.files} == {"prometheus.json.error"}


def test_a_good_answer_that_repeats_credentials_is_not_kept(server: Server) -> None:
    answers = of_fleet()
    answers["replays"]["data"]["result"].append(row(0, UUID="GPU-h100-0-0", echo=TOKEN))
    server.reply = answering(answers)
    gathered = Gathered(PrometheusAccess(server.url, headers={"Authorization": f"Bearer {TOKEN}"}))
    assert not [content for content in gathered.files.values() if TOKEN.encode() in content]
    assert "replay-rate" in parse_prometheus(gathered.files["gpu-1", "prometheus.json"]).problems


# --- servers that refuse --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_what_is_needed(status: int, server: Server) -> None:
    server.reply = saying(b"Forbidden", status)
    gathered = Gathered(server)
    assert gathered.refused("denied", f"HTTP {status}")
    assert gathered.refused("denied", "GPU_READINESS_PROMETHEUS_TOKEN")
    assert gathered.refused("denied", "services/proxy")
    assert len(server.asked) == 1
    fleet = h100().file("prometheus.json.error", gathered.files["gpu-1", "prometheus.json.error"])
    assert untested(fleet.judge("telemetry.prometheus"), "denied", "GPU_READINESS_PROMETHEUS_TOKEN")


@pytest.mark.parametrize(
    ("reply", "reason", "words"),
    [
        (saying(b"404 page not found\n", 404), "missing", "404 page not found"),
        (saying(b"", 404), "missing", "no query API"),
        (
            saying(b"", 301, Location="https://u:p4ssw0rd@other.example.com/login?x=1"),
            "missing",
            "https://other.example.com",
        ),
        (saying(b"", 302, Location="/login"), "missing", "another page"),
        (saying(b"<html>Log in</html>"), "unparsable", "<html>Log in"),
        (saying(b""), "unparsable", "no answer"),
        (saying(b"[]"), "unparsable", "no answer"),
        (saying(b"[" * 100_000), "unparsable", "no answer"),
        (saying(b'{"status": "success", "data": {"result": 7}}'), "unparsable", "no answer"),
        (saying(b'{"status": "success", "data": {"result": []}}'), "unparsable", "what time it is"),
        (saying(b'{"status": "error", "errorType": "bad_data", "error": "no time"}', 400), "unparsable", "no time"),
        (saying(b'{"status": "error", "errorType": "timeout", "error": "timeout"}', 422), "timeout", "timeout"),
        (saying(b'{"kind": "Status", "message": "no endpoints available"}', 503), "timeout", "no endpoints available"),
        (saying(b"oops", 500), "unparsable", "oops"),
    ],
)
def test_what_is_no_answer_is_recorded_as_what_it_is(reply: Reply, reason: str, words: str, server: Server) -> None:
    server.reply = reply
    gathered = Gathered(server)
    assert gathered.refused(reason, words)
    assert "p4ssw0rd" not in str(gathered.files)


def test_nobody_at_the_address(server: Server) -> None:
    server.shutdown()
    server.server_close()
    assert Gathered(server).refused("timeout", "refused")


def test_a_name_that_does_not_exist() -> None:
    gathered = Gathered(PrometheusAccess("http://prometheus.invalid:9090"), deadline_s=10)
    assert gathered.refused("timeout", "http://prometheus.invalid:9090")


def test_a_passing_refusal_is_asked_again(server: Server) -> None:
    def reply(handler: Handler, query: str) -> None:
        if len(server.asked) % 2:
            handler.send(b"busy", 503, Retry_After="3600")
        else:
            answering(of_fleet())(handler, query)

    server.reply = reply
    gathered = Gathered(server, deadline_s=60)
    assert gathered.uuids("gpu-1")
    assert gathered.seconds < 20


def test_a_query_of_the_past_that_fails_is_recorded_under_its_own_name(server: Server) -> None:
    error = {"status": "error", "errorType": "execution", "error": "query processing would load too many samples"}
    server.reply = answering(of_fleet() | {"replays": error})
    gathered = Gathered(server)
    found = parse_prometheus(gathered.files["gpu-1", "prometheus.json"])
    assert found.problems.keys() == {"replay-rate"}
    assert "too many samples" in found.problems["replay-rate"].message
    fleet = h100().file("prometheus.json", gathered.files["gpu-1", "prometheus.json"])
    assert passes(fleet.judge("telemetry.prometheus"))
    assert untested(fleet.judge("telemetry.history"), "unparsable", "too many samples")


@pytest.mark.parametrize("note", [{"warnings": ["store is down"]}, {"isPartial": True}])
def test_an_answer_in_part_stays_one(note: Json, server: Server) -> None:
    answers = of_fleet()
    answers["gpus"] |= note
    server.reply = answering(answers)
    fleet = h100().file("prometheus.json", Gathered(server).files["gpu-1", "prometheus.json"])
    assert untested(fleet.judge("telemetry.prometheus"), "unparsable", "partial")


def test_series_that_are_none_do_not_spoil_the_rest(server: Server) -> None:
    server.reply = answering(of_fleet() | {"replays": success(["x"])})
    found = parse_prometheus(Gathered(server).files["gpu-1", "prometheus.json"])
    assert found.problems.keys() == {"replay-rate"}


# --- servers that take their time, or more --------------------------------------------------------------------


def stalling(handler: Handler, query: str) -> None:
    time.sleep(30)


def dripping_headers(handler: Handler, query: str) -> None:
    for _ in range(300):
        handler.wfile.write(b"X")
        handler.wfile.flush()
        time.sleep(0.1)


def dripping_body(handler: Handler, query: str) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    dripping_headers(handler, query)


@pytest.mark.parametrize("reply", [stalling, dripping_headers, dripping_body])
def test_it_ends_in_time(reply: Reply, server: Server) -> None:
    server.reply = reply
    before = set(threading.enumerate())
    gathered = Gathered(server, deadline_s=3)
    assert gathered.refused("timeout", "in time")
    assert gathered.seconds < 4
    if reply is not dripping_headers:  # whoever waits for the end of a header is left alone
        time.sleep(0.5)
        assert not [each for each in set(threading.enumerate()) - before if each.name == prometheus_access.THREAD]


def test_a_query_of_the_past_that_stalls_leaves_the_rest_as_it_is(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_access, "LEAST_SECONDS", 0.5)
    answered = answering(of_fleet())
    server.reply = lambda handler, query: (stalling if KEYS[query] == "xid" else answered)(handler, query)
    gathered = Gathered(server, deadline_s=4)
    assert gathered.seconds < 5
    found = parse_prometheus(gathered.files["gpu-1", "prometheus.json"])
    assert found.problems["xid"].reason.value == "timeout"
    assert found.gpus["GPU-h100-0-0"].growth


def flooding(handler: Handler, query: str) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(200 << 20))
    handler.end_headers()
    for _ in range(200):
        handler.server.sent += 1  # type: ignore[attr-defined]
        handler.wfile.write(b" " * (1 << 20))


def test_a_flood_is_not_read_to_its_end(server: Server) -> None:
    server.sent = 0  # type: ignore[attr-defined]
    server.reply = flooding
    gathered = Gathered(server)
    assert gathered.refused("unparsable", "larger than 64 MiB")
    assert server.sent < 100  # type: ignore[attr-defined]


def test_a_compressed_flood_is_not_either(server: Server) -> None:
    server.reply = saying(gzip.compress(b" " * (200 << 20)), Content_Encoding="gzip")
    assert Gathered(server).refused("unparsable", "larger than 64 MiB")


def test_an_answer_that_breaks_off_is_none(server: Server) -> None:
    def reply(handler: Handler, query: str) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}')
        handler.close_connection = True

    server.reply = reply
    assert Gathered(server).refused("timeout", "broke off")


def test_a_compressed_answer_is_read(server: Server) -> None:
    def reply(handler: Handler, query: str) -> None:
        assert "gzip" in handler.headers["Accept-Encoding"]
        answer = success([NOW, str(NOW)], "scalar") if query == "time()" else of_fleet().get(KEYS[query], success([]))
        handler.send(gzip.compress(json.dumps(answer).encode()), Content_Encoding="gzip")

    server.reply = reply
    assert Gathered(server).uuids("gpu-1")


def test_thousands_of_nodes(server: Server) -> None:
    answers = of_fleet(nodes=4000)
    bodies = {key: json.dumps(answer).encode() for key, answer in answers.items()}
    clock = json.dumps(success([NOW, str(NOW)], "scalar")).encode()
    keys = [*QUERIES]

    def reply(handler: Handler, query: str) -> None:
        handler.send(clock if query == "time()" else bodies[keys[len(server.asked) - 1]])

    server.reply = reply
    gathered = Gathered(server, targets(4000), deadline_s=60)
    assert len(gathered.files) == 4000
    assert gathered.said.endswith("4000 of 4000 nodes")
    assert gathered.seconds < 30


# --- TLS ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls(server: Server, tmp_path: Path) -> Path:
    """The server behind a certificate of its own, which is also its CA."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate), *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    server.reply = answering(of_fleet())
    return certificate


def test_a_certificate_of_nobody_known_is_refused(server: Server, tls: Path) -> None:
    assert tls.is_file()
    gathered = Gathered(server)
    assert gathered.refused("denied", "GPU_READINESS_PROMETHEUS_CA")
    assert not server.asked


def test_a_certificate_of_the_named_ca_is_trusted(server: Server, tls: Path) -> None:
    access = PrometheusAccess.of(server.url, {"GPU_READINESS_PROMETHEUS_CA": str(tls)})
    assert Gathered(access).uuids("gpu-1")


def test_whoever_does_not_want_to_verify_need_not(server: Server, tls: Path) -> None:
    assert tls.is_file()
    assert Gathered(PrometheusAccess(server.url, verify=False)).uuids("gpu-1")


# --- finding it -----------------------------------------------------------------------------------------------


def service(namespace: str, name: str, *ports: Json, **labels: str) -> Json:
    plain = {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()}
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": plain},
        "spec": {"ports": list(ports) or [{"name": "http-web", "port": 9090}]},
    }


def headless(item: Json) -> Json:
    item["spec"]["clusterIP"] = "None"
    return item


OPERATED = headless(service("monitoring", "prometheus-operated", **{"operated-prometheus": "true"}))
STACK = service(
    "monitoring",
    "kps-kube-prometheus-stack-prometheus",
    {"name": "http-web", "port": 9090},
    {"name": "reloader-web", "port": 8080},
    app="kube-prometheus-stack-prometheus",
)
OTHERS = [
    service("monitoring", "kps-kube-prometheus-stack-alertmanager"),
    service("monitoring", "kps-kube-prometheus-stack-operator", {"name": "https", "port": 443}),
    service("monitoring", "kps-prometheus-node-exporter", app_kubernetes_io__name="prometheus-node-exporter"),
    service("monitoring", "prometheus-adapter", app_kubernetes_io__name="prometheus-adapter"),
    service("monitoring", "prometheus-prometheus-pushgateway"),
    service("kube-system", "kps-kube-prometheus-stack-coredns"),
    service("default", "kubernetes", {"name": "https", "port": 443}),
    {"metadata": {"namespace": "x", "name": "prometheus"}, "spec": {"type": "ExternalName", "externalName": "a.b"}},
    {"metadata": {"name": "prometheus"}, "spec": {"ports": [{"port": 9090}]}},
    {"metadata": {"namespace": "x", "name": "prometheus"}, "spec": {"ports": []}},
    {"metadata": None},
    {},
]


@pytest.mark.parametrize(
    ("services", "found"),
    [
        (OTHERS, None),
        ([*OTHERS, OPERATED], ("monitoring", "prometheus-operated", "9090", "http")),
        ([OPERATED, STACK, *OTHERS], ("monitoring", "kps-kube-prometheus-stack-prometheus", "9090", "http")),
        (
            [service("monitoring", "prometheus-k8s", {"name": "web", "port": 9090}), OPERATED],
            ("monitoring", "prometheus-k8s", "9090", "http"),
        ),
        (
            [
                service(
                    "prometheus",
                    "prometheus-server",
                    {"name": "http", "port": 80},
                    app_kubernetes_io__name="prometheus",
                ),
                service("prometheus", "prometheus-alertmanager", app_kubernetes_io__name="alertmanager"),
            ],
            ("prometheus", "prometheus-server", "80", "http"),
        ),
        (
            [service("cattle-monitoring-system", "rancher-monitoring-prometheus"), OPERATED],
            ("cattle-monitoring-system", "rancher-monitoring-prometheus", "9090", "http"),
        ),
        (
            [service("metrics", "main", {"port": 9090}, app_kubernetes_io__name="prometheus")],
            ("metrics", "main", "9090", "http"),
        ),
        (
            [service("metrics", "prometheus", {"name": "https-web", "port": 9443})],
            ("metrics", "prometheus", "9443", "https"),
        ),
    ],
)
def test_the_prometheus_of_a_cluster_is_found(services: list[Json], found: tuple[str, ...] | None) -> None:
    assert find_prometheus(services).service == found
    assert find_prometheus(reversed(services)).service == found


def test_openshift_has_one_querier_for_all() -> None:
    serving = {"service.beta.openshift.io/serving-cert-secret-name": "thanos-querier-tls"}
    ports = [{"name": "web", "port": 9091}, {"name": "tenancy", "port": 9092}, {"name": "metrics", "port": 9094}]
    services = [
        service("openshift-monitoring", name, *ports)
        for name in ("prometheus-k8s", "thanos-querier", "alertmanager-main")
    ] + [service("openshift-user-workload-monitoring", "prometheus-user-workload", *ports)]
    for each in services:
        each["metadata"]["annotations"] = serving
    found = find_prometheus(services)
    assert found.service == ("openshift-monitoring", "thanos-querier", "9091", "https")
    assert found.service is not None
    assert found.service.path == ("/api/v1/namespaces/openshift-monitoring/services/https:thanos-querier:9091/proxy")


def test_of_several_that_are_as_good_none_is_taken_and_all_are_named() -> None:
    other = json.loads(json.dumps(STACK))
    other["metadata"]["namespace"] = "team-a"
    found = find_prometheus([STACK, other, OPERATED])
    assert found.service is None
    assert [each.namespace for each in found.candidates] == ["monitoring", "team-a"]


# --- what it costs --------------------------------------------------------------------------------------------


def test_importing_it_loads_no_client() -> None:
    code = "import sys, gpu_readiness.cluster.prometheus; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"requests", "prometheus_api_client", "kubernetes", "pytest"} & {
        each.partition(".")[0] for each in loaded
    }

"""Debian's Prometheus, collecting from exporters of the test's own: what it says is what is judged."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from nodes import Fleet, fails, h100, passes, untested, warns

from gpu_readiness.cluster.prometheus import PrometheusAccess, PrometheusTarget, gather_prometheus
from gpu_readiness.evidence.prometheus import parse_prometheus

ROOT = Path(__file__).parents[2]
WINDOW = 20
pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


class Exporter(ThreadingHTTPServer):
    """An exporter of a node; nothing to say is a refusal."""

    daemon_threads = True

    def __init__(self, text: str) -> None:
        super().__init__(("127.0.0.1", 0), _Scrape)
        self.text = text
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


def _scrape(fleet: Fleet, node: str, *, replays: int = 0, **labels: str) -> str:
    """The text of a node's exporter with replays of its first GPU; labels of a pod are those of all its series."""
    of_pod = "".join(f',{key}="{value}"' for key, value in labels.items())
    own = "".join(
        f'DCGM_FI_DEV_PCIE_REPLAY_COUNTER{{gpu="{gpu}",UUID="{fleet.uuid(gpu, node)}",Hostname="{node}"}} {number}\n'
        for gpu, number in enumerate((replays, 0))
    )
    return re.sub(r"\}(?= \S+$)", f"{of_pod}}}", fleet.files[node]["dcgm.prom"] + own, flags=re.MULTILINE)


class _Scrape(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        body = self.server.text.encode()
        self.send_response(200 if body else 503)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Nothing."""


class Prometheus:
    """A server of its own folder and port."""

    def __init__(self, folder: Path, targets: dict[str, str], *arguments: str, scheme: str = "http") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"{scheme}://127.0.0.1:{free.getsockname()[1]}"
        jobs = [
            {
                "job_name": node,
                "scrape_interval": "1s",
                "static_configs": [
                    {"targets": [address], "labels": {"namespace": "gpu-operator", "pod": f"of-{node}"}}
                ],
            }
            for node, address in targets.items()
        ]
        (folder / "prometheus.json").write_text(json.dumps({"scrape_configs": jobs}))
        command = ["prometheus", f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/data"]
        command += [f"--web.listen-address={self.url.partition('//')[2]}", "--log.level=warn", *arguments]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        self._log_path = folder / "log"

    def wait(self) -> None:
        """Until it listens."""
        address = self.url.partition("//")[2].split(":")
        for _ in range(200):
            try:
                socket.create_connection((address[0], int(address[1])), 1).close()
            except OSError:
                assert self._process.poll() is None, self._log_path.read_text()
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self._log_path.read_text())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


def gathered(access: PrometheusAccess, fleet: Fleet, nodes: list[str], **how: Any) -> Fleet:
    """The fleet with what Prometheus says of its nodes."""
    targets = [PrometheusTarget(node, frozenset(fleet.uuid(gpu, node) for gpu in range(2))) for node in nodes]

    def write(node: str, name: str, content: bytes) -> None:
        fleet.file(name, content, node=node)

    gather_prometheus(access, targets, write, **{"window": f"{WINDOW}s", "deadline_s": 30.0, **how})
    return fleet.says(telemetry={"history": {"window": f"{WINDOW}s"}})


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Fleet]]:
    """What happened to three nodes within the window.

    gpu-1: a pod took the GPU, met XID 79 and went; replays grew, also over a reboot. gpu-2: nothing. gpu-3: its
    exporter stopped to answer. gpu-4: nobody collects.
    """
    fleet = h100(nodes=4)
    exporters = {node: Exporter(_scrape(fleet, node)) for node in ("gpu-1", "gpu-2", "gpu-3")}
    addresses = {node: f"127.0.0.1:{each.server_port}" for node, each in exporters.items()}
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), addresses)
    try:
        server.wait()
        time.sleep(WINDOW / 2)
        of_pod = {"pod": "train-0", "namespace": "team", "container": "main"}
        exporters["gpu-1"].text = _scrape(fleet, "gpu-1", replays=5, **of_pod)
        time.sleep(4)
        exporters["gpu-3"].text = ""
        fleet.metric("DCGM_FI_DEV_XID_ERRORS", 79, gpu=0, err_code="79", err_msg="GPU has fallen off the bus")
        exporters["gpu-1"].text = _scrape(fleet, "gpu-1", replays=0)
        time.sleep(4)
        exporters["gpu-1"].text = _scrape(fleet, "gpu-1", replays=2)
        time.sleep(WINDOW / 2 - 4)
        yield server, gathered(PrometheusAccess(server.url), fleet, list(fleet.nodes))
    finally:
        server.stop()
        for each in exporters.values():
            each.shutdown()
            each.server_close()


def _of(story: tuple[Prometheus, Fleet], node: str) -> Any:
    return parse_prometheus(story[1].files[node]["prometheus.json"])


def test_no_query_fails_and_every_gpu_is_found(story: tuple[Prometheus, Fleet]) -> None:
    for node in ("gpu-1", "gpu-2"):
        found = _of(story, node)
        assert not found.problems
        assert set(found.gpus) == {story[1].uuid(gpu, node) for gpu in range(2)}
        assert all(0 <= gpu.age < 3 for gpu in found.gpus.values())
        assert set(found.windows.values()) == {float(WINDOW)}
    assert not _of(story, "gpu-4").gpus


def test_growth_goes_over_labels_that_change_and_over_a_reset(story: tuple[Prometheus, Fleet]) -> None:
    grown = _of(story, "gpu-1").gpus[story[1].uuid(0)].growth["PCIE_REPLAY_COUNTER"]
    assert round(grown.amount) == 7
    assert _of(story, "gpu-2").gpus[story[1].uuid(0, "gpu-2")].growth["PCIE_REPLAY_COUNTER"].amount == 0


def test_an_xid_in_a_series_that_began_with_it_is_seen(story: tuple[Prometheus, Fleet], tmp_path: Path) -> None:
    results = story[1].results(tmp_path, ["telemetry.prometheus", "telemetry.history"])
    assert passes(results["gpu-1", "telemetry.prometheus"])
    result = results["gpu-1", "telemetry.history"]
    assert warns(result, f"XID 79 of {story[1].uuid(0)} in {WINDOW}s", "1")
    assert [each.field for each in result.findings if "XID" in each.field] == [result.findings[0].field]


def test_a_healthy_node_passes(story: tuple[Prometheus, Fleet], tmp_path: Path) -> None:
    results = story[1].results(tmp_path, ["telemetry.prometheus", "telemetry.history"])
    assert passes(results["gpu-2", "telemetry.prometheus"])
    assert passes(results["gpu-2", "telemetry.history"])


@pytest.mark.parametrize("node", ["gpu-3", "gpu-4"])
def test_a_node_that_is_no_longer_or_never_collected_fails(
    node: str, story: tuple[Prometheus, Fleet], tmp_path: Path
) -> None:
    results = story[1].results(tmp_path, ["telemetry.prometheus", "telemetry.history"])
    for gpu in range(2):
        assert fails(results[node, "telemetry.prometheus"], f"series of {story[1].uuid(gpu, node)}", "missing")
    assert results[node, "telemetry.history"].verdict != "pass"


def test_more_of_the_past_than_prometheus_has_is_not_measured(story: tuple[Prometheus, Fleet], tmp_path: Path) -> None:
    fleet = gathered(PrometheusAccess(story[0].url), h100(nodes=2), ["gpu-1", "gpu-2"], window="10m")
    fleet.says(telemetry={"history": {"window": "10m"}})
    result = fleet.results(tmp_path, ["telemetry.history"])["gpu-2", "telemetry.history"]
    assert untested(result, "missing", "of the time")


def test_the_way_by_hand_of_the_documentation_works(story: tuple[Prometheus, Fleet], tmp_path: Path) -> None:
    if not all(map(shutil.which, ("curl", "jq"))):
        pytest.skip("curl or jq is not installed")
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    queries, script = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("promql", "bash"))
    (tmp_path / "queries.promql").write_text(queries.replace("24h", f"{WINDOW}s").replace(":300s", ":1s"))
    environment = {"PATH": "/usr/bin:/bin", "PROMETHEUS": story[0].url}
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=environment, check=True, timeout=60)
    fleet = h100(nodes=4).file("prometheus.json", (tmp_path / "prometheus.json").read_bytes(), node="gpu-2")
    fleet.says(telemetry={"history": {"window": f"{WINDOW}s"}})
    results = fleet.results(tmp_path / "snapshot", ["telemetry.prometheus"])
    assert passes(results["gpu-2", "telemetry.prometheus"])
    assert not parse_prometheus((tmp_path / "prometheus.json").read_bytes()).problems


def test_a_query_beyond_the_servers_limit_is_an_error_of_that_query(tmp_path: Path) -> None:
    exporter = Exporter(_scrape(h100(), "gpu-1"))
    server = Prometheus(tmp_path, {"gpu-1": f"127.0.0.1:{exporter.server_port}"}, "--query.max-samples=10")
    try:
        server.wait()
        time.sleep(8)
        fleet = gathered(PrometheusAccess(server.url), h100(), ["gpu-1"])
    finally:
        server.stop()
        exporter.shutdown()
        exporter.server_close()
    assert passes(fleet.judge("telemetry.prometheus"))
    assert untested(fleet.judge("telemetry.history"), "unparsable", "too many samples")


#: Prometheus' own example of a hash, that of "test".
HASH = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"


def test_tls_and_a_password(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    key, certificate, web = (tmp_path / name for name in ("key.pem", "ca.pem", "web.yaml"))
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate), *subject], check=True, capture_output=True)
    web.write_text(
        json.dumps({"tls_server_config": {"cert_file": str(certificate), "key_file": str(key)}})[:-1]
        + f', "basic_auth_users": {{"admin": "{HASH}"}}}}'
    )
    server = Prometheus(tmp_path, {}, f"--web.config.file={web}", scheme="https")
    try:
        server.wait()
        ca = {"GPU_READINESS_PROMETHEUS_CA": str(certificate)}
        login = {"GPU_READINESS_PROMETHEUS_USER": "admin", "GPU_READINESS_PROMETHEUS_PASSWORD": "test"}
        for environment, reason in ((login, "denied"), (ca, "denied"), (ca | login, "")):
            fleet = gathered(PrometheusAccess.of(server.url, environment), h100(), ["gpu-1"])
            assert ("prometheus.json.error" in fleet.files["gpu-1"]) == bool(reason)
            assert (fleet.judge("telemetry.prometheus").reason or "") == reason
    finally:
        server.stop()


def test_the_servers_clock_is_the_one_that_counts(story: tuple[Prometheus, Fleet]) -> None:
    with urllib.request.urlopen(f"{story[0].url}/api/v1/query?query=time()", timeout=5) as answer:
        now = float(json.load(answer)["data"]["result"][0])
    assert abs(_of(story, "gpu-2").asked - now) < 120

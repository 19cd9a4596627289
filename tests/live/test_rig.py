"""The rig is what the live tests stand on: it starts, answers like a cluster, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kubernetes
import pytest
from kubernetes.stream import stream
from nodes import Results, judge
from rig.client import Json, Refused, wait_for
from rig.fleet import write_fleet
from rig.load import clear, load_snapshot
from rig.plane import ControlPlane
from rig.platforms import PLATFORMS
from rig.process import RigError
from rig.prometheus import Prometheus
from rig.readback import write_snapshot

from gpu_readiness.demo.fleet import make_fleet
from gpu_readiness.demo.fleet import write_snapshot as write_demo

TESTS = Path(__file__).parents[1]
DCGM = "nvidia-dcgm-exporter"
NOT_READY = "node.kubernetes.io/not-ready"


@pytest.fixture(scope="module")
def operated(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> ControlPlane:
    """Two nodes of the GPU operator, which tests leave as they are."""
    clear(plane)
    load_snapshot(plane, write_fleet(tmp_path_factory.mktemp("fleet"), 2))
    return plane


@contextmanager
def official(config: Path) -> Iterator[kubernetes.client.CoreV1Api]:
    """The official client, which does not close its connections by itself."""
    with kubernetes.config.new_client_from_config(str(config)) as client:
        yield kubernetes.client.CoreV1Api(client)
        client.rest_client.pool_manager.clear()


@pytest.fixture
def api(operated: ControlPlane) -> Iterator[kubernetes.client.CoreV1Api]:
    with official(operated.kubeconfig) as client:
        yield client


def exporter_of(plane: ControlPlane, node: str) -> Json:
    pods = plane.client.get("/api/v1/namespaces/gpu-operator/pods", fieldSelector=f"spec.nodeName={node}")["items"]
    found = next(each for each in pods if each["metadata"]["labels"].get("app") == DCGM)
    return {"apiVersion": "v1", "kind": "Pod", **found}


def probe(name: str, **more: object) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app.kubernetes.io/name": "gpu-readiness"},
            **more,
        },
        "spec": {
            "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "probe", "image": "example.com/probe"}],
        },
    }


def ended(plane: ControlPlane, pod: Json) -> Json:
    """The status of a new pod once something has become of it."""
    path = plane.client.path(plane.client.create(pod))

    def look() -> Json | None:
        status = plane.client.get(path)["status"]
        states = [state for each in status.get("containerStatuses", ()) for state in each["state"]]
        return status if {"waiting", "terminated"}.intersection(states) or status["phase"] == "Failed" else None

    try:
        status: Json = wait_for(f"an end of {pod['metadata']['name']}", look)
        return status
    finally:
        plane.client.delete(pod)


# --- it is a cluster -----------------------------------------------------------------------------------------


def test_admission_is_real(operated: ControlPlane) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    operated.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": labels}})
    pod = probe("privileged") | {"metadata": {"name": "privileged", "namespace": "strict"}}
    with pytest.raises(Refused, match="violates PodSecurity"):
        wait_for("its service account", lambda: operated.client.create(pod))


def test_a_user_may_do_what_the_rules_say(operated: ControlPlane) -> None:
    list_nodes = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
    see_pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    config = operated.user_kubeconfig("reader", [list_nodes], {"gpu-operator": [see_pods]})
    with official(config) as reader:
        assert len(reader.list_node().items) == 2
        assert reader.list_namespaced_pod("gpu-operator").items
        with pytest.raises(kubernetes.client.ApiException, match="system:serviceaccount:rig-users:reader"):
            reader.list_pod_for_all_namespaces()
    operated.user_kubeconfig("reader", [list_nodes])
    with official(config) as reader, pytest.raises(kubernetes.client.ApiException, match="Forbidden"):
        wait_for("the binding to be forgotten", lambda: not reader.list_namespaced_pod("gpu-operator"))


def test_requests_are_counted_at_the_server(operated: ControlPlane, api: kubernetes.client.CoreV1Api) -> None:
    api.api_client.user_agent = "counted/1"
    api.list_node(limit=1)
    since = time.time()
    api.list_node(limit=1)
    with pytest.raises(kubernetes.client.ApiException):
        api.read_node("nobody")
    found = operated.requests(user_agent_prefix="counted", since=since)
    assert [(each.verb, each.resource, each.name, each.code) for each in found] == [
        ("list", "nodes", "", 200),
        ("get", "nodes", "nobody", 404),
    ]
    assert len(operated.requests(user_agent_prefix="counted")) == 3
    assert not [each for each in operated.requests() if each.user.startswith(("rig:", "system:kube-"))]


def test_it_comes_back_after_a_restart(operated: ControlPlane) -> None:
    before = operated.client.get("/api/v1/nodes")["items"]
    operated.restart_apiserver(downtime=0.2)
    after = operated.client.get("/api/v1/nodes")["items"]
    assert [each["metadata"]["uid"] for each in before] == [each["metadata"]["uid"] for each in after]
    assert ended(operated, probe("after-the-restart"))["phase"] == "Succeeded"


# --- what stands in for nodes --------------------------------------------------------------------------------


def test_probes_and_jobs_end_well_and_others_run(operated: ControlPlane) -> None:
    status = ended(operated, probe("good"))
    (container,) = status["containerStatuses"]
    assert (status["phase"], container["state"]["terminated"]["exitCode"]) == ("Succeeded", 0)
    job = {"template": {"spec": probe("x")["spec"]}}
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": job}
    path = operated.client.path(operated.client.create(made))
    wait_for("the Job to be complete", lambda: operated.client.get(path)["status"].get("succeeded"))
    other = probe("other", labels={})
    path = operated.client.path(operated.client.create(other))
    wait_for("the pod to run", lambda: operated.client.get(path)["status"]["phase"] == "Running")
    operated.client.delete(other)
    wait_for("the pod to be gone", lambda: operated.client.raw("GET", path).status_code == 404)


@pytest.mark.parametrize(
    ("part", "phase", "said"),
    [
        ("Error", "Failed", "terminated Error 3"),
        ("OOMKilled", "Failed", "terminated OOMKilled 137"),
        ("StartError", "Failed", "terminated StartError 128"),
        ("ErrImagePull", "Pending", "waiting ErrImagePull"),
        ("CrashLoopBackOff", "Running", "waiting CrashLoopBackOff"),
        ("UnexpectedAdmissionError", "Failed", "UnexpectedAdmissionError"),
        ("OutOfnvidia.com/gpu", "Failed", "OutOfnvidia.com/gpu"),
    ],
)
def test_pods_fail_as_they_are_told(operated: ControlPlane, part: str, phase: str, said: str) -> None:
    annotations = {"rig/fail": part, "rig/message": "why"} | ({"rig/exit-code": "3"} if part == "Error" else {})
    status = ended(operated, probe(f"bad-{part.lower().replace('/', '.')}", annotations=annotations))
    states = [
        f"{how} {what['reason']} {what.get('exitCode', '')} {what['message']}"
        for each in status.get("containerStatuses", ())
        for how, what in each["state"].items()
    ]
    assert status["phase"] == phase
    assert said in " ".join([*states, status.get("reason", "")])
    assert "why" in json.dumps(status)


def test_a_pod_that_hangs_ends_at_its_deadline(operated: ControlPlane) -> None:
    pod = probe("late", annotations={"rig/fail": "ContainerCreating"})
    pod["spec"]["activeDeadlineSeconds"] = 2
    path = operated.client.path(operated.client.create(pod))
    status = wait_for("the deadline", lambda: (s := operated.client.get(path)["status"])["phase"] == "Failed" and s)
    assert status["reason"] == "DeadlineExceeded"
    operated.client.delete(pod)


def test_a_node_has_probes_fail(operated: ControlPlane) -> None:
    for node in ("gpu-operator-01", "gpu-operator-02"):
        operated.double.behave(node, pod="ImagePullBackOff")
    assert ended(operated, probe("on-a-bad-node"))["phase"] == "Pending"
    for node in ("gpu-operator-01", "gpu-operator-02"):
        operated.double.behave(node)


def test_the_exporter_is_reached_through_the_api_server(
    operated: ControlPlane, api: kubernetes.client.CoreV1Api
) -> None:
    pod = exporter_of(operated, "gpu-operator-02")["metadata"]["name"]
    said = api.connect_get_namespaced_pod_proxy_with_path(f"{pod}:9400", "gpu-operator", "metrics")
    assert said == (operated.double.node("gpu-operator-02") / "dcgm.prom").read_text()


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("refuse", 503, "error trying to reach service"),
        ("http500", 500, "internal server error"),
        ("tls", 400, "Client sent an HTTP request to an HTTPS server"),
        ("flaky", 503, "too many scrapes"),
    ],
)
def test_exporters_misbehave(operated: ControlPlane, how: str, code: int, said: str) -> None:
    node = "gpu-operator-01"
    path = operated.client.path(exporter_of(operated, node)) + ":9400/proxy/metrics"
    operated.double.behave(node, exporter=how)
    answer = operated.client.raw("GET", path)
    assert (answer.status_code, said in answer.text) == (code, True)
    if how == "flaky":
        assert operated.client.raw("GET", path).ok
    operated.double.behave(node)
    assert operated.client.raw("GET", path).ok


def test_a_misspelt_behaviour_is_refused(operated: ControlPlane) -> None:
    with pytest.raises(ValueError, match=r"exporter cannot hng; it can blackhole, .* hang,"):
        operated.double.behave("gpu-operator-01", exporter="hng")


def test_what_a_node_says_can_be_changed(operated: ControlPlane) -> None:
    node = "gpu-operator-01"
    path = operated.client.path(exporter_of(operated, node)) + ":9400/proxy/metrics"
    before = operated.client.raw("GET", path).content
    operated.double.put(node, "dcgm.prom", None)
    assert operated.client.raw("GET", path).status_code == 503
    operated.double.put(node, "dcgm.prom", "up 1\n")
    assert operated.client.raw("GET", path).text == "up 1\n"
    operated.double.put(node, "dcgm.prom", before)


def execute(api: kubernetes.client.CoreV1Api, pod: Json, *command: str) -> tuple[str, int | str]:
    """What a command printed, and its exit code or why it has none."""
    meta = pod["metadata"]
    socket = stream(
        api.connect_get_namespaced_pod_exec,
        meta["name"],
        meta["namespace"],
        command=list(command),
        stdin=False,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    socket.run_forever(timeout=20)
    said = socket.read_stdout()
    status = json.loads(socket.read_channel(3))
    socket.sock.shutdown()  # close() leaves a socket open that the other side has closed
    if status["status"] == "Success":
        return said, 0
    (cause,) = status["details"]["causes"]
    return said, int(cause["message"]) if cause.get("reason") == "ExitCode" else cause["message"]


def test_nvidia_smi_is_executed_by_websocket(operated: ControlPlane, api: kubernetes.client.CoreV1Api) -> None:
    node = "gpu-operator-02"
    pod = exporter_of(operated, node)
    document = (operated.double.node(node) / "nvidia-smi.xml").read_text()
    assert execute(api, pod, "nvidia-smi", "-q", "-x") == (document, 0)
    said, why = execute(api, pod, "rocm-smi")
    assert said == ""
    assert "executable file not found in $PATH" in str(why)
    operated.double.behave(node, exec="exit9")
    said, code = execute(api, pod, "nvidia-smi", "-q", "-x")
    assert (code, "couldn't communicate with the NVIDIA driver" in said) == (9, True)
    operated.double.behave(node)


def test_logs_of_pods_and_nodes(operated: ControlPlane, api: kubernetes.client.CoreV1Api) -> None:
    node = "gpu-operator-02"
    meta = exporter_of(operated, node)["metadata"]
    operated.double.put(node, "pod.log", "first\nsecond\nthird\n")
    assert api.read_namespaced_pod_log(meta["name"], meta["namespace"], tail_lines=2) == "second\nthird\n"
    assert api.read_namespaced_pod_log(meta["name"], meta["namespace"], limit_bytes=5) == "first"
    operated.double.put(node, "pod.log", None)
    log = f"/api/v1/nodes/{node}/proxy/logs/kern.log"
    assert operated.client.raw("GET", log).content == (operated.double.node(node) / "kernel.log").read_bytes()
    operated.double.put(node, "kernel.log", None)
    assert operated.client.raw("GET", log).status_code == 404


def test_a_prometheus_scrapes_and_is_found_by_its_service(operated: ControlPlane) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    prometheus = Prometheus(operated)
    assert prometheus.discover() == 2
    series = prometheus.wait_for("up == 1", lambda found: len(found) == 2)
    assert {each["metric"]["job"] for each in series} == {DCGM}
    path = "/api/v1/namespaces/monitoring/services/http:prometheus-k8s:web/proxy/api/v1/query"
    assert operated.client.get(path, query="count(up)")["data"]["result"][0]["value"][1] == "2"
    prometheus.stop()


# --- snapshots -----------------------------------------------------------------------------------------------


def said(results: Results) -> dict[tuple[str, str], tuple[str, str, list[tuple[str, str]]]]:
    """Results without the times since when something holds, which are those of the cluster."""
    return {
        where: (
            each.verdict,
            each.reason or "",
            [f"{at.field} {at.observed}".partition(" since ")[0] for at in each.findings],
        )
        for where, each in results.items()
    }


def assert_is_judged_alike(plane: ControlPlane, snapshot: Path, folder: Path, *, fast: bool) -> None:
    count = load_snapshot(plane, snapshot, fast=fast)
    assert count > 10
    write_snapshot(plane, folder)
    assert said(judge(folder, None)) == said(judge(snapshot, None))


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_fleets_of_each_platform_are_ready_in_the_cluster_too(
    empty_plane: ControlPlane, tmp_path: Path, platform: str
) -> None:
    snapshot = write_fleet(tmp_path, 2, platform)
    assert_is_judged_alike(empty_plane, snapshot, tmp_path / "live", fast=False)
    results = judge(snapshot, None)
    assert {node for node, _ in results} == {f"{platform}-01", f"{platform}-02"}
    assert not [where for where, each in results.items() if each.verdict == "fail" and each.severity == "critical"]


@pytest.mark.parametrize("fast", [False, True])
def test_faulty_nodes_are_judged_alike_in_the_cluster(empty_plane: ControlPlane, tmp_path: Path, fast: bool) -> None:
    nodes, faults = make_fleet(24)
    write_demo(tmp_path / "snapshot", nodes)
    for name in faults:  # what could not be read is no part of a cluster
        for error in (tmp_path / "snapshot" / "nodes" / name).glob("*.error"):
            error.unlink()
    assert_is_judged_alike(empty_plane, tmp_path / "snapshot", tmp_path / "live", fast=fast)


def test_a_node_that_is_not_ready_stays_so(empty_plane: ControlPlane, tmp_path: Path) -> None:
    snapshot = write_fleet(tmp_path, 2)
    path = snapshot / "cluster" / "nodes.json"
    lists = json.loads(path.read_text())
    ready = next(each for each in lists["items"][0]["status"]["conditions"] if each["type"] == "Ready")
    ready |= {"status": "False", "reason": "KubeletNotReady", "message": "container runtime is down"}
    path.write_text(json.dumps(lists))
    load_snapshot(empty_plane, snapshot)
    time.sleep(2)  # of the controllers, and of kwok
    first, second = empty_plane.client.get("/api/v1/nodes")["items"]
    shown = next(each for each in first["status"]["conditions"] if each["type"] == "Ready")
    assert ready.items() <= shown.items()
    assert [NOT_READY in json.dumps(each["spec"].get("taints", [])) for each in (first, second)] == [True, False]


@pytest.mark.parametrize("fast", [False, True])
def test_pods_of_unknown_owners_stay(empty_plane: ControlPlane, tmp_path: Path, fast: bool) -> None:
    snapshot = write_fleet(tmp_path, 1)
    path = snapshot / "cluster" / "pods.json"
    lists = json.loads(path.read_text())
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "gone", "controller": True}
    for each in lists["items"]:
        each["metadata"]["ownerReferences"] = [owner]
    path.write_text(json.dumps(lists))
    load_snapshot(empty_plane, snapshot, fast=fast)
    time.sleep(3)  # of the garbage collector
    pods = empty_plane.client.get("/api/v1/namespaces/gpu-operator/pods")["items"]
    assert {each["metadata"]["ownerReferences"][0]["kind"] for each in pods} == {"ReplicaSet"}
    assert len(pods) == len(lists["items"])


def test_what_the_api_server_does_not_take_is_named(empty_plane: ControlPlane, tmp_path: Path) -> None:
    snapshot = write_fleet(tmp_path, 1)
    path = snapshot / "cluster" / "nodes.json"
    path.write_text(path.read_text().replace("gpu-operator-01", "../../escaped"))
    with pytest.raises(Refused, match=r"Node \.\./\.\./escaped: 422"):
        load_snapshot(empty_plane, snapshot)


# --- it leaves nothing behind --------------------------------------------------------------------------------

_SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from rig import kwok
from rig.plane import ControlPlane
with ControlPlane() as plane:
    kwok.start(plane)
    print(plane.folder, flush=True)
    time.sleep(300)
"""


def traces(folder: str) -> list[str]:
    """Processes that have to do with a folder, and the folder itself."""
    found = [folder] if Path(folder).exists() else []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in line:
            found.append(line)
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_tests_that_were_stopped(rig_binaries: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", _SCRIPT, str(TESTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        assert len(traces(folder)) > 6
        process.send_signal(how)
        process.wait(30)
    wait_for("nothing to be left", lambda: not traces(folder), 20)


def test_a_control_plane_that_does_not_start_says_why(
    rig_binaries: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rig.plane.apiserver", lambda place: [place.binaries / "kube-apiserver", "--no-such-flag"])
    plane = ControlPlane()
    with pytest.raises(RigError, match="unknown flag: --no-such-flag"):
        plane.start()
    assert not traces(str(plane.folder))


def test_objects_in_one_place_are_not_lost_silently(plane: ControlPlane) -> None:
    twice = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "twice"}}
    with pytest.raises(RigError, match="/registry/namespaces/twice is there twice"):
        plane.seed([twice, twice])
    assert plane.client.get("/version")

"""A run over a live cluster, which tests/api_server.py plays: what is read, what is not, and what is said of both."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import Ends, Reply, Request, StandIn, judge, options, refusal, serving
from jsonschema import Draft202012Validator
from nodes import Fleet, a100_mig, dra, h100, t4
from sessions import CHECKS, COMMAND, PYTEST, Done, check, environment, run, spoilt, write

import gpu_readiness.reports
from gpu_readiness.cluster import lists
from gpu_readiness.reports import json_report

Json = dict[str, Any]

SCHEMA = json.loads(Path(gpu_readiness.reports.__file__).with_name("report.schema.json").read_text(encoding="utf-8"))
#: Checks of what all nodes share.
OF_THE_CLUSTER = {"runtime.class", "runtime.operator"}
#: What a run may not do where it shall only read objects.
MAKES = r"^(POST|DELETE) (?!/apis/authorization)"
#: The driver and the kubelet of a node.
ASKS_DRIVERS = rf"{MAKES}|/exec\?|/log\?|nodes/[^/]+/proxy"


@pytest.fixture
def server(pytester: pytest.Pytester) -> Iterator[StandIn]:
    """Three nodes that are ready."""
    with serving(h100(nodes=3), pytester.path) as found:
        yield found


def nodes_of(done: Done) -> dict[str, str]:
    return {node["name"]: node["verdict"] for node in done.report["nodes"]}


def asked_of(done: Done) -> dict[str, Json | None]:
    return {node["name"]: node["asked"] for node in done.report["nodes"]}


def found_in(done: Done) -> dict[tuple[str, str], tuple[str, str | None, str]]:
    """What was found, by node and check."""
    return {
        (each["node"], each["check"]): (each["verdict"], each["reason"], json.dumps(each["findings"]))
        for each in done.report["results"]
    }


def measured_of(done: Done, node: str) -> set[str]:
    return {id for id, verdict in done.verdicts(node).items() if verdict in ("pass", "fail")}


def unmeasured(done: Done, node: str, id: str, reason: str, words: str) -> bool:
    result = done.result(node, id)
    assert result["verdict"] == ("error" if reason in ("timeout", "unparsable") else "untested"), result
    assert result["reason"] == reason, result
    assert words in result["detail"], result
    return True


def rule(group: str, resource: str, verb: str = "list") -> str:
    return f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]'


# --- the same verdicts -----------------------------------------------------------------------------------------


def _spoilt() -> Fleet:
    fleet = spoilt(h100(nodes=3))
    fleet.nodes["gpu-2"]["spec"]["taints"] = [{"key": "broken", "effect": "NoSchedule"}]
    return fleet.log("[   99.000000] NVRM: Xid (PCI:0000:10:00): 79, pid=1, GPU has fallen off the bus.")


def _dra() -> Fleet:
    """With the pod that the exporter is asked through."""
    fleet = dra()
    fleet.pods.append(h100().pod("nvidia-dcgm-exporter"))
    return fleet


@pytest.mark.parametrize(
    ("make", "way"),
    [(_spoilt, "pod"), (t4, "pod"), (a100_mig, "pod"), (_dra, "dra")],
    ids=["spoilt", "t4", "mig", "dra"],
)
def test_a_live_fleet_is_judged_as_its_snapshot_is(
    make: Callable[[], Fleet], way: str, pytester: pytest.Pytester
) -> None:
    saved = check(pytester, write(make(), pytester.path / "snapshot"))
    before, code = found_in(saved), saved.code
    with serving(make(), pytester.path) as server:
        live = judge(pytester, server)
    assert live.code == code, live.said
    assert found_in(live) == before
    assert asked_of(live)["gpu-1"] is not None
    assert {each["way"] for name, each in asked_of(live).items() if each and name != "gpu-3"} == {way}
    assert live.report["run"]["source"] == {"kind": "cluster", "name": "standin"}
    assert server.made == {}


def test_the_command_does_what_the_plugin_does(server: StandIn, pytester: pytest.Pytester) -> None:
    by_plugin = judge(pytester, server)
    by_command = run([*COMMAND, "check", *options(server, pytester.path)], pytester.path)
    assert by_command.code == by_plugin.code == 0, by_command.said
    assert found_in(by_command) == found_in(by_plugin)


def test_without_a_source_the_command_judges_the_current_context(server: StandIn, pytester: pytest.Pytester) -> None:
    arguments = ["--readiness-standard", "standard.yaml", "--readiness-depth", "api"]
    done = run([*COMMAND, "check", *arguments], pytester.path, KUBECONFIG=str(server.kubeconfig(pytester.path)))
    assert done.code == 0, done.said
    assert set(nodes_of(done)) == {"gpu-1", "gpu-2", "gpu-3"}


def test_nothing_is_left_of_what_was_gathered(
    server: StandIn, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = pytester.path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    seen: list[str] = []

    def look(request: Request) -> None:
        seen.extend(path.name for path in scratch.iterdir())

    server.answer("GET /version", look)
    assert judge(pytester, server).code == 0
    assert [name for name in seen if name.startswith("gpu-readiness-")]
    assert list(scratch.iterdir()) == []


# --- how far down ----------------------------------------------------------------------------------------------


def test_depth_api_asks_no_driver(server: StandIn, pytester: pytest.Pytester) -> None:
    done = judge(pytester, server, "--readiness-depth", "api")
    assert done.code == 0, done.said
    assert server.count("proxy/metrics") == 3
    assert server.count(ASKS_DRIVERS) == 0
    assert set(asked_of(done).values()) == {None}
    assert done.result("gpu-1", "driver.nvml")["reason"] == "not-selected"
    assert "ready at depth api" in done.out


def test_a_driver_that_shall_not_be_asked_is_no_pass(server: StandIn, pytester: pytest.Pytester) -> None:
    done = judge(pytester, server, "--readiness-probe", "none")
    assert done.code == 6
    assert set(nodes_of(done).values()) == {"unknown"}
    assert server.count(rf"{MAKES}|/exec\?") == 0


def test_the_report_says_how_each_node_was_asked(pytester: pytest.Pytester) -> None:
    fleet = h100(nodes=2)
    with serving(fleet, pytester.path) as server:
        server.ends["gpu-2"] = Ends("Failed", None, "UnexpectedAdmissionError", "no")
        server.forbidden.add("create pods/exec")
        done = judge(pytester, server)
    assert done.code == 6
    first, second = asked_of(done)["gpu-1"], asked_of(done)["gpu-2"]
    assert first == {
        "way": "pod",
        "by": "a pod of ours (p0)",
        "not_by": {"dra": "no DRA driver publishes this node's GPUs"},
    }
    assert second is not None
    assert (second["way"], second["by"], list(second["not_by"])) == ("", "", ["dra", "pod", "exec"])
    assert "UnexpectedAdmissionError" in second["not_by"]["pod"]
    assert rule("", "pods/exec", "create") in second["not_by"]["exec"]
    assert "the driver of 1 node was asked by pod; not by dra: no DRA driver" in done.out
    assert "the driver of 1 node could not be asked; " in done.out


def test_a_live_report_follows_the_schema_and_reads_back(pytester: pytest.Pytester) -> None:
    with serving(spoilt(h100(nodes=3)), pytester.path) as server:
        done = judge(pytester, server)
    Draft202012Validator(SCHEMA).validate(done.report)
    path = done.folder / "readiness-report" / "report.json"
    found = json_report.read(path)
    assert found.run.source_kind == "cluster"
    assert [(node.name, node.asked.way if node.asked else None) for node in found.nodes] == [
        ("gpu-1", "pod"),
        ("gpu-2", "pod"),
        ("gpu-3", ""),
    ]
    again = pytester.path / "again"
    again.mkdir()
    assert json.loads(json_report.write(found, again).read_text(encoding="utf-8")) == done.report


# --- which nodes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", ["gpu-2", "gpu-[2]", "pool=b", "pool notin (a),nvidia.com/gpu.present"])
def test_only_chosen_nodes_are_read(selector: str, server: StandIn, pytester: pytest.Pytester) -> None:
    for node in server.lists["nodes"]:
        node["metadata"]["labels"]["pool"] = "b" if node["metadata"]["name"] == "gpu-2" else "a"
    done = judge(pytester, server, "--readiness-nodes", selector)
    assert done.code == 0, done.said
    assert nodes_of(done) == {"gpu-2": "ready"}
    assert server.count("proxy/metrics") == server.count("POST .*/pods$") == server.count("/proxy/logs/") == 1
    assert server.count("exporter-gpu-2") == 1


def test_a_selector_that_takes_no_node_says_what_there_was(server: StandIn, pytester: pytest.Pytester) -> None:
    done = judge(pytester, server, "--readiness-nodes", "pool=c")
    assert done.code == 4
    assert "3 GPU nodes of 3 seen, none matches 'pool=c'" in done.said
    assert server.count(f"{ASKS_DRIVERS}|proxy/metrics") == 0


def _only_capacity(server: StandIn, name: str) -> None:
    node = _node(server, name)
    node["metadata"]["labels"] = {"kubernetes.io/hostname": name}


def _no_gpus_at_all(server: StandIn, name: str) -> None:
    _only_capacity(server, name)
    for part in ("capacity", "allocatable"):
        _node(server, name)["status"][part].pop("nvidia.com/gpu")


def _node(server: StandIn, name: str) -> Json:
    return next(each for each in server.lists["nodes"] if each["metadata"]["name"] == name)


def test_a_gpu_node_without_labels_is_read(server: StandIn, pytester: pytest.Pytester) -> None:
    _only_capacity(server, "gpu-2")
    done = judge(pytester, server)
    assert done.verdicts("gpu-2")["driver.gpu-count"] == "pass"
    assert done.verdicts("gpu-2")["labels.required"] == "fail"


def test_a_node_that_shows_no_gpus_is_read_if_a_slice_has_its_gpus(pytester: pytest.Pytester) -> None:
    fleet = dra()
    fleet.node["metadata"]["labels"] = {"kubernetes.io/hostname": "gpu-1"}
    with serving(fleet, pytester.path) as server:
        done = judge(pytester, server)
    assert done.verdicts("gpu-1")["driver.gpu-count"] == "pass"


def test_a_node_that_only_a_standard_names_is_read_or_unknown(server: StandIn, pytester: pytest.Pytester) -> None:
    _no_gpus_at_all(server, "gpu-2")
    assert set(nodes_of(judge(pytester, server))) == {"gpu-1", "gpu-3"}
    path = pytester.path / "standard.yaml"
    standard = json.loads(json.dumps(h100().standard)) | {"match": {"nodes": ["gpu-*", "gpu-2", "gpu-9"]}}
    path.write_text(json.dumps(standard), encoding="utf-8")
    done = judge(pytester, server)
    assert nodes_of(done) == {"gpu-1": "ready", "gpu-2": "not-ready", "gpu-3": "ready", "gpu-9": "unknown"}
    assert done.verdicts("gpu-2")["driver.gpu-count"] == "pass"
    assert measured_of(done, "gpu-9") <= OF_THE_CLUSTER


@pytest.mark.parametrize("kind", ["report", "snapshot"])
def test_a_node_that_only_the_baseline_has_is_reported_and_unknown(
    kind: str, server: StandIn, pytester: pytest.Pytester
) -> None:
    baseline = server.snapshot
    if kind == "report":
        earlier = judge(pytester, server)
        assert earlier.code == 0
        baseline = earlier.folder / "readiness-report" / "report.json"
    _no_gpus_at_all(server, "gpu-2")
    server.lists["nodes"] = [each for each in server.lists["nodes"] if each["metadata"]["name"] != "gpu-3"]
    without = judge(pytester, server)
    assert (without.code, nodes_of(without)) == (0, {"gpu-1": "ready"})
    done = judge(pytester, server, "--readiness-baseline", str(baseline))
    assert done.code == 1, done.said
    assert nodes_of(done) == {"gpu-1": "ready", "gpu-2": "not-ready", "gpu-3": "unknown"}
    assert done.verdicts("gpu-2")["driver.gpu-count"] == "pass"
    assert measured_of(done, "gpu-3") <= OF_THE_CLUSTER
    unmeasured(done, "gpu-3", "driver.nvml", "missing", "no nodes/gpu-3/nvidia-smi.xml")
    only = judge(pytester, server, "--readiness-baseline", str(baseline), "--readiness-nodes", "gpu-3")
    assert (only.code, nodes_of(only)) == (6, {"gpu-3": "unknown"})


def test_a_baseline_that_is_none_is_a_usage_error(server: StandIn, pytester: pytest.Pytester) -> None:
    done = judge(pytester, server, "--readiness-baseline", str(pytester.path / "nowhere.json"))
    assert done.code == 4
    assert "--readiness-baseline" in done.said


def test_no_gpu_node_is_no_success(server: StandIn, pytester: pytest.Pytester) -> None:
    for name in ("gpu-1", "gpu-2", "gpu-3"):
        _no_gpus_at_all(server, name)
    done = judge(pytester, server)
    assert done.code == 4
    assert "no node to judge in cluster standin: 3 nodes seen, none has a GPU label" in done.said
    server.lists["nodes"].clear()
    empty = judge(pytester, server)
    assert empty.code == 4
    assert "lists no node at all" in empty.said


# --- rights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "group", "id"),
    [("pods", "", "runtime.components"), ("clusterpolicies", "nvidia.com", "runtime.operator")],
)
def test_a_kind_that_may_not_be_listed_is_denied_with_the_rule_that_is_missing(
    resource: str, group: str, id: str, server: StandIn, pytester: pytest.Pytester
) -> None:
    server.forbidden.add(f"list {resource}")
    done = judge(pytester, server)
    assert done.code == 6, done.said
    assert unmeasured(done, "gpu-1", id, "denied", f"(HTTP 403); needed: {rule(group, resource)}")


def test_a_kind_that_is_not_there_is_missing_also_where_it_would_be_forbidden(
    server: StandIn, pytester: pytest.Pytester
) -> None:
    del server.lists["clusterpolicies"]
    seen = []
    for forbidden in (set(), {"list clusterpolicies"}):
        server.forbidden = forbidden
        done = judge(pytester, server)
        seen.append(done.result("gpu-1", "runtime.operator"))
        assert "this cluster has no clusterpolicies.nvidia.com" in seen[-1]["detail"]
        assert seen[-1]["reason"] == "missing"
    assert seen[0] == seen[1]


def test_pods_that_may_not_be_listed_are_not_taken_for_a_node_without_pods(
    server: StandIn, pytester: pytest.Pytester
) -> None:
    server.forbidden |= {"list pods", "create pods"}
    done = judge(pytester, server)
    assert unmeasured(done, "gpu-1", "telemetry.scrape", "denied", rule("", "pods"))
    assert unmeasured(done, "gpu-1", "driver.nvml", "denied", rule("", "pods"))


def test_runtime_classes_that_may_not_be_listed_are_not_taken_for_none(
    server: StandIn, pytester: pytest.Pytester
) -> None:
    server.forbidden |= {"list runtimeclasses"}
    done = judge(pytester, server, "--readiness-probe", "pod")
    assert unmeasured(done, "gpu-1", "driver.nvml", "denied", rule("node.k8s.io", "runtimeclasses"))


def test_an_identity_without_any_right_passes_nothing(server: StandIn, pytester: pytest.Pytester) -> None:
    server.forbidden.add("*")
    nothing = judge(pytester, server)
    assert nothing.code == 4
    assert f"needed: {rule('', 'nodes')}" in nothing.said
    named = judge(pytester, server, "--readiness-nodes", "gpu-1,gpu-7")
    assert named.code == 6, named.said
    assert nodes_of(named) == {"gpu-1": "unknown", "gpu-7": "unknown"}
    assert unmeasured(named, "gpu-1", "runtime.node-ready", "denied", rule("", "nodes"))
    assert not [each for each in named.report["results"] if each["verdict"] in ("pass", "fail")]
    assert server.count(MAKES) == 0


def test_who_nobody_knows_is_told_so(server: StandIn, pytester: pytest.Pytester) -> None:
    server.answer("", refusal(401, "Unauthorized"))
    done = judge(pytester, server)
    assert done.code == 4
    assert "Unauthorized (HTTP 401)" in done.said


@pytest.mark.parametrize(
    ("right", "id", "words"),
    [
        ("get pods/proxy", "telemetry.scrape", rule("", "pods/proxy", "get")),
        ("get nodes/proxy", "driver.xid", ""),
    ],
)
def test_a_source_of_a_node_that_is_forbidden(
    right: str, id: str, words: str, server: StandIn, pytester: pytest.Pytester
) -> None:
    server.forbidden.add(right)
    done = judge(pytester, server)
    if words:
        assert done.code == 6
        assert unmeasured(done, "gpu-2", id, "denied", words)
    else:  # the kernel log is read only where that is allowed anyhow
        assert done.code == 0
        assert id not in done.verdicts("gpu-2")


# --- kernel logs and events ------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [None, True])
def test_kernel_logs_that_are_forbidden_all_the_same_plan_nothing(
    said: bool | None, server: StandIn, pytester: pytest.Pytester
) -> None:
    server.reviews["get nodes/proxy"] = said
    server.forbidden.add("get nodes/proxy")
    done = judge(pytester, server)
    assert done.code == 0, done.said
    assert "driver.xid" not in done.verdicts("gpu-1")


def test_a_kubelet_in_trouble_does_not_make_others_lack_a_kernel_log(pytester: pytest.Pytester) -> None:
    fleet = h100(nodes=3)
    for name in fleet.nodes:
        fleet.file("kernel.log", None, node=name)
    with serving(fleet, pytester.path) as server:
        server.answer("nodes/gpu-2/proxy/logs", refusal(500, "dial tcp: no route to host"))
        done = judge(pytester, server)
    assert nodes_of(done) == {"gpu-1": "ready", "gpu-2": "ready", "gpu-3": "ready"}


XID = "NVRM: Xid (PCI:0000:10:00): 79, pid=1, GPU has fallen off the bus."


def event(node: str, reason: str, message: str, at: str, kind: str = "Node") -> Json:
    about = {"kind": kind, "name": node, "uid": node}
    meta = {"name": f"{node}.{at}", "namespace": "default", "annotations": {"token": "s3cret"}}
    return {"metadata": meta, "involvedObject": about, "reason": reason, "message": message, "lastTimestamp": at}


@pytest.fixture
def logless(pytester: pytest.Pytester) -> Iterator[StandIn]:
    """Three nodes whose kubelets serve no kernel log, and an XID that an Event of the second one quotes."""
    fleet = h100(nodes=3)
    for name in fleet.nodes:
        fleet.file("kernel.log", None, node=name)
    fleet.lists["events"] = [
        event("gpu-1", "Starting", "Starting kubelet.", "2026-11-20T08:00:00Z"),
        event("gpu-2", "KernelXid", XID, "2026-11-20T09:00:00Z"),
        event("gpu-3", "Failed", XID, "2026-11-20T09:00:00Z", kind="Pod"),
    ]
    with serving(fleet, pytester.path) as found:
        yield found


def test_an_xid_that_only_an_event_quotes_fails_its_node_and_plans_nothing_on_others(
    logless: StandIn, pytester: pytest.Pytester
) -> None:
    done = judge(pytester, logless)
    assert done.code == 1
    assert nodes_of(done) == {"gpu-1": "ready", "gpu-2": "not-ready", "gpu-3": "ready"}
    (finding,) = done.result("gpu-2", "driver.xid")["findings"]
    assert "Xid 79" in finding["observed"]
    assert "events.json" in finding["source"]
    assert "driver.xid" not in {**done.verdicts("gpu-1"), **done.verdicts("gpu-3")}


def test_a_reboot_makes_events_before_it_history(logless: StandIn, pytester: pytest.Pytester) -> None:
    logless.lists["events"].append(event("gpu-2", "Rebooted", "Node gpu-2 has been rebooted", "2026-11-20T10:00:00Z"))
    assert nodes_of(judge(pytester, logless))["gpu-2"] == "ready"
    logless.lists["events"].append(event("gpu-2", "KernelXid", XID, "2026-11-20T11:00:00Z"))
    assert nodes_of(judge(pytester, logless))["gpu-2"] == "not-ready"


def test_events_that_may_not_be_listed_plan_nothing(logless: StandIn, pytester: pytest.Pytester) -> None:
    logless.forbidden.add("list events")
    done = judge(pytester, logless)
    assert done.code == 0
    assert "driver.xid" not in done.verdicts("gpu-2")


# --- a run of pytest -------------------------------------------------------------------------------------------


def test_workers_are_refused(server: StandIn, pytester: pytest.Pytester) -> None:
    done = judge(pytester, server, "-n", "2")
    assert done.code == 4
    assert "leave -n away" in done.said
    assert server.requests == []


@pytest.mark.parametrize("option", ["--readiness-kubeconfig", "--readiness-context"])
def test_a_snapshot_and_a_cluster_together_are_a_usage_error(
    option: str, server: StandIn, pytester: pytest.Pytester
) -> None:
    value = str(server.kubeconfig(pytester.path)) if option.endswith("kubeconfig") else "standin"
    result = pytester.runpytest_inprocess(
        "-p", "no:hypothesispytest", *CHECKS, "--readiness-snapshot", str(server.snapshot), option, value
    )
    assert result.ret == 4
    assert f"--readiness-snapshot and {option}: a run judges one of them" in result.stderr.str()
    assert server.requests == []


def test_the_plugin_can_be_left_out(server: StandIn, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(): assert True")
    off = [*PYTEST, "-p", "no:cacheprovider", "-p", "no:gpu_readiness"]
    assert run([*off, "."], pytester.path).code == 0
    unknown = run([*off, ".", *options(server, pytester.path)], pytester.path)
    assert unknown.code == 4
    assert "unrecognized arguments: --readiness-kubeconfig" in unknown.said
    assert server.requests == []


def test_checks_and_tests_of_others_run_together(server: StandIn, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine="def test_mine(): assert False, 'mine'")
    done = judge(pytester, server, "test_mine.py", "-k", "runtime or mine")
    assert done.code == 1
    assert set(nodes_of(done).values()) == {"ready"}


def test_progress_is_shown_on_a_terminal_only(server: StandIn, pytester: pytest.Pytester) -> None:
    command = [*COMMAND, "check", *options(server, pytester.path)]
    piped = run(command, pytester.path)
    shown, code = _on_terminal(command, pytester.path)
    assert code == piped.code == 0
    steps = ("connecting", "listing nodes", "listing what runs on 3 GPU nodes", "reading nodes: ", "judged ")
    assert [step for step in steps if step in shown][:4] == [*steps[:4]]
    assert not [step for step in steps if step in piped.said]
    assert "\x1b" not in piped.said


def _on_terminal(command: list[str], folder: Path) -> tuple[str, int]:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            command, cwd=folder, env=environment(TERM="xterm"), stdout=theirs, stderr=theirs
        ) as child:
            os.close(theirs)
            shown = bytearray()
            while select.select([ours], [], [], 60)[0]:
                try:
                    shown += os.read(ours, 1 << 16)
                except OSError:  # nobody has the other end any more
                    break
        return shown.decode(), child.returncode
    finally:
        os.close(ours)


def test_ctrl_c_while_a_list_hangs_ends_the_run_at_once(server: StandIn, pytester: pytest.Pytester) -> None:
    hangs, stop = threading.Event(), threading.Event()

    def hang(request: Request) -> None:
        hangs.set()
        stop.wait(60)

    server.answer("GET /api/v1/pods", hang)
    command = [*COMMAND, "check", *options(server, pytester.path)]
    env = environment(TMPDIR=str(pytester.path))
    with subprocess.Popen(
        command, cwd=pytester.path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert hangs.wait(30)
        child.send_signal(signal.SIGINT)
        try:
            out, err = child.communicate(timeout=8)
        finally:
            stop.set()
            child.kill()
    assert child.returncode == 2, out + err
    assert "Traceback" not in out + err
    assert not list(pytester.path.glob("gpu-readiness-*"))


def test_a_cluster_that_cannot_be_reached_is_said_once_and_soon(
    server: StandIn, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PAGE_SECONDS", 2.0)
    dead = StandIn(server.snapshot)
    dead._server.server_close()
    began = time.monotonic()
    done = judge(pytester, dead)
    assert done.code == 4
    assert "cluster standin" in done.said
    assert "no answer within 2 s" in done.said
    assert time.monotonic() - began < 5


# --- strangers' content ----------------------------------------------------------------------------------------

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[32mALL NODES READY\x1b[0m"


def _listing(text: str, **metadata: str) -> Reply:
    return Reply(body=f'{{"kind": "List", "metadata": {json.dumps(metadata)}, "items": {text}}}'.encode())


def test_a_node_with_the_name_of_a_path_is_judged_and_nothing_is_written_there(
    server: StandIn, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("../../etc", "..", "/etc/gpu", "gpu-2/../gpu-1", "a\0b", "x" * 300, "GPU-UPPER", "-rf", "gpu 4\n")
    for name in names:
        node = json.loads(json.dumps(_node(server, "gpu-1")))
        node["metadata"]["name"] = name
        server.lists["nodes"].append(node)
    scratch = pytester.path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    written: set[str] = set()

    def look(request: Request) -> None:
        (folder,) = scratch.glob("gpu-readiness-*")
        written.update(path.name for path in (folder / "nodes").iterdir())
        written.update(f"outside: {path.name}" for path in scratch.iterdir() if path != folder)

    server.answer("GET /version", look)
    done = judge(pytester, server)
    assert done.code == 1, done.said
    found = nodes_of(done)
    assert [found.pop(name) for name in ("gpu-1", "gpu-2", "gpu-3")] == ["ready"] * 3
    assert len(found) == len(names)
    assert set(found.values()) == {"not-ready"}  # for they have no pods
    assert written == {"gpu-1", "gpu-2", "gpu-3"}


def test_escapes_in_labels_and_messages_do_not_reach_the_terminal(server: StandIn, pytester: pytest.Pytester) -> None:
    node = _node(server, "gpu-1")
    node["metadata"]["labels"]["nvidia.com/gpu.product"] = ESCAPES
    node["metadata"]["labels"][f"nvidia.com/{ESCAPES}"] = ESCAPES
    node["status"]["conditions"][0] |= {"status": "False", "reason": ESCAPES, "message": ESCAPES}
    server.answer("proxy/metrics", refusal(500, ESCAPES))
    server.answer("POST .*/pods$", refusal(403, ESCAPES))
    server.forbidden.add("create pods/exec")
    done = judge(pytester, server)
    assert done.code == 1
    assert "\x1b" not in done.said
    assert "\x07" not in done.said
    for path in (done.folder / "readiness-report").iterdir():
        assert "\x1b" not in path.read_text(encoding="utf-8")


def test_a_list_that_is_too_large_is_not_read(
    server: StandIn, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_PAGE", 1 << 20)
    filler = {"metadata": {"name": "x", "namespace": "y"}, "spec": {"nodeName": "gpu-1", "pad": "x" * 2_000_000}}
    server.lists["pods"].append(filler)  # 2 KB on the wire, for the stand-in compresses
    done = judge(pytester, server)
    assert done.code == 6, done.said
    assert unmeasured(done, "gpu-1", "runtime.components", "unparsable", "the answer is larger than 1 MiB")
    assert done.verdicts("gpu-1")["runtime.node-ready"] == "pass"


def test_nodes_that_are_too_many_bytes_are_no_fleet(
    server: StandIn, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_PAGE", 1 << 10)
    done = judge(pytester, server)
    assert done.code == 4
    assert "the answer is larger than" in done.said


@pytest.mark.parametrize("depth", [400, 950, 100_000])
def test_deep_nesting_breaks_nothing(
    depth: int, server: StandIn, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PAGE_SECONDS", 1.0)
    nested = '{"a": ' * depth + "{}" + "}" * depth
    server.answer("GET .*/clusterpolicies", _listing(f'[{{"metadata": {{"name": "policy"}}, "status": {nested}}}]'))
    done = judge(pytester, server)
    assert done.verdicts("gpu-1")["runtime.operator"] != "pass"
    assert done.verdicts("gpu-1")["runtime.components"] == "pass"


#: What lists are read for.
READERS = {"pods": "runtime.components", "runtimeclasses": "runtime.class", "clusterpolicies": "runtime.operator"}


@pytest.mark.parametrize("kind", ["nodes", *READERS])
@pytest.mark.parametrize("text", ["{}", "false", "[null]"])
def test_what_is_no_list_is_not_an_empty_one(kind: str, text: str, server: StandIn, pytester: pytest.Pytester) -> None:
    server.answer(rf"GET .*/{kind}\?limit", _listing(text))
    done = judge(pytester, server)
    if kind == "nodes":
        assert done.code == 4, done.said
        assert "something that is no list of objects" in done.said
    else:
        assert done.code == 6
        assert unmeasured(done, "gpu-1", READERS[kind], "unparsable", "something that is no list of objects")


@pytest.mark.parametrize("kind", ["nodes", *READERS])
@pytest.mark.parametrize("text", ["null", "[{}]", '[{"metadata": null, "spec": 7, "status": []}]'])
def test_lists_of_nothing_never_pass(kind: str, text: str, server: StandIn, pytester: pytest.Pytester) -> None:
    server.answer(rf"GET .*/{kind}\?limit", _listing(text))
    done = judge(pytester, server)
    if kind == "nodes":
        assert done.code == 4, done.said
    else:
        assert done.verdicts("gpu-1")[READERS[kind]] != "pass"
        assert done.code == (0 if kind == "clusterpolicies" else 1)


def test_pods_without_a_spec_do_not_disturb_the_others(server: StandIn, pytester: pytest.Pytester) -> None:
    odd: list[Any] = [
        {"metadata": {"name": "bare"}},
        {"metadata": {"name": "null", "labels": None}, "spec": None, "status": None},
        {"spec": {"nodeName": "gpu-1", "containers": [None, 1, {"name": 2, "ports": [None, {"containerPort": "x"}]}]}},
        {"metadata": {"name": 7, "labels": {"app": ["nvidia-dcgm-exporter"]}}, "spec": {"nodeName": ["gpu-1"]}},
    ]
    server.lists["pods"][:0] = odd
    done = judge(pytester, server)
    assert done.code == 0, done.said


def test_a_lone_surrogate_breaks_nothing(server: StandIn, pytester: pytest.Pytester) -> None:
    node = json.loads(json.dumps(_node(server, "gpu-1")))
    node["metadata"]["name"] = "gpu-\ud800"
    server.lists["nodes"].append(node)
    _node(server, "gpu-2")["metadata"]["labels"]["note"] = "\udfff"
    server.lists["clusterpolicies"][0]["status"]["conditions"][0]["message"] = "\ud800"
    done = judge(pytester, server)
    assert done.code == 1, done.said
    found = nodes_of(done)
    assert [found.pop(name) for name in ("gpu-1", "gpu-2", "gpu-3")] == ["ready"] * 3
    assert list(found.values()) == ["not-ready"]


@pytest.mark.parametrize("wait", ["²", "-1", "1e9", "soon", "99999999999999999999", ""])
def test_a_wait_that_nobody_can_wait_for_is_not_waited_for(
    wait: str, server: StandIn, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PAGE_SECONDS", 3.0)
    busy = Reply(429, {"kind": "Status", "message": "busy"}, (("Retry-After", wait),))
    server.answer("GET .*/runtimeclasses", busy, times=1)
    began = time.monotonic()
    done = judge(pytester, server)
    assert done.code in (0, 6), done.said
    assert time.monotonic() - began < 10


def test_a_list_that_goes_round_in_circles_ends(server: StandIn, pytester: pytest.Pytester) -> None:
    items = json.dumps(server.lists["nodefeatures"])
    server.answer("GET .*/nodefeatures", _listing(items, **{"continue": "again"}), times=500)
    done = judge(pytester, server)
    assert server.count("GET .*/nodefeatures") < 10
    assert done.code == 6
    assert unmeasured(done, "gpu-1", "labels.owned", "unparsable", "has no end")


@pytest.mark.parametrize("cut", [0, 1, 200])
def test_an_exporter_that_is_cut_off_is_no_measurement(cut: int, server: StandIn, pytester: pytest.Pytester) -> None:
    body = (server.snapshot / "nodes" / "gpu-1" / "dcgm.prom").read_bytes()
    server.answer("gpu-1.*proxy/metrics", Reply(body=body, cut=cut))
    done = judge(pytester, server)
    assert done.code == 6, done.said
    assert done.verdicts("gpu-1")["telemetry.scrape"] == "error"
    assert done.verdicts("gpu-2")["telemetry.scrape"] == "pass"


def test_an_exporter_that_speaks_tls_is_asked_so(server: StandIn, pytester: pytest.Pytester) -> None:
    server.answer("http:.*proxy/metrics", refusal(400, "Client sent an HTTP request to an HTTPS server."))
    done = judge(pytester, server)
    assert done.code == 0, done.said
    assert server.count("https:nvidia-dcgm-exporter.*/metrics") == 3

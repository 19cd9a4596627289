"""Asking a node's driver: which way is taken, what each of them finds, why not, and that nothing is left behind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import websocket
from api_server import Ends, Reply, Request, StandIn, judge, refusal, serving
from nodes import dra, h100
from sessions import Done, eventually
from websocket import ABNF

from gpu_readiness.cluster import execs, pods, probes
from gpu_readiness.cluster.access import ApiServer, Refused, Stopped
from gpu_readiness.cluster.execs import Execution, execute
from gpu_readiness.cluster.pods import OwnPods
from gpu_readiness.cluster.probes import Ladder, ProbeNode
from gpu_readiness.cluster.rights import DRA, EXEC, POD, Right
from gpu_readiness.cluster.stack import NodeStack
from gpu_readiness.evidence.gathered import Asked
from gpu_readiness.evidence.kube import Pod, RuntimeClass
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

Json = dict[str, Any]

XML = b"<nvidia_smi_log></nvidia_smi_log>"
NOT_LOADED = (
    b"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    b"Make sure that the latest NVIDIA driver is installed and running.\n"
)
NVIDIA = [RuntimeClass("nvidia", "nvidia")]
WAYS = ("dra", "pod", "exec")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    """One node."""
    fleet = h100()
    fleet.write(tmp_path / "served")
    with StandIn(tmp_path / "served") as found:
        yield found


@pytest.fixture
def api(server: StandIn, tmp_path: Path) -> ApiServer:
    return ApiServer.connect(str(server.kubeconfig(tmp_path)))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not wait between attempts."""
    monkeypatch.setattr(ApiServer, "pause", lambda self, seconds: None)


def reason_of(problem: Unmeasured) -> tuple[str, str]:
    return problem.reason.value, problem.message


# --- the ladder ------------------------------------------------------------------------------------------------


class _Rights:
    """What an identity may do, without an API server."""

    def __init__(self, lacking: Iterable[Right] = ()) -> None:
        self.lacking = set(lacking)

    def missing(self, rights: Iterable[Right]) -> list[Right]:
        return [right for right in rights if right in self.lacking]


class _Pods:
    """Pods that end as they are told, by the first letter of their name."""

    def __init__(self, states: dict[str, str]) -> None:
        self.states = {"d": states["dra"], "p": states["pod"]}
        self.made: list[str] = []

    def make(self, path: str, kind: str, body: Json) -> str:
        return "template"

    def run(self, name: str, node: str, spec: Json, target: Path, *, seconds: float, limit: int) -> Pod:
        self.made.append(name)
        state = self.states[name[0]]
        if state == "fails":
            raise Unmeasured(Reason.TIMEOUT, "the pod had not ended")
        target.write_bytes({"good": XML, "driver": NOT_LOADED, "silent": b" \n"}[state])
        code = 9 if state == "driver" else 0
        return Pod.of({"status": Ends("Failed" if code else "Succeeded", code).status()})


def _executing(state: str) -> Callable[..., Execution]:
    def run(*args: Any, **kwargs: Any) -> Execution:
        if state == "fails":
            raise Refused(404, "pod not found", {})
        said = {"good": (XML, b"", 0), "driver": (b"", NOT_LOADED, 9), "silent": (b"", b" ", 0)}[state]
        return Execution(*said, "")

    return run


def a_node(*components: str, **changes: Any) -> ProbeNode:
    """A node with these pods of the GPU stack."""
    stack = NodeStack()
    for name in components:
        stack.add(
            {
                "metadata": {"name": f"{name}-x", "namespace": "gpu-operator", "labels": {"app": name}},
                "spec": {"containers": [{"name": "main"}]},
                "status": {"phase": "Running"},
            }
        )
    return replace(ProbeNode("gpu-1", 0, stack, has_slices=True, default_runtime=False), **changes)


PLUGIN = "nvidia-device-plugin-daemonset"


def asked(ladder: Ladder, node: ProbeNode, target: Path, wanted: str = "auto") -> tuple[Asked, Unmeasured | None]:
    """How a node was asked, and why not if nobody answered."""
    told: list[Asked] = []
    try:
        ladder.ask(node, wanted, target, told.append)
    except Unmeasured as problem:
        return told[0], problem
    finally:
        assert len(told) == 1
    return told[0], None


def a_ladder(monkeypatch: pytest.MonkeyPatch, **states: str) -> Ladder:
    """With ways that are good, silent, closed, that fail, or print the driver's trouble."""
    states = dict.fromkeys(WAYS, "closed") | states
    rights = {"dra": DRA.rights[0], "pod": POD.rights[0], "exec": EXEC.rights[0]}
    lacking = [right for way, right in rights.items() if states[way] == "closed"]
    monkeypatch.setattr(probes, "execute", _executing(states["exec"]))
    own: Any = _Pods(states)
    ladder = Ladder(None, _Rights(lacking), own, None, NVIDIA, {}, 10.0)  # type: ignore[arg-type]
    ladder.offer_claims()
    return ladder


STATES = ("good", "driver", "silent", "fails", "closed")
#: What the state of a way is as evidence where no other one answers.
REASONS = {"dra": "timeout", "pod": "timeout", "exec": "missing"}


@pytest.mark.parametrize("wanted", ["auto", *WAYS])
def test_the_first_way_that_answers_is_taken_in_every_combination(
    wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for states in product(STATES, repeat=3):
        by_way = dict(zip(WAYS, states, strict=True))
        target = tmp_path / "nvidia-smi.xml"
        target.unlink(missing_ok=True)
        how, problem = asked(a_ladder(monkeypatch, **by_way), a_node(PLUGIN), target, wanted)
        tried = [way for way in WAYS if wanted in ("auto", way)]
        best = next((way for way in tried if by_way[way] in ("good", "driver")), None)
        assert how.way == (best or ""), by_way
        assert list(how.not_by) == tried[: tried.index(best)] if best else tried, by_way
        if best:
            assert problem is None
            assert target.read_bytes() == (XML if by_way[best] == "good" else NOT_LOADED)
            assert how.by == {"dra": "a pod of ours (d0)", "pod": "a pod of ours (p0)"}.get(
                best, f"gpu-operator/{PLUGIN}-x"
            )
            continue
        assert not target.exists()
        assert problem is not None
        open_ones = [way for way in tried if by_way[way] != "closed"]
        expected = "denied"
        if open_ones:
            last = open_ones[-1]
            expected = "unparsable" if by_way[last] == "silent" else REASONS[last]
        assert problem.reason == expected, by_way
        assert all(f"{way}: {how.not_by[way]}" in problem.message for way in tried)


def test_a_way_that_is_closed_says_which_right_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how, _ = asked(a_ladder(monkeypatch), a_node(PLUGIN), tmp_path / "x")
    assert 'resources: ["resourceclaimtemplates"], verbs: ["create"]' in how.not_by["dra"]
    assert 'resources: ["pods"], verbs: ["create"]' in how.not_by["pod"]
    assert 'resources: ["pods/exec"], verbs: ["create"]' in how.not_by["exec"]


def test_what_a_node_has_not_is_no_reason_to_deny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No slices, no RuntimeClass, no pod of the stack: nothing is forbidden, there is nothing to ask."""
    own: Any = _Pods(dict.fromkeys(WAYS, "good"))
    ladder = Ladder(None, _Rights(), own, None, [RuntimeClass("gvisor", "runsc")], {}, 10.0)  # type: ignore[arg-type]
    how, problem = asked(ladder, a_node(has_slices=False), tmp_path / "x")
    assert problem is not None
    assert problem.reason == "missing"
    assert how.not_by == {
        "dra": "no DRA driver publishes this node's GPUs",
        "pod": "no RuntimeClass of NVIDIA's in this cluster",
        "exec": "no pod of the GPU stack that runs here has nvidia-smi",
    }
    assert own.made == []


def test_where_nvidias_runtime_is_every_pods_no_class_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: Any = _Pods(dict.fromkeys(WAYS, "good"))
    ladder = Ladder(None, _Rights(), own, None, [], {}, 10.0)  # type: ignore[arg-type]
    assert asked(ladder, a_node(default_runtime=True, has_slices=False), tmp_path / "x")[0].way == "pod"


@pytest.mark.parametrize(("kind", "way"), [("resourceslices", "dra"), ("runtimeclasses", "pod")])
def test_what_could_not_be_listed_is_not_taken_for_absent(
    kind: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: Any = _Pods(dict.fromkeys(WAYS, "good"))
    unlisted = {kind: Unmeasured(Reason.DENIED, f"may not list {kind}")}
    ladder = Ladder(None, _Rights(), own, None, [], unlisted, 10.0)  # type: ignore[arg-type]
    how, problem = asked(ladder, a_node(has_slices=False), tmp_path / "x", way)
    assert how.not_by == {way: f"may not list {kind}"}
    assert problem is not None
    assert problem.reason == "denied"


def test_a_node_that_is_not_ready_is_asked_by_exec_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = a_ladder(monkeypatch, dra="good", pod="good", exec="good")
    how, _ = asked(ladder, a_node(PLUGIN, ready=False), tmp_path / "x")
    assert how.way == "exec"
    assert "not Ready" in how.not_by["pod"]


@pytest.mark.parametrize(
    ("classes", "chosen"),
    [
        ([("nvidia", "nvidia")], "nvidia"),
        ([("a", "nvidia"), ("nvidia-legacy", "nvidia-legacy"), ("nvidia-cdi", "nvidia-cdi")], "nvidia-cdi"),
        ([("zz", "nvidia-x"), ("gpu", "nvidia")], "gpu"),
        ([("nvidia", "runc")], ""),
    ],
)
def test_which_runtime_class_is_used(classes: list[tuple[str, str]], chosen: str) -> None:
    assert probes._runtime_class([RuntimeClass(*each) for each in classes]) == chosen


# --- pods of the stack -----------------------------------------------------------------------------------------

WITNESSES = (PLUGIN, "nvidia-dcgm-exporter", "nvidia-mig-manager", "gpu-feature-discovery", "nvidia-operator-validator")


def by_exec(
    answers: list[Execution | Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], Asked, Unmeasured | None]:
    """The pods that were asked, one answer after the other, and what came of it."""
    seen: list[str] = []

    def run(api: Any, namespace: str, pod: str, container: str, command: list[str], **limits: Any) -> Execution:
        assert command == ["nvidia-smi", "-q", "-x"]
        seen.append(pod)
        answer = answers[len(seen) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    ladder = a_ladder(monkeypatch, exec="good")
    monkeypatch.setattr(probes, "execute", run)
    how, problem = asked(ladder, a_node(*reversed(WITNESSES)), tmp_path / "smi", "exec")
    return seen, how, problem


NO_SMI = Execution(b"", b"", None, 'exec: "nvidia-smi": executable file not found in $PATH: unknown')
NOT_THERE = Execution(b"", b"sh: nvidia-smi: not found", 127, "")
GOOD = Execution(XML, b"", 0, "")


@pytest.mark.parametrize("first", [NO_SMI, NOT_THERE, Refused(404, "gone", {}), Unmeasured(Reason.TIMEOUT, "late")])
def test_the_next_pod_is_asked_where_one_has_no_nvidia_smi(
    first: Execution | Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, how, problem = by_exec([first, GOOD], tmp_path, monkeypatch)
    assert problem is None
    assert seen == [f"{PLUGIN}-x", "nvidia-dcgm-exporter-x"]
    assert how.by == "gpu-operator/nvidia-dcgm-exporter-x"


def test_no_more_than_four_pods_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _, problem = by_exec([NO_SMI] * 5, tmp_path, monkeypatch)
    assert len(seen) == 4
    assert problem is not None
    assert reason_of(problem)[0] == "missing"


def test_who_may_not_exec_in_one_pod_does_not_try_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _, problem = by_exec([Refused(403, "forbidden", {}), GOOD], tmp_path, monkeypatch)
    assert len(seen) == 1
    assert problem is not None
    assert problem.reason == "denied"
    assert 'resources: ["pods/exec"], verbs: ["create"]' in problem.message


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (Execution(XML, b"warning", 0, ""), XML),
        (Execution(b"", NOT_LOADED, 9, ""), NOT_LOADED),
        (Execution(NOT_LOADED, b"", 127, ""), NOT_LOADED),
        (Execution(b" \n", NOT_LOADED, 255, ""), NOT_LOADED),
    ],
)
def test_what_nvidia_smi_prints_is_the_measurement(
    answer: Execution, printed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, how, problem = by_exec([answer], tmp_path, monkeypatch)
    assert (len(seen), how.way, problem) == (1, "exec", None)
    assert (tmp_path / "smi").read_bytes() == printed


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (Execution(b"", b"", 0, ""), "unparsable", "printed nothing and ended with 0"),
        (Execution(b"", b"", None, "container is paused"), "timeout", "container is paused"),
        (Refused(500, "dial tcp", {}), "timeout", "dial tcp (HTTP 500)"),
    ],
)
def test_what_is_no_measurement_by_exec(
    answer: Execution | Exception, reason: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, how, problem = by_exec([answer] * 4, tmp_path, monkeypatch)
    assert how.way == ""
    assert problem is not None
    assert problem.reason == reason
    assert words in problem.message
    assert not (tmp_path / "smi").exists()


def test_pods_that_do_not_run_are_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = a_node(PLUGIN)
    for changes in ({"phase": "Pending"}, {"phase": "Succeeded"}):
        node.stack.others.clear()
        node.stack.add({"metadata": {"name": "p", "labels": {"app": PLUGIN}}, "status": changes})
        assert node.stack.witnesses == []
    deleting = {"name": "p", "labels": {"app": PLUGIN}, "deletionTimestamp": "2026-11-20T00:00:00Z"}
    node.stack.add({"metadata": deleting, "status": {"phase": "Running"}})
    assert node.stack.witnesses == []


# --- exec, frame by frame --------------------------------------------------------------------------------------


class _Socket:
    """Hands out scripted frames; an exception is raised in its place."""

    def __init__(self, *frames: Any) -> None:
        self.frames = list(frames)
        self.timeouts: list[float] = []
        self.closed = False

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def recv_data_frame(self, control_frame: bool) -> tuple[int, Any]:
        assert control_frame
        frame = self.frames.pop(0)
        if isinstance(frame, Exception):
            raise frame
        if callable(frame):
            frame = frame()
        code, data = frame
        return code, SimpleNamespace(data=data)

    def shutdown(self) -> None:
        self.closed = True


def out(data: bytes, channel: int = 1, code: int = ABNF.OPCODE_BINARY) -> tuple[int, bytes]:
    return code, bytes([channel]) + data


def ended(**status: Any) -> tuple[int, bytes]:
    return out(json.dumps(status).encode(), 3)


SUCCESS = ended(metadata={}, status="Success")
CLOSE = (ABNF.OPCODE_CLOSE, b"\x03\xe8")


def failed(code: str, reason: str = "ExitCode") -> tuple[int, bytes]:
    details = {"causes": [{"reason": "Other", "message": "7"}, {"reason": reason, "message": code}]}
    return ended(status="Failure", reason="NonZeroExitCode", message=f"exit code {code}", details=details)


def read(*frames: Any, seconds: float = 20.0, limit: int = 1 << 20) -> Execution:
    return execs._read(_Socket(*frames), time.monotonic() + seconds, limit)


def test_streams_are_put_together_until_the_command_ends() -> None:
    frames = (
        out(b""),
        out(b"<a>"),
        (ABNF.OPCODE_PING, b"\x01nothing of ours"),
        out(b"careful", 2),
        (ABNF.OPCODE_BINARY, b""),
        out(b"!", 7),
        out(b"</a>", code=ABNF.OPCODE_TEXT),
        SUCCESS,
        AssertionError("nothing is read after the end"),
    )
    assert read(*frames) == Execution(b"<a></a>", b"careful", 0, "")


@pytest.mark.parametrize("code", ["1", "9", "255"])
def test_an_exit_code_is_read(code: str) -> None:
    assert read(out(b"no driver"), failed(code)) == Execution(b"no driver", b"", int(code), "")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (failed("9", "Unknown"), "exit code 9"),
        (failed("nine"), "exit code nine"),
        (ended(status="Failure", message="container not found"), "container not found"),
        (ended(status="Failure", details={"causes": [None, 7]}), "no reason given"),
        (ended(), "no reason given"),
        (out(b"[]", 3), "no reason given"),
        (ended(message="x" * 10_000), "x" * 500),
    ],
)
def test_a_command_that_never_began_has_no_exit_code(status: Any, said: str) -> None:
    assert read(status) == Execution(b"", b"", None, said)


@pytest.mark.parametrize("frames", [(CLOSE,), (out(b"<nvidia_smi_log>"), CLOSE), (out(b"{", 3),), (out(b"gone", 3),)])
def test_a_connection_that_ends_before_the_command_is_no_answer(frames: tuple[Any, ...]) -> None:
    with pytest.raises(ConnectionError, match="ended before the command did"):
        read(*frames)


def test_a_command_that_prints_without_end_is_left() -> None:
    with pytest.raises(Unmeasured, match="more than 1 MiB") as problem:
        read(*[out(b"x" * 60_000)] * 100)
    assert problem.value.reason == "unparsable"
    with pytest.raises(Unmeasured) as problem:
        read(*[out(b"x" * 60_000, 2)] * 3)
    assert problem.value.reason == "unparsable"


def test_a_command_that_drips_without_end_is_left_in_time() -> None:
    def drip() -> tuple[int, bytes]:
        time.sleep(0.05)
        return out(b".")

    began = time.monotonic()
    with pytest.raises(Unmeasured, match="had not ended in time") as problem:
        read(*[drip] * 100, seconds=0.3)
    assert problem.value.reason == "timeout"
    assert time.monotonic() - began < 2


def test_a_command_that_is_silent_for_long_has_all_of_its_time() -> None:
    """nvidia-smi initialises every GPU first where nobody keeps the driver loaded."""
    socket = _Socket(out(XML), SUCCESS)
    execs._read(socket, time.monotonic() + 90, 1 << 20)
    assert all(85 < seconds <= 90 for seconds in socket.timeouts)


def _execute(monkeypatch: pytest.MonkeyPatch, *sockets: Any, seconds: float = 20.0) -> tuple[Execution, int]:
    """What came of it, and how many connections that took."""
    left = list(sockets)

    def connect(*arguments: Any) -> Any:
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(execs, "_connect", connect)
    api: Any = SimpleNamespace(pause=lambda seconds: None)
    done = execute(api, "n", "p", "c", ["x"], end=time.monotonic() + seconds, limit=1 << 20)
    assert all(each.closed for each in sockets[: len(sockets) - len(left)] if isinstance(each, _Socket))
    return done, len(sockets) - len(left)


@pytest.mark.parametrize(
    "first",
    [
        _Socket(out(b"half"), CLOSE),
        _Socket(websocket.WebSocketConnectionClosedException("gone")),
        ConnectionRefusedError("no route"),
        websocket.WebSocketBadStatusException("Handshake status %s", 503),
    ],
    ids=["close", "lost", "refused", "503"],
)
def test_a_command_whose_connection_breaks_is_run_once_more(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _execute(monkeypatch, first, _Socket(out(XML), SUCCESS)) == (Execution(XML, b"", 0, ""), 2)


def test_a_command_whose_connection_always_breaks_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unmeasured, match="exec in n/p: the connection ended before") as problem:
        _execute(monkeypatch, _Socket(CLOSE), _Socket(CLOSE), _Socket(SUCCESS))
    assert problem.value.reason == "timeout"
    with pytest.raises(Unmeasured, match="exec in n/p: timed out"):
        _execute(monkeypatch, _Socket(websocket.WebSocketTimeoutException("timed out")), seconds=0.1)
    with pytest.raises(Refused) as refused:
        _execute(monkeypatch, *[websocket.WebSocketBadStatusException("Handshake status %s", 500)] * 2)
    assert refused.value.status == 500


def test_a_limit_is_no_reason_to_run_a_command_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    flood = _Socket(*[out(b"x" * 600_000)] * 2)
    with pytest.raises(Unmeasured, match="printed more than"):
        _execute(monkeypatch, flood, _Socket(SUCCESS))
    assert flood.closed


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (refusal(403, "pods is forbidden"), "pods is forbidden"),
        (Reply(403, b"plain words"), "plain words"),
        (Reply(403, b"[7]"), "[7]"),
        (Reply(403, b""), "exec refused"),
    ],
)
def test_a_handshake_that_is_refused_says_why(reply: Reply, message: str, server: StandIn, api: ApiServer) -> None:
    server.answer("/exec", reply)
    with pytest.raises(Refused) as problem:
        execute(api, "n", "p", "c", ["nvidia-smi", "-q"], end=time.monotonic() + 5, limit=100)
    assert (problem.value.status, problem.value.message) == (403, message)
    (asked,) = server.requests
    assert asked.path == "/api/v1/namespaces/n/pods/p/exec"
    assert "container=c&stdout=true&stderr=true&command=nvidia-smi&command=-q" in asked.line


# --- pods of our own -------------------------------------------------------------------------------------------

SPEC = {"containers": [{"command": ["nvidia-smi"]}]}


@pytest.fixture
def own(api: ApiServer) -> Iterator[OwnPods]:
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as found:
        yield found


def run(own: OwnPods, target: Path, seconds: float = 10.0, name: str = "p0") -> Pod:
    return own.run(name, "gpu-1", SPEC, target, seconds=seconds, limit=1 << 20)


def run_in_vain(own: OwnPods, target: Path, seconds: float = 10.0) -> tuple[str, str]:
    """Reason and message of a pod that measured nothing, and that left nothing."""
    with pytest.raises(Unmeasured) as problem:
        run(own, target, seconds)
    assert not target.exists()
    return reason_of(problem.value)


def test_the_log_of_a_pod_is_what_it_printed(server: StandIn, own: OwnPods, tmp_path: Path) -> None:
    pod = run(own, tmp_path / "log")
    assert pod.phase == "Succeeded"
    assert (tmp_path / "log").read_bytes() == (server.snapshot / "nodes" / "gpu-1" / "nvidia-smi.xml").read_bytes()
    assert [item["kind"] for item in server.made.values()] == ["Job"]


def test_what_is_made_belongs_to_a_job_that_ends(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        own.make("/apis/resource.k8s.io/v1", "resourceclaimtemplates", {"kind": "ResourceClaimTemplate"})
        run(own, tmp_path / "log")
        (job,) = [item for item in server.made.values() if item["kind"] == "Job"]
    assert job["spec"]["parallelism"] == 0
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"]) == (60, 0)
    template, pod = server.bodies("POST .*/resourceclaimtemplates$") + server.bodies("POST .*/pods$")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "gpu-readiness-run", "uid": job["metadata"]["uid"]}
    for each in (template, pod):
        assert each["metadata"]["ownerReferences"] == [owner]
    for each in (job, template, pod):
        assert each["metadata"]["labels"]["gpu-readiness.dev/run"] == "run"
        assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "gpu-readiness"
    assert server.made == {}


def test_a_pod_of_ours_takes_nothing_and_may_nothing(server: StandIn, own: OwnPods, tmp_path: Path) -> None:
    run(own, tmp_path / "log")
    (pod,) = server.bodies("POST .*/pods$")
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert container["resources"] == {"requests": {"cpu": "10m", "memory": "32Mi"}}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["activeDeadlineSeconds"] == 60
    assert "nodeName" not in spec  # the scheduler shall count it
    assert (container["image"], container["command"]) == ("any/image", ["nvidia-smi"])


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("ImagePullBackOff", "missing"),
        ("InvalidImageName", "missing"),
        ("ErrImageNeverPull", "missing"),
        ("CreateContainerConfigError", "timeout"),
        ("CreateContainerError", "timeout"),
        ("RunContainerError", "timeout"),
    ],
)
def test_a_pod_that_cannot_start_is_not_waited_for(
    waiting: str, reason: str, server: StandIn, own: OwnPods, tmp_path: Path
) -> None:
    server.ends["gpu-1"] = Ends("Pending", None, waiting=waiting, said="Back-off pulling image")
    began = time.monotonic()
    assert run_in_vain(own, tmp_path / "log", 60.0) == (
        reason,
        f"the pod cannot start: {waiting}: Back-off pulling image",
    )
    assert time.monotonic() - began < 5
    assert [item["kind"] for item in server.made.values()] == ["Job"]


def test_a_pod_that_the_scheduler_finds_no_place_for_means_busy(
    server: StandIn, own: OwnPods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "_PLACE_SECONDS", 0.2)
    server.ends["gpu-1"] = Ends("Pending", None, "Unschedulable", "0/3 nodes are available", placed=False)
    reason, message = run_in_vain(own, tmp_path / "log", 60.0)
    assert reason == "busy"
    assert "found no place for the pod: Pending Unschedulable 0/3 nodes are available" in message


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (Ends(""), "nothing was heard of it|Unknown"),
        (Ends("Running"), "Running"),
        (Ends("Pending", None, waiting="ContainerCreating"), "Pending ContainerCreating"),
        (Ends("Pending", None, waiting="ErrImagePull", said="EOF"), "Pending EOF ErrImagePull EOF"),
    ],
)
def test_a_pod_that_does_not_end_is_a_timeout(
    ends: Ends, words: str, server: StandIn, own: OwnPods, tmp_path: Path
) -> None:
    server.ends["gpu-1"] = ends
    reason, message = run_in_vain(own, tmp_path / "log", 0.3)
    assert reason == "timeout"
    assert message.startswith("the pod had not ended after 0.3 s: ")
    assert message.removeprefix("the pod had not ended after 0.3 s: ") in words.split("|")
    assert server.count("DELETE .*/pods/gpu-readiness-run-p0$") == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("reply", "reason", "words"),
    [
        (refusal(403, "exceeded quota"), "denied", 'resources: ["pods"], verbs: ["create"]'),
        (refusal(422, "denied by policy no-root"), "denied", "denied by policy no-root (HTTP 422)"),
        (refusal(400, "admission webhook said no"), "denied", "admission webhook said no (HTTP 400)"),
        (refusal(404, "namespace not found"), "missing", "namespace not found (HTTP 404)"),
        (refusal(500, "etcd"), "timeout", "etcd (HTTP 500)"),
        (refusal(429, "slow down"), "timeout", "slow down (HTTP 429)"),
        (Reply(201, b"what?"), "unparsable", "no JSON object"),
        (Reply(cut=0, body=b"x"), "timeout", "no answer within"),
    ],
    ids=["403", "422", "400", "404", "500", "429", "garbled", "lost"],
)
def test_a_pod_that_cannot_be_made(
    reply: Reply, reason: str, words: str, server: StandIn, own: OwnPods, tmp_path: Path
) -> None:
    server.answer("POST .*/pods$", reply)
    found, message = run_in_vain(own, tmp_path / "log")
    assert found == reason
    assert words in message


def test_a_pod_whose_making_was_not_answered_is_taken_up(server: StandIn, own: OwnPods, tmp_path: Path) -> None:
    def lose(request: Request) -> Reply:
        server._write(request, None)
        return Reply(cut=0, body=b"x")

    server.answer("POST .*/pods$", lose, times=1)
    assert run(own, tmp_path / "log").phase == "Succeeded"
    assert server.count("POST .*/pods$") == 2


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("reply", "reason", "words"),
    [
        (refusal(403), "denied", 'resources: ["pods/log"], verbs: ["get"]'),
        (refusal(404, "gone"), "missing", "gone"),
        (refusal(500, "kubelet is away"), "timeout", "kubelet is away"),
        (Reply(body=b"x" * (1 << 21)), "unparsable", "larger than"),
        (Reply(body=b"x" * 1000, cut=10), "timeout", "no answer within"),
    ],
    ids=["403", "404", "500", "large", "cut"],
)
def test_a_log_that_cannot_be_read(
    reply: Reply, reason: str, words: str, server: StandIn, own: OwnPods, tmp_path: Path
) -> None:
    server.answer("/log", reply)
    found, message = run_in_vain(own, tmp_path / "log")
    assert found == reason
    assert words in message
    assert [item["kind"] for item in server.made.values()] == ["Job"]


# --- the watch -------------------------------------------------------------------------------------------------


def in_the_background(task: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread that does it, and what came of it once it has ended."""
    came: list[object] = []

    def work() -> None:
        try:
            came.append(task())
        except Exception as problem:  # noqa: BLE001 - for the test to look at
            came.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, came


WATCHES = r"GET .*/pods\?watch="


def test_a_watch_that_breaks_comes_back(server: StandIn, own: OwnPods, tmp_path: Path) -> None:
    server.ends["gpu-1"] = Ends("Pending", None, waiting="ContainerCreating")
    thread, came = in_the_background(lambda: run(own, tmp_path / "log", 30.0))
    assert eventually(lambda: server.count(WATCHES) == 1 and server.count("POST .*/pods$") == 1)

    def broken_again() -> bool:
        server.break_watches()  # again and again: one that is only about to begin is not there to be broken
        return server.count(WATCHES) >= 3

    assert eventually(broken_again)
    server.change("gpu-1", Ends())
    thread.join(10)
    assert [each.phase for each in came if isinstance(each, Pod)] == ["Succeeded"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "reply",
    [
        refusal(500),
        refusal(410, "too old resource version"),
        Reply(cut=0, body=b"x"),
        Reply(body=b'{"type": "ERROR", "object": {"kind": "Status", "code": 410}}\n'),
        Reply(body=b"no JSON\n[]\n7\n{}\n" + b'{"object": {"kind": "Pod"}}\n'),
        Reply(body=b"[" * 100_000 + b"\n"),
    ],
    ids=["500", "410", "lost", "expired", "garbled", "deep"],
)
def test_a_watch_in_trouble_is_begun_anew(reply: Reply, server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.answer(WATCHES, reply, times=2)
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        assert run(own, tmp_path / "log").phase == "Succeeded"
    assert server.count(WATCHES) == 3
    assert server.made == {}


def test_who_may_not_watch_is_told_the_rule(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    server.forbidden.add("watch pods")
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        began = time.monotonic()
        reason, message = run_in_vain(own, tmp_path / "log", 60.0)
        assert time.monotonic() - began < 5
    assert reason == "denied"
    assert 'resources: ["pods"], verbs: ["watch"]' in message
    assert server.made == {}


def test_one_watch_serves_many_pods_at_once(server: StandIn, own: OwnPods, tmp_path: Path) -> None:
    running = [
        in_the_background(lambda number=number: run(own, tmp_path / f"log{number}", name=f"p{number}"))  # type: ignore[misc]
        for number in range(20)
    ]
    for thread, _ in running:
        thread.join(20)
    assert all(isinstance(came[0], Pod) for _, came in running)
    assert server.count(WATCHES) == 1


# --- leaving nothing behind ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reply", [refusal(403), refusal(500), refusal(404), Reply(cut=0, body=b"x")])
def test_a_pod_that_cannot_be_removed_goes_with_its_owner(
    reply: Reply, server: StandIn, api: ApiServer, tmp_path: Path
) -> None:
    server.answer("DELETE .*/pods/", reply)
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        assert run(own, tmp_path / "log").phase == "Succeeded"
        assert len(server.made) == 2
    assert server.made == {}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reply", [refusal(403), refusal(500), Reply(cut=0, body=b"x")])
def test_one_thing_that_cannot_be_removed_keeps_nothing_else(reply: Reply, server: StandIn, api: ApiServer) -> None:
    server.answer("DELETE .*/resourceclaimtemplates/", reply)
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        own.make("/apis/resource.k8s.io/v1", "resourceclaimtemplates", {"kind": "ResourceClaimTemplate"})
    assert server.count("DELETE .*/jobs/") == 1
    assert server.made == {}  # for Kubernetes takes along what the Job owns


def test_an_owner_that_cannot_be_removed_is_no_fault_of_the_run(
    server: StandIn, api: ApiServer, tmp_path: Path
) -> None:
    server.forbidden.add("delete jobs")
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        run(own, tmp_path / "log")
    assert [item["spec"]["activeDeadlineSeconds"] for item in server.made.values()] == [60]


def test_an_exception_removes_all_the_same(server: StandIn, api: ApiServer) -> None:
    with suppress(KeyboardInterrupt), OwnPods(api, "probes", "run", "any/image", lifetime=60):
        assert server.made
        raise KeyboardInterrupt
    assert server.made == {}


def test_nothing_is_made_once_all_is_being_removed(server: StandIn, api: ApiServer, tmp_path: Path) -> None:
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        pass
    before = len(server.requests)
    with pytest.raises(Stopped):
        run(own, tmp_path / "log")
    assert len(server.requests) == before


def test_who_waits_for_a_pod_stops_waiting_once_all_is_being_removed(
    server: StandIn, api: ApiServer, tmp_path: Path
) -> None:
    server.ends["gpu-1"] = Ends("Pending", None, waiting="ContainerCreating")
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        thread, came = in_the_background(lambda: run(own, tmp_path / "log", 60.0))
        assert eventually(lambda: len(server.made) == 2)
    thread.join(5)
    assert isinstance(came[0], Stopped)
    assert server.made == {}


def test_no_watch_is_left_behind(server: StandIn, api: ApiServer) -> None:
    with OwnPods(api, "probes", "run", "any/image", lifetime=60) as own:
        assert eventually(lambda: server.count(WATCHES) == 1)
    assert not own._watcher.is_alive()


def test_an_owner_whose_making_was_not_answered_is_removed(server: StandIn, api: ApiServer) -> None:
    def lose(request: Request) -> Reply:
        server._write(request, None)
        return Reply(cut=0, body=b"x")

    server.answer("POST .*/jobs$", lose, times=1)
    with pytest.raises(Refused) as problem, OwnPods(api, "probes", "run", "any/image", lifetime=60):
        pass
    assert problem.value.status == 409
    assert server.made == {}


def test_an_owner_that_may_not_be_made_is_not_removed_either(server: StandIn, api: ApiServer) -> None:
    server.forbidden.add("create jobs")
    with pytest.raises(Refused), OwnPods(api, "probes", "run", "any/image", lifetime=60):
        pass
    assert server.count("DELETE") == 0


# --- whole runs ------------------------------------------------------------------------------------------------


def driver(done: Done, node: str = "gpu-1") -> tuple[str, str | None]:
    result = done.result(node, "driver.nvml")
    return result["verdict"], result["reason"]


def asked_of(done: Done, node: str = "gpu-1") -> Json:
    found: Json = next(each["asked"] for each in done.report["nodes"] if each["name"] == node)
    return found


def test_what_the_driver_says_of_itself_is_a_fault_of_the_node(pytester: pytest.Pytester) -> None:
    with serving(h100(), pytester.path) as server:
        server.ends["gpu-1"] = Ends("Failed", 9, log=NOT_LOADED)
        done = judge(pytester, server)
    assert done.code == 1
    assert driver(done) == ("fail", None)
    assert asked_of(done)["way"] == "pod"


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        (Ends("Failed", 128, said='exec: "nvidia-smi": executable file not found in $PATH'), ("untested", "denied")),
        (Ends("Failed", 127, log=b"sh: nvidia-smi: not found"), ("untested", "denied")),
        (Ends("Failed", None, "UnexpectedAdmissionError", "no such device"), ("untested", "denied")),
        (Ends("Succeeded", log=b""), ("error", "unparsable")),
        (Ends("Failed", 137, log=b" "), ("error", "unparsable")),
        (Ends("Succeeded", log=b"hello"), ("error", "unparsable")),
        (Ends("Succeeded", log=XML[:20]), ("error", "unparsable")),
        (Ends("Pending", None, waiting="ImagePullBackOff"), ("untested", "missing")),
        (Ends("Pending", None, waiting="ContainerCreating"), ("error", "timeout")),
    ],
    ids=lambda each: each.waiting or each.reason or f"{each.code}" if isinstance(each, Ends) else "",
)
def test_a_pod_that_measured_nothing_is_no_verdict_on_the_node(
    ends: Ends, verdict: tuple[str, str], pytester: pytest.Pytester
) -> None:
    with serving(h100(), pytester.path) as server:
        server.ends["gpu-1"] = ends
        done = judge(pytester, server, "--readiness-probe", "pod", "--readiness-probe-timeout", "1")
        assert server.made == {}
    assert done.code == 6, done.said
    assert driver(done) == verdict


@pytest.mark.parametrize(
    ("probe", "ways", "makes"),
    [("auto", ["dra", "pod", "exec"], True), ("pod", ["pod"], True), ("dra", ["dra"], True), ("exec", ["exec"], False)],
)
def test_only_the_way_that_is_wanted_is_tried(
    probe: str, ways: list[str], makes: bool, pytester: pytest.Pytester
) -> None:
    with serving(h100(), pytester.path) as server:
        server.ends["gpu-1"] = Ends("Failed", None, "Evicted")
        server.answer("/exec", refusal(404, "no exec here"))
        done = judge(pytester, server, "--readiness-probe", probe)
        assert bool(server.count("POST .*/jobs$")) == makes
        assert bool(server.count("/exec")) == ("exec" in ways)
        assert server.made == {}
    assert done.code == 6
    assert list(asked_of(done)["not_by"]) == ways


@pytest.mark.parametrize("right", [right for right in POD.rights if right.resource != "pods/log"], ids=lambda r: r.rule)
def test_no_pod_is_made_where_one_right_for_them_is_missing(right: Right, pytester: pytest.Pytester) -> None:
    with serving(h100(), pytester.path) as server:
        server.forbidden.add(f"{right.verb} {right.resource}")
        server.forbidden.add("create pods/exec")
        done = judge(pytester, server)
        assert server.count("POST .*/(pods|jobs)$") == 0
    assert driver(done) == ("untested", "denied")
    assert right.rule in asked_of(done)["not_by"]["pod"]


def test_rights_that_nobody_tells_of_are_tried(pytester: pytest.Pytester) -> None:
    with serving(h100(), pytester.path) as server:
        server.answer("selfsubjectaccessreviews", refusal(403))
        done = judge(pytester, server)
        assert done.code == 0, done.said
        server.forbidden.add("create jobs")
        denied = judge(pytester, server)
    assert asked_of(done)["way"] == "pod"
    assert driver(denied)[0] == "untested"
    assert 'resources: ["jobs"], verbs: ["create"]' in asked_of(denied)["not_by"]["pod"]


@pytest.mark.parametrize("reply", [refusal(422, "admin access needs a label"), refusal(403, "admin"), refusal(404)])
def test_claims_that_are_refused_leave_the_other_ways_open(reply: Reply, pytester: pytest.Pytester) -> None:
    fleet = dra()
    fleet.pods.append(h100().pod("nvidia-dcgm-exporter"))
    with serving(fleet, pytester.path) as server:
        server.answer("POST .*/resourceclaimtemplates$", reply)
        done = judge(pytester, server)
        only = judge(pytester, server, "--readiness-probe", "dra")
    assert done.code == 0, done.said
    assert asked_of(done)["way"] == "pod"
    assert only.code == 6
    assert driver(only) == ("untested", "missing" if reply.status == 404 else "denied")


def test_a_claim_is_for_administration_and_for_all_gpus(pytester: pytest.Pytester) -> None:
    fleet = dra()
    fleet.pods.append(h100().pod("nvidia-dcgm-exporter"))
    with serving(fleet, pytester.path) as server:
        assert asked_of(judge(pytester, server, "--readiness-namespace", "other"))["way"] == "dra"
        (template,) = server.bodies("POST .*/namespaces/other/resourceclaimtemplates$")
        (pod,) = server.bodies("POST .*/namespaces/other/pods$")
        assert server.made == {}
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    assert request["exactly"] == {"deviceClassName": "gpu.nvidia.com", "adminAccess": True, "allocationMode": "All"}
    (claim,) = pod["spec"]["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == template["metadata"]["name"]
    assert pod["spec"]["containers"][0]["resources"] == {"claims": [{"name": claim["name"]}]}
    assert "runtimeClassName" not in pod["spec"]


def test_image_and_runtime_class_are_the_clusters(pytester: pytest.Pytester) -> None:
    with serving(h100(), pytester.path) as server:
        server.lists["runtimeclasses"] = [{"metadata": {"name": "gpu-runtime"}, "handler": "nvidia-cdi"}]
        judge(pytester, server, "--readiness-probe-image", "registry.example/base:1")
        (pod,) = server.bodies("POST .*/pods$")
    assert pod["spec"]["runtimeClassName"] == "gpu-runtime"
    assert pod["spec"]["containers"][0]["image"] == "registry.example/base:1"
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"} in pod["spec"]["containers"][0]["env"]


def test_a_node_in_trouble_does_not_keep_the_others(pytester: pytest.Pytester) -> None:
    with serving(h100(nodes=4), pytester.path) as server:
        server.ends["gpu-2"] = Ends("Pending", None, waiting="ContainerCreating")
        server.ends["gpu-3"] = Ends("Failed", 9, log=NOT_LOADED)
        server.forbidden.add("create pods/exec")
        done = judge(pytester, server, "--readiness-probe-timeout", "1")
    assert {node["name"]: node["verdict"] for node in done.report["nodes"]} == {
        "gpu-1": "ready",
        "gpu-2": "unknown",
        "gpu-3": "not-ready",
        "gpu-4": "ready",
    }
    assert driver(done, "gpu-2") == ("error", "timeout")

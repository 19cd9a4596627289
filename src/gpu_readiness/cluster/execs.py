"""Running a command in a container that is already there, bounded in time and output."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from gpu_readiness.cluster.access import CONNECT_TIMEOUT, PASSING, ApiServer, Refused
from gpu_readiness.evidence.kube import mapping, sequence, text
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

_STDOUT, _STDERR, _ERROR = 1, 2, 3
_MAX_WORDS = 1 << 16
#: Seconds before a second attempt.
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Execution:
    """How a command ended: `code` is None if it never began, and `trouble` says what the runtime said then."""

    stdout: bytes
    stderr: bytes
    code: int | None
    trouble: str


def execute(
    api: ApiServer, namespace: str, pod: str, container: str, command: list[str], *, end: float, limit: int
) -> Execution:
    """Run a command and wait for its end; one whose connection breaks, or did not come about, is run once more.

    Args:
        api: the API server.
        namespace: the pod's.
        pod: its name.
        container: one of its containers.
        command: program and arguments; harmless if it runs twice.
        end: when to give up, by the monotonic clock.
        limit: bytes of output.

    Raises:
        Refused: the API server, or the kubelet, did not let us.
        Unmeasured: `timeout` if it had not ended in time, `unparsable` if it printed more than `limit` bytes.
    """
    import websocket

    for last in (False, True):
        try:
            socket = _connect(api, namespace, pod, container, command)
            try:
                return _read(socket, end, limit)
            finally:
                socket.shutdown()
        except websocket.WebSocketBadStatusException as problem:
            if last or problem.status_code not in PASSING:
                raise _refused(problem) from None
        except (websocket.WebSocketException, OSError) as problem:
            if last or time.monotonic() + _PAUSE > end:
                said = f"exec in {namespace}/{pod}: {str(problem)[:200]}"
                raise Unmeasured(Reason.TIMEOUT, said) from None
        api.pause(_PAUSE)
    raise AssertionError("unreachable")


def _connect(api: ApiServer, namespace: str, pod: str, container: str, command: list[str]) -> Any:
    import websocket
    from kubernetes.stream.ws_client import create_websocket

    # The only way to give the client's websocket a time limit. The process has no other websockets.
    websocket.setdefaulttimeout(CONNECT_TIMEOUT)
    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", each) for each in command)]
    path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/exec?{urlencode(query)}"
    headers = api.headers() | {"sec-websocket-protocol": "v4.channel.k8s.io"}
    return create_websocket(api.configuration, "ws" + api.host.removeprefix("http") + path, headers)


def _read(socket: Any, end: float, limit: int) -> Execution:
    """The streams of a command, frame by frame: one that never ends must not keep us, nor fill the memory."""
    from websocket import ABNF

    found = {_STDOUT: bytearray(), _STDERR: bytearray(), _ERROR: bytearray()}
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise Unmeasured(Reason.TIMEOUT, "the command had not ended in time")
        socket.settimeout(left)  # nvidia-smi is silent while it wakes up GPUs, one after the other
        code, frame = socket.recv_data_frame(True)
        if code == ABNF.OPCODE_CLOSE:
            break
        if code in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and frame.data and frame.data[0] in found:
            stream = found[frame.data[0]]
            stream += frame.data[1:]
            if len(stream) > (limit if frame.data[0] == _STDOUT else _MAX_WORDS):
                raise Unmeasured(Reason.UNPARSABLE, f"the command printed more than {limit >> 20} MiB")
        if found[_ERROR]:
            break
    return _ended(bytes(found[_STDOUT]), bytes(found[_STDERR]), bytes(found[_ERROR]))


def _ended(stdout: bytes, stderr: bytes, said: bytes) -> Execution:
    """The last stream is a Status object; without one the command was cut off."""
    try:
        status = mapping(json.loads(said))
    except ValueError:
        raise ConnectionError("the connection ended before the command did") from None
    if status.get("status") == "Success":
        return Execution(stdout, stderr, 0, "")
    for cause in map(mapping, sequence(mapping(status.get("details")).get("causes"))):
        if cause.get("reason") == "ExitCode" and text(cause.get("message")).isdigit():
            return Execution(stdout, stderr, int(cause["message"]), "")
    return Execution(stdout, stderr, None, text(status.get("message"))[:500] or "no reason given")


def _refused(problem: Any) -> Refused:
    body = problem.resp_body or b""
    try:
        details = mapping(json.loads(body))
    except ValueError:
        details = {}
    said = text(details.get("message")) or body[:300].decode("utf-8", "replace").strip() or "exec refused"
    return Refused(problem.status_code, said, details)

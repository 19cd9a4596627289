"""Pods of our own: made, watched together, read once, and gone afterwards whatever happens.

All pods of a run belong to one empty Job. It never runs anything; when its deadline passes, which needs nobody of us,
it fails, Kubernetes removes it, and with it every pod that is left.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from gpu_readiness.cluster.access import ApiServer, Refused, Stopped, as_unmeasured, hang_up
from gpu_readiness.cluster.kinds import rule
from gpu_readiness.evidence.kube import Pod, mapping, text
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

Json = dict[str, Any]

RUN_LABEL = "gpu-readiness.dev/run"
NAME_LABEL = {"app.kubernetes.io/name": "gpu-readiness"}
#: Reasons of a waiting container that do not pass by waiting.
_STUCK = {
    "ImagePullBackOff": Reason.MISSING,
    "InvalidImageName": Reason.MISSING,
    "ErrImageNeverPull": Reason.MISSING,
    "CreateContainerConfigError": Reason.TIMEOUT,
    "CreateContainerError": Reason.TIMEOUT,
    "RunContainerError": Reason.TIMEOUT,
}
#: How an API server refuses an object that it, or an admission policy, does not like; RBAC's 403 is theirs, too.
_DISLIKED = frozenset({400, 422})
#: Seconds that a pod may wait for a place on its node.
_PLACE_SECONDS = 30.0
_WATCH_SECONDS = 300
#: A watch that ends within so many seconds has broken; after so many in a row, which take half a minute, there is none.
_QUICK = 2.0
_MAX_FRUITLESS = 10


class OwnPods:
    """The pods of one run, in one namespace; a context that leaves nothing behind."""

    def __init__(self, api: ApiServer, namespace: str, run: str, image: str, *, lifetime: int) -> None:
        """`lifetime`: seconds after which Kubernetes removes whatever is still there."""
        self._api = api
        self._namespace = namespace
        self._run = run
        self._image = image
        self._lifetime = lifetime
        self._owner: Json = {}
        self._states: dict[str, Pod] = {}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._made: list[str] = []
        self._unwatched: Unmeasured | None = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watched: BaseHTTPResponse | None = None

    def __enter__(self) -> Self:
        """Make the owner and begin to watch.

        Raises:
            Refused, Unmeasured: the API server does not let us.
        """
        self._made.append(f"{self._path('jobs', '/apis/batch/v1')}/{self._name()}")
        try:
            job = self._api.send("POST", self._path("jobs", "/apis/batch/v1"), self._job())
        except BaseException as problem:
            # Where the answer was lost, it may be there all the same.
            if not isinstance(problem, Refused) or problem.status == 409:
                self.__exit__(None, None, None)
            raise
        uid = text(mapping(job.get("metadata")).get("uid"))
        self._owner = {"apiVersion": "batch/v1", "kind": "Job", "name": self._name(), "uid": uid}
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove everything that was made; what cannot be removed goes when the owner's deadline passes."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        if self._watched is not None:
            hang_up(self._watched)
        for path in reversed(self._made):
            try:
                self._api.send("DELETE", path, {"propagationPolicy": "Background"})
            except (Refused, Unmeasured, Stopped):
                continue
        if self._watcher.is_alive():
            self._watcher.join(2.0)

    def make(self, path: str, kind: str, body: Json) -> str:
        """Make an object that the pods need, owned like them: its name. Raises as `ApiServer.send`."""
        place = self._path(kind, path)
        self._api.send("POST", place, body | {"metadata": self._metadata(self._name())})
        self._made.append(f"{place}/{self._name()}")
        return self._name()

    def run(self, name: str, node: str, spec: Json, target: Path, *, seconds: float, limit: int) -> Pod:
        """Run one pod on a node to its end and write its log to `target`.

        Args:
            name: what the pod is called after the run; unique in it.
            node: where.
            spec: of its pod, beside ours; `containers` has one, and is put upon ours.
            target: the log's file.
            seconds: how long it may take, from its making to its log.
            limit: bytes of log.

        Returns:
            The pod as it ended, well or not.

        Raises:
            Unmeasured: `denied` if it may not be made, `busy` if the node has no room, `missing` if its image is not to
                be had, `timeout` if it did not end.
            Stopped: what was made is being removed.
        """
        if self._closed.is_set():
            raise Stopped
        name = f"{self._name()}-{name}"
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": self._metadata(name), "spec": self._spec(node, spec)}
        end = time.monotonic() + seconds
        try:
            self._api.send("POST", self._path("pods"), body)
        except Refused as problem:
            if problem.status != 409:  # an attempt whose answer was lost had made it already
                raise not_made(problem, target.name, rule("", "pods", "create")) from None
        try:
            pod = self._ended(name, end, seconds)
            self._save_log(f"{self._path('pods')}/{name}/log?limitBytes={limit}", target, limit)
        except Refused as problem:
            raise as_unmeasured(problem, target.name, rule("", "pods/log", "get")) from None
        finally:
            self._remove(name)
        return pod

    def _save_log(self, path: str, target: Path, limit: int) -> None:
        """A kubelet may know for a moment less of a pod than it has just told the API server."""
        for last in (False, False, True):
            try:
                self._api.save(path, target, seconds=30.0, limit=limit + 1)
            except Refused as problem:
                if last or problem.status not in (400, 404):
                    raise
                self._api.pause(0.5)
            else:
                return

    def _remove(self, name: str) -> None:
        try:
            self._api.send("DELETE", f"{self._path('pods')}/{name}", {"propagationPolicy": "Background"})
        except (Refused, Unmeasured, Stopped):
            return  # its owner takes it along

    def _ended(self, name: str, end: float, seconds: float) -> Pod:
        began = time.monotonic()
        while True:
            with self._changed:
                if self._closed.is_set():
                    raise Stopped
                pod = self._states.get(name)
                now = time.monotonic()
                if pod is not None:
                    if pod.finished:
                        return pod
                    _raise_if_stuck(pod)
                    if not pod.node and now - began > _PLACE_SECONDS:
                        raise Unmeasured(Reason.BUSY, f"the scheduler found no place for the pod: {_state(pod)}")
                if self._unwatched is not None:
                    raise self._unwatched
                if now >= end:
                    raise Unmeasured(Reason.TIMEOUT, f"the pod had not ended after {seconds:g} s: {_state(pod)}")
                self._changed.wait(min(1.0, end - now))

    def _watch(self) -> None:
        """One watch for all pods; after a break it begins anew with what there is."""
        query = {"watch": "1", "labelSelector": f"{RUN_LABEL}={self._run}", "timeoutSeconds": _WATCH_SECONDS}
        fruitless, broken = 0, "the watch ends at once"
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                lines = self._api.lines(
                    self._path("pods"), seconds=_WATCH_SECONDS + 10, query=query, opened=self._opened
                )
                for line in lines:
                    fruitless = 0 if self._note(line) else fruitless
                    if self._closed.is_set():
                        return
            except Stopped:
                return
            except Refused as problem:
                if problem.status in (401, 403):
                    self._give_up(as_unmeasured(problem, "pods", rule("", "pods", "watch")))
                    return
            except Exception as problem:  # noqa: BLE001 - whatever broke the stream, the next one tells all there is
                broken = type(problem).__name__
            # One without news ends by its time limit; one that ends at once has broken.
            fruitless = fruitless + 1 if time.monotonic() - began < _QUICK else 0
            if fruitless > _MAX_FRUITLESS:
                self._give_up(Unmeasured(Reason.TIMEOUT, f"pods of ours cannot be watched: {broken}"))
                return
            self._closed.wait(min(5.0, 0.1 * 2**fruitless))

    def _opened(self, response: BaseHTTPResponse) -> None:
        self._watched = response
        if self._closed.is_set():
            hang_up(response)

    def _note(self, line: bytes) -> bool:
        """Whether a line of the watch tells of a pod."""
        try:
            found = mapping(mapping(json.loads(line)).get("object"))
        except ValueError:
            return False
        if found.get("kind") != "Pod":
            return False
        pod = Pod.of(found)
        with self._changed:
            self._states[pod.name] = pod
            self._changed.notify_all()
        return True

    def _give_up(self, problem: Unmeasured) -> None:
        with self._changed:
            self._unwatched = problem
            self._changed.notify_all()

    def _name(self) -> str:
        return f"gpu-readiness-{self._run}"

    def _path(self, kind: str, group: str = "/api/v1") -> str:
        return f"{group}/namespaces/{quote(self._namespace)}/{kind}"

    def _metadata(self, name: str) -> Json:
        owners = {"ownerReferences": [self._owner]} if self._owner else {}
        return {"name": name, "labels": NAME_LABEL | {RUN_LABEL: self._run}, **owners}

    def _job(self) -> Json:
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": self._metadata(self._name()),
            "spec": {
                "parallelism": 0,
                "activeDeadlineSeconds": self._lifetime,
                "ttlSecondsAfterFinished": 0,
                "template": {
                    "metadata": {"labels": NAME_LABEL},
                    "spec": {"restartPolicy": "Never", "containers": [_container(self._image)]},
                },
            },
        }

    def _spec(self, node: str, extra: Json) -> Json:
        """On this node, whatever its taints, under the scheduler's eyes, with no more rights than any program needs."""
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        return {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": self._lifetime,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
            },
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            **extra,
            "containers": [_container(self._image) | own for own in extra["containers"]],
        }


def not_made(problem: Refused | Unmeasured, source: str, right: str) -> Unmeasured:
    """That an object of ours was not taken, as evidence; a policy's refusal is `denied`, whatever its status."""
    if isinstance(problem, Refused) and problem.status in _DISLIKED:
        return Unmeasured(Reason.DENIED, f"{problem.message} (HTTP {problem.status})"[:500], source)
    return as_unmeasured(problem, source, right)


def _container(image: str) -> Json:
    return {
        "name": "probe",
        "image": image,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _raise_if_stuck(pod: Pod) -> None:
    for each in pod.containers:
        if each.waiting in _STUCK:
            raise Unmeasured(_STUCK[each.waiting], f"the pod cannot start: {each.waiting}: {each.message}"[:500])


def _state(pod: Pod | None) -> str:
    if pod is None:
        return "nothing was heard of it"
    waiting = next((f"{each.waiting} {each.message}".strip() for each in pod.containers if each.waiting), "")
    return " ".join(filter(None, (pod.phase or "Unknown", pod.reason, pod.message, waiting)))[:300]

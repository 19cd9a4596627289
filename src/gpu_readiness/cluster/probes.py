"""Asking a node's driver: the ways of the ladder, which of them are open, and what each of them finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_readiness.cluster.access import ApiServer, Refused, as_unmeasured
from gpu_readiness.cluster.execs import execute
from gpu_readiness.cluster.kinds import SLICES
from gpu_readiness.cluster.pods import OwnPods, not_made
from gpu_readiness.cluster.rights import DRA, EXEC, POD, Rights
from gpu_readiness.cluster.stack import NodeStack, StackPod
from gpu_readiness.evidence.gathered import Asked
from gpu_readiness.evidence.kube import Pod, RuntimeClass
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.snapshot import MAX_ARTEFACT
from gpu_readiness.verdict import Reason

Json = dict[str, Any]

SMI = ["nvidia-smi", "-q", "-x"]
ARTEFACT = "nvidia-smi.xml"
#: How many pods of the stack are tried on one node.
_MAX_WITNESSES = 4
_RUNTIME_CLASSES = ("nvidia", "nvidia-container-runtime", "nvidia-cdi", "nvidia-legacy")
_NO_DRIVER = "executable file not found"
#: Exit codes of shells and runtimes for a program that cannot be run, or is not there.
_CANNOT_RUN = frozenset({126, 127, 128})

#: One way: writes what nvidia-smi printed to a file and says who printed it, or raises Unmeasured.
Way = Callable[["ProbeNode", Path], str]


@dataclass(frozen=True, slots=True)
class ProbeNode:
    """A node as far as a probe needs to know it; `number` is unique in the run."""

    name: str
    number: int
    stack: NodeStack
    has_slices: bool
    default_runtime: bool
    ready: bool = True


class Ladder:
    """The ways that are open in this cluster, in the order of the rights that they need."""

    def __init__(
        self,
        api: ApiServer,
        rights: Rights,
        pods: OwnPods | None,
        no_pods: Unmeasured | None,
        classes: Iterable[RuntimeClass],
        unlisted: Mapping[str, Unmeasured],
        seconds: float,
    ) -> None:
        """`pods` is None where none can be made; `no_pods` says why. One way may take `seconds`, an exec half of it.

        `unlisted` says of which kinds nothing is known, for they could not be listed.
        """
        self._seconds = seconds
        self._api = api
        self._pods = pods
        self._class = _runtime_class(classes)
        self._no_class = unlisted.get("runtimeclasses") or Unmeasured(
            Reason.UNSUPPORTED, "no RuntimeClass of NVIDIA's in this cluster"
        )
        self._no_slices = unlisted.get(SLICES.name)
        self._template = ""
        self._ways: dict[str, Way] = {"dra": self._by_claim, "pod": self._by_pod, "exec": self._by_exec}
        self._closed: dict[str, Unmeasured] = {}
        for way, rung in (("dra", DRA), ("pod", POD), ("exec", EXEC)):
            if way != "exec" and no_pods is not None:
                self._closed[way] = no_pods
            elif lacking := rights.missing(rung.rights[:1]):
                self._closed[way] = Unmeasured(Reason.DENIED, f"not allowed; needed: {lacking[0].rule}", ARTEFACT)

    def offer_claims(self) -> None:
        """Make what pods need to claim all GPUs for administration; where that is refused, there is no such way."""
        if self._pods is None or "dra" in self._closed:
            return
        request = {
            "name": "gpus",
            "exactly": {"deviceClassName": "gpu.nvidia.com", "adminAccess": True, "allocationMode": "All"},
        }
        body = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "spec": {"spec": {"devices": {"requests": [request]}}},
        }
        try:
            self._template = self._pods.make("/apis/resource.k8s.io/v1", "resourceclaimtemplates", body)
        except (Refused, Unmeasured) as problem:
            self._closed["dra"] = not_made(problem, ARTEFACT, DRA.rights[0].rule)

    def ask(self, node: ProbeNode, wanted: str, target: Path, tell: Callable[[Asked], None]) -> None:
        """Ask the driver of a node by the first way that answers; `wanted` is one of them, or `auto`.

        What nvidia-smi printed goes to `target`; how it was asked is told in any case.

        Raises:
            Unmeasured: none answered; the reason is the last one's that was tried, or of those that are closed.
        """
        failed: dict[str, Unmeasured] = {}
        for way, ask in self._ways.items():
            if wanted not in ("auto", way):
                continue
            try:
                if way in self._closed:
                    raise self._closed[way]
                who = ask(node, target)
            except Unmeasured as problem:
                failed[way] = problem
            else:
                tell(Asked(way, who, {each: why.message for each, why in failed.items()}))
                return
        tell(Asked("", "", {each: why.message for each, why in failed.items()}))
        known = {way: why.reason for way, why in failed.items() if why.reason is not Reason.UNSUPPORTED}
        told = [reason for way, reason in known.items() if way not in self._closed] or list(known.values())
        said = "; ".join(f"{way}: {why.message}" for way, why in failed.items())
        raise Unmeasured(told[-1] if told else Reason.MISSING, f"no way to ask the driver: {said}"[:900], ARTEFACT)

    def _by_claim(self, node: ProbeNode, target: Path) -> str:
        _refuse_dead(node)
        if not node.has_slices:
            if self._no_slices is not None and self._no_slices.reason is not Reason.MISSING:
                raise self._no_slices
            raise Unmeasured(Reason.UNSUPPORTED, "no DRA driver publishes this node's GPUs")
        claim = {"name": "gpus", "resourceClaimTemplateName": self._template}
        container = {"command": SMI, "resources": {"claims": [{"name": "gpus"}]}}
        return self._run(f"d{node.number}", node, {"resourceClaims": [claim], "containers": [container]}, target)

    def _by_pod(self, node: ProbeNode, target: Path) -> str:
        _refuse_dead(node)
        if not self._class and not node.default_runtime:
            raise self._no_class
        variables = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"}
        container = {"command": SMI, "env": [{"name": name, "value": value} for name, value in variables.items()]}
        spec: Json = {"containers": [container]}
        if self._class:
            spec["runtimeClassName"] = self._class
        return self._run(f"p{node.number}", node, spec, target)

    def _run(self, name: str, node: ProbeNode, spec: Json, target: Path) -> str:
        assert self._pods is not None
        pod = self._pods.run(name, node.name, spec, target, seconds=self._seconds, limit=MAX_ARTEFACT)
        self._refuse_unrun(pod, target)
        if not target.read_bytes().strip():
            target.unlink()
            raise Unmeasured(Reason.UNPARSABLE, f"nvidia-smi in a pod of ours printed nothing; {_how_it_ended(pod)}")
        return f"a pod of ours ({name[0]}{node.number})"

    @staticmethod
    def _refuse_unrun(pod: Pod, target: Path) -> None:
        """A pod whose runtime gave it no driver, or that the kubelet did not take, has measured nothing."""
        own = next((each for each in pod.containers if not each.init), None)
        words = " ".join(
            filter(None, (pod.reason, pod.message, own.terminated if own else "", own.message if own else ""))
        )
        code = own.exit_code if own else None
        if code is None or _NO_DRIVER in words or code in _CANNOT_RUN:
            target.unlink(missing_ok=True)
            policy = "; the runtime's policy may keep the driver from such pods" if _NO_DRIVER in words else ""
            raise Unmeasured(
                Reason.DENIED, f"the pod could not run nvidia-smi: {words or 'no reason given'}{policy}"[:500]
            )

    def _by_exec(self, node: ProbeNode, target: Path) -> str:
        failed: Unmeasured | None = None
        end = time.monotonic() + self._seconds / 2
        for pod in node.stack.witnesses[:_MAX_WITNESSES]:
            try:
                if self._printed(pod, target, end):
                    return f"{pod.namespace}/{pod.name}"
            except Refused as problem:
                failed = as_unmeasured(problem, ARTEFACT, EXEC.rights[0].rule)
                if problem.status in (401, 403):
                    break
            except Unmeasured as problem:
                failed = problem
            if time.monotonic() > end:
                break
        raise failed or Unmeasured(Reason.UNSUPPORTED, "no pod of the GPU stack that runs here has nvidia-smi")

    def _printed(self, pod: StackPod, target: Path, end: float) -> bool:
        """Whether there is an nvidia-smi in this pod; what it printed, good or bad, is then the measurement."""
        done = execute(self._api, pod.namespace, pod.name, pod.container, SMI, end=end, limit=MAX_ARTEFACT)
        said = done.stdout.strip() or done.stderr.strip()
        if done.code is None:
            if _NO_DRIVER in done.trouble or "no such file" in done.trouble:
                return False
            raise Unmeasured(Reason.TIMEOUT, f"exec in {pod.namespace}/{pod.name}: {done.trouble}")
        if done.code in _CANNOT_RUN and not done.stdout.strip():
            return False
        if not said:
            raise Unmeasured(Reason.UNPARSABLE, f"nvidia-smi printed nothing and ended with {done.code}")
        target.write_bytes(done.stdout if done.stdout.strip() else done.stderr)
        return True


def _refuse_dead(node: ProbeNode) -> None:
    """No pod starts where the kubelet is away; waiting for it would only cost time."""
    if not node.ready:
        raise Unmeasured(Reason.UNSUPPORTED, "the node is not Ready: no pod would start there")


def _how_it_ended(pod: Pod) -> str:
    code = next((each.exit_code for each in pod.containers if not each.init), None)
    return f"exit code {code}"


def _runtime_class(classes: Iterable[RuntimeClass]) -> str:
    names = {each.name for each in classes if "nvidia" in each.handler}
    return next((name for name in _RUNTIME_CLASSES if name in names), min(names, default=""))

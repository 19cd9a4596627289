"""Which rights each way of reading needs, which of them this identity has, and what RBAC rule is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpu_readiness.cluster.access import ApiServer, Refused
from gpu_readiness.cluster.kinds import EVENTS, LISTED, SERVICES, rule
from gpu_readiness.evidence.kube import mapping
from gpu_readiness.evidence.reading import Unmeasured

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """One right, and why it is needed.

    `resource` may have a subresource after a slash; `own` means: in the namespace of our pods only.
    """

    group: str
    resource: str
    verb: str
    why: str
    own: bool = False

    @property
    def rule(self) -> str:
        """As an RBAC rule on one line."""
        return rule(self.group, self.resource, self.verb)


@dataclass(frozen=True, slots=True)
class Rung:
    """One way of reading; its ClusterRole is `deploy/rbac/<name>.yaml`."""

    name: str
    title: str
    rights: tuple[Right, ...]


_PODS = (
    Right("", "pods", "create", "one short-lived pod per node, without a GPU request", own=True),
    Right("", "pods", "list", "to see how these pods end", own=True),
    Right("", "pods", "watch", "to see how these pods end, with one request for all of them", own=True),
    Right("", "pods", "delete", "to remove them as soon as they have answered", own=True),
    Right("", "pods/log", "get", "what nvidia-smi printed is their log", own=True),
    Right("batch", "jobs", "create", "an empty Job owns the pods; its deadline removes them if we cannot", own=True),
    Right("batch", "jobs", "delete", "to remove that Job, and with it whatever is left", own=True),
)

API = Rung("api", "objects of the cluster", tuple(Right(each.group, each.name, "list", each.why) for each in LISTED))
EXPORTER = Rung(
    "exporter",
    "each node's own DCGM exporter",
    (
        Right(
            "",
            "pods/proxy",
            "get",
            "the node's own exporter is asked; its Service could answer for another node",
        ),
    ),
)
DRA = Rung(
    "probe-dra",
    "nvidia-smi in a pod with a DRA claim for admin access, which takes no GPU",
    (
        Right("resource.k8s.io", "resourceclaimtemplates", "create", "a claim for admin access to all GPUs", own=True),
        Right("resource.k8s.io", "resourceclaimtemplates", "delete", "to remove it after the run", own=True),
        *_PODS,
    ),
)
POD = Rung("probe-pod", "nvidia-smi in an unprivileged pod of the NVIDIA RuntimeClass, which takes no GPU", _PODS)
EXEC = Rung(
    "probe-exec",
    "nvidia-smi in a pod of the GPU stack that is already there",
    (
        Right("", "pods/exec", "create", "to run nvidia-smi -q -x; RBAC cannot allow this one command only"),
        Right("", "pods/exec", "get", "the same over a websocket, up to Kubernetes 1.34"),
    ),
)
NODE_EVENTS = Rung("events", "Events of nodes", (Right("", EVENTS.name, "list", EVENTS.why),))
KERNEL_LOG = Rung(
    "kernel-log",
    "the kernel log, through the kubelet",
    (Right("", "nodes/proxy", "get", "the kubelet's /logs; this right reaches everything that the kubelet serves"),),
)
PROMETHEUS = Rung(
    "prometheus",
    "a Prometheus in the cluster, through the API server",
    (
        Right("", SERVICES.name, "list", SERVICES.why),
        Right("", "services/proxy", "get", "to query it"),
    ),
)
RUNGS = (API, EXPORTER, DRA, POD, EXEC, NODE_EVENTS, KERNEL_LOG, PROMETHEUS)


class Rights:
    """What one identity may do, as the API server says; each right is asked for once."""

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._known: dict[tuple[str, str, str, bool], bool | None] = {}

    def has(self, right: Right) -> bool | None:
        """Whether the identity has the right; None if the API server does not say."""
        key = (right.group, right.resource, right.verb, right.own)
        if key not in self._known:
            self._known[key] = self._ask(right)
        return self._known[key]

    def missing(self, rights: Iterable[Right]) -> list[Right]:
        """Those that the identity surely lacks; where the API server does not say, the attempt will tell."""
        return [right for right in rights if self.has(right) is False]

    def _ask(self, right: Right) -> bool | None:
        resource, _, subresource = right.resource.partition("/")
        attributes = {"group": right.group, "resource": resource, "subresource": subresource, "verb": right.verb}
        if right.own:
            attributes["namespace"] = self._namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        try:
            status = mapping(self._api.send("POST", _REVIEWS, review, seconds=15.0).get("status"))
        except (Refused, Unmeasured):
            return None
        return status.get("allowed") is True

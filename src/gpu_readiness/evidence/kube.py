"""Kubernetes objects, cut down to what a check reads: 5,000 nodes and their pods have to fit into memory.

Every object is taken as found: a field of another type than the API's is dropped, and what depends on it is not
measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from gpu_readiness.evidence.documents import Json

GPU_RESOURCE = re.compile(
    r"^nvidia\.com/(gpu|gpu\.shared|mig-[0-9a-z.+-]+|pgpu|vgpu)$|^alpha\.kubernetes\.io/nvidia-gpu$"
)
_QUANTITY = re.compile(r"^\d{1,12}$")
_SCALAR = (str, int, float)
_SCALED = re.compile(r"^(\d{1,12})([kMG])$")


def mapping(value: Any) -> Json:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """`value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def strings(value: Any) -> dict[str, str]:
    """A map of strings, keys and values interned: labels repeat over thousands of nodes."""
    return {
        intern(key): intern(each if isinstance(each, str) else str(each))
        for key, each in mapping(value).items()
        if isinstance(each, _SCALAR)
    }


def count(quantity: str | None) -> int | None:
    """A quantity that is a count of devices; None for anything else (negative, fractional, absurd)."""
    if quantity is None:
        return None
    if _QUANTITY.match(quantity):
        return int(quantity)
    scaled = _SCALED.match(quantity)
    return int(scaled.group(1)) * {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}[scaled.group(2)] if scaled else None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a node, pod or custom resource."""

    type: str
    status: str
    reason: str
    message: str
    since: str
    heartbeat: str

    @classmethod
    def of(cls, data: Any) -> Condition:
        """Read one entry of `status.conditions`."""
        data = mapping(data)
        return cls(
            intern(text(data.get("type"))),
            intern(text(data.get("status"))),
            text(data.get("reason")),
            text(data.get("message"))[:1000],
            text(data.get("lastTransitionTime")),
            text(data.get("lastHeartbeatTime")),
        )


@dataclass(frozen=True, slots=True)
class KubeNode:
    """A Node; `conditions`, `capacity` and `allocatable` are None where the object has none of the right type."""

    name: str
    labels: dict[str, str]
    feature_labels: frozenset[str] | None
    capacity: dict[str, str] | None
    allocatable: dict[str, str] | None
    conditions: tuple[Condition, ...] | None
    taints: tuple[tuple[str, str, str], ...]
    unschedulable: bool
    info: dict[str, str]
    managed: dict[str, str] = field(default_factory=dict)
    created: str = ""

    @classmethod
    def of(cls, data: Json) -> KubeNode:
        """Read one item of nodes.json."""
        meta, spec, status = (mapping(data.get(key)) for key in ("metadata", "spec", "status"))
        annotations = mapping(meta.get("annotations"))
        owned = annotations.get("nfd.node.kubernetes.io/feature-labels")
        conditions = status.get("conditions")
        return cls(
            name=text(meta.get("name")),
            labels=strings(meta.get("labels")),
            feature_labels=frozenset(owned.split(",")) if isinstance(owned, str) else None,
            capacity=gpu_resources(status.get("capacity")),
            allocatable=gpu_resources(status.get("allocatable")),
            conditions=tuple(map(Condition.of, conditions)) if isinstance(conditions, list) else None,
            taints=tuple(
                (text(taint.get("key")), text(taint.get("value")), text(taint.get("effect")))
                for taint in map(mapping, sequence(spec.get("taints")))
            ),
            unschedulable=spec.get("unschedulable") is True,
            info=strings(status.get("nodeInfo")),
            managed=_managed_since(meta),
            created=text(meta.get("creationTimestamp")),
        )


def gpu_resources(value: Any) -> dict[str, str] | None:
    """The GPU resources of a capacity or allocatable map."""
    if not isinstance(value, dict):
        return None
    return {
        intern(key): str(amount)
        for key, amount in value.items()
        if GPU_RESOURCE.match(key) and isinstance(amount, _SCALAR)
    }


def _managed_since(meta: Json) -> dict[str, str]:
    """Since when each label of the GPU stack has its value, where managed fields tell."""
    found: dict[str, str] = {}
    for entry in map(mapping, sequence(meta.get("managedFields"))):
        labels = mapping(mapping(mapping(entry.get("fieldsV1")).get("f:metadata")).get("f:labels"))
        for key in labels:
            if key.startswith("f:nvidia.com/"):
                found[key[2:]] = text(entry.get("time"))
    return found


@dataclass(frozen=True, slots=True)
class Container:
    """A container with its status: `waiting` and `terminated` are reasons, empty where the state is another."""

    name: str
    image: str
    init: bool
    ready: bool
    restarts: int
    waiting: str
    terminated: str
    exit_code: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod as far as GPUs, health and drains go; `requests` counts GPU devices as the API does."""

    name: str
    namespace: str
    node: str
    labels: dict[str, str]
    phase: str
    ready: bool
    reason: str
    message: str
    deleting: bool
    owner_kind: str
    owner_name: str
    containers: tuple[Container, ...]
    requests: dict[str, int]
    claims: tuple[str, ...]
    grace_period: int
    local_storage: bool
    mirror: bool

    @property
    def finished(self) -> bool:
        """Whether it holds nothing any more."""
        return self.phase in ("Succeeded", "Failed")

    @classmethod
    def of(cls, data: Json) -> Pod:
        """Read one item of pods.json."""
        meta, spec, status = (mapping(data.get(key)) for key in ("metadata", "spec", "status"))
        owners = [mapping(owner) for owner in sequence(meta.get("ownerReferences"))]
        owner = next((each for each in owners if each.get("controller")), mapping(None))
        grace = spec.get("terminationGracePeriodSeconds")
        return cls(
            name=text(meta.get("name")),
            namespace=text(meta.get("namespace")),
            node=intern(text(spec.get("nodeName"))),
            labels=strings(meta.get("labels")),
            phase=intern(text(status.get("phase"))),
            ready=any(
                mapping(each).get("type") == "Ready" and mapping(each).get("status") == "True"
                for each in sequence(status.get("conditions"))
            ),
            reason=text(status.get("reason")),
            message=text(status.get("message"))[:1000],
            deleting="deletionTimestamp" in meta,
            owner_kind=intern(text(owner.get("kind"))),
            owner_name=text(owner.get("name")),
            containers=_containers(spec, status),
            requests=_requests(spec),
            claims=tuple(
                filter(
                    None,
                    (
                        text(mapping(each).get("resourceClaimName"))
                        for each in sequence(status.get("resourceClaimStatuses"))
                    ),
                )
            ),
            grace_period=grace if isinstance(grace, int) else 30,
            local_storage=any(
                "emptyDir" in mapping(each) or "hostPath" in mapping(each) for each in sequence(spec.get("volumes"))
            ),
            mirror="kubernetes.io/config.mirror" in mapping(meta.get("annotations")),
        )


def _containers(spec: Json, status: Json) -> tuple[Container, ...]:
    found = []
    for init, specs, statuses in (
        (True, "initContainers", "initContainerStatuses"),
        (False, "containers", "containerStatuses"),
    ):
        images = {text(each.get("name")): text(each.get("image")) for each in map(mapping, sequence(spec.get(specs)))}
        states = {text(each.get("name")): each for each in map(mapping, sequence(status.get(statuses)))}
        for name in {**images, **states}:
            current = states.get(name, {})
            state = mapping(current.get("state"))
            waiting, terminated = mapping(state.get("waiting")), mapping(state.get("terminated"))
            code = terminated.get("exitCode")
            restarts = current.get("restartCount")
            found.append(
                Container(
                    name=intern(name),
                    image=intern(images.get(name) or text(current.get("image"))),
                    init=init,
                    ready=current.get("ready") is True,
                    restarts=restarts if isinstance(restarts, int) else 0,
                    waiting=text(waiting.get("reason"))[:500],
                    terminated=text(terminated.get("reason"))[:500],
                    exit_code=code if isinstance(code, int) else None,
                    message=(text(waiting.get("message")) or text(terminated.get("message")))[:1000],
                )
            )
    return tuple(found)


def _requests(spec: Json) -> dict[str, int]:
    """Devices a pod holds: the sum over containers, or the largest init container where that is more."""
    total: dict[str, int] = {}
    for init, kind in ((False, "containers"), (True, "initContainers")):
        for container in map(mapping, sequence(spec.get(kind))):
            resources = mapping(container.get("resources"))
            asked = {**mapping(resources.get("limits")), **mapping(resources.get("requests"))}
            for key, quantity in asked.items():
                if GPU_RESOURCE.match(key):
                    amount = count(str(quantity)) or 0
                    total[key] = max(total.get(key, 0), amount) if init else total.get(key, 0) + amount
    return total


@dataclass(frozen=True, slots=True)
class NodeFeature:
    """An NFD NodeFeature object: the labels one feature source wants on one node."""

    name: str
    node: str
    labels: dict[str, str]

    @classmethod
    def of(cls, data: Json) -> NodeFeature:
        """Read one item of nodefeatures.json."""
        meta = mapping(data.get("metadata"))
        name = text(meta.get("name"))
        node = strings(meta.get("labels")).get("nfd.node.kubernetes.io/node-name", name)
        return cls(name, node, strings(mapping(data.get("spec")).get("labels")))


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a ResourceSlice; `taints` are those that keep pods away."""

    name: str
    type: str
    uuid: str
    product: str
    profile: str
    driver_version: str
    memory: int | None
    taints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResourceSlice:
    """A ResourceSlice of one node and DRA driver."""

    name: str
    node: str
    driver: str
    pool: str
    generation: int
    slice_count: int
    devices: tuple[Device, ...]

    @classmethod
    def of(cls, data: Json) -> ResourceSlice:
        """Read one item of resourceslices.json (API versions v1, v1beta1 and v1beta2)."""
        spec = mapping(data.get("spec"))
        pool = mapping(spec.get("pool"))
        generation, slices = pool.get("generation"), pool.get("resourceSliceCount")
        return cls(
            name=text(mapping(data.get("metadata")).get("name")),
            node=text(spec.get("nodeName")),
            driver=text(spec.get("driver")),
            pool=text(pool.get("name")),
            generation=generation if isinstance(generation, int) else 0,
            slice_count=slices if isinstance(slices, int) else 1,
            devices=tuple(_device(mapping(each)) for each in sequence(spec.get("devices"))),
        )


_MEMORY = re.compile(r"^(\d{1,15})(Ki|Mi|Gi|Ti)?$")
_MIB = {None: 1 / 1048576, "Ki": 1 / 1024, "Mi": 1, "Gi": 1024, "Ti": 1048576}


def _device(data: Json) -> Device:
    basic = mapping(data.get("basic")) or data  # v1beta1 nests attributes in `basic`
    attributes = mapping(basic.get("attributes"))

    def attribute(name: str) -> str:
        value = mapping(attributes.get(name) or attributes.get(f"gpu.nvidia.com/{name}"))
        return text(value.get("string")) or text(value.get("version"))

    memory = mapping(basic.get("capacity")).get("memory")
    amount = _MEMORY.match(str(mapping(memory).get("value") or memory))
    return Device(
        name=text(data.get("name")),
        type=attribute("type"),
        uuid=attribute("uuid"),
        product=attribute("productName"),
        profile=attribute("profile"),
        driver_version=attribute("driverVersion"),
        memory=int(int(amount.group(1)) * _MIB[amount.group(2)]) if amount else None,
        taints=tuple(
            f"{text(taint.get('key'))}={text(taint.get('value'))}:{text(taint.get('effect'))}"
            for taint in map(mapping, sequence(basic.get("taints")))
            if taint.get("effect") in ("NoSchedule", "NoExecute")
        ),
    )


@dataclass(frozen=True, slots=True)
class ClusterPolicy:
    """The GPU operator's ClusterPolicy, GPUCluster or NVIDIADriver: its own state and conditions."""

    name: str
    state: str
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, data: Json) -> ClusterPolicy:
        """Read one item of clusterpolicies.json or nvidiadrivers.json."""
        status = mapping(data.get("status"))
        return cls(
            text(mapping(data.get("metadata")).get("name")),
            text(status.get("state")),
            tuple(map(Condition.of, sequence(status.get("conditions")))),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """An Event about a node; `at` is when it was seen last, as RFC 3339."""

    node: str
    reason: str
    message: str
    at: str

    @classmethod
    def of(cls, data: Json) -> Event:
        """Read one item of events.json, of the core group's or of events.k8s.io's form."""
        about = mapping(data.get("involvedObject")) or mapping(data.get("regarding"))
        times = (
            data.get("lastTimestamp"),
            mapping(data.get("series")).get("lastObservedTime"),
            data.get("eventTime"),
            mapping(data.get("metadata")).get("creationTimestamp"),
        )
        return cls(
            node=text(about.get("name")) if about.get("kind") == "Node" else "",
            reason=text(data.get("reason"))[:200],
            message=(text(data.get("message")) or text(data.get("note")))[:2000],
            at=next(filter(None, map(text, times)), ""),
        )


@dataclass(frozen=True, slots=True)
class RuntimeClass:
    """A RuntimeClass and its handler."""

    name: str
    handler: str

    @classmethod
    def of(cls, data: Json) -> RuntimeClass:
        """Read one item of runtimeclasses.json."""
        return cls(text(mapping(data.get("metadata")).get("name")), text(data.get("handler")))


@dataclass(frozen=True, slots=True)
class DaemonSet:
    """A DaemonSet: the labels of its pods, and how far it is rolled out."""

    name: str
    namespace: str
    pod_labels: dict[str, str]
    images: tuple[str, ...]
    desired: int | None
    updated: int | None

    @classmethod
    def of(cls, data: Json) -> DaemonSet:
        """Read one item of daemonsets.json."""
        meta, spec, status = (mapping(data.get(key)) for key in ("metadata", "spec", "status"))
        template = mapping(spec.get("template"))
        desired, updated = status.get("desiredNumberScheduled"), status.get("updatedNumberScheduled")
        return cls(
            name=text(meta.get("name")),
            namespace=text(meta.get("namespace")),
            pod_labels=strings(mapping(template.get("metadata")).get("labels")),
            images=tuple(
                text(mapping(each).get("image")) for each in sequence(mapping(template.get("spec")).get("containers"))
            ),
            desired=desired if isinstance(desired, int) else None,
            updated=updated if isinstance(updated, int) else None,
        )


@dataclass(frozen=True, slots=True)
class DisruptionBudget:
    """A PodDisruptionBudget; `selector` is matchLabels, None where it is an expression we do not evaluate."""

    name: str
    namespace: str
    selector: dict[str, str] | None
    allowed: int | None

    @classmethod
    def of(cls, data: Json) -> DisruptionBudget:
        """Read one item of poddisruptionbudgets.json."""
        meta, spec, status = (mapping(data.get(key)) for key in ("metadata", "spec", "status"))
        selector = mapping(spec.get("selector"))
        allowed = status.get("disruptionsAllowed")
        return cls(
            name=text(meta.get("name")),
            namespace=text(meta.get("namespace")),
            selector=None if selector.get("matchExpressions") else strings(selector.get("matchLabels")),
            allowed=allowed if isinstance(allowed, int) else None,
        )


@dataclass(frozen=True, slots=True)
class ResourceClaim:
    """A ResourceClaim: the devices it holds, as (driver, pool, device), admin access left out."""

    name: str
    namespace: str
    devices: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, data: Json) -> ResourceClaim:
        """Read one item of resourceclaims.json."""
        meta = mapping(data.get("metadata"))
        allocation = mapping(mapping(data.get("status")).get("allocation"))
        results = map(mapping, sequence(mapping(allocation.get("devices")).get("results")))
        return cls(
            text(meta.get("name")),
            text(meta.get("namespace")),
            tuple(
                (text(each.get("driver")), text(each.get("pool")), text(each.get("device")))
                for each in results
                if not each.get("adminAccess")
            ),
        )


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """A DeviceClass by name."""

    name: str

    @classmethod
    def of(cls, data: Json) -> DeviceClass:
        """Read one item of deviceclasses.json."""
        return cls(text(mapping(data.get("metadata")).get("name")))

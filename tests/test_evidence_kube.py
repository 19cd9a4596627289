from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.evidence import kube
from gpu_readiness.evidence.cluster import Cluster, is_gpu_node
from gpu_readiness.evidence.kube import KubeNode, Pod, ResourceSlice
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

GPU = "nvidia.com/gpu"


def node(**parts: Any) -> KubeNode:
    return KubeNode.of({"metadata": {"name": "n"}, **parts})


# --- quantities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "count"),
    [
        *(("0", 0), ("8", 8), ("56", 56), ("1k", 1000), ("2M", 2_000_000), ("08", 8)),
        *((None, None), ("", None), ("-1", None), ("1.5", None), ("8 ", None), ("0x8", None), ("1e3", None)),
        *(("1Ki", None), ("500m", None), ("eight", None), ("9" * 13, None), ("nan", None), ("True", None)),
    ],
)
def test_a_count_of_devices(quantity: str | None, count: int | None) -> None:
    assert kube.count(quantity) == count


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        *((GPU, True), ("nvidia.com/gpu.shared", True), ("nvidia.com/mig-1g.5gb", True)),
        *(("nvidia.com/mig-1g.5gb.me", True), ("nvidia.com/mig-1g.5gb+me", True), ("nvidia.com/pgpu", True)),
        *(("alpha.kubernetes.io/nvidia-gpu", True), ("cpu", False), ("amd.com/gpu", False), ("nvidia.com/", False)),
        *(("xnvidia.com/gpu", False), ("nvidia.com/gpu.count", False), ("nvidia.com/gpux", False)),
    ],
)
def test_resources_that_are_gpus(key: str, kept: bool) -> None:
    assert kube.gpu_resources({key: "1"}) == ({key: "1"} if kept else {})


@pytest.mark.parametrize("value", [None, [], "8", 8, True])
def test_a_capacity_of_the_wrong_type_is_no_capacity(value: object) -> None:
    assert kube.gpu_resources(value) is None


@pytest.mark.parametrize("amount", [None, [], {}, ["8"], {"value": "8"}])
def test_an_amount_of_the_wrong_type_is_dropped(amount: object) -> None:
    assert kube.gpu_resources({GPU: amount, "nvidia.com/gpu.shared": 4}) == {"nvidia.com/gpu.shared": "4"}


# --- nodes -----------------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_not_empty() -> None:
    bare = node()
    assert (bare.capacity, bare.allocatable, bare.conditions, bare.feature_labels) == (None, None, None, None)
    assert (bare.labels, bare.taints, bare.unschedulable, bare.info) == ({}, (), False, {})
    there = node(status={"capacity": {}, "allocatable": {}, "conditions": []})
    assert (there.capacity, there.allocatable, there.conditions) == ({}, {}, ())


def test_a_whole_node() -> None:
    found = KubeNode.of(
        {
            "metadata": {
                "name": "n",
                "labels": {"a": "b"},
                "annotations": {"nfd.node.kubernetes.io/feature-labels": "nvidia.com/gpu.count,x"},
                "managedFields": [
                    {
                        "time": "2026-01-01T00:00:00Z",
                        "fieldsV1": {"f:metadata": {"f:labels": {"f:nvidia.com/mig.config.state": {}, "f:a": {}}}},
                    }
                ],
            },
            "spec": {
                "unschedulable": True,
                "taints": [{"key": GPU, "effect": "NoSchedule"}, {"key": "k", "value": "v"}],
            },
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "t"}, None],
                "nodeInfo": {"kubeletVersion": "v1.34.2", "bootID": "b"},
            },
        }
    )
    assert found.feature_labels == {"nvidia.com/gpu.count", "x"}
    assert found.managed == {"nvidia.com/mig.config.state": "2026-01-01T00:00:00Z"}
    assert found.taints == ((GPU, "", "NoSchedule"), ("k", "v", ""))
    assert found.unschedulable
    assert found.conditions is not None
    assert [(each.type, each.status, each.since) for each in found.conditions] == [("Ready", "True", "t"), ("", "", "")]
    assert found.info == {"kubeletVersion": "v1.34.2", "bootID": "b"}


@pytest.mark.parametrize("value", [None, [], {}, [1], {"deep": [[[]]]}])
def test_a_label_that_is_no_text_is_dropped(value: object) -> None:
    assert node(metadata={"name": "n", "labels": {"a": "b", "bad": value}}).labels == {"a": "b"}


@pytest.mark.parametrize("value", ["true", 1, "yes", None, []])
def test_only_true_is_true(value: object) -> None:
    assert not node(spec={"unschedulable": value}).unschedulable


@pytest.mark.parametrize(
    ("labels", "capacity", "is_one"),
    [
        ({"nvidia.com/gpu.present": "true"}, None, True),
        ({"nvidia.com/gpu.present": "false"}, None, True),  # it had GPUs: a node that lost them stays in the report
        ({"nvidia.com/mig.config": "all-1g.5gb"}, None, True),
        ({"feature.node.kubernetes.io/pci-10de.present": "true"}, None, True),
        ({"feature.node.kubernetes.io/pci-0302_10de.present": "true"}, None, True),
        ({"feature.node.kubernetes.io/pci-10de.present": "false"}, None, False),
        ({"feature.node.kubernetes.io/pci-1002.present": "true"}, None, False),
        ({"cloud.google.com/gke-accelerator": "nvidia-l4"}, None, True),
        ({"k8s.amazonaws.com/accelerator": "nvidia-tesla-t4"}, None, True),
        ({"kubernetes.azure.com/accelerator": "nvidia"}, None, True),
        ({"kubernetes.azure.com/accelerator": "amd"}, None, False),
        ({}, {GPU: "8"}, True),
        ({}, {GPU: "0"}, True),  # the key stays where the GPUs went
        ({}, {"alpha.kubernetes.io/nvidia-gpu": "4"}, True),
        ({}, {"alpha.kubernetes.io/nvidia-gpu": "0"}, False),  # what old kubelets give every node
        ({}, {}, False),
        ({}, None, False),
        ({"node-role.kubernetes.io/control-plane": ""}, {"cpu": "4"}, False),
    ],
)
def test_which_nodes_are_gpu_nodes(labels: dict[str, str], capacity: object, is_one: bool) -> None:
    assert is_gpu_node(node(metadata={"name": "n", "labels": labels}, status={"capacity": capacity})) is is_one


# --- pods ------------------------------------------------------------------------------------------------------------


def container(gpus: object, kind: str = "limits", key: str = GPU) -> dict[str, Any]:
    return {"name": "c", "resources": {kind: {key: gpus}}}


@pytest.mark.parametrize(
    ("spec", "requests"),
    [
        ({"containers": [container("2")]}, {GPU: 2}),
        ({"containers": [container(2)]}, {GPU: 2}),
        ({"containers": [container("1"), container("3")]}, {GPU: 4}),
        ({"containers": [container("1", "requests")]}, {GPU: 1}),
        ({"containers": [container("1")], "initContainers": [container("4"), container("2")]}, {GPU: 4}),
        ({"containers": [container("3")], "initContainers": [container("1")]}, {GPU: 3}),
        ({"containers": [container("1", key="nvidia.com/mig-1g.5gb")]}, {"nvidia.com/mig-1g.5gb": 1}),
        ({"containers": [container("1", key="cpu")]}, {}),
        ({"containers": [container("-1")]}, {GPU: 0}),
        ({"containers": [container(None), container([]), container({"a": 1})]}, {GPU: 0}),
        ({"containers": [{"resources": []}, None, "x"]}, {}),
        ({"containers": {"name": "c"}}, {}),
        ({}, {}),
    ],
)
def test_the_devices_that_a_pod_holds(spec: dict[str, Any], requests: dict[str, int]) -> None:
    assert Pod.of({"spec": spec}).requests == requests


def test_containers_with_their_states() -> None:
    found = Pod.of(
        {
            "spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b"}], "initContainers": [{"name": "c"}]},
            "status": {
                "containerStatuses": [
                    {
                        "name": "a",
                        "ready": True,
                        "restartCount": 3,
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                    },
                    {"name": "d", "image": "i:2", "state": {"terminated": {"reason": "Error", "exitCode": 137}}},
                ]
            },
        }
    )
    by_name = {each.name: each for each in found.containers}
    assert set(by_name) == {"a", "b", "c", "d"}
    a, d = by_name["a"], by_name["d"]
    assert (a.image, a.ready, a.restarts, a.waiting, a.message) == ("i:1", True, 3, "CrashLoopBackOff", "back-off")
    assert (d.image, d.ready, d.terminated, d.exit_code) == ("i:2", False, "Error", 137)
    assert by_name["c"].init
    assert not by_name["b"].ready


@pytest.mark.parametrize(
    ("phase", "finished"), [("Succeeded", True), ("Failed", True), ("Running", False), ("", False)]
)
def test_a_pod_that_ended_holds_nothing(phase: str, finished: bool) -> None:
    assert Pod.of({"status": {"phase": phase}}).finished is finished


def test_ready_is_said_by_the_condition_alone() -> None:
    assert Pod.of({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}).ready
    for status in ("False", "Unknown", True, None):
        assert not Pod.of({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}).ready


# --- dynamic resource allocation -------------------------------------------------------------------------------------


def resource_slice(device: dict[str, Any], name: str = "s", **spec: Any) -> dict[str, Any]:
    pool = {"name": "n", "generation": 1, "resourceSliceCount": 1}
    whole = {"driver": "gpu.nvidia.com", "nodeName": "n", "pool": pool, "devices": [device], **spec}
    return {"kind": "ResourceSlice", "metadata": {"name": name}, "spec": whole}


ATTRIBUTES = {
    "type": {"string": "gpu"},
    "uuid": {"string": "GPU-1"},
    "productName": {"string": "NVIDIA H100 80GB HBM3"},
    "driverVersion": {"version": "580.105.8"},
}


@pytest.mark.parametrize(
    "device",
    [
        {"name": "gpu-0", "attributes": ATTRIBUTES, "capacity": {"memory": {"value": "81559Mi"}}},  # v1
        {"name": "gpu-0", "basic": {"attributes": ATTRIBUTES, "capacity": {"memory": {"value": "81559Mi"}}}},  # v1beta1
        {"name": "gpu-0", "basic": {"attributes": ATTRIBUTES, "capacity": {"memory": "81559Mi"}}},  # v1alpha3
        {
            "name": "gpu-0",
            "attributes": {f"gpu.nvidia.com/{name}": said for name, said in ATTRIBUTES.items()},
            "capacity": {"memory": {"value": str(81559 << 20)}},
        },
    ],
)
def test_a_device_in_every_version_of_the_api(device: dict[str, Any]) -> None:
    (found,) = ResourceSlice.of(resource_slice(device)).devices
    assert (found.name, found.type, found.uuid, found.product) == ("gpu-0", "gpu", "GPU-1", "NVIDIA H100 80GB HBM3")
    assert (found.driver_version, found.memory, found.taints) == ("580.105.8", 81559, ())


@pytest.mark.parametrize("memory", [None, "80GB", "-1Mi", "", [], {"value": None}, {"value": []}, 1.5])
def test_a_memory_that_cannot_be_read_is_none(memory: object) -> None:
    (found,) = ResourceSlice.of(resource_slice({"name": "gpu-0", "capacity": {"memory": memory}})).devices
    assert found.memory is None


def test_taints_that_keep_pods_away() -> None:
    taints = [{"key": "k", "value": "v", "effect": effect} for effect in ("NoExecute", "NoSchedule", "None", None)]
    (found,) = ResourceSlice.of(resource_slice({"name": "gpu-0", "taints": [*taints, None]})).devices
    assert found.taints == ("k=v:NoExecute", "k=v:NoSchedule")


def test_only_the_newest_generation_of_a_pool_counts() -> None:
    def pool(generation: int) -> dict[str, Any]:
        return {"name": "n", "generation": generation, "resourceSliceCount": 1}

    slices = [
        resource_slice({"name": "old"}, "s1", pool=pool(1)),
        resource_slice({"name": "new"}, "s2", pool=pool(2)),
        resource_slice({"name": "other"}, "s3", pool=pool(1), driver="compute-domain.nvidia.com"),
    ]
    found = cluster(resourceslices=slices).slices_of("n")
    assert sorted(each.name for each in found) == ["s2", "s3"]


# --- the cluster -----------------------------------------------------------------------------------------------------


class Lists:
    """Lists of a cluster by kind, as objects or as bytes; what is asked for is noted."""

    def __init__(self, **lists: Any) -> None:
        self.lists = {"nodes": [{"metadata": {"name": "n"}}], **lists}
        self.asked: list[str] = []

    def cluster_list(self, kind: str) -> bytes:
        self.asked.append(kind)
        found = self.lists.get(kind)
        if found is None:
            raise Unmeasured(Reason.MISSING, f"no {kind}.json", kind)
        return found if isinstance(found, bytes) else json.dumps({"items": found}).encode()


def cluster(**lists: Any) -> Cluster:
    return Cluster(Lists(**lists))


READS: dict[str, Callable[[Cluster], object]] = {
    "pods": lambda each: each.pods_on("n"),
    "nodefeatures": lambda each: each.features_of("n"),
    "resourceslices": lambda each: each.slices_of("n"),
    "runtimeclasses": lambda each: each.runtime_classes(),
    "clusterpolicies": lambda each: each.cluster_policies(),
    "daemonsets": lambda each: each.daemon_sets(),
    "poddisruptionbudgets": lambda each: each.disruption_budgets(),
    "deviceclasses": lambda each: each.device_classes(),
    "resourceclaims": lambda each: each.claims(),
}


@pytest.mark.parametrize("kind", READS)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "missing"),
        (b"", "missing"),
        (b"<html/>", "unparsable"),
        (b'{"items": [', "unparsable"),
        (b'{"kind": "ConfigMapList", "items": []}', "unparsable"),
        (b'{"kind": "Status", "code": 403, "metadata": {}}', "denied"),
    ],
)
def test_a_list_that_cannot_be_read_raises_every_time_and_is_read_once(
    kind: str, data: bytes | None, reason: str
) -> None:
    source = Lists(**{kind: data})
    found = Cluster(source)
    for _ in range(3):
        with pytest.raises(Unmeasured) as raised:
            READS[kind](found)
        assert raised.value.reason == reason
    assert source.asked == ["nodes", kind]


@pytest.mark.parametrize("kind", READS)
def test_an_empty_list_was_read(kind: str) -> None:
    assert not READS[kind](cluster(**{kind: []}))


def test_pods_features_and_slices_are_found_by_node() -> None:
    pods = [{"metadata": {"name": name}, "spec": {"nodeName": at}} for name, at in (("a", "n"), ("b", "m"), ("c", ""))]
    features = [
        {"metadata": {"name": "nvidia-features-for-n", "labels": {"nfd.node.kubernetes.io/node-name": "n"}}},
        {"metadata": {"name": "n"}},
        {"metadata": {"name": "m"}},
    ]
    found = cluster(pods=pods, nodefeatures=features)
    assert [pod.name for pod in found.pods_on("n")] == ["a"]
    assert [each.name for each in found.features_of("n")] == ["nvidia-features-for-n", "n"]
    assert found.pods_on("nowhere") == []


def test_nodes_with_slices_of_the_gpu_driver() -> None:
    slices = [resource_slice({}), resource_slice({}, nodeName="m", driver="other"), resource_slice({}, nodeName="")]
    assert cluster(resourceslices=slices).nodes_with_slices == {"n"}
    assert cluster().nodes_with_slices == frozenset()


def test_claims_leave_admin_access_out() -> None:
    results = [
        {"driver": "gpu.nvidia.com", "pool": "n", "device": "gpu-0"},
        {"driver": "gpu.nvidia.com", "pool": "n", "device": "gpu-1", "adminAccess": True},
    ]
    claim = {
        "metadata": {"name": "c", "namespace": "ns"},
        "status": {"allocation": {"devices": {"results": results}}},
    }
    found = cluster(resourceclaims=[claim]).claims()
    assert found["ns", "c"].devices == (("gpu.nvidia.com", "n", "gpu-0"),)


# --- nothing breaks it -----------------------------------------------------------------------------------------------

KINDS = [
    kube.KubeNode,
    kube.Pod,
    kube.NodeFeature,
    kube.ResourceSlice,
    kube.ClusterPolicy,
    kube.RuntimeClass,
    kube.DaemonSet,
    kube.DisruptionBudget,
    kube.ResourceClaim,
    kube.DeviceClass,
]
KEYS = (
    *("metadata", "spec", "status", "name", "namespace", "labels", "annotations", "managedFields", "fieldsV1", "time"),
    *(
        "conditions",
        "type",
        "capacity",
        "allocatable",
        "taints",
        "key",
        "effect",
        "nodeInfo",
        "containers",
        "resources",
    ),
    *("initContainers", "containerStatuses", "state", "waiting", "terminated", "limits", "requests", "volumes", GPU),
    *("ownerReferences", "controller", "devices", "basic", "attributes", "uuid", "string", "memory", "value", "pool"),
    *("generation", "resourceSliceCount", "allocation", "results", "selector", "matchLabels", "template", "handler"),
    *("resourceClaimStatuses", "f:metadata", "f:labels", "nfd.node.kubernetes.io/feature-labels", "unschedulable"),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["True", "8"])
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)
objects = st.dictionaries(st.sampled_from(KEYS), anything, max_size=5)


@pytest.mark.parametrize("kind", KINDS)
@given(data=objects)
def test_no_object_breaks_it(kind: Any, data: dict[str, Any]) -> None:
    found = kind.of(data)
    assert isinstance(found.name, str)


def test_the_fields_of_a_node_may_be_anything() -> None:
    """One field after the other, wherever it is read, of every wrong type."""
    for kind in KINDS:
        for part in ("metadata", "spec", "status"):
            for key in KEYS:
                for wrong in (None, True, 1, 1.5, "x", [], [None], [[]], {}, {"a": None}, [{"a": [1]}]):
                    kind.of({part: {key: wrong}})  # type: ignore[attr-defined]
                    kind.of({part: {key: [{key: wrong}]}})  # type: ignore[attr-defined]
                    kind.of({part: {key: dict.fromkeys(KEYS, wrong)}})  # type: ignore[attr-defined]

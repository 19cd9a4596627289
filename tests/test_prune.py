"""What of a Kubernetes object gets into a snapshot: everything that is judged, and nothing that can hold a secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from corpus import CORPUS, needs_corpus
from hypothesis import given
from hypothesis import strategies as st
from nodes import h100

from gpu_readiness.evidence import kube
from gpu_readiness.redact import prune

Json = dict[str, Any]
SECRET = "hunter2-"


def secret(number: int) -> str:
    return f"{SECRET}{number}"


def container(**more: Any) -> Json:
    return {
        "name": "app",
        "image": "registry.example/app:1.2",
        "command": ["serve", f"--token={secret(1)}"],
        "args": [f"--password={secret(2)}"],
        "env": [
            {"name": "DB_PASSWORD", "value": secret(3)},
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
            {"name": "NVIDIA_API_KEY", "value": secret(4)},
            {"name": "CUDA_VERSION", "value": "12.4.1"},
            {"name": "DCGM_EXPORTER_LISTEN", "value": ":9401"},
            {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": secret(5), "key": "password"}}},
            {"value": secret(6)},
            secret(7),
        ],
        "livenessProbe": {"httpGet": {"path": "/", "httpHeaders": [{"name": "Authorization", "value": secret(8)}]}},
        "lifecycle": {"preStop": {"exec": {"command": ["curl", secret(9)]}}},
        "ports": [{"name": "metrics", "containerPort": 9400}],
        "resources": {"limits": {"nvidia.com/gpu": 2}, "requests": {"nvidia.com/gpu": "2"}},
        **more,
    }


def pod() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "ns",
            "uid": "u",
            "labels": {"app": "x"},
            "annotations": {
                "kubernetes.io/config.mirror": "abc",
                "kubectl.kubernetes.io/last-applied-configuration": secret(10),
                "vault.example/agent-inject-template": secret(11),
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            },
            "ownerReferences": [{"kind": "DaemonSet", "name": "d", "controller": True}],
            "managedFields": [{"manager": secret(12)}],
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "nodeName": "gpu-1",
            "containers": [container()],
            "initContainers": [container(name="init"), "no object"],
            "terminationGracePeriodSeconds": 60,
            "runtimeClassName": "nvidia",
            "imagePullSecrets": [{"name": secret(13)}],
            "volumes": [
                {"name": "dev", "hostPath": {"path": "/dev"}},
                {"name": "s", "csi": {"driver": "d", "volumeAttributes": {"password": secret(14)}}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "app", "ready": True, "restartCount": 1, "image": "x", "state": {}}],
            "resourceClaimStatuses": [{"name": "c", "resourceClaimName": "claim"}],
        },
    }


def test_no_secret_of_a_pod_is_kept() -> None:
    assert SECRET in json.dumps(pod())
    assert SECRET not in json.dumps(prune("pods", pod()))


def test_everything_that_is_read_of_a_pod_is_kept() -> None:
    assert kube.Pod.of(prune("pods", pod())) == kube.Pod.of(pod())


def test_environment_keeps_its_names_and_the_values_of_the_gpu_stack() -> None:
    (kept,) = prune("pods", pod())["spec"]["containers"]
    assert kept["env"] == [
        {"name": "DB_PASSWORD"},
        {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
        {"name": "NVIDIA_API_KEY"},
        {"name": "CUDA_VERSION", "value": "12.4.1"},
        {"name": "DCGM_EXPORTER_LISTEN", "value": ":9401"},
        {"name": "FROM"},
    ]
    assert kept["ports"] == [{"name": "metrics", "containerPort": 9400}]


def test_annotations_of_kubernetes_stay_but_not_what_was_applied() -> None:
    assert prune("pods", pod())["metadata"]["annotations"] == {
        "kubernetes.io/config.mirror": "abc",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    }


def test_volumes_of_other_kinds_are_named_only() -> None:
    assert prune("pods", pod())["spec"]["volumes"] == [
        {"name": "dev", "hostPath": {"path": "/dev"}},
        {"name": "s", "csi": {}},
        {"name": "scratch", "emptyDir": {}},
    ]


def test_the_object_itself_is_not_changed() -> None:
    for kind in ("pods", "nodes", "daemonsets", "clusterpolicies", "services"):
        item = pod()
        prune(kind, item)
        assert item == pod()


def test_node_keeps_since_when_its_labels_are_so() -> None:
    node = h100().node
    node["metadata"]["annotations"] = {
        "nfd.node.kubernetes.io/feature-labels": "a,b",
        "k3s.io/node-args": secret(1),
        "kubectl.kubernetes.io/last-applied-configuration": secret(2),
    }
    node["metadata"]["managedFields"] = [
        {"time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {"f:nvidia.com/mig.config": {}}}}}
    ]
    kept = prune("nodes", node)
    assert SECRET not in json.dumps(kept)
    assert kube.KubeNode.of(kept) == kube.KubeNode.of(node)
    assert kube.KubeNode.of(kept).managed == {"nvidia.com/mig.config": "2026-01-01T00:00:00Z"}


def test_daemon_set_loses_what_a_pod_loses() -> None:
    meta = {"labels": {"app": "x"}, "annotations": {"vault.example/x": secret(1)}}
    item = {
        "metadata": {"name": "d", "namespace": "ns", "managedFields": [{"manager": secret(2)}]},
        "spec": {"template": {"metadata": meta, "spec": {"containers": [container()]}}},
        "status": {"desiredNumberScheduled": 3, "updatedNumberScheduled": 2},
    }
    kept = prune("daemonsets", item)
    assert SECRET not in json.dumps(kept)
    assert kube.DaemonSet.of(kept) == kube.DaemonSet.of(item)


@pytest.mark.parametrize("kind", ["clusterpolicies", "nvidiadrivers", "somethingelse"])
def test_custom_resource_loses_environments_and_arguments_anywhere(kind: str) -> None:
    item = {
        "metadata": {"name": "cluster-policy", "annotations": {"example/x": secret(1)}},
        "spec": {
            "driver": {"version": "580.105.08", "env": [{"name": "HTTPS_PROXY", "value": secret(2)}]},
            "mig": [{"args": [secret(3)], "command": [secret(4)], "strategy": "mixed"}],
        },
        "data": {"key": secret(5)},
        "status": {"state": "ready", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    kept = prune(kind, item)
    assert SECRET not in json.dumps(kept)
    assert kept["spec"]["driver"] == {"version": "580.105.08", "env": [{"name": "HTTPS_PROXY"}]}
    assert kept["spec"]["mig"] == [{"strategy": "mixed"}]
    assert kube.ClusterPolicy.of(kept) == kube.ClusterPolicy.of(item)


def test_event_keeps_its_message() -> None:
    item = {"metadata": {"name": "e"}, "message": "NVRM: Xid", "count": 3, "involvedObject": {"name": "gpu-1"}}
    assert prune("events", item) == item


READERS: dict[str, Callable[[Json], object]] = {
    "nodes": kube.KubeNode.of,
    "pods": kube.Pod.of,
    "daemonsets": kube.DaemonSet.of,
    "nodefeatures": kube.NodeFeature.of,
    "resourceslices": kube.ResourceSlice.of,
    "resourceclaims": kube.ResourceClaim.of,
    "deviceclasses": kube.DeviceClass.of,
    "runtimeclasses": kube.RuntimeClass.of,
    "clusterpolicies": kube.ClusterPolicy.of,
    "poddisruptionbudgets": kube.DisruptionBudget.of,
}
_WORDS = st.sampled_from(
    ["metadata", "spec", "status", "env", "name", "value", "containers", "annotations", "volumes", "template", "x"]
)
_JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(kind=st.sampled_from(sorted(READERS)), item=st.dictionaries(_WORDS, _JUNK, max_size=5))
def test_objects_of_any_shape_are_pruned_and_read_as_before(kind: str, item: Json) -> None:
    before = deepcopy(item)
    assert READERS[kind](prune(kind, item)) == READERS[kind](item)
    assert item == before


@needs_corpus
def test_real_objects_are_read_as_before() -> None:
    assert CORPUS is not None
    seen = 0
    for path in sorted((CORPUS / "real").rglob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if not isinstance(document, dict):
            continue
        for item in document.get("items") or [document]:
            kind = {"Pod": "pods", "Node": "nodes", "NodeFeature": "nodefeatures", "ResourceSlice": "resourceslices"}
            name = kind.get(str(item.get("kind") or document.get("kind", "")).removesuffix("List"))
            if name is not None:
                seen += 1
                assert READERS[name](prune(name, item)) == READERS[name](item), path
    assert seen > 50

from __future__ import annotations

import pytest
from nodes import dra, fails, gpu_pod, h100, not_applicable, passes, untested, warns

# --- runtime.node-ready --------------------------------------------------------------------------------------


def test_node_ready_passes_when_the_kubelet_is_well() -> None:
    assert passes(h100().judge("runtime.node-ready"))


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_node_ready_fails_when_the_kubelet_is_not_ready_or_silent(status: str) -> None:
    result = h100().condition("Ready", status, lastTransitionTime="2026-08-21T08:00:00Z").judge("runtime.node-ready")
    assert fails(result, "condition Ready", f"{status} (Test)")
    assert "since 2026-08-21T08:00:00Z" in result.findings[0].observed


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("MemoryPressure", "True"),
        ("DiskPressure", "True"),
        ("XidCriticalError", "True"),
        ("GpuEcc", "True"),
        ("GpuSomethingNew", "True"),
        ("AcceleratedHardwareReady", "False"),
    ],
)
def test_node_ready_fails_for_pressure_and_for_what_known_agents_report(condition: str, status: str) -> None:
    result = h100().condition(condition, status, message="Xid 79").judge("runtime.node-ready")
    assert fails(result, f"condition {condition}", "Xid 79")


def test_node_ready_passes_in_spite_of_conditions_that_say_nothing_of_gpus() -> None:
    fleet = h100().condition("FrequentKubeletRestart", "True").condition("AcceleratedHardwareReady", "True")
    assert passes(fleet.judge("runtime.node-ready"))


def test_node_ready_takes_the_standards_word_for_a_condition_of_its_own() -> None:
    fleet = (
        h100().says(runtime={"conditions": {"example.com/GPUReady": "True"}}).condition("example.com/GPUReady", "False")
    )
    assert fails(fleet.judge("runtime.node-ready"), "condition example.com/GPUReady", "False")


def test_node_ready_passes_on_a_cordoned_node() -> None:
    fleet = h100()
    fleet.node["spec"]["unschedulable"] = True
    assert passes(fleet.judge("runtime.node-ready"))


def test_node_ready_is_untested_when_an_agent_does_not_know() -> None:
    assert untested(h100().condition("GpuEcc", "Unknown").judge("runtime.node-ready"), "missing", "GpuEcc")


@pytest.mark.parametrize("conditions", [None, [], "Ready", [{"type": "MemoryPressure", "status": "False"}]])
def test_node_ready_is_untested_without_a_condition_ready(conditions: object) -> None:
    fleet = h100()
    fleet.node["status"]["conditions"] = conditions
    assert untested(fleet.judge("runtime.node-ready"), "missing", "condition")


# --- runtime.versions ----------------------------------------------------------------------------------------

VERSIONS = {"kubelet": "v1.34.2", "container-runtime": "containerd://1.7.28", "os-image": "Ubuntu 22.04.5 LTS"}


def test_versions_passes_when_all_three_are_the_standards() -> None:
    assert passes(h100().says(runtime=VERSIONS).judge("runtime.versions"))


@pytest.mark.parametrize(
    ("key", "wanted", "observed"),
    [
        ("kubelet", ">=1.35", "v1.34.2"),
        ("container-runtime", "containerd://2.*", "containerd://1.7.28"),
        ("os-image", "Bottlerocket*", "Ubuntu 22.04.5 LTS"),
    ],
)
def test_versions_fails_when_one_differs(key: str, wanted: str, observed: str) -> None:
    assert fails(h100().says(runtime={**VERSIONS, key: wanted}).judge("runtime.versions"), key, observed)


def test_versions_is_untested_when_nodeinfo_lacks_one() -> None:
    fleet = h100().says(runtime=VERSIONS)
    del fleet.node["status"]["nodeInfo"]["kubeletVersion"]
    assert untested(fleet.judge("runtime.versions"), "missing", "kubeletVersion")


# --- runtime.class -------------------------------------------------------------------------------------------


def test_class_passes_when_it_is_there_with_its_handler() -> None:
    assert passes(h100().judge("runtime.class"))


def test_class_fails_when_there_is_none_of_that_name() -> None:
    fleet = h100()
    fleet.lists["runtimeclasses"] = [{"metadata": {"name": "gvisor"}, "handler": "runsc"}]
    assert fails(fleet.judge("runtime.class"), "RuntimeClass", "gvisor")


def test_class_fails_when_its_handler_is_another() -> None:
    fleet = h100()
    fleet.lists["runtimeclasses"][0]["handler"] = "runc"
    assert fails(fleet.judge("runtime.class"), "handler", "runc")


def test_class_is_not_applicable_where_the_standard_says_so() -> None:
    assert not_applicable(dra().judge("runtime.class"))


def test_class_is_untested_when_classes_were_not_listed() -> None:
    fleet = h100()
    del fleet.lists["runtimeclasses"]
    assert untested(fleet.judge("runtime.class"), "missing", "runtimeclasses.json")


# --- runtime.components --------------------------------------------------------------------------------------

PLUGIN = "nvidia-device-plugin-daemonset"


def test_components_passes_when_each_has_a_ready_pod() -> None:
    assert passes(h100().judge("runtime.components"))


def test_components_fails_when_one_has_no_pod_on_this_node() -> None:
    fleet = h100(nodes=2)
    fleet.pods.remove(fleet.pod("gpu-feature-discovery"))
    assert fails(fleet.judge("runtime.components"), "gfd", "no pod on this node")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m"}},
            "CrashLoopBackOff, 17 restarts: back-off 5m",
        ),
        ({"waiting": {"reason": "ImagePullBackOff"}}, "ImagePullBackOff"),
    ],
)
def test_components_fails_when_a_pod_restarts_or_cannot_start(state: dict[str, object], said: str) -> None:
    fleet = h100()
    status = fleet.pod(PLUGIN)["status"]
    status["containerStatuses"][0] |= {"ready": False, "restartCount": 17, "state": state}
    assert fails(fleet.judge("runtime.components"), "device-plugin", said)


def test_components_fails_when_a_pod_is_stuck_in_an_init_container() -> None:
    fleet = h100()
    pod = fleet.pod("nvidia-operator-validator")
    pod["status"] |= {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]}
    pod["status"]["initContainerStatuses"] = [
        {"name": "plugin-validation", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    ]
    assert fails(fleet.judge("runtime.components"), "validator", "init container plugin-validation: CrashLoopBackOff")


def test_components_fails_when_the_only_pod_is_being_deleted() -> None:
    fleet = h100()
    fleet.pod(PLUGIN)["metadata"]["deletionTimestamp"] = "2026-08-21T08:00:00Z"
    assert fails(fleet.judge("runtime.components"), "device-plugin", "being deleted")


def test_components_passes_in_spite_of_evicted_pods_that_lie_around() -> None:
    fleet = h100()
    evicted = gpu_pod("evicted", gpus=0)
    evicted["metadata"]["labels"] = {"app": PLUGIN}
    evicted["status"] = {"phase": "Failed", "reason": "Evicted"}
    fleet.pods.append(evicted)
    assert passes(fleet.judge("runtime.components"))


def test_components_fails_when_only_an_evicted_pod_is_left() -> None:
    fleet = h100()
    fleet.pod(PLUGIN)["status"] = {"phase": "Failed", "reason": "Evicted"}
    assert fails(fleet.judge("runtime.components"), "device-plugin", "no pod on this node")


@pytest.mark.parametrize(
    ("wanted", "holds"), [("v0.20.0", True), ("v0.20.*", True), (">=0.19", True), ("v0.21.0", False)]
)
def test_components_fails_when_the_image_is_another_version(wanted: str, *, holds: bool) -> None:
    result = h100().says(runtime={"components": {"device-plugin": {"version": wanted}}}).judge("runtime.components")
    assert passes(result) if holds else fails(result, "device-plugin version", "v0.20.0")


def test_components_finds_a_component_by_the_standards_labels() -> None:
    own = {"device-plugin": {"labels": {"team": "gpu"}}}
    fleet = h100().says(runtime={"components": own})
    assert fails(fleet.judge("runtime.components"), "device-plugin", "no pod on this node")
    fleet.pod(PLUGIN)["metadata"]["labels"] = {"team": "gpu"}
    assert passes(fleet.judge("runtime.components"))


def test_components_wants_a_mig_manager_only_where_the_operator_deploys_one() -> None:
    fleet = h100()
    fleet.pods.remove(fleet.pod("nvidia-mig-manager"))
    assert fails(fleet.judge("runtime.components"), "mig-manager", "no pod on this node")
    fleet.labels["nvidia.com/gpu.deploy.mig-manager"] = "false"
    assert passes(fleet.judge("runtime.components"))


def test_components_is_untested_when_pods_were_not_listed() -> None:
    fleet = h100()
    del fleet.lists["pods"]
    assert untested(fleet.judge("runtime.components"), "missing", "pods.json")


# --- runtime.operator ----------------------------------------------------------------------------------------


def test_operator_passes_when_it_is_ready_and_reconciled() -> None:
    assert passes(h100().judge("runtime.operator"))


@pytest.mark.parametrize("reason", ["NFDLabelsMissing", "NoGPUNodes"])
def test_operator_fails_when_it_is_ready_for_the_wrong_reason(reason: str) -> None:
    fleet = h100()
    fleet.lists["clusterpolicies"][0]["status"]["conditions"][0]["reason"] = reason
    assert warns(fleet.judge("runtime.operator"), "cluster-policy Ready", reason)


def test_operator_warns_when_it_is_not_ready() -> None:
    fleet = h100()
    fleet.lists["clusterpolicies"][0]["status"]["state"] = "notReady"
    assert warns(fleet.judge("runtime.operator"), "cluster-policy state", "notReady")


def test_operator_warns_when_there_is_no_policy() -> None:
    fleet = h100()
    fleet.lists["clusterpolicies"] = []
    assert warns(fleet.judge("runtime.operator"), "ClusterPolicy", "none")


def test_operator_is_not_applicable_where_there_is_none() -> None:
    assert not_applicable(h100().says(runtime={"operator": "absent"}).judge("runtime.operator"))


def test_operator_is_untested_when_policies_were_not_listed() -> None:
    fleet = h100()
    del fleet.lists["clusterpolicies"]
    assert untested(fleet.judge("runtime.operator"), "missing", "clusterpolicies.json")


def test_operator_is_untested_when_the_policy_says_nothing_of_why_it_is_ready() -> None:
    fleet = h100()
    fleet.lists["clusterpolicies"][0]["status"]["conditions"] = []
    assert untested(fleet.judge("runtime.operator"), "missing")

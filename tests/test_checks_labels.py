from __future__ import annotations

import pytest
from nodes import Fleet, a100_mig, dra, fails, h100, not_applicable, passes, shown, t4, untested, warns

GFD = "nvidia.com/"


def _labelled(fleet: Fleet, key: str, value: str | None) -> Fleet:
    fleet.labels.pop(key, None)
    if value is not None:
        fleet.labels[key] = value
    return fleet


def _unlabelled(fleet: Fleet) -> Fleet:
    for key in [key for key in fleet.labels if key.startswith(GFD)]:
        del fleet.labels[key]
    return fleet


# --- labels.required -----------------------------------------------------------------------------------------


def test_required_passes_when_labels_have_the_standards_values() -> None:
    fleet = h100().says(labels={"required": {"example.com/pool": "training*", "nvidia.com/gpu.present": "true"}})
    assert passes(_labelled(fleet, "example.com/pool", "training-a").judge("labels.required"))


@pytest.mark.parametrize(("value", "observed"), [(None, "no such label"), ("false", "false")])
def test_required_fails_when_one_is_missing_or_has_another_value(value: str | None, observed: str) -> None:
    # GFD sets gpu.present to "false" when GPUs vanish; it does not remove the label.
    fleet = _labelled(h100(), "nvidia.com/gpu.present", value)
    assert fails(fleet.judge("labels.required"), "label nvidia.com/gpu.present", observed)


def test_required_is_untested_when_the_cluster_does_not_know_the_node() -> None:
    fleet = h100(nodes=2)
    name = fleet.first
    fleet.nodes[name] = {"metadata": {"name": "another"}}
    assert untested(fleet.judge("labels.required"), "missing", "nodes.json has no node gpu-1")


# --- labels.truth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fleet", [h100(), t4(), a100_mig("mixed"), a100_mig("single", ["1g.5gb"] * 7)])
def test_truth_passes_in_every_mode_of_sharing(fleet: Fleet) -> None:
    assert passes(fleet.judge("labels.truth"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gpu.product", "NVIDIA-A100-SXM4-40GB"),
        ("gpu.product", "NVIDIA-H100-80GB-HBM3-MIG-INVALID"),
        ("gpu.count", "8"),
        ("gpu.memory", "40960"),
        ("gpu.family", "ampere"),
        ("gpu.compute.minor", "9"),
        ("gpu.replicas", "0"),
        ("gpu.sharing-strategy", "time-slicing"),
        ("gpu.sharing-strategy", ""),
        ("mig.capable", "false"),
        ("cuda.driver-version.full", "570.148.08"),
        ("cuda.driver-version.major", "570"),
        ("cuda.runtime-version.full", "12.8"),
    ],
)
def test_truth_fails_when_a_label_says_what_nvml_does_not(key: str, value: str) -> None:
    result = _labelled(h100(), GFD + key, value).judge("labels.truth")
    found = {each.field.removeprefix("label nvidia.com/") for each in result.findings}
    assert result.verdict == "fail", shown(result)
    assert found == {key.removesuffix(".minor")}, shown(result)
    assert all(each.source == "nodes.json" for each in result.findings)


def test_truth_passes_with_a_memory_label_that_differs_by_rounding() -> None:
    assert passes(_labelled(h100(), "nvidia.com/gpu.memory", "81331").judge("labels.truth"))


def test_truth_passes_with_a_timestamp_of_last_year() -> None:
    # It is when the feature discovery started, not when it last looked.
    assert passes(_labelled(h100(), "nvidia.com/gfd.timestamp", "1700000000").judge("labels.truth"))


def test_truth_passes_with_shared_as_suffix_only_where_gpus_are_shared() -> None:
    fleet = _labelled(h100(), "nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3-SHARED")
    assert fails(fleet.judge("labels.truth"), "label nvidia.com/gpu.product", "SHARED")
    assert passes(t4().judge("labels.truth"))


def test_truth_fails_when_gpus_are_shared_that_should_not_be() -> None:
    fleet = _labelled(h100(), "nvidia.com/gpu.replicas", "4")
    fleet.labels["nvidia.com/gpu.sharing-strategy"] = "time-slicing"
    assert fails(fleet.judge("labels.truth"), "label nvidia.com/gpu.replicas", "4")


def test_truth_fails_when_they_are_shared_in_another_way() -> None:
    fleet = _labelled(t4(), "nvidia.com/gpu.sharing-strategy", "mps")
    assert fails(fleet.judge("labels.truth"), "label nvidia.com/gpu.sharing-strategy", "mps")


def test_truth_knows_that_replicas_are_0_where_every_gpu_is_partitioned() -> None:
    fleet = _labelled(a100_mig("mixed"), "nvidia.com/gpu.replicas", "1")
    assert fails(fleet.judge("labels.truth"), "label nvidia.com/gpu.replicas", "1")


def test_truth_knows_that_count_is_of_mig_devices_under_strategy_single() -> None:
    fleet = _labelled(a100_mig("single", ["1g.5gb"] * 7), "nvidia.com/gpu.count", "2")
    assert fails(fleet.judge("labels.truth"), "label nvidia.com/gpu.count", "2")


def test_truth_fails_when_a_mig_count_is_stale() -> None:
    fleet = _labelled(a100_mig("mixed"), "nvidia.com/mig-1g.5gb.count", "7")
    assert fails(fleet.judge("labels.truth"), "label nvidia.com/mig-1g.5gb.count", "7")


def test_truth_passes_with_labels_that_describe_one_of_two_models() -> None:
    fleet = h100(3).smi("product_name", "NVIDIA L40S", gpu=2).smi("pci/pci_device_id", "26B910DE", gpu=2)
    fleet.standard["extends"].insert(0, "hardware/l40s")
    assert passes(_labelled(fleet, "nvidia.com/gpu.count", "2").judge("labels.truth"))


def test_truth_passes_without_a_memory_label() -> None:
    assert passes(_labelled(h100(), "nvidia.com/gpu.memory", None).judge("labels.truth"))


def test_truth_is_untested_when_there_is_no_label_of_gfd() -> None:
    assert untested(_unlabelled(h100()).judge("labels.truth"), "missing", "no label of GPU Feature Discovery")


def test_truth_is_not_applicable_where_the_standard_has_no_gfd() -> None:
    assert not_applicable(dra().judge("labels.truth"))


def test_truth_is_untested_when_the_driver_was_not_asked() -> None:
    assert untested(h100().file("nvidia-smi.xml", None).judge("labels.truth"), "blocked", "driver.nvml")


# --- labels.owned --------------------------------------------------------------------------------------------


def test_owned_passes_when_annotation_and_feature_know_every_label() -> None:
    assert passes(h100().judge("labels.owned"))


def test_owned_passes_when_labels_of_others_are_nobodys() -> None:
    assert passes(_labelled(h100(), "example.com/pool", "training").judge("labels.owned"))


def test_owned_fails_for_a_label_that_was_set_by_hand() -> None:
    fleet = _labelled(h100(), "nvidia.com/mps.capable", "true")
    assert warns(fleet.judge("labels.owned"), "label nvidia.com/mps.capable", "not in the NFD annotation")


def test_owned_warns_when_the_feature_source_wants_another_value() -> None:
    fleet = _labelled(h100(), "nvidia.com/gpu.count", "8")
    assert warns(fleet.judge("labels.owned"), "label nvidia.com/gpu.count", "2 in the NodeFeature")


def test_owned_passes_by_the_annotation_alone_where_no_feature_objects_exist() -> None:
    fleet = h100()
    fleet.lists["nodefeatures"] = []
    assert passes(fleet.judge("labels.owned"))


def test_owned_is_untested_when_neither_says_whose_a_label_is() -> None:
    fleet = h100()
    fleet.lists["nodefeatures"] = []
    fleet.node["metadata"]["annotations"] = {}
    assert untested(fleet.judge("labels.owned"), "missing", "who owns")


def test_owned_is_untested_when_features_were_not_listed() -> None:
    fleet = h100()
    del fleet.lists["nodefeatures"]
    assert untested(fleet.judge("labels.owned"), "missing", "nodefeatures.json")


def test_owned_is_untested_when_there_is_no_label_to_own() -> None:
    assert untested(_unlabelled(h100()).judge("labels.owned"), "missing", "no label of GPU Feature Discovery")


# --- labels.taints -------------------------------------------------------------------------------------------

TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
WRITTEN = "nvidia.com/gpu=present:NoSchedule"


def _tainted(*taints: dict[str, str], wanted: object = ()) -> Fleet:
    fleet = h100().says(labels={"taints": list(wanted) if wanted is not None else None})  # type: ignore[call-overload]
    fleet.node["spec"]["taints"] = list(taints)
    return fleet


def test_taints_passes_when_they_are_the_standards() -> None:
    assert passes(_tainted().judge("labels.taints"))
    assert passes(_tainted(TAINT, wanted=[WRITTEN]).judge("labels.taints"))


@pytest.mark.parametrize("key", ["node.kubernetes.io/unschedulable", "node.kubernetes.io/memory-pressure"])
def test_taints_passes_in_spite_of_those_the_cluster_sets_itself(key: str) -> None:
    assert passes(_tainted({"key": key, "effect": "NoSchedule"}).judge("labels.taints"))


def test_taints_fails_when_one_is_missing() -> None:
    result = _tainted(wanted=[WRITTEN]).judge("labels.taints")
    assert fails(result, "taint", "none")
    assert result.findings[0].expected == WRITTEN


def test_taints_fails_when_there_is_one_too_many() -> None:
    assert fails(_tainted(TAINT).judge("labels.taints"), "taint", WRITTEN)


def test_taints_fails_when_the_effect_differs() -> None:
    fleet = _tainted({**TAINT, "effect": "PreferNoSchedule"}, wanted=[WRITTEN])
    assert fails(fleet.judge("labels.taints"), "taint", "PreferNoSchedule")


def test_taints_is_not_applicable_where_the_standard_does_not_judge_them() -> None:
    assert not_applicable(_tainted(TAINT, wanted=None).judge("labels.taints"))


def test_taints_is_untested_when_the_cluster_does_not_know_the_node() -> None:
    fleet = h100()
    fleet.nodes[fleet.first] = {"metadata": {"name": "another"}}
    assert untested(fleet.judge("labels.taints"), "missing")


# --- labels.mig-state, labels.operations ---------------------------------------------------------------------

STATE = "nvidia.com/mig.config.state"


def test_mig_state_passes_when_the_wanted_configuration_is_applied() -> None:
    assert passes(a100_mig().judge("labels.mig-state"))


@pytest.mark.parametrize("state", ["pending", "rebooting", "failed", None])
def test_mig_state_fails_while_it_is_anything_but_success(state: str | None) -> None:
    assert fails(_labelled(a100_mig(), STATE, state).judge("labels.mig-state"), f"label {STATE}", state or "absent")


def test_mig_state_fails_and_says_since_when_if_managed_fields_tell() -> None:
    fleet = _labelled(a100_mig(), STATE, "pending")
    written = {"time": "2026-08-21T08:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {f"f:{STATE}": {}}}}}
    fleet.node["metadata"]["managedFields"] = [written]
    assert fails(fleet.judge("labels.mig-state"), f"label {STATE}", "pending since 2026-08-21T08:00:00Z")


def test_mig_state_fails_when_another_configuration_is_wanted_than_the_standards() -> None:
    fleet = _labelled(a100_mig(), "nvidia.com/mig.config", "all-1g.5gb")
    assert fails(fleet.judge("labels.mig-state"), "label nvidia.com/mig.config", "all-1g.5gb")


def test_mig_state_is_not_applicable_where_nobody_has_asked_for_a_configuration() -> None:
    assert not_applicable(h100().judge("labels.mig-state"))


def test_mig_state_is_untested_when_the_cluster_does_not_know_the_node() -> None:
    fleet = a100_mig()
    fleet.nodes[fleet.first] = {"metadata": {"name": "another"}}
    assert untested(fleet.judge("labels.mig-state"), "missing")


@pytest.mark.parametrize("state", [None, "", "upgrade-done"])
def test_operations_passes_when_nothing_is_under_way(state: str | None) -> None:
    assert passes(_labelled(h100(), "nvidia.com/gpu-driver-upgrade-state", state).judge("labels.operations"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nvidia.com/gpu-driver-upgrade-state", "drain-required"),
        ("nvidia.com/gpu-driver-upgrade-state", "upgrade-failed"),
        ("nvidia.com/gpu.deploy.device-plugin", "paused-for-mig-change"),
        ("nvidia.com/gpu.deploy.dcgm-exporter", "true_paused-for-driver-upgrade"),
    ],
)
def test_operations_fails_while_something_is_in_motion_failed_or_left_over(key: str, value: str) -> None:
    assert fails(_labelled(h100(), key, value).judge("labels.operations"), f"label {key}", value)


@pytest.mark.parametrize("value", ["true", "false", "", "pre-installed"])
def test_operations_passes_with_the_usual_words_of_the_operator(value: str) -> None:
    assert passes(_labelled(h100(), "nvidia.com/gpu.deploy.driver", value).judge("labels.operations"))


def test_operations_is_untested_when_the_cluster_does_not_know_the_node() -> None:
    fleet = h100()
    fleet.nodes[fleet.first] = {"metadata": {"name": "another"}}
    assert untested(fleet.judge("labels.operations"), "missing")

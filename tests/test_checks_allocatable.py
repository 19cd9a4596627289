from __future__ import annotations

import pytest
from nodes import LAYOUT, Fleet, a100_mig, dra, fails, gpu_pod, h100, not_applicable, passes, shown, t4, untested

PLUGIN = "nvidia-device-plugin-daemonset"
GPU = "nvidia.com/gpu"


def _advertising(fleet: Fleet, capacity: dict[str, int] | None = None, /, **allocatable: int) -> Fleet:
    """Set resources (`gpu=7`) of both, or of allocatable alone if `capacity` is given."""
    named = {f"nvidia.com/{key.replace('_', '-')}": str(amount) for key, amount in allocatable.items()}
    status = fleet.node["status"]
    status["allocatable"] |= named
    status["capacity"] |= named if capacity is None else {f"nvidia.com/{key}": str(n) for key, n in capacity.items()}
    return fleet


# --- allocatable.plugin --------------------------------------------------------------------------------------


def test_plugin_passes_when_the_device_plugin_runs() -> None:
    assert passes(h100().judge("allocatable.plugin"))


def test_plugin_passes_where_the_operating_system_is_the_plugin() -> None:
    fleet = h100().says(allocatable={"advertised-by": "os"})
    fleet.pods.clear()
    assert passes(fleet.judge("allocatable.plugin"))


def test_plugin_passes_with_a_dra_driver_and_its_slices() -> None:
    assert passes(dra().judge("allocatable.plugin"))


def test_plugin_fails_when_its_pod_is_gone() -> None:
    fleet = h100()
    fleet.pods.remove(fleet.pod(PLUGIN))
    assert fails(fleet.judge("allocatable.plugin"), "device plugin", "no pod on this node")


def test_plugin_fails_when_the_operating_system_advertises_nothing() -> None:
    fleet = _advertising(h100().says(allocatable={"advertised-by": "os"}), gpu=0)
    assert fails(fleet.judge("allocatable.plugin"), "operating system", "no GPU resource")


def test_plugin_fails_when_the_dra_driver_publishes_no_device() -> None:
    fleet = dra()
    fleet.lists["resourceslices"][0]["spec"]["devices"] = []
    assert fails(fleet.judge("allocatable.plugin"), "ResourceSlice", "no device published")


def test_plugin_is_untested_when_pods_were_not_listed() -> None:
    fleet = h100()
    del fleet.lists["pods"]
    assert untested(fleet.judge("allocatable.plugin"), "missing", "pods.json")


# --- allocatable.count ---------------------------------------------------------------------------------------


def test_count_passes_with_one_pod_per_gpu() -> None:
    assert passes(h100().judge("allocatable.count"))


def test_count_passes_with_replicas_under_time_slicing() -> None:
    assert passes(t4(replicas=4).judge("allocatable.count"))


def test_count_passes_with_replicas_under_another_name() -> None:
    fleet = t4(replicas=4).says(sharing={"renamed": True})
    for part in ("capacity", "allocatable"):
        fleet.node["status"][part] = {"nvidia.com/gpu.shared": "8"}
    assert passes(fleet.judge("allocatable.count"))


def test_count_passes_with_mig_devices() -> None:
    assert passes(a100_mig("mixed").judge("allocatable.count"))
    assert passes(a100_mig("single", ["1g.5gb"] * 7).judge("allocatable.count"))


def test_count_passes_with_the_gpus_of_dra_slices() -> None:
    assert passes(dra().judge("allocatable.count"))


def test_count_fails_when_one_gpu_is_not_advertised() -> None:
    result = _advertising(h100(), gpu=1).judge("allocatable.count")
    assert fails(result, GPU, "1")
    assert (result.findings[0].expected, result.findings[0].source) == ("2", "nodes.json")


def test_count_fails_when_time_slicing_is_not_applied() -> None:
    assert fails(_advertising(t4(replicas=4), gpu=2).judge("allocatable.count"), GPU, "2")


def test_count_fails_when_gpus_are_shared_that_should_not_be() -> None:
    fleet = _advertising(h100(), gpu=8)
    fleet.labels.update({"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"})
    assert fails(fleet.judge("allocatable.count"), GPU, "8")


def test_count_fails_when_the_key_is_gone() -> None:
    fleet = h100()
    del fleet.node["status"]["allocatable"][GPU]
    assert fails(fleet.judge("allocatable.count"), GPU, "0")


def test_count_fails_when_a_resource_is_advertised_that_nobody_asked_for() -> None:
    assert fails(_advertising(h100(), mig_1g__10gb=7).judge("allocatable.count"), "nvidia.com/mig-1g--10gb", "7")


def test_count_fails_when_a_mig_profile_is_short() -> None:
    fleet = a100_mig("mixed")
    fleet.node["status"]["allocatable"]["nvidia.com/mig-1g.5gb"] = "3"
    assert fails(fleet.judge("allocatable.count"), "nvidia.com/mig-1g.5gb", "3")


def test_count_goes_by_the_resources_that_the_standard_lists() -> None:
    fleet = h100().says(allocatable={"resources": {GPU: 8}})
    assert fails(fleet.judge("allocatable.count"), GPU, "2")


def test_count_fails_when_slices_have_fewer_gpus() -> None:
    fleet = dra()
    fleet.lists["resourceslices"][0]["spec"]["devices"].pop()
    assert fails(fleet.judge("allocatable.count"), "ResourceSlice devices", "1")


def test_count_reads_the_newest_generation_of_slices_only() -> None:
    fleet = dra()
    old = {**fleet.lists["resourceslices"][0]["spec"], "devices": []}
    old["pool"] = {"name": "gpu-1", "generation": 1, "resourceSliceCount": 1}
    fleet.lists["resourceslices"].append({"metadata": {"name": "old"}, "spec": old})
    assert passes(fleet.judge("allocatable.count"))


def test_count_is_untested_while_slices_of_the_newest_generation_are_missing() -> None:
    fleet = dra()
    fleet.lists["resourceslices"][0]["spec"]["pool"]["resourceSliceCount"] = 2
    assert untested(fleet.judge("allocatable.count"), "missing", "not published yet")


def test_count_is_untested_when_slices_were_not_listed() -> None:
    fleet = dra()
    del fleet.lists["resourceslices"]
    assert untested(fleet.judge("allocatable.count"), "missing", "resourceslices.json")


@pytest.mark.parametrize("allocatable", [None, [], "many"])
def test_count_is_an_error_when_allocatable_is_no_map(allocatable: object) -> None:
    fleet = h100()
    fleet.node["status"]["allocatable"] = allocatable
    assert untested(fleet.judge("allocatable.count"), "unparsable", "allocatable")


@pytest.mark.parametrize("amount", ["-1", "2.5", "many", "", None])
def test_count_never_passes_for_a_quantity_that_is_none(amount: object) -> None:
    fleet = h100()
    fleet.node["status"]["allocatable"][GPU] = amount
    result = fleet.judge("allocatable.count")
    assert result.verdict in {"fail", "error"}, shown(result)


def test_count_goes_by_the_labels_where_neither_standard_nor_driver_says_how_many() -> None:
    fleet = h100().file("nvidia-smi.xml", None).says(gpu={"count": None})
    assert passes(fleet.judge("allocatable.count"))
    fleet.labels["nvidia.com/gpu.count"] = "3"
    assert fails(fleet.judge("allocatable.count"), GPU, "2")


@pytest.mark.parametrize("said", [None, "0", "two"])
def test_count_is_untested_when_nobody_says_how_many(said: str | None) -> None:
    fleet = h100().file("nvidia-smi.xml", None).says(gpu={"count": None})
    del fleet.labels["nvidia.com/gpu.count"]
    if said is not None:
        fleet.labels["nvidia.com/gpu.count"] = said
    assert untested(fleet.judge("allocatable.count"), "missing")


# --- allocatable.healthy -------------------------------------------------------------------------------------


def test_healthy_passes_when_allocatable_is_capacity() -> None:
    assert passes(h100().judge("allocatable.healthy"))


def test_healthy_fails_when_a_device_was_marked_unhealthy() -> None:
    result = _advertising(h100(), {"gpu": 2}, gpu=1).judge("allocatable.healthy")
    assert fails(result, GPU, "1")
    assert result.findings[0].expected == "allocatable 2 of 2"


def test_healthy_fails_when_the_plugin_is_gone_and_all_are_unhealthy() -> None:
    assert fails(_advertising(h100(), {"gpu": 2}, gpu=0).judge("allocatable.healthy"), GPU, "0")


def test_healthy_fails_when_one_replica_of_a_shared_gpu_is_unhealthy() -> None:
    assert fails(_advertising(t4(replicas=4), {"gpu": 8}, gpu=7).judge("allocatable.healthy"), GPU, "7")


def test_healthy_fails_when_a_device_of_a_slice_has_a_taint_that_keeps_pods_away() -> None:
    fleet = dra()
    device = fleet.lists["resourceslices"][0]["spec"]["devices"][1]
    device["taints"] = [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoSchedule"}]
    assert fails(fleet.judge("allocatable.healthy"), "gpu-1", "gpu.nvidia.com/xid=79:NoSchedule")


def test_healthy_passes_in_spite_of_a_taint_without_effect() -> None:
    fleet = dra()
    device = fleet.lists["resourceslices"][0]["spec"]["devices"][1]
    device["taints"] = [{"key": "gpu.nvidia.com/unmonitored", "effect": "None"}]
    assert passes(fleet.judge("allocatable.healthy"))


def test_healthy_is_an_error_when_capacity_is_no_map() -> None:
    fleet = h100()
    fleet.node["status"]["capacity"] = None
    assert untested(fleet.judge("allocatable.healthy"), "unparsable", "capacity")


def test_healthy_is_untested_when_the_node_advertises_nothing_at_all() -> None:
    fleet = h100()
    for part in ("capacity", "allocatable"):
        del fleet.node["status"][part][GPU]
    assert untested(fleet.judge("allocatable.healthy"), "missing", "no GPU resource")


def test_healthy_is_untested_when_slices_have_no_device() -> None:
    fleet = dra()
    fleet.lists["resourceslices"][0]["spec"]["devices"] = []
    assert untested(fleet.judge("allocatable.healthy"), "missing", "no device")


# --- allocatable.agrees --------------------------------------------------------------------------------------


def test_agrees_passes_when_nvml_labels_and_allocatable_say_the_same() -> None:
    assert passes(h100().judge("allocatable.agrees"))


@pytest.mark.parametrize("fleet", [t4(4), a100_mig("mixed"), a100_mig("single", ["1g.5gb"] * 7), dra()])
def test_agrees_passes_with_the_arithmetic_of_every_way_to_share(fleet: Fleet) -> None:
    assert passes(fleet.judge("allocatable.agrees"))


def test_agrees_passes_with_mig_on_and_no_strategy() -> None:
    fleet = h100().smi("mig_mode/current_mig", "Enabled")
    fleet.labels["nvidia.com/gpu.replicas"] = "0"
    assert passes(fleet.judge("allocatable.agrees"))


def test_agrees_fails_and_names_the_labels_when_they_are_stale() -> None:
    fleet = h100()
    fleet.labels["nvidia.com/gpu.count"] = "8"
    assert fails(fleet.judge("allocatable.agrees"), "devices", "GFD label gpu.count says 8")


def test_agrees_fails_and_names_nvml_when_a_gpu_is_lost() -> None:
    fleet = h100(3)
    fleet.gpus["gpu-1"].pop()
    fleet.header["gpu-1"]["attached_gpus"] = "2"
    assert fails(fleet.judge("allocatable.agrees"), "devices", "NVML says 2")


def test_agrees_fails_when_a_mig_device_is_lost_silently() -> None:
    fleet = a100_mig("mixed")
    devices = fleet.gpus["gpu-1"][1].find("mig_devices")
    assert devices is not None
    devices.remove(devices[3])
    assert fails(fleet.judge("allocatable.agrees"), "nvidia.com/mig-1g.5gb", "NVML says 3")


def test_agrees_fails_when_the_slices_have_fewer_gpus() -> None:
    fleet = dra()
    fleet.lists["resourceslices"][0]["spec"]["devices"].pop()
    assert fails(fleet.judge("allocatable.agrees"), "devices", "ResourceSlices says 1")


def test_agrees_takes_no_count_from_labels_that_describe_one_of_two_models() -> None:
    fleet = h100().smi("product_name", "NVIDIA L40S", gpu=1)
    fleet.standard["extends"].insert(0, "hardware/l40s")
    fleet.labels["nvidia.com/gpu.count"] = "1"
    assert passes(fleet.judge("allocatable.agrees"))


def test_agrees_is_an_error_when_the_label_is_no_count() -> None:
    fleet = h100()
    fleet.labels["nvidia.com/gpu.count"] = "two"
    assert untested(fleet.judge("allocatable.agrees"), "unparsable", "two")


def test_agrees_is_untested_when_the_driver_was_not_asked() -> None:
    assert untested(h100().file("nvidia-smi.xml", None).judge("allocatable.agrees"), "blocked")


# --- allocatable.accounted, allocatable.stale ----------------------------------------------------------------


def test_accounted_passes_when_pods_hold_all_there_is() -> None:
    fleet = h100()
    fleet.pods.extend([gpu_pod("a"), gpu_pod("b")])
    assert passes(fleet.judge("allocatable.accounted"))


def test_accounted_fails_when_pods_hold_more_than_is_left() -> None:
    fleet = _advertising(h100(), {"gpu": 2}, gpu=1)
    fleet.pods.extend([gpu_pod("a"), gpu_pod("b")])
    assert fails(fleet.judge("allocatable.accounted"), GPU, "2")


def test_accounted_counts_no_pod_that_has_finished_or_is_on_another_node() -> None:
    fleet = h100()
    fleet.pods.extend([gpu_pod("a", gpus=2), gpu_pod("b", gpus=2), gpu_pod("c", "gpu-2", gpus=2)])
    fleet.pods[-2]["status"]["phase"] = "Failed"
    assert passes(fleet.judge("allocatable.accounted"))


@pytest.mark.parametrize(("asked", "holds"), [("1", True), ("3", False)])
def test_accounted_counts_an_init_container_only_where_it_asks_for_more(asked: str, *, holds: bool) -> None:
    fleet = h100()
    init = {"name": "warm-up", "resources": {"limits": {GPU: asked}}}
    fleet.pods.append(gpu_pod("a", gpus=2, initContainers=[init]))
    result = fleet.judge("allocatable.accounted")
    assert passes(result) if holds else fails(result, GPU, "3")


def test_accounted_is_not_applicable_where_claims_hold_the_devices() -> None:
    assert not_applicable(dra().judge("allocatable.accounted"))


def test_accounted_is_untested_when_pods_were_not_listed() -> None:
    fleet = h100()
    del fleet.lists["pods"]
    assert untested(fleet.judge("allocatable.accounted"), "missing", "pods.json")


def test_stale_passes_without_a_left_over_name() -> None:
    assert passes(h100().judge("allocatable.stale"))


def test_stale_fails_as_information_for_a_left_over_name() -> None:
    result = _advertising(h100(), **{"mig_3g.20gb": 0}).judge("allocatable.stale")
    assert fails(result, "nvidia.com/mig-3g.20gb", "0", severity="info")


def test_stale_names_leave_count_and_health_alone() -> None:
    fleet = _advertising(a100_mig("mixed", LAYOUT), **{"mig_7g.40gb": 0})
    assert passes(fleet.judge("allocatable.count"))
    assert passes(fleet.judge("allocatable.healthy"))


def test_stale_is_an_error_when_allocatable_is_no_map() -> None:
    fleet = h100()
    fleet.node["status"]["allocatable"] = "none"
    assert untested(fleet.judge("allocatable.stale"), "unparsable")


# --- sharing that only the labels tell ------------------------------------------------------------------------


def _shared_and_renamed(amount: int) -> Fleet:
    fleet = _advertising(t4(), **{"gpu.shared": amount}).says(sharing={"strategy": "time-slicing"})
    for part in ("capacity", "allocatable"):
        del fleet.node["status"][part][GPU]
    fleet.labels[f"{GPU}.product"] = "Tesla-T4"
    return fleet


def test_count_and_agrees_pass_where_shared_gpus_were_renamed_and_the_standard_is_silent() -> None:
    assert passes(_shared_and_renamed(8).judge("allocatable.count"))
    assert passes(_shared_and_renamed(8).judge("allocatable.agrees"))


def test_count_fails_where_too_few_renamed_gpus_are_handed_out() -> None:
    assert fails(_shared_and_renamed(2).judge("allocatable.count"), f"{GPU}.shared", "2")


def test_count_fails_where_the_standard_says_that_shared_gpus_are_not_renamed() -> None:
    fleet = _shared_and_renamed(8).says(sharing={"strategy": "time-slicing", "renamed": False})
    assert fails(fleet.judge("allocatable.count"), GPU, "0")


def _shared_mig(replicas: int) -> Fleet:
    fleet = a100_mig("mixed", ["3g.20gb", "3g.20gb"])
    fleet.labels["nvidia.com/mig-3g.20gb.replicas"] = "2"
    return _advertising(fleet, **{"mig_3g.20gb": 4 * replicas})


def test_count_and_agrees_pass_where_mig_devices_are_shared_as_their_labels_say() -> None:
    assert passes(_shared_mig(2).judge("allocatable.count"))
    assert passes(_shared_mig(2).judge("allocatable.agrees"))


def test_count_fails_where_mig_devices_are_not_shared_as_their_labels_say() -> None:
    assert fails(_shared_mig(1).judge("allocatable.count"), "nvidia.com/mig-3g.20gb", "4")


def test_count_leaves_whole_gpus_open_where_nobody_asked_the_driver_how_many_are_divided() -> None:
    fleet = a100_mig("mixed", ["3g.20gb", "3g.20gb"]).says(mig={"mode": "any", "strategy": "mixed", "layout": "any"})
    fleet.labels.update({f"{GPU}.replicas": "1", "nvidia.com/mig-3g.20gb.count": "2"})
    fleet = _advertising(fleet, **{"gpu": 1, "mig_3g.20gb": 2}).file("nvidia-smi.xml", None)
    assert passes(fleet.judge("allocatable.count", depth="api"))
    fleet.labels[f"{GPU}.replicas"] = "0"
    assert fails(fleet.judge("allocatable.count", depth="api"), GPU, "1")

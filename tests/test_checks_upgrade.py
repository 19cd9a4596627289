from __future__ import annotations

from typing import Any

import pytest
from nodes import Fleet, fails, gpu_pod, h100, passes, untested

ROW = {"driver": "580.*", "kubernetes": ">=1.33 <1.36", "container-runtime": "containerd://1.7.*", "cuda": ">=12.8"}


# --- upgrade.settled -----------------------------------------------------------------------------------------


def test_settled_passes_when_nothing_is_under_way_at_the_standards_versions() -> None:
    fleet = h100().says(driver={"version": "580.105.08"}, runtime={"kubelet": "v1.34.2"})
    assert passes(fleet.judge("upgrade.settled"))


def test_settled_fails_while_a_driver_upgrade_is_in_motion() -> None:
    fleet = h100()
    fleet.labels["nvidia.com/gpu-driver-upgrade-state"] = "pod-restart-required"
    assert fails(fleet.judge("upgrade.settled"), "label nvidia.com/gpu-driver-upgrade-state", "pod-restart-required")


@pytest.mark.parametrize(
    ("says", "field", "observed"),
    [
        ({"driver": {"version": "570.*"}}, "driver.version", "580.105.08"),
        ({"runtime": {"kubelet": "v1.35.0"}}, "kubelet", "v1.34.2"),
    ],
)
def test_settled_fails_when_the_node_is_behind(says: dict[str, Any], field: str, observed: str) -> None:
    assert fails(h100().says(**says).judge("upgrade.settled"), field, observed)


def test_settled_is_untested_when_the_drivers_version_is_not_known() -> None:
    fleet = h100().says(driver={"version": "580.*"}).file("nvidia-smi.xml", None)
    assert untested(fleet.judge("upgrade.settled"), "missing")


# --- upgrade.matrix ------------------------------------------------------------------------------------------


def test_matrix_passes_when_the_node_is_a_known_good_row() -> None:
    assert passes(h100().says(upgrade={"matrix": [{"driver": "999"}, ROW]}).judge("upgrade.matrix"))


def test_matrix_judges_the_target_and_not_what_runs_now() -> None:
    target = {"driver": "595.91.07"}
    fleet = h100().says(upgrade={"matrix": [ROW], "target": target})
    assert fails(fleet.judge("upgrade.matrix"), "combination", "driver 595.91.07")
    assert passes(fleet.says(upgrade={"matrix": [{**ROW, "driver": "595.*"}]}).judge("upgrade.matrix"))


@pytest.mark.parametrize(
    ("column", "wanted", "said"),
    [
        ("driver", "570.*", "driver 580.105.08"),
        ("kubernetes", ">=1.35", "kubernetes v1.34.2"),
        ("container-runtime", "containerd://2.*", "container-runtime containerd://1.7.28"),
        ("cuda", ">=13.1", "cuda 13.0"),
    ],
)
def test_matrix_fails_when_one_column_is_not_in_any_row(column: str, wanted: str, said: str) -> None:
    assert fails(
        h100().says(upgrade={"matrix": [{**ROW, column: wanted}]}).judge("upgrade.matrix"), "combination", said
    )


def test_matrix_is_not_planned_without_a_matrix() -> None:
    assert untested(h100().judge("upgrade.matrix"), "not-selected", "no upgrade matrix")


def test_matrix_is_untested_when_a_column_is_not_known() -> None:
    fleet = h100().says(upgrade={"matrix": [ROW]})
    del fleet.node["status"]["nodeInfo"]["containerRuntimeVersion"]
    assert untested(fleet.judge("upgrade.matrix"), "missing", "container-runtime")


# --- upgrade.drainable ---------------------------------------------------------------------------------------


def _with(*pods: dict[str, Any], nodes: int = 1) -> Fleet:
    fleet = h100(nodes=nodes)
    fleet.pods.extend(pods)
    return fleet


def _budget(**status: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": "training"}}
    return {"metadata": {"name": "keep", "namespace": "team"}, "spec": {"selector": selector}, "status": status}


def test_drainable_passes_when_every_gpu_pod_has_an_owner_and_room_in_its_budget() -> None:
    fleet = _with(gpu_pod("training"))
    fleet.lists["poddisruptionbudgets"] = [_budget(disruptionsAllowed=1)]
    assert passes(fleet.judge("upgrade.drainable"))


def test_drainable_passes_on_a_node_without_gpu_pods() -> None:
    assert passes(h100().judge("upgrade.drainable"))


def test_drainable_leaves_daemon_sets_and_pods_without_gpus_alone() -> None:
    fleet = _with(gpu_pod("agent", owner="DaemonSet"), gpu_pod("debug", gpus=0, owner=""))
    assert passes(fleet.judge("upgrade.drainable"))


def test_drainable_fails_for_a_pod_without_owner() -> None:
    assert fails(_with(gpu_pod("notebook", owner="")).judge("upgrade.drainable"), "pod team/notebook", "no controller")


def test_drainable_fails_when_the_budget_allows_no_disruption() -> None:
    fleet = _with(gpu_pod("training"))
    fleet.lists["poddisruptionbudgets"] = [_budget(disruptionsAllowed=0)]
    assert fails(fleet.judge("upgrade.drainable"), "pod team/training", "budget keep allows no disruption")


def test_drainable_passes_when_the_budget_is_of_another_namespace() -> None:
    fleet = _with(gpu_pod("training"))
    budget = _budget(disruptionsAllowed=0)
    budget["metadata"]["namespace"] = "other"
    fleet.lists["poddisruptionbudgets"] = [budget]
    assert passes(fleet.judge("upgrade.drainable"))


def test_drainable_fails_when_the_grace_period_is_not_the_standards() -> None:
    fleet = _with(gpu_pod("training", terminationGracePeriodSeconds=30)).says(upgrade={"grace-period": ">=300"})
    assert fails(fleet.judge("upgrade.drainable"), "pod team/training grace period", "30")


@pytest.mark.parametrize("kind", ["pods", "poddisruptionbudgets"])
def test_drainable_is_untested_when_pods_or_budgets_were_not_listed(kind: str) -> None:
    fleet = _with(gpu_pod("training"))
    del fleet.lists[kind]
    assert untested(fleet.judge("upgrade.drainable"), "missing", f"{kind}.json")


@pytest.mark.parametrize("selector", [{"matchExpressions": [{"key": "app", "operator": "Exists"}]}, {}])
def test_drainable_never_passes_where_a_budget_without_room_may_or_does_cover_the_pod(selector: dict[str, Any]) -> None:
    fleet = _with(gpu_pod("training"))
    budget = _budget(disruptionsAllowed=0)
    budget["spec"]["selector"] = selector
    fleet.lists["poddisruptionbudgets"] = [budget]
    assert fleet.judge("upgrade.drainable").verdict != "pass"


def test_drainable_is_untested_when_a_budget_does_not_say_how_much_it_allows() -> None:
    fleet = _with(gpu_pod("training"))
    fleet.lists["poddisruptionbudgets"] = [_budget()]
    assert untested(fleet.judge("upgrade.drainable"), "missing", "keep")


# --- upgrade.capacity ----------------------------------------------------------------------------------------


def test_capacity_passes_when_another_node_has_room() -> None:
    assert passes(_with(gpu_pod("training", gpus=2), nodes=2).judge("upgrade.capacity"))


def test_capacity_fails_when_no_other_node_of_the_pool_has_it() -> None:
    assert fails(_with(gpu_pod("training")).judge("upgrade.capacity"), "pod team/training", "no node has it")


def test_capacity_fails_when_room_is_there_only_in_fragments() -> None:
    fleet = _with(gpu_pod("training", gpus=2), gpu_pod("a", "gpu-2"), gpu_pod("b", "gpu-3"), nodes=3)
    assert fails(fleet.judge("upgrade.capacity"), "pod team/training", "no node has it")


def test_capacity_fails_when_two_pods_want_the_same_room() -> None:
    fleet = _with(gpu_pod("a", gpus=2), gpu_pod("b", gpus=2), nodes=2)
    assert len(fleet.judge("upgrade.capacity").findings) == 1


@pytest.mark.parametrize("spoil", ["cordoned", "not ready", "another product"])
def test_capacity_fails_when_the_other_node_cannot_take_pods(spoil: str) -> None:
    fleet = _with(gpu_pod("training"), nodes=2)
    other = fleet.nodes["gpu-2"]
    if spoil == "cordoned":
        other["spec"]["unschedulable"] = True
    elif spoil == "not ready":
        other["status"]["conditions"][0]["status"] = "False"
    else:
        other["metadata"]["labels"]["nvidia.com/gpu.product"] = "NVIDIA-L4"
    assert fails(fleet.judge("upgrade.capacity"), "pod team/training", "no node has it")


def test_capacity_is_untested_for_a_pod_that_holds_devices_by_a_claim() -> None:
    pod = gpu_pod("training", gpus=0)
    pod["status"]["resourceClaimStatuses"] = [{"name": "gpu", "resourceClaimName": "training-gpu"}]
    assert untested(_with(pod, nodes=2).judge("upgrade.capacity"), "unsupported", "team/training")


def test_capacity_is_untested_when_pods_were_not_listed() -> None:
    fleet = h100(nodes=2)
    del fleet.lists["pods"]
    assert untested(fleet.judge("upgrade.capacity"), "missing", "pods.json")

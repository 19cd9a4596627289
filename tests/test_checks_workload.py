from __future__ import annotations

from typing import Any

import pytest
from nodes import (
    BANDWIDTH,
    Fleet,
    dcgm_diag,
    fails,
    gpu_pod,
    h100,
    passes,
    untested,
    warns,
    with_workloads,
    workload_result,
)

NAMES = ["vectoradd", "isolation", "gemm", "burnin", "memory-bandwidth", "nccl", "dcgm-diag"]
VECTORADD = "[Vector addition of 50000 elements]\n"


def _left(name: str, log: Any, *, pod: Any = None) -> Fleet:
    fleet = with_workloads(h100()).file(f"workloads/{name}.log", log)
    return fleet if pod is None else fleet.file(f"workloads/{name}.json", pod)


def _ended(exit_code: int, reason: str) -> dict[str, Any]:
    pod = gpu_pod("job")
    state = {"terminated": {"exitCode": exit_code, "reason": reason}}
    pod["status"] = {
        "phase": "Failed" if exit_code else "Succeeded",
        "containerStatuses": [{"name": "main", "state": state}],
    }
    return pod


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    pod = gpu_pod("job")
    state = {"waiting": {"reason": reason, "message": message}}
    pod["status"] = {"phase": "Pending", "containerStatuses": [{"name": "main", "state": state}]}
    return pod


# --- every one of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_workload_is_untested_without_output(name: str) -> None:
    assert untested(_left(name, None).judge(f"workload.{name}"), "missing", f"workloads/{name}.log")


@pytest.mark.parametrize("name", NAMES)
def test_every_workload_is_untested_with_an_empty_output(name: str) -> None:
    assert untested(_left(name, "").judge(f"workload.{name}"), "missing")


@pytest.mark.parametrize("name", NAMES)
def test_every_workload_is_an_error_when_a_proxy_answered(name: str) -> None:
    assert untested(_left(name, "<html><body>502</body></html>").judge(f"workload.{name}"), "unparsable")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("reason", "message"), [("busy", "no free GPU"), ("denied", "PodSecurity"), ("timeout", "600 s")]
)
def test_every_workload_takes_the_reason_of_a_failed_attempt(name: str, reason: str, message: str) -> None:
    fleet = _left(name, None).file(f"workloads/{name}.log.error", {"reason": reason, "message": message})
    assert untested(fleet.judge(f"workload.{name}"), reason, message)


@pytest.mark.parametrize("name", ["vectoradd", "gemm", "nccl"])
@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (_waiting("ImagePullBackOff", "manifest unknown"), "missing"),
        (_waiting("ErrImagePull"), "missing"),
        ({**_waiting("x"), "status": {"phase": "Failed", "reason": "OutOfnvidia.com/gpu"}}, "busy"),
        ({**_waiting("x"), "status": {"phase": "Pending", "message": "exceeded quota: gpu"}}, "denied"),
    ],
)
def test_every_workload_blames_no_node_for_a_pod_that_never_ran(name: str, pod: dict[str, Any], reason: str) -> None:
    assert untested(_left(name, None, pod=pod).judge(f"workload.{name}"), reason, "the pod did not run")


@pytest.mark.parametrize("name", ["vectoradd", "gemm", "burnin", "memory-bandwidth", "nccl", "dcgm-diag"])
def test_every_workload_fails_when_its_container_did(name: str) -> None:
    fleet = with_workloads(h100()).file(f"workloads/{name}.json", _ended(139, "Error"))
    assert fails(fleet.judge(f"workload.{name}"), f"{name}: container main", "exit code 139 (Error)")


# --- workload.vectoradd, workload.isolation ------------------------------------------------------------------


def test_vectoradd_passes_when_one_gpu_was_seen_and_the_sum_is_right() -> None:
    assert passes(
        with_workloads(h100()).file("workloads/vectoradd.json", _ended(0, "Completed")).judge("workload.vectoradd")
    )


@pytest.mark.parametrize(
    ("log", "observed"),
    [
        ("Failed to allocate device vector A (error code no CUDA-capable device is detected)!\n", "no-device"),
        ("Failed to launch kernel (error code uncorrectable ECC error encountered)!\n", "uncorrectable-ecc"),
        ("Result verification failed at element 7!\n", "wrong-result"),
    ],
)
def test_vectoradd_fails_with_what_cuda_says(log: str, observed: str) -> None:
    result = _left("vectoradd", VECTORADD + log).judge("workload.vectoradd")
    assert result.verdict == "fail"
    assert any(observed in each.observed for each in result.findings)


def test_vectoradd_fails_when_the_pod_saw_more_than_the_one_it_asked_for() -> None:
    seen = "".join(f"GPU {index}: NVIDIA H100 (UUID: GPU-b4895dbf-000{index})\n" for index in range(2))
    assert fails(
        _left("vectoradd", f"{seen}{VECTORADD}Test PASSED\n").judge("workload.vectoradd"),
        "GPUs in the pod",
        "GPU-b4895dbf-0001",
    )


def test_vectoradd_is_untested_when_its_last_word_is_missing() -> None:
    assert untested(_left("vectoradd", VECTORADD).judge("workload.vectoradd"), "missing", "whether it succeeded")


def test_isolation_passes_when_a_pod_without_a_request_sees_none() -> None:
    assert passes(with_workloads(h100()).judge("workload.isolation"))


def test_isolation_fails_when_it_sees_one() -> None:
    seen = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-b4895dbf-9350-2524-a89b-98161ddd9fe4)\n"
    assert warns(_left("isolation", seen).judge("workload.isolation"), "GPUs in the pod", "GPU-b4895dbf")


def test_isolation_is_untested_when_the_output_does_not_say() -> None:
    assert untested(_left("isolation", "hello\n").judge("workload.isolation"), "missing", "what the pod saw")


# --- workload.gemm, workload.burnin --------------------------------------------------------------------------


def _gpus(*tflops: float) -> list[dict[str, Any]]:
    return [{"uuid": f"GPU-{index}", "figures": {"bf16-tflops": each}} for index, each in enumerate(tflops)]


def test_gemm_passes_when_every_gpu_is_right_and_fast() -> None:
    assert passes(with_workloads(h100()).judge("workload.gemm"))


def test_gemm_fails_when_one_gpu_is_under_the_standard() -> None:
    result = _left("gemm", workload_result("gemm", gpus=_gpus(700, 600))).judge("workload.gemm")
    assert fails(result, "gemm: bf16-tflops of GPU-1", "600")
    assert result.findings[0].expected == ">=650"


def test_gemm_fails_when_one_gpu_is_slower_than_its_neighbours_by_more_than_a_tenth() -> None:
    fleet = _left("gemm", workload_result("gemm", gpus=_gpus(800, 800, 800, 700)))
    result = fleet.judge("workload.gemm")
    assert fails(result, "gemm: bf16-tflops of GPU-3", "700")
    assert "as the others" in result.findings[0].expected


def test_gemm_fails_when_a_result_is_wrong() -> None:
    log = workload_result("gemm", ok=False, gpus=_gpus(700, 700))
    assert fails(_left("gemm", log).judge("workload.gemm"), "result", "failure")


def test_gemm_is_untested_when_the_figure_that_the_standard_wants_is_missing() -> None:
    assert untested(_left("gemm", workload_result("gemm")).judge("workload.gemm"), "missing", "bf16-tflops")


def test_gemm_is_an_error_when_its_result_is_not_as_the_schema_says() -> None:
    log = '{"schema": "gpu-readiness.workload/v1", "workload": "gemm", "ok": "yes"}\n'
    assert untested(_left("gemm", log).judge("workload.gemm"), "unparsable")


def test_burnin_passes_when_its_program_says_so() -> None:
    assert passes(with_workloads(h100()).judge("workload.burnin"))


def test_burnin_fails_when_its_program_does() -> None:
    assert fails(_left("burnin", workload_result("burnin", ok=False)).judge("workload.burnin"), "result", "failure")


def test_burnin_is_untested_when_its_result_was_cut_off() -> None:
    log = workload_result("burnin")
    assert untested(_left("burnin", log[:-10]).judge("workload.burnin"), "missing", "whether it succeeded")


# --- workload.memory-bandwidth, workload.nccl, workload.dcgm-diag --------------------------------------------


def test_memory_bandwidth_passes_at_the_standards_figures() -> None:
    assert passes(with_workloads(h100()).judge("workload.memory-bandwidth"))


@pytest.mark.parametrize("slow", BANDWIDTH)
def test_memory_bandwidth_fails_when_one_direction_is_slow(slow: str) -> None:
    log = workload_result("memory-bandwidth", {**BANDWIDTH, slow: 12})
    result = _left("memory-bandwidth", log).judge("workload.memory-bandwidth")
    assert fails(result, f"memory-bandwidth: {slow}", "12")


def test_memory_bandwidth_is_untested_when_a_direction_is_missing() -> None:
    log = workload_result("memory-bandwidth", {"device-gbs": 3000, "h2d-gbs": 55})
    assert untested(_left("memory-bandwidth", log).judge("workload.memory-bandwidth"), "missing", "d2h-gbs")


def test_nccl_passes_when_right_and_at_bus_bandwidth() -> None:
    assert passes(with_workloads(h100()).says(workload={"nccl": {"busbw": ">=380"}}).judge("workload.nccl"))


def test_nccl_fails_when_the_bus_is_slow() -> None:
    fleet = with_workloads(h100()).says(workload={"nccl": {"busbw": ">=450"}})
    assert fails(fleet.judge("workload.nccl"), "nccl: busbw", "410.31")


def test_nccl_fails_when_values_are_wrong() -> None:
    fleet = with_workloads(h100())
    log = fleet.files["gpu-1"]["workloads/nccl.log"].replace(": 0 OK", ": 3 FAILED")
    assert fails(fleet.file("workloads/nccl.log", log).judge("workload.nccl"), "nccl: gpu", "wrong-result")


def test_nccl_is_untested_when_its_closing_lines_are_missing() -> None:
    fleet = with_workloads(h100())
    log = fleet.files["gpu-1"]["workloads/nccl.log"].split("# Out of bounds")[0]
    assert untested(fleet.file("workloads/nccl.log", log).judge("workload.nccl"), "missing")


def test_dcgm_diag_passes_when_every_test_does() -> None:
    assert passes(with_workloads(h100()).judge("workload.dcgm-diag"))


def test_dcgm_diag_fails_by_error_id() -> None:
    warning = {"warning": "a double-bit error", "error_id": 4, "error_severity": 2}
    log = dcgm_diag(status="Fail", warnings=[warning])
    assert fails(_left("dcgm-diag", log).judge("workload.dcgm-diag"), "dcgm-diag: gpu", "VOLATILE_DBE_DETECTED")


def test_dcgm_diag_is_untested_when_a_test_was_skipped() -> None:
    assert untested(_left("dcgm-diag", dcgm_diag(status="Skip")).judge("workload.dcgm-diag"), "missing", "memory")

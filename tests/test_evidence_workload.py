from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from corpus import needs_corpus, recorded
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.evidence.benchmark_logs import parse_gemm_sweep, parse_nccl
from gpu_readiness.evidence.dcgm_diag import parse_dcgm_diag
from gpu_readiness.evidence.dcgm_error_table import DCGM_ERRORS, SEVERITIES
from gpu_readiness.evidence.nvbandwidth import parse_nvbandwidth
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.workload_logs import (
    WorkloadOutcome,
    parse_metrics,
    parse_result,
    parse_smi_list,
    parse_vectoradd,
)
from gpu_readiness.verdict import Reason

Parser = Callable[[bytes], WorkloadOutcome]
PARSERS: list[Parser] = [
    parse_vectoradd,
    parse_smi_list,
    parse_result,
    parse_nccl,
    parse_nvbandwidth,
    parse_gemm_sweep,
    parse_dcgm_diag,
]
GPU = "GPU-b4895dbf-9350-2524-a89b-98161ddd9fe4"
VECTORADD = "[Vector addition of 50000 elements]\nCopy input data from the host memory to the CUDA device\n"
NCCL = """\
# nThread 1 nGpus 8 minBytes 1024 maxBytes 2048 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1
#  Rank  0 Group  0 Pid  66421 on node device  0 [0x00] NVIDIA H100
#  Rank  1 Group  0 Pid  66422 on node device  1 [0x00] NVIDIA H100
NCCL version 2.23.4+cuda12.6
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
        2048           512     float     sum      -1    344.8   97.32  170.31      0    349.5   95.99  167.99      0
        1024           256     float     sum      -1    344.8   97.32  999.99      0    349.5   95.99  999.99      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 210.99
"""
NVBANDWIDTH = """\
nvbandwidth Version: v0.8
Driver Version: 580.95.05

Running host_to_device_memcpy_ce.
memcpy CE CPU(row) -> GPU(column) bandwidth (GB/s)
           0         1
 0     55.19     53.25

SUM host_to_device_memcpy_ce 108.44

Running device_to_device_memcpy_read_ce.
memcpy CE GPU(row) -> GPU(column) bandwidth (GB/s)
           0         1
 0       N/A     26.34
 1     21.30       N/A

SUM device_to_device_memcpy_read_ce 47.64
"""


def codes(outcome: WorkloadOutcome) -> list[str]:
    return [problem.code for problem in outcome.problems]


# --- vectoradd -----------------------------------------------------------------------------------------------


def test_vectoradd_passes_by_its_last_word_only() -> None:
    assert parse_vectoradd(f"{VECTORADD}Test PASSED\nDone\n".encode()).ok is True
    assert parse_vectoradd(f"2026-01-01T00:00:00Z {VECTORADD}2026-01-01T00:00:00Z Test PASSED\r\n".encode()).ok is True
    assert parse_vectoradd(VECTORADD.encode()).ok is None
    assert parse_vectoradd(b"Test PASSED is what I wanted to see\n").ok is None


def test_vectoradd_names_the_gpu_that_it_was_given() -> None:
    outcome = parse_vectoradd(f"GPU 0: NVIDIA H100 (UUID: {GPU})\n{VECTORADD}Test PASSED\n".encode())
    assert (outcome.ok, outcome.uuids) == (True, (GPU,))


@pytest.mark.parametrize(
    ("words", "code", "layer"),
    [
        ("no CUDA-capable device is detected", "no-device", "runtime"),
        ("CUDA driver version is insufficient for CUDA runtime version", "driver-insufficient", "runtime"),
        ("all CUDA-capable devices are busy or unavailable", "devices-busy", "gpu"),
        ("system not yet initialized", "system-not-initialized", "driver"),
        ("no kernel image is available for execution on the device", "no-kernel-image", "workload"),
        ("uncorrectable ECC error encountered", "uncorrectable-ecc", "gpu"),
        ("out of memory", "out-of-memory", "gpu"),
        ("of a kind yet to come", "cuda", "gpu"),
    ],
)
def test_vectoradd_fails_with_the_cuda_error(words: str, code: str, layer: str) -> None:
    line = f"Failed to allocate device vector A (error code {words})!"
    outcome = parse_vectoradd(f"{VECTORADD}{line}\nTest PASSED\n".encode())
    assert outcome.ok is False
    (problem,) = outcome.problems
    assert (problem.code, problem.text, problem.layer) == (code, line, layer)


def test_vectoradd_with_a_wrong_sum_or_an_unknown_failure() -> None:
    assert codes(parse_vectoradd(f"{VECTORADD}Result verification failed at element 7!\n".encode())) == ["wrong-result"]
    assert parse_vectoradd(f"{VECTORADD}Failed to launch vectorAdd kernel\n".encode()).ok is False


# --- nvidia-smi -L -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ok", "problems"),
    [
        (f"GPU 0: NVIDIA H100 (UUID: {GPU})\n", True, []),
        ("No devices found.\n", False, ["no-device"]),
        ("sh: 1: nvidia-smi: not found\n", False, ["no-nvidia-smi"]),
        ("bash: line 1: nvidia-smi: command not found\n", False, ["no-nvidia-smi"]),
        ("Failed to initialize NVML: Unknown Error\n", False, ["nvml"]),
        (f"GPU 0: NVIDIA H100 (UUID: {GPU})\nUnable to determine the device handle for GPU1\n", False, ["lost"]),
        ("hello\n", None, []),
    ],
)
def test_what_nvidia_smi_saw(text: str, ok: bool | None, problems: list[str]) -> None:
    outcome = parse_smi_list(text.encode())
    assert (outcome.ok, codes(outcome)) == (ok, problems)


# --- our own result line -------------------------------------------------------------------------------------


def result(**changes: Any) -> bytes:
    line = {
        "schema": "gpu-readiness.workload/v1",
        "workload": "gemm",
        "ok": True,
        "gpus": [{"uuid": GPU, "index": 0, "figures": {"bf16.tflops": 700}}],
        "figures": {"seconds": 12.5},
        "errors": [],
    } | changes
    return f"warming up\n{json.dumps(line)}\n".encode()


def test_a_result_line() -> None:
    outcome = parse_result(result())
    assert outcome == WorkloadOutcome(
        ok=True,
        figures={"seconds": 12.5},
        per_gpu={GPU: {"bf16.tflops": 700.0}},
        uuids=(GPU,),
        facts={"workload": "gemm"},
    )


def test_the_last_result_line_counts_and_broken_ones_do_not() -> None:
    data = result(ok=False) + result() + b'{"schema": "gpu-readiness.workload/v1", "ok": tr\n{"schema": "other"}\n'
    assert parse_result(data).ok is True


def test_a_result_with_errors_has_failed_whatever_it_says() -> None:
    outcome = parse_result(result(errors=["GPU 0: wrong at 7"]))
    assert (outcome.ok, codes(outcome)) == (False, ["workload"])


def test_a_figure_that_is_no_number_was_not_measured() -> None:
    outcome = parse_result(result(figures={"a": float("nan"), "b": True, "c": None, "d": 1}))
    assert outcome.figures == {"d": 1.0}
    assert outcome.skipped == ("a", "b", "c")


@pytest.mark.parametrize(
    "changes",
    [
        {"ok": "yes"},
        {"ok": None},
        {"gpus": [1]},
        {"gpus": [{}]},
        {"gpus": {"a": 1}},
        {"figures": 3},
        {"errors": "none"},
        {"figures": {"a": 10**400}},
    ],
)
def test_a_result_of_another_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unmeasured) as raised:
        parse_result(result(**changes))
    assert raised.value.reason is Reason.UNPARSABLE


def test_no_result_line() -> None:
    assert parse_result(b"warming up\n").ok is None
    outcome = parse_result(b"RuntimeError: CUDA error: an illegal memory access was encountered\n")
    assert (outcome.ok, codes(outcome)) == (False, ["illegal-access"])


# --- nccl-tests, nvbandwidth, GEMM ---------------------------------------------------------------------------


def test_nccl_at_the_largest_message() -> None:
    outcome = parse_nccl(NCCL.encode())
    assert outcome.ok is True
    assert outcome.figures == {
        "ranks": 2.0,
        "size": 2048.0,
        "busbw": 170.31,
        "busbw.in-place": 167.99,
        "busbw.average": 210.99,
        "wrong": 0.0,
    }
    assert outcome.facts == {"nccl": "2.23.4+cuda12.6"}
    prefixed = "".join(f"[1,0]<stdout>:{line}\n" for line in NCCL.splitlines())
    assert parse_nccl(prefixed.encode()).figures == outcome.figures


def test_nccl_wrong_cut_short_and_broken() -> None:
    wrong = parse_nccl(NCCL.replace(": 0 OK", ": 3 FAILED").encode())
    assert (wrong.ok, codes(wrong), wrong.figures["wrong"]) == (False, ["wrong-result"], 3.0)
    assert parse_nccl(NCCL[: NCCL.index("# Out of")].encode()).ok is None
    broken = parse_nccl(b"node: Test NCCL failure common.cu:1278 'unhandled system error'\n")
    assert (broken.ok, codes(broken)) == (False, ["nccl"])
    warned = parse_nccl(f"node:1:1 [0] NCCL WARN Missing iommu=pt\n{NCCL}".encode())
    assert warned.ok is True


def test_nccl_without_validation_says_so() -> None:
    assert parse_nccl(NCCL.replace("validation: 1", "validation: 0").encode()).skipped == ("validation",)


def test_nvbandwidth_text_has_the_least_of_each_matrix() -> None:
    outcome = parse_nvbandwidth(NVBANDWIDTH.encode())
    assert outcome.ok is True
    assert outcome.figures == {
        "host_to_device_memcpy_ce": 53.25,
        "host_to_device_memcpy_ce.sum": 108.44,
        "device_to_device_memcpy_read_ce": 21.3,
        "device_to_device_memcpy_read_ce.sum": 47.64,
    }
    assert outcome.per_gpu["1"] == {"host_to_device_memcpy_ce": 53.25, "device_to_device_memcpy_read_ce": 26.34}
    assert outcome.facts == {"nvbandwidth": "v0.8", "driver": "580.95.05"}


def test_nvbandwidth_text_that_failed_was_waived_or_cut_short() -> None:
    failed = parse_nvbandwidth(f"{NVBANDWIDTH}Running x_sm.\nInvalid value when checking the pattern at 0x7\n".encode())
    assert (failed.ok, codes(failed)) == (False, ["data-mismatch"])
    waived = parse_nvbandwidth(f"{NVBANDWIDTH}Running x_sm.\nWaived: needs two GPUs\n".encode())
    assert (waived.ok, waived.skipped) == (True, ("x_sm",))
    cut = parse_nvbandwidth(f"{NVBANDWIDTH}Running x_sm.\n".encode())
    assert (cut.ok, cut.skipped) == (None, ("x_sm",))
    assert parse_nvbandwidth(b"nvbandwidth Version: v0.8\n").ok is None


def nvbandwidth_json(*testcases: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"nvbandwidth": {"version": "v0.8", "testcases": list(testcases), **more}}).encode()


def test_nvbandwidth_json() -> None:
    passed = {"name": "h2d", "status": "Passed", "bandwidth_matrix": [["55.1", "53.2"]], "sum": 108.3}
    waiting = {"name": "d2d", "status": "Running"}
    waived = {"name": "d2d", "status": "Waived"}
    outcome = parse_nvbandwidth(nvbandwidth_json(passed, waiting, waived))
    assert (outcome.ok, outcome.skipped) == (True, ("d2d",))
    assert outcome.figures == {"h2d": 53.2, "h2d.sum": 108.3}
    assert outcome.per_gpu == {"0": {"h2d": 55.1}, "1": {"h2d": 53.2}}
    assert parse_nvbandwidth(nvbandwidth_json(passed, waiting)).ok is None
    assert parse_nvbandwidth(nvbandwidth_json(passed, {"name": "d2d", "status": "Error"})).ok is False
    assert parse_nvbandwidth(nvbandwidth_json(passed, error="ASSERT in expression")).ok is False
    assert parse_nvbandwidth(nvbandwidth_json()).ok is None


def test_a_gemm_sweep() -> None:
    outcome = parse_gemm_sweep(b"gpu_name=NVIDIA GB10\nnonfinite_count=0\nachieved_tflops=46.4\nGEMM_SWEEP_PASS\n")
    assert (outcome.ok, outcome.figures["achieved_tflops"]) == (True, 46.4)
    assert outcome.facts == {"gpu_name": "NVIDIA GB10"}
    assert parse_gemm_sweep(b"achieved_tflops=46.4\n").ok is None
    assert parse_gemm_sweep(b"achieved_tflops=nan\nGEMM_SWEEP_PASS\n").ok is None
    assert parse_gemm_sweep(b"achieved_tflops=46.4\nGEMM_SWEEP_FAIL\n").ok is False
    assert parse_gemm_sweep(b"nonfinite_count=3\nachieved_tflops=46.4\nGEMM_SWEEP_PASS\n").ok is False


# --- DCGM's diagnostic ---------------------------------------------------------------------------------------


def diag(*results: tuple[str, dict[str, Any]], root: str = "DCGM Diagnostic", **more: Any) -> bytes:
    tests = [{"name": name, "results": [found]} for name, found in results]
    return json.dumps({root: {"test_categories": [{"category": "Hardware", "tests": [*tests, None]}], **more}}).encode()


def failed(number: int, status: str = "Fail") -> dict[str, Any]:
    warning = {"error_id": number, "error_severity": 2, "error_category": 1, "warning": "words"}
    return {"entity_group": "GPU", "entity_id": 3, "status": status, "warnings": [warning]}


PASS = ("memory", {"gpu_id": "0", "status": "Pass"})


@pytest.mark.parametrize(
    ("number", "ok", "layer"),
    [
        (4, False, "gpu"),  # VOLATILE_DBE_DETECTED: ISOLATE
        (85, False, "gpu"),  # PENDING_ROW_REMAP: RESET
        (30, False, "gpu"),  # LOW_BANDWIDTH: TRIAGE
        (95, False, "workload"),  # EUD_TEST_FAILED: ISOLATE
        (29, True, "config"),  # PERSISTENCE_MODE: CONFIG
        (46, True, "config"),  # PCIE_WIDTH: CONFIG
        (40, True, "gpu"),  # THERMAL_VIOLATIONS: MONITOR
        (51, None, "driver"),  # CUDA_API: MONITOR, but the test could not run
        (44, None, "workload"),  # INTERNAL: TRIAGE, but of the diagnostic itself
        (47, None, "workload"),  # ABORTED: CONFIG, but not run
        (117, None, "workload"),  # TEST_SKIPPED
        (1, None, "workload"),  # UNKNOWN
    ],
)
def test_a_failed_test_is_judged_by_its_error_id(number: int, ok: bool | None, layer: str) -> None:
    outcome = parse_dcgm_diag(diag(PASS, ("pcie", failed(number))))
    assert outcome.ok is ok
    (problem,) = outcome.problems
    assert problem.code == f"DCGM_FR_{DCGM_ERRORS[number].name}"
    assert (problem.layer, problem.text) == (layer, "pcie, GPU 3: words")


def test_an_error_id_of_a_later_dcgm_is_judged_by_the_severity_beside_it() -> None:
    assert parse_dcgm_diag(diag(PASS, ("pcie", failed(9999)))).ok is False


def test_dcgm_3_has_no_error_ids() -> None:
    root = "DCGM GPU Diagnostic"
    assert parse_dcgm_diag(diag(PASS, root=root)).ok is True
    assert parse_dcgm_diag(diag(PASS, ("PCIe", {"status": "FAIL", "warnings": ["slow"]}), root=root)).ok is False
    assert parse_dcgm_diag(diag(PASS, ("PCIe", {"status": "Fail"}), root=root)).ok is False
    persistence = parse_dcgm_diag(diag(PASS, ("Persistence Mode", {"status": "Fail", "warnings": ["off"]}), root=root))
    assert (persistence.ok, persistence.problems[0].layer) == (True, "config")


def test_what_was_skipped_is_no_pass() -> None:
    skipped = parse_dcgm_diag(diag(PASS, ("pcie", {"status": "Skip"})))
    assert (skipped.ok, skipped.skipped) == (None, ("pcie",))
    assert parse_dcgm_diag(diag(PASS, ("pcie", {"status": "Not Run"}))).ok is None
    assert parse_dcgm_diag(diag(PASS, ("pcie", {}))).ok is None
    assert parse_dcgm_diag(diag(("pcie", {"status": "Skip"}), ("memory", failed(4)))).ok is False
    assert parse_dcgm_diag(diag()).ok is None
    optional = parse_dcgm_diag(diag(PASS, ("eud", {"status": "Skip"})))
    assert (optional.ok, optional.skipped) == (True, ("eud",))


def test_a_warning_does_not_fail_and_is_told() -> None:
    outcome = parse_dcgm_diag(diag(PASS, ("pcie", failed(30, "Warn"))))
    assert (outcome.ok, codes(outcome)) == (True, ["DCGM_FR_LOW_BANDWIDTH"])


def test_a_diagnostic_that_could_not_start() -> None:
    outcome = parse_dcgm_diag(b'Error:\n{"DCGM GPU Diagnostic": {"runtime_error": "MIG is enabled"}}\nbye\n')
    assert (outcome.ok, codes(outcome)) == (None, ["dcgm-runtime-error"])


@pytest.mark.parametrize(
    "text", ["| Denylist | Pass |\n", '{"DCGM Diagnostic": {"test', '{"event": "x"}', "[" * 100_000]
)
def test_other_text_than_the_json_is_refused(text: str) -> None:
    with pytest.raises(Unmeasured) as raised:
        parse_dcgm_diag(text.encode())
    assert raised.value.reason is Reason.UNPARSABLE


def test_the_error_table_is_whole() -> None:
    assert len(DCGM_ERRORS) == 133
    assert (DCGM_ERRORS[0].name, DCGM_ERRORS[132].name) == ("OK", "UNCORRECTABLE_ROW_REMAP_LIMIT")
    assert {error.severity for error in DCGM_ERRORS.values()} <= set(SEVERITIES)


# --- a model server's metrics --------------------------------------------------------------------------------


def test_metrics_are_summed_over_their_labels() -> None:
    text = '# TYPE a counter\na_total{r="stop"} 3\na_total{r="length"} 4\nb_bucket{le="1"} 9\nb_count 2\nc NaN\n'
    assert parse_metrics(text.encode()) == {"a_total": 7.0, "b_count": 2.0}
    with pytest.raises(Unmeasured):
        parse_metrics(b"# nothing\n")


# --- all of them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.MISSING),
        (b" \r\n", Reason.MISSING),
        (b"\xff\xfe\x00binary", Reason.UNPARSABLE),
        (b"<html><body>502 Bad Gateway</body></html>", Reason.UNPARSABLE),
    ],
)
def test_no_output_was_not_measured(parse: Parser, data: bytes, reason: Reason) -> None:
    with pytest.raises(Unmeasured) as raised:
        parse(data)
    assert raised.value.reason is reason


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "piece", ["# Rank 1 ", "nvidia-smi ", "a=" + " " * 1000, "1 1 int ", "CUDA error ", "Running "]
)
def test_one_endless_line_is_read_in_time(parse: Parser, piece: str) -> None:
    begun = time.process_time()
    with suppress(Unmeasured):
        parse((piece * 100_000)[:1_000_000].encode() + b"!")
    assert time.process_time() - begun < 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["DCGM Diagnostic", "nvbandwidth", "testcases", "test_categories", "tests", "results"])
            | st.sampled_from(
                ["status", "warnings", "error_id", "name", "schema", "ok", "gpus", "figures", "workload"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
outputs = st.one_of(
    st.binary(max_size=100),
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps({"DCGM Diagnostic": {"test_categories": [{"tests": value}]}}).encode()),
    json_values.map(lambda value: json.dumps({"nvbandwidth": {"testcases": value}}).encode()),
    json_values.map(lambda value: result(gpus=value)),
    st.tuples(
        st.sampled_from([NCCL, NVBANDWIDTH, VECTORADD, "achieved_tflops=1\nGEMM_SWEEP_PASS\n"]),
        st.integers(0, 900),
        st.text("0123456789 .:-N/A\n", max_size=30),
    ).map(lambda parts: (parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]).encode()),
)


@pytest.mark.parametrize("parse", PARSERS)
@given(data=outputs)
def test_any_bytes_are_read_or_refused(parse: Parser, data: bytes) -> None:
    with suppress(Unmeasured):
        outcome = parse(data)
        assert outcome.ok is not True or not any(problem.layer == "workload" for problem in outcome.problems)


@needs_corpus
@pytest.mark.parametrize(
    ("name", "parse", "ok", "figures"),
    [
        ("dcgmi-dcgm4-gb10-level2-plugins-allowed.json", parse_dcgm_diag, True, {"tests.pass": 2}),
        ("dcgmi-gcm-diag-pass-output.json", parse_dcgm_diag, True, {"tests.pass": 9}),
        ("dcgmi-hyperpod-8gpu-persistence-config-only.json", parse_dcgm_diag, True, {"tests.fail": 8}),
        ("gemm-sweep-gb10-bf16.stdout", parse_gemm_sweep, True, {"achieved_tflops": 46.473}),
        ("gemm-sweep-gb10-fp64.stdout", parse_gemm_sweep, True, {"achieved_tflops": 0.321}),
        ("nccl-aws-efa-allreduce-mpi-prefixed.log", parse_nccl, True, {"busbw": 437.79}),
        ("nccl-gcm-a100-1.log", parse_nccl, True, {"busbw.average": 210.99, "ranks": 8}),
        ("nccl-gcm-a100-2.log", parse_nccl, True, {"busbw.average": 150.209, "ranks": 16}),
        ("nccl-oci-h100-allreduce.log", parse_nccl, True, {"busbw.average": 464.075, "size": 16 << 30}),
        ("nccl-rtx5090-single-gpu-busbw-zero-ok.log", parse_nccl, True, {"busbw": 0, "ranks": 1}),
        ("superbench-nccl-alltoall.log", parse_nccl, True, {"busbw": 224.31}),
        ("nvbandwidth-a100-memcmp-assert-fail.log", parse_nvbandwidth, False, {}),
        ("nvbandwidth-a6000x6-pcie-p2p.log", parse_nvbandwidth, True, {"device_to_device_memcpy_read_ce": 21.8}),
        ("nvbandwidth-h100-h2d-sm-low.log", parse_nvbandwidth, True, {"host_to_device_memcpy_sm": 35.03}),
        ("nvidia-smi-L-mig-mixed.txt", parse_smi_list, True, {}),
        ("nvidia-smi-L-mig-single.txt", parse_smi_list, True, {}),
        ("nvidia-smi-not-requested-pod.log", parse_smi_list, False, {}),
        ("train-start-cuda-error.log", parse_result, False, {}),
        ("vectoradd-fail-all-devices-busy-a100-mig-on.log", parse_vectoradd, False, {}),
        ("vectoradd-fail-driver-insufficient-stderr-first.log", parse_vectoradd, False, {}),
        ("vectoradd-fail-driver-insufficient.log", parse_vectoradd, False, {}),
    ],
)
def test_recorded_outputs(name: str, parse: Parser, ok: bool, figures: dict[str, float]) -> None:
    outcome = parse(recorded(f"logs/{name}"))
    assert outcome.ok is ok
    assert figures.items() <= dict(outcome.figures).items()
    assert all(problem.layer == "config" for problem in outcome.problems) or not ok


@needs_corpus
def test_recorded_listings_and_metrics() -> None:
    assert len(parse_smi_list(recorded("logs/nvidia-smi-L-mig-mixed.txt")).uuids) == 5
    assert len(parse_smi_list(recorded("logs/nvidia-smi-L-mig-single.txt")).uuids) == 8
    assert parse_smi_list(recorded("logs/nvidia-smi-not-requested-pod.log")).uuids == ()
    assert parse_metrics(recorded("logs/vllm-metrics-qwen05b-l4.prom"))["vllm:generation_tokens_total"] == 0


@needs_corpus
@pytest.mark.parametrize("name", ["dcgmi-diag-r3-skips-dcgm304.txt", "dcgm-diag-preflight-warn-persistence.jsonl"])
def test_recorded_diagnostics_without_error_ids_are_no_pass(name: str) -> None:
    with pytest.raises(Unmeasured, match="--json"):
        parse_dcgm_diag(recorded(f"logs/{name}"))

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from corpus import needs_corpus, recorded
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gpu_readiness.evidence.dcgm import RENAMED, ExporterGpu, canonical, parse_exporter
from gpu_readiness.evidence.exposition import parse_exposition
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

UUID = "GPU-11111111-2222-3333-4444-555555555555"
LABELS = f'gpu="0",UUID="{UUID}",device="nvidia0",modelName="NVIDIA H100",Hostname="n1",DCGM_FI_DRIVER_VERSION="580.1"'


def only_gpu(text: str) -> ExporterGpu:
    (gpu,) = parse_exporter(text.encode()).gpus.values()
    return gpu


def series(name: str, value: str, more: str = "") -> str:
    return f"{name}{{{LABELS}{more}}} {value}\n"


def test_a_gpu_with_its_labels() -> None:
    exporter = parse_exporter(series("DCGM_FI_DEV_GPU_TEMP", "29").encode())
    assert exporter.driver_versions == {"580.1"}
    assert exporter.hostnames == {"n1"}
    assert exporter.names == {"GPU_TEMP"}
    gpu = exporter.gpus[UUID]
    assert (gpu.index, gpu.product, gpu.driver_version) == (0, "NVIDIA H100", "580.1")
    assert gpu.metrics == {"GPU_TEMP": ((None, 29.0),)}
    assert (gpu.instances, gpu.xids) == (frozenset(), ())


@pytest.mark.parametrize(
    "text",
    [
        series("DCGM_FI_DEV_GPU_TEMP", "2.9e+01 1787302781000"),
        series("DCGM_FI_DEV_GPU_TEMP", "29.000000").replace("\n", "\r\n") + "# EOF\r\n",
        "# a comment\n\n# HELP other words\n# TYPE DCGM_FI_DEV_GPU_TEMP gauge\n" + series("DCGM_FI_DEV_GPU_TEMP", "29"),
        series("DCGM_FI_DEV_GPU_TEMP", "29", r',err_msg="a \"quoted\" }{ value, with=\\signs\n"'),
        series("DCGM_FI_DEV_GPU_TEMP", "29", ',pod="",namespace="",exported_pod="x"'),
        "# TYPE DCGM_FI_DEV_GPU_TEMP counter\n" + series("DCGM_FI_DEV_GPU_TEMP", "29"),
        "\ufeff" + series("DCGM_FI_DEV_GPU_TEMP", "29"),
        "go_threads 7\n" + series("DCGM_FI_DEV_GPU_TEMP", "29"),
    ],
)
def test_legal_if_unusual_text(text: str) -> None:
    assert only_gpu(text).metrics["GPU_TEMP"] == ((None, 29.0),)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.MISSING),
        (b" \n\n", Reason.MISSING),
        (b"# HELP DCGM_FI_DEV_GPU_TEMP x\n", Reason.MISSING),
        (b"go_threads 7\n", Reason.MISSING),
        (b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>", Reason.UNPARSABLE),
        (b"404 page not found\n", Reason.UNPARSABLE),
        (b"OK - reload in progress\n", Reason.UNPARSABLE),
        (b"\x1f\x8b\x08\x00binary", Reason.UNPARSABLE),
        (b"DCGM_FI_DEV_GPU_TEMP 1\0\n", Reason.UNPARSABLE),
        (b'DCGM_FI_DEV_GPU_TEMP{gpu="0" UUID="x"} 29\n', Reason.UNPARSABLE),
        (b'DCGM_FI_DEV_GPU_TEMP{gpu="0",gpu="1"} 29\n', Reason.UNPARSABLE),
        (b"DCGM_FI_DEV_GPU_TEMP{} <<<NULL>>>\n", Reason.UNPARSABLE),
        (b"DCGM_FI_DEV_GPU_TEMP+1\n", Reason.UNPARSABLE),
        (b"DCGM_FI_DEV_GPU_TEMP{} " + b"9" * 400 + b"\n", Reason.UNPARSABLE),
        (b'DCGM_X{a="' + b"x" * 20000 + b'"} 1\n', Reason.UNPARSABLE),
        (series("DCGM_FI_DEV_GPU_TEMP", "29").encode()[:60], Reason.UNPARSABLE),
        (series("DCGM_FI_DEV_GPU_TEMP", "29").encode()[:-3], Reason.UNPARSABLE),
        (series("DCGM_FI_DEV_GPU_TEMP", "29").encode()[:-1], Reason.UNPARSABLE),  # 29, or the start of 290
    ],
)
def test_what_is_no_scrape_was_not_measured(data: bytes, reason: Reason) -> None:
    with pytest.raises(Unmeasured) as raised:
        parse_exporter(data)
    assert raised.value.reason is reason
    assert "dcgm.prom" in raised.value.message


@pytest.mark.parametrize(
    "value",
    [
        *("2147483632", "2147483635", "140737488355328.0", "140737488355331"),
        *("9223372036854775794", "9.223372036854776e+18", "NaN", "+Inf", "-Inf"),
    ],
)
def test_a_blank_is_no_value(value: str) -> None:
    assert only_gpu(series("DCGM_FI_DEV_MEMORY_TEMP", value)).metrics["MEMORY_TEMP"] == ((None, None),)


@pytest.mark.parametrize("value", ["-1", "0", "2147483631", "2147483636", "21948110342", "140737488355327"])
def test_a_large_or_negative_number_is_a_value(value: str) -> None:
    assert only_gpu(series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", value)).metrics["TOTAL_ENERGY_CONSUMPTION"] == (
        (None, float(value)),
    )


@pytest.mark.parametrize(("new", "old"), RENAMED.items())
def test_the_names_of_dcgm_4_6_mean_the_old_ones(new: str, old: str) -> None:
    assert canonical(f"DCGM_FI_DEV_{new}") == old
    assert canonical(f"DCGM_FI_{new}") == old
    assert canonical(f"DCGM_FI_DEV_{old}") == old


def test_both_spellings_of_which_one_is_blank() -> None:
    text = series("DCGM_FI_DEV_GPU_TEMP", "9223372036854775794") + series("DCGM_FI_DEV_GPU_TEMP_CELSIUS", "29")
    assert only_gpu(text).metrics["GPU_TEMP"] == ((None, 29.0),)


def test_the_driver_version_of_dcgm_4_6() -> None:
    text = series("DCGM_FI_DEV_GPU_TEMP", "29").replace("DCGM_FI_DRIVER_VERSION", "DCGM_FI_SYSTEM_DRIVER_VERSION")
    assert parse_exporter(text.replace("Hostname", "hostname").encode()).driver_versions == {"580.1"}
    assert only_gpu(text.replace("580.1", "<<<NULL>>>")).driver_version is None


def test_mig_instances_keep_their_own_values() -> None:
    text = "".join(
        series("DCGM_FI_DEV_FB_USED", str(used), f',GPU_I_PROFILE="1g.5gb",GPU_I_ID="{instance}"')
        for instance, used in ((7, 12), (8, 13))
    )
    gpu = only_gpu(text)
    assert gpu.instances == {("7", "1g.5gb"), ("8", "1g.5gb")}
    assert gpu.metrics["FB_USED"] == (("7", 12.0), ("8", 13.0))


def test_pods_that_share_a_gpu_repeat_its_series() -> None:
    text = "".join(series("DCGM_FI_DEV_GPU_TEMP", "29", f',pod="p{number}"') for number in range(3))
    assert only_gpu(text).metrics["GPU_TEMP"] == ((None, 29.0),)


def test_nvlink_and_switch_series_are_no_gpus() -> None:
    link = f'DCGM_FI_DEV_NVLINK_BANDWIDTH_L0{{nvlink="0",gpu="0",gpu_uuid="{UUID}",model_name="x",hostname="n1"}} NaN\n'
    stranger = link.replace(UUID, "GPU-0")
    exporter = parse_exporter((series("DCGM_FI_DEV_GPU_TEMP", "29") + link + stranger).encode())
    assert list(exporter.gpus) == [UUID]
    assert "NVLINK_BANDWIDTH_L0" not in exporter.gpus[UUID].metrics
    assert "NVLINK_BANDWIDTH_L0" in exporter.names


@pytest.mark.parametrize(
    ("name", "value", "more", "xids"),
    [
        ("DCGM_FI_DEV_XID_ERRORS", "0", "", ()),
        ("DCGM_FI_DEV_XID_ERRORS", "79", ',err_code="79",err_msg="fallen off the bus"', ((79, "fallen off the bus"),)),
        ("DCGM_FI_DEV_XID_ERROR", "13", "", ((13, ""),)),
        ("DCGM_FI_DEV_XID_ERRORS", "9223372036854775794", "", ()),
        ("DCGM_EXP_XID_ERRORS_COUNT", "2", ',xid="42",window_size_in_ms="300000"', ((42, ""),)),
        ("DCGM_EXP_XID_ERRORS_COUNT", "0", ',xid="42",window_size_in_ms="300000"', ()),
        ("DCGM_FI_DEV_XID_ERRORS_ACTIVE", "1", ',xid="42"', ((42, ""),)),
        ("DCGM_EXP_XID_ERRORS_COUNT", "1", ',xid="' + "9" * 5000 + '"', ()),
    ],
)
def test_xids(name: str, value: str, more: str, xids: tuple[tuple[int, str], ...]) -> None:
    assert only_gpu(series(name, value, more)).xids == xids


label_values = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"), max_size=20)


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), label_values, max_size=4), st.floats(allow_nan=False)
)
def test_a_sample_is_what_the_library_makes_of_it(labels: dict[str, str], value: float) -> None:
    escaped = {key: text.replace("\\", r"\\").replace('"', r"\"") for key, text in labels.items()}
    block = "{" + ",".join(f'{key}="{text}"' for key, text in escaped.items()) + "}"
    text = f"a{block} {value}\nb{block} 1\n"
    (first,), (second,) = (family.samples for family in text_string_to_metric_families(text))
    samples = parse_exposition(text.encode(), "x")
    assert [(s.name, s.labels, s.value) for s in samples] == [
        ("a", first.labels, first.value),
        ("b", second.labels, 1.0),
    ]


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode(errors="replace")),
        st.tuples(st.integers(0, 250), st.binary(max_size=4)).map(
            lambda cut: series("DCGM_FI_DEV_XID_ERRORS", "79").encode()[: cut[0]] + cut[1]
        ),
    )
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(Unmeasured):
        assert parse_exporter(data).names


@needs_corpus
@pytest.mark.parametrize(
    ("name", "gpus", "metrics", "instances", "drivers"),
    [
        ("aicr-h100-eks-2026-02", 8, 4, 0, {"580.105.08"}),
        ("aicr-h100-eks-2026-03", 8, 4, 0, {"580.105.08"}),
        ("ericsson-ccd-t4", 1, 20, 0, {"590.48.01"}),
        ("nvdocs-a100-mig-1g5gb", 1, 4, 1, set()),
        ("runai-a100-mig-4active", 1, 14, 4, {"520.56.06"}),
        ("runai-a100-mig-disabled", 1, 23, 0, {"520.56.06"}),
        ("runai-a100-mig-mixed", 1, 14, 3, {"520.56.06"}),
        ("runai-t4-fraction", 2, 19, 0, {"525.60.13"}),
        ("upcloud-l40s", 1, 23, 0, {"595.58.03"}),
        ("vks135-vgpu-a100-40c", 1, 11, 0, {"580.126.09"}),
    ],
)
def test_recorded_healthy_scrapes(name: str, gpus: int, metrics: int, instances: int, drivers: set[str]) -> None:
    exporter = parse_exporter(recorded(f"dcgm/{name}.prom"))
    assert len(exporter.gpus) == gpus
    assert len(exporter.names) == metrics
    assert sum(len(gpu.instances) for gpu in exporter.gpus.values()) == instances
    assert exporter.driver_versions == drivers
    assert not any(gpu.xids for gpu in exporter.gpus.values())
    values = [value for gpu in exporter.gpus.values() for metric in gpu.metrics.values() for _, value in metric]
    assert all(value is not None and math.isfinite(value) for value in values)


@needs_corpus
def test_recorded_blank_xid_and_broken_scrapes() -> None:
    (blank,) = parse_exporter(recorded("dcgm/nvdocs-blank-sentinel-memtemp.prom")).gpus.values()
    assert blank.metrics["MEMORY_TEMP"] == ((None, None),)
    assert blank.metrics["SM_CLOCK"] == ((None, 139.0),)
    (counted,) = parse_exporter(recorded("dcgm/issue-t400-xid42-count.prom")).gpus.values()
    assert counted.xids == ((42, ""),)
    with pytest.raises(Unmeasured, match="line 7"):
        parse_exporter(recorded("dcgm/gmt-2020-no-label-commas-blank-sentinel.prom.invalid"))

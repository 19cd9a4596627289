from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.evidence import smi
from gpu_readiness.evidence.reading import State, Unmeasured
from gpu_readiness.evidence.smi import FIELDS, DriverSilent, SmiGpu, parse_smi
from gpu_readiness.verdict import Reason

HEAD = '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'


def document(
    *gpus: str, driver: str = "580.105.08", cuda: str | None = "13.0", attached: object = None, head: str = HEAD
) -> bytes:
    cuda_element = f"<cuda_version>{cuda}</cuda_version>" if cuda is not None else ""
    count = len(gpus) if attached is None else attached
    return (
        f"{head}<nvidia_smi_log>\n\t<timestamp>Tue</timestamp><driver_version>{driver}</driver_version>{cuda_element}"
        f"<attached_gpus>{count}</attached_gpus>"
        + "".join(f'<gpu id="00000000:{0x10 + n:02X}:00.0">{gpu}</gpu>' for n, gpu in enumerate(gpus))
        + "</nvidia_smi_log>\n"
    ).encode()


def nested(path: str, said: str) -> str:
    """The elements of a path around what is said: `a/b`, `x` is `<a><b>x</b></a>`."""
    tags = path.split("/")
    return "".join(f"<{tag}>" for tag in tags) + said + "".join(f"</{tag}>" for tag in reversed(tags))


def gpu(content: str, **options: object) -> SmiGpu:
    (found,) = parse_smi(document(content, **options)).gpus  # type: ignore[arg-type]
    return found


def unmeasured(data: bytes) -> Unmeasured:
    with pytest.raises(Unmeasured) as raised:
        parse_smi(data)
    assert "nvidia-smi.xml" in raised.value.message
    assert len(raised.value.message) < 400
    return raised.value


def silent(data: bytes) -> DriverSilent:
    with pytest.raises(DriverSilent) as raised:
        parse_smi(data)
    return raised.value


# --- what one field says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state"),
    [
        *(("N/A", "unsupported"), ("[N/A]", "unsupported"), ("Not Supported", "unsupported")),
        *(("[Not Supported]", "unsupported"), ("Requested functionality has been deprecated", "unsupported")),
        *(("Insufficient Permissions", "denied"), ("[Insufficient Permissions]", "denied")),
        *(("ERR!", "broken"), ("[Unknown Error]", "broken"), ("Unknown Error", "broken"), ("Unknown", "broken")),
        *(("GPU is lost", "broken"), ("[GPU is lost]", "broken"), ("[GPU requires reset]", "broken")),
        *(("Reset Required", "broken"), ("hot", "broken"), ("12 bananas too many", "broken"), ("1e3 C", "broken")),
        *(("--5 C", "broken"), ("5 C 6 C", "broken"), ("9" * 400, "broken")),
        *(("", "absent"), ("  \n ", "absent")),
        *(("34 C", "present"), ("34", "present"), ("-2 C", "present"), (" 34 C\n", "present"), ("34.50 C", "present")),
    ],
)
def test_what_stands_where_a_number_should(said: str, state: str) -> None:
    reading = gpu(nested("temperature/gpu_temp", said)).read("temperature")
    assert reading.state == state
    assert reading.there is (state == "present")
    assert (reading.value is None) is not reading.there
    assert reading.source == "nvidia-smi.xml"
    assert len(reading.detail) <= 120


@pytest.mark.parametrize(
    ("path", "said", "field", "value"),
    [
        ("fb_memory_usage/total", "81559 MiB", "memory.total", 81559),
        ("gpu_power_readings/current_power_limit", "700.00 W", "power.limit", 700),
        ("gpu_power_readings/current_power_limit", "72.50 W", "power.limit", 72.5),
        ("pci/pci_gpu_link_info/link_widths/current_link_width", "16x", "pcie.width", 16),
        ("pci/pci_gpu_link_info/pcie_gen/max_link_gen", "5", "pcie.generation", 5),
        ("max_clocks/sm_clock", "1980 MHz", "clocks.max-sm", 1980),
        ("pci/pci_device_id", "233010DE", "device-id", "2330"),
        ("pci/pci_device_id", "0x26B910DE", "device-id", "26B9"),
        ("persistence_mode", "Enabled", "persistence", "enabled"),
        ("compute_mode", "Exclusive_Process", "compute-mode", "Exclusive_Process"),
        ("mig_mode/current_mig", "Disabled", "mig.current", "disabled"),
        ("ecc_mode/pending_ecc", "Enabled", "ecc.pending", "enabled"),
        ("fabric/state", "Completed", "fabric.state", "completed"),
        (
            "remapped_rows/row_remapper_histogram/row_remapper_histogram_none",
            "0 bank(s)",
            "remap.banks-without-spares",
            0,
        ),
        ("gpu_recovery_action", "None", "recovery-action", "none"),
        ("minor_number", "7", "minor", 7),
    ],
)
def test_units_and_spellings(path: str, said: str, field: str, value: object) -> None:
    reading = gpu(nested(path, said)).read(field)
    assert reading.value == value
    assert type(reading.value) is type(value)


@pytest.mark.parametrize(
    ("path", "said", "field"),
    [
        ("pci/pci_device_id", "000010DE", "device-id"),
        ("pci/pci_device_id", "2330", "device-id"),
        ("ecc_errors/volatile/dram_uncorrectable", "-1", "ecc.volatile.dram-uncorrectable"),
        ("ecc_errors/volatile/dram_uncorrectable", "0 errors", "ecc.volatile.dram-uncorrectable"),
        ("ecc_errors/volatile/dram_uncorrectable", "1.0", "ecc.volatile.dram-uncorrectable"),
        ("remapped_rows/row_remapper_histogram/row_remapper_histogram_none", "few", "remap.banks-without-spares"),
    ],
)
def test_what_is_no_such_value_is_broken_and_not_guessed(path: str, said: str, field: str) -> None:
    assert gpu(nested(path, said)).read(field).state is State.BROKEN


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_read_from_each_of_its_places_and_from_nowhere_else(field: str) -> None:
    spec = FIELDS[field]
    for path in spec.paths:
        assert gpu(nested(path, "N/A")).read(field).state is State.UNSUPPORTED, path
        assert gpu(nested(path, "ERR!")).read(field).state is State.BROKEN, path
        assert gpu(nested(path, "[Insufficient Permissions]")).read(field).state is State.DENIED, path
    assert not gpu("<other>1</other>").read(field).there


# --- generations of drivers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"]
)
@pytest.mark.parametrize(("said", "value"), [("Active", "active"), ("Not Active", "not active")])
def test_clock_events_were_throttle_reasons_before_535(name: str, said: str, value: str) -> None:
    old = nested(f"clocks_throttle_reasons/clocks_throttle_reason_{name}", said)
    new = nested(f"clocks_event_reasons/clocks_event_reason_{name}", said)
    assert gpu(old, driver="470.82").read(f"clock-event.{name}").value == value
    assert gpu(new).read(f"clock-event.{name}").value == value


MODULE_LIMIT = nested("module_power_readings/current_power_limit", "900 W")


@pytest.mark.parametrize(
    ("driver", "content", "value"),
    [
        ("352.99", nested("power_readings/power_limit", "125.00 W"), 125),
        (
            "470.82",
            nested("power_readings", nested("power_limit", "300 W") + nested("enforced_power_limit", "250 W")),
            250,
        ),
        ("535.86", nested("gpu_power_readings/current_power_limit", "700.00 W"), 700),
        ("580.1", MODULE_LIMIT + nested("gpu_power_readings/current_power_limit", "700 W"), 700),
    ],
)
def test_the_enforced_power_limit_has_had_three_places(driver: str, content: str, value: int) -> None:
    assert gpu(content, driver=driver).read("power.limit").value == value


def test_a_gpu_that_retires_pages_and_one_that_remaps_rows() -> None:
    turing = gpu(
        "<retired_pages><multiple_single_bit_retirement><retired_count>2</retired_count></multiple_single_bit_retirement>"
        "<double_bit_retirement><retired_count>1</retired_count></double_bit_retirement>"
        "<pending_blacklist>Yes</pending_blacklist></retired_pages><remapped_rows>N/A</remapped_rows>"
    )
    assert turing.read("retired.single-bit").value == 2
    assert turing.read("retired.double-bit").value == 1
    assert turing.read("retired.pending").value == "yes"
    assert {turing.read(f"remap.{name}").state for name in ("pending", "failure", "uncorrectable")} == {"unsupported"}
    ampere = gpu(
        "<remapped_rows><remapped_row_corr>0</remapped_row_corr><remapped_row_unc>4</remapped_row_unc>"
        "<remapped_row_pending>Yes</remapped_row_pending><remapped_row_failure>No</remapped_row_failure></remapped_rows>"
        "<retired_pages><pending_retirement>N/A</pending_retirement></retired_pages>"
    )
    assert [ampere.read(f"remap.{name}").value for name in ("correctable", "uncorrectable", "pending", "failure")] == [
        *(0, 4, "yes", "no")
    ]
    assert ampere.read("retired.pending").state is State.UNSUPPORTED


def test_ecc_counters_of_three_generations() -> None:
    kepler = gpu(nested("ecc_errors/volatile/double_bit/total", "3"), driver="352.99")
    assert kepler.read("ecc.volatile.double-bit").value == 3
    ampere = gpu(nested("ecc_errors/volatile/sram_uncorrectable", "1"), driver="535.54")
    assert ampere.read("ecc.volatile.sram-uncorrectable").value == 1
    hopper = gpu(
        "<ecc_errors><volatile><sram_uncorrectable_parity>1</sram_uncorrectable_parity>"
        "<sram_uncorrectable_secded>2</sram_uncorrectable_secded><dram_uncorrectable>5</dram_uncorrectable></volatile>"
        "<aggregate><sram_threshold_exceeded>Yes</sram_threshold_exceeded></aggregate>"
        "<channel_repair_pending>No</channel_repair_pending><tpc_repair_pending>Yes</tpc_repair_pending></ecc_errors>"
    )
    assert hopper.read("ecc.volatile.sram-uncorrectable-parity").value == 1
    assert hopper.read("ecc.volatile.sram-uncorrectable-secded").value == 2
    assert hopper.read("ecc.volatile.dram-uncorrectable").value == 5
    assert hopper.read("ecc.sram-threshold-exceeded").value == "yes"
    assert hopper.read("repair.tpc-pending").value == "yes"


@pytest.mark.parametrize(
    ("field", "driver", "state"),
    [
        ("mig.current", "440.33.01", "beyond-depth"),
        ("mig.current", "450.80.02", "absent"),
        ("recovery-action", "550.163.01", "beyond-depth"),
        ("recovery-action", "570.124.04", "absent"),
        ("fabric.state", "515.105.01", "beyond-depth"),
        ("fabric.state", "535.54.03", "absent"),
        ("ecc.current", "352.99", "absent"),
        ("temperature", "352.99", "absent"),
        ("temperature.margin", "580.1", "beyond-depth"),
        ("gsp.firmware", "580.1", "beyond-depth"),
        ("no.such.field", "580.1", "beyond-depth"),
    ],
)
def test_a_field_that_is_not_there_is_missing_only_where_the_driver_prints_it(
    field: str, driver: str, state: str
) -> None:
    reading = gpu("<uuid>GPU-1</uuid>", driver=driver).read(field)
    assert reading.state == state
    assert reading.detail


def test_the_cuda_version_is_printed_from_410_on() -> None:
    assert parse_smi(document("<uuid>a</uuid>")).cuda_version.value == "13.0"
    assert parse_smi(document("<uuid>a</uuid>", cuda=None)).cuda_version.state is State.ABSENT
    assert parse_smi(document("<uuid>a</uuid>", cuda=None, driver="390.87")).cuda_version.state is State.BEYOND_DEPTH
    assert parse_smi(document("<uuid>a</uuid>", cuda="N/A")).cuda_version.state is State.UNSUPPORTED
    assert parse_smi(document("<uuid>a</uuid>", cuda="ERR!")).cuda_version.state is State.BROKEN


@pytest.mark.parametrize(
    ("said", "attached"), [("8", 8), ("0", 0), ("", None), ("eight", None), ("-1", None), ("99999", None)]
)
def test_the_drivers_own_count(said: str, attached: int | None) -> None:
    assert parse_smi(document("<uuid>a</uuid>", attached=said)).attached == attached


# --- MIG, processes, fabric, loss ------------------------------------------------------------------------------------


def mig_device(instance: int, memory: str = "9984 MiB") -> str:
    return (
        f"<mig_device><index>0</index><gpu_instance_id>{instance}</gpu_instance_id>"
        "<compute_instance_id>0</compute_instance_id><device_attributes><shared>"
        "<multiprocessor_count>16</multiprocessor_count></shared></device_attributes><ecc_error_count><volatile_count>"
        "<sram_uncorrectable>1</sram_uncorrectable></volatile_count></ecc_error_count>"
        f"<fb_memory_usage><total>{memory}</total></fb_memory_usage></mig_device>"
    )


def test_mig_devices() -> None:
    found = gpu(f"<mig_devices>{mig_device(7)}{mig_device(8, 'N/A')}</mig_devices>").mig_devices
    assert found is not None
    assert [(each.gpu_instance, each.compute_instance) for each in found] == [("7", "0"), ("8", "0")]
    assert [each.memory for each in found] == [9984, None]
    assert [each.multiprocessors for each in found] == [16, 16]
    assert [each.uncorrectable.value for each in found] == [1, 1]


@pytest.mark.parametrize(
    ("content", "count"),
    [("<mig_devices>None</mig_devices>", 0), ("<mig_devices></mig_devices>", 0), ("<uuid>a</uuid>", None)],
)
def test_no_mig_devices_is_not_the_same_as_no_list_of_them(content: str, count: int | None) -> None:
    found = gpu(content).mig_devices
    assert (found if found is None else len(found)) == count


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("<processes></processes>", 0),
        ("<processes><process_info><pid>1</pid></process_info><process_info/></processes>", 2),
        ("<processes>N/A</processes>", None),
        ("<uuid>a</uuid>", None),
    ],
)
def test_processes(content: str, count: int | None) -> None:
    assert gpu(content).processes == count


@pytest.mark.parametrize("path", ["fb_memory_usage/total", "temperature/gpu_temp", "performance_state", "product_name"])
@pytest.mark.parametrize(
    "said", ["GPU is lost", "[GPU requires reset]", "[Reset Required]", "GPU has fallen off the bus"]
)
def test_a_gpu_that_is_lost_in_the_middle_of_a_document(path: str, said: str) -> None:
    lost, sound = parse_smi(document(nested(path, said), nested("temperature/gpu_temp", "34 C"))).gpus
    assert lost.lost == said
    assert sound.lost == ""


def test_fabric() -> None:
    found = gpu(
        "<fabric><state>Completed</state><status>Success</status><cliqueId>32766</cliqueId>"
        "<clusterUuid>2F8E-00</clusterUuid><health><summary>Healthy</summary><bandwidth>Full</bandwidth>"
        "<route_recovery_in_progress>False</route_recovery_in_progress></health></fabric>"
    )
    assert [
        found.read(f"fabric.{name}").value
        for name in ("state", "status", "clique", "cluster", "health", "bandwidth", "route-recovery")
    ] == ["completed", "success", "32766", "2f8e-00", "healthy", "full", "false"]


# --- the infoROM warning behind the document -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "warning",
    [
        "WARNING: infoROM is corrupted at gpu 0000:11:00.0\n",
        "WARNING: infoROM is corrupted at gpu 00000000:11:00.0\r\n",
        "\n\nWARNING: infoROM is corrupted at gpu 0000:11:00.0",
        "WARNING: infoROM is corrupted at gpu 0000:11:00.0\nWARNING: infoROM is corrupted at gpu 0000:55:00.0\n",
    ],
)
@pytest.mark.parametrize("domain", ["00000000", "0000"])
def test_an_inforom_warning_names_its_gpu(warning: str, domain: str) -> None:
    data = document(*(nested("pci/pci_bus_id", f"{domain}:1{n}:00.0") for n in range(2))) + warning.encode()
    sound, broken = parse_smi(data).gpus
    assert broken.read("inforom.valid").value == "corrupted"
    assert sound.read("inforom.valid").state is State.BEYOND_DEPTH


def test_an_inforom_warning_that_names_no_gpu_is_not_lost() -> None:
    assert unmeasured(document("<uuid>a</uuid>") + b"WARNING: infoROM is corrupted\n").reason is Reason.UNPARSABLE


@pytest.mark.parametrize(
    "trailing",
    ["Killed\n", "Segmentation fault", "<gpu/>", "WARNING: infoROM is corrupted at gpu 0000:11:00.0\nKilled\n"],
)
def test_any_other_text_behind_the_document_is_a_broken_file(trailing: str) -> None:
    assert unmeasured(document("<uuid>a</uuid>") + trailing.encode()).reason is Reason.UNPARSABLE


# --- what the driver's tools say instead -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make …", "driver not loaded"),
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.161", "mismatch"),
        ("Failed to initialize NVML: Driver Not Loaded", "driver not loaded"),
        ("Failed to initialize NVML: GPU access blocked by the operating system", "could not be initialised"),
        ("Failed to initialize NVML: Unknown Error", "could not be initialised"),
        ("Unable to determine the device handle for GPU 0000:61:00.0: Unknown Error", "device handle"),
        ("Unable to determine the device handle for GPU0: 0000:61:00.0: GPU is lost.  Reboot", "GPU lost"),
        ("No devices were found", "no devices"),
        ("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure …", "library not found"),
    ],
)
def test_text_of_the_drivers_own_tools_is_a_measurement(said: str, meaning: str) -> None:
    found = silent(f"{said}\n".encode())
    assert meaning in found.meaning
    assert found.said.startswith(" ".join(said.split())[:40])
    assert len(found.said) <= 300


def test_a_document_without_gpus_says_that_there_are_none() -> None:
    assert silent(document()).meaning == "no devices were found"


@pytest.mark.parametrize(
    "data",
    [
        b"bash: nvidia-smi: command not found\n",
        b"error: unable to upgrade connection: container not found\n",
        b"<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1></body></html>",
        b"<html><body/></html>",
        b"{}",
        b"\x7fELF\x02\x01",
        b"\0" * 100,
        b"No devices were found\0",
        b"GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n",
        b"|   0  NVIDIA H100 80GB HBM3          Off |\n",
        b"==============NVSMI LOG==============\nAttached GPUs : 1\n    Reset Required : No\n",
        document("<uuid>a</uuid>")[:-30],
        document("<uuid>a</uuid>")[:60],
        document("<uuid>a</uuid>").replace(b"</uuid>", b"</other>"),
        document("<uuid>a</uuid>").replace(b"nvidia_smi_log>", b"other_log>"),
        document("<uuid>a</uuid>", driver=""),
        document("<uuid>a</uuid>", driver="N/A"),
        document("<uuid>a</uuid>", driver="580"),
        document("<uuid>a</uuid>", driver="x.y"),
        document("<uuid>a</uuid>", driver="580.1\n2"),
        document("<uuid>a</uuid>") * 2,
        document("<uuid>a\x08</uuid>"),
        document("<uuid>\xff</uuid>".encode("latin-1").decode("latin-1")).replace("\xff".encode(), b"\xff"),
    ],
)
def test_anything_else_was_not_measured(data: bytes) -> None:
    assert unmeasured(data).reason is Reason.UNPARSABLE


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n"])
def test_an_empty_file_is_missing(data: bytes) -> None:
    assert unmeasured(data).reason is Reason.MISSING


# --- size ------------------------------------------------------------------------------------------------------------


def test_as_many_gpus_as_a_machine_has_and_no_more() -> None:
    assert len(parse_smi(document(*["<uuid>a</uuid>"] * smi.MAX_GPUS)).gpus) == smi.MAX_GPUS
    assert "257 GPUs" in unmeasured(document(*["<uuid>a</uuid>"] * (smi.MAX_GPUS + 1))).message


def test_deep_and_wide_documents_are_read_quickly() -> None:
    started = time.monotonic()
    deep = "<fabric>" * 100_000 + "x" + "</fabric>" * 100_000
    assert gpu(deep).read("fabric.state").state is State.ABSENT
    wide = "<supported_clocks>" + "<clock>1</clock>" * 200_000 + "</supported_clocks>"
    assert gpu(wide + nested("temperature/gpu_temp", "34 C")).read("temperature").value == 34
    assert unmeasured(b"<a>" * 100_000).reason is Reason.UNPARSABLE
    assert unmeasured(b"<a>" * 100_000 + b"</a>" * 100_000).reason is Reason.UNPARSABLE
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("path", ["uuid", "product_name", "temperature/gpu_temp"])
def test_a_huge_text_is_no_value_and_is_not_kept(path: str) -> None:
    found = gpu(nested(path, "GPU-" + "x" * 2_000_000))
    reading = next(found.read(field) for field, spec in FIELDS.items() if path in spec.paths)
    assert reading.state is State.BROKEN
    assert len(reading.detail) <= 120
    assert len(found.text(path)) < 600


# --- nothing breaks it -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    with suppress(Unmeasured, DriverSilent):
        parse_smi(data)


HEALTHY = document(
    *(nested(path, said) for path, said in (("temperature/gpu_temp", "34 C"), ("fb_memory_usage/total", "1 MiB")))
)


@given(st.lists(st.tuples(st.integers(0, len(HEALTHY) - 1), st.binary(max_size=3)), min_size=1, max_size=5))
def test_no_damage_breaks_it(damage: list[tuple[int, bytes]]) -> None:
    data = HEALTHY
    for position, put in damage:
        data = data[:position] + put + data[position + 1 :]
    with suppress(Unmeasured, DriverSilent):
        for each in parse_smi(data).gpus:
            for field in FIELDS:
                each.read(field)


@given(
    st.sampled_from(sorted(FIELDS)), st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<&>"))
)
def test_no_text_of_a_field_breaks_it(field: str, said: str) -> None:
    reading = gpu(nested(FIELDS[field].paths[0], said)).read(field)
    assert (reading.value is not None) is reading.there

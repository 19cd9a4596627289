"""What `test_real_captures` leaves: every field against a reading of our own, and every capture in every place.

Nothing of the corpus is part of this repository; without it these tests are skipped.
"""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from corpus import CORPUS, needs_corpus, recorded
from nodes import CHECKS

from gpu_readiness.evidence.smi import SmiGpu, parse_smi
from gpu_readiness.evidence.snapshot import open_snapshot
from gpu_readiness.report import Report
from gpu_readiness.run import Engine, Settings, UsageProblem
from gpu_readiness.verdict import Result, Severity

pytestmark = needs_corpus

REAL = CORPUS / "real" if CORPUS is not None else Path("nowhere")


def _index() -> dict[str, dict[str, str]]:
    if CORPUS is None:
        return {}
    with (REAL / "INDEX.tsv").open(encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file, delimiter="\t")}


INDEX = _index()
GOOD = ("ready", "degraded")


def named(*patterns: str) -> list[str]:
    """Artefacts by their path below `real`."""
    return sorted({str(path.relative_to(REAL)) for each in patterns for path in REAL.glob(each) if path.is_file()})


def snapshot(folder: Path, files: dict[str, bytes], standard: dict[str, Any] | None = None) -> Path:
    for name, data in {"cluster/nodes.json": A_NODE, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if standard is not None:
        (folder / "standard.yaml").write_text(yaml.safe_dump(standard))
    return folder


A_NODE = json.dumps(
    {"items": [{"metadata": {"name": "n", "labels": {"nvidia.com/gpu.present": "true"}}, "status": {}}]}
).encode()


def judge(folder: Path, **settings: Any) -> Report:
    own = folder / "standard.yaml"
    standards = (str(own),) if own.exists() else ()
    with open_snapshot(folder) as found:
        engine = Engine(found, Settings(standards=standards, **settings))
        for check in CHECKS.values():
            engine.register(check)
        planned = [check for check in CHECKS.values() if engine.planned(check)]
        engine.plan_for([(node, check) for node in engine.nodes for check in planned], [])
        for node in engine.nodes:
            engine.results_of(node)
        return engine.report()


def failed(report: Report, *layers: str, severity: Severity = Severity.CRITICAL) -> set[str]:
    def counts(each: Result) -> bool:
        return each.verdict == "fail" and each.severity is severity and each.check.split(".")[0] in layers

    return {each.check for each in report.results if counts(each)}


# --- no field of nvidia-smi's XML is lost ----------------------------------------------------------------------------

DOCUMENTS = named("nvidia-smi/*.xml", "rig/nvidia-smi/*.xml")
#: Documents that say too little to be one, as INDEX.tsv has it.
NOT_READ = {"nvidia-smi/telegraf-gtx-1070-ti.xml"}
#: Where a field stands, over all generations of drivers; written from documents, not from the parser's own table.
PLACES = {
    "product": "product_name",
    "uuid": "uuid",
    "serial": "serial",
    "vbios": "vbios_version",
    "inforom.image": "inforom_version/img_version",
    "gsp.firmware": "gsp_firmware_version",
    "board.part-number": "board_part_number",
    "memory.total": "fb_memory_usage/total",
    "memory.used": "fb_memory_usage/used",
    "persistence": "persistence_mode",
    "compute-mode": "compute_mode",
    "recovery-action": "gpu_recovery_action",
    "ecc.current": "ecc_mode/current_ecc",
    "ecc.pending": "ecc_mode/pending_ecc",
    "ecc.volatile.dram-uncorrectable": "ecc_errors/volatile/dram_uncorrectable",
    "ecc.volatile.sram-uncorrectable": "ecc_errors/volatile/sram_uncorrectable",
    "ecc.volatile.sram-uncorrectable-parity": "ecc_errors/volatile/sram_uncorrectable_parity",
    "ecc.volatile.sram-uncorrectable-secded": "ecc_errors/volatile/sram_uncorrectable_secded",
    "ecc.volatile.double-bit": "ecc_errors/volatile/double_bit/total",
    "ecc.aggregate.dram-uncorrectable": "ecc_errors/aggregate/dram_uncorrectable",
    "ecc.sram-threshold-exceeded": "ecc_errors/aggregate/sram_threshold_exceeded",
    "remap.uncorrectable": "remapped_rows/remapped_row_unc",
    "remap.pending": "remapped_rows/remapped_row_pending",
    "remap.failure": "remapped_rows/remapped_row_failure",
    "retired.single-bit": "retired_pages/multiple_single_bit_retirement/retired_count",
    "retired.double-bit": "retired_pages/double_bit_retirement/retired_count",
    "retired.pending": "retired_pages/pending_retirement|retired_pages/pending_blacklist",
    "mig.current": "mig_mode/current_mig",
    "mig.pending": "mig_mode/pending_mig",
    "power.limit": (
        "gpu_power_readings/current_power_limit|power_readings/enforced_power_limit|power_readings/power_limit"
    ),
    "power.default-limit": "gpu_power_readings/default_power_limit|power_readings/default_power_limit",
    "pcie.width": "pci/pci_gpu_link_info/link_widths/current_link_width",
    "pcie.max-width": "pci/pci_gpu_link_info/link_widths/max_link_width",
    "pcie.generation": "pci/pci_gpu_link_info/pcie_gen/max_link_gen",
    "pcie.replays": "pci/replay_counter",
    "clocks.max-sm": "max_clocks/sm_clock",
    "clocks.max-memory": "max_clocks/mem_clock",
    "temperature": "temperature/gpu_temp",
    "temperature.margin": "temperature/gpu_temp_tlimit",
    "temperature.slowdown": "temperature/gpu_temp_slow_threshold",
    "temperature.slowdown-margin": "temperature/gpu_temp_slow_tlimit_threshold",
    "fabric.state": "fabric/state",
    "fabric.status": "fabric/status",
    "fabric.health": "fabric/health/summary",
    "clock-event.hw_slowdown": (
        "clocks_event_reasons/clocks_event_reason_hw_slowdown|clocks_throttle_reasons/clocks_throttle_reason_hw_slowdown"
    ),
    "clock-event.hw_power_brake_slowdown": (
        "clocks_event_reasons/clocks_event_reason_hw_power_brake_slowdown"
        "|clocks_throttle_reasons/clocks_throttle_reason_hw_power_brake_slowdown"
    ),
}
NO_VALUE = {"", "n/a", "[n/a]", "unknown error", "requested functionality has been deprecated", "not supported"}


def pairs() -> Iterator[tuple[str, str, ET.Element, SmiGpu]]:
    for path in DOCUMENTS:
        if path in NOT_READ:
            continue
        data = recorded(path)
        elements = ET.fromstring(data.strip()).findall("gpu")
        gpus = parse_smi(data).gpus
        assert len(gpus) == len(elements)
        for number, (element, gpu) in enumerate(zip(elements, gpus, strict=True)):
            yield path, f"{path} GPU {number}", element, gpu


@pytest.mark.parametrize("field", PLACES)
def test_a_field_is_what_the_document_says(field: str) -> None:
    seen = 0
    for _, where, element, gpu in pairs():
        texts = [element.findtext(path) for path in PLACES[field].split("|")]
        said = next((text.strip() for text in texts if text is not None), "")
        reading = gpu.read(field)
        if said.lower() in NO_VALUE:
            assert not reading.there, f"{where}: {field} is {reading.value}, the document says {said!r}"
            continue
        seen += 1
        assert reading.there, f"{where}: {field} is {reading.state}, the document says {said!r}"
        number = re.match(r"-?[\d.]+(?= |x?$)", said)
        if isinstance(reading.value, str):
            assert reading.value.lower() == said.lower(), where
        else:
            assert number is not None, where
            assert float(reading.value) == float(number.group()), where
    assert seen, "no document of the corpus has it"


def test_mig_devices_processes_and_identities_are_those_of_the_documents() -> None:
    for _, where, element, gpu in pairs():
        devices = element.findall("mig_devices/mig_device")
        assert len(gpu.mig_devices or ()) == len(devices), where
        for device, found in zip(devices, gpu.mig_devices or (), strict=True):
            assert found.gpu_instance == device.findtext("gpu_instance_id"), where
            assert f"{found.memory} MiB" == device.findtext("fb_memory_usage/total"), where
        if element.find("processes/process_info") is not None:
            assert gpu.processes == len(element.findall("processes/process_info")), where
        device_id = element.findtext("pci/pci_device_id") or ""
        if device_id and not gpu.read("device-id").there:
            assert not re.fullmatch(r"[0-9A-F]{4}10DE", device_id), where
        elif device_id:
            assert device_id.removeprefix("0x").startswith(gpu.read("device-id").value), where


# --- what is no evidence of a whole node makes none ready ------------------------------------------------------------


@pytest.mark.parametrize("place", ["nvidia-smi.xml", "dcgm.prom", "kernel.log", "probe.json", "workloads/nccl.log"])
def test_no_capture_in_any_place_crashes_or_makes_a_node_good(place: str, tmp_path: Path) -> None:
    captures = dict(enumerate(named("*/*", "rig/*/*")))
    nodes = [{"metadata": {"name": f"n{number}"}, "status": {}} for number in captures]
    files = {f"nodes/n{number}/{place}": recorded(path) for number, path in captures.items()}
    report = judge(snapshot(tmp_path, {"cluster/nodes.json": json.dumps({"items": nodes}).encode(), **files}))
    good = [captures[int(node.name[1:])] for node in report.nodes if node.verdict in GOOD]
    broke = [captures[int(each.node[1:])] for each in report.results if "the check itself broke" in each.detail]
    assert (len(report.nodes), good, broke) == (len(captures), [], [])


@pytest.mark.parametrize("kind", ["nodes", "pods", "resourceslices"])
def test_no_capture_in_the_place_of_a_list_crashes_or_makes_a_node_good(kind: str, tmp_path: Path) -> None:
    for number, path in enumerate(named("nodes/*", "rig/*.json", "logs/*.json*", "dcgm/*")):
        folder = snapshot(tmp_path / str(number), {f"cluster/{kind}.json": recorded(path)})
        try:
            report = judge(folder)
        except UsageProblem:
            assert kind == "nodes"
            continue
        assert {node.verdict for node in report.nodes} <= {"unknown", "not-ready"}, path


@pytest.mark.parametrize("path", named("nvidia-smi-text/*", "rig/nvidia-smi/*.txt", "nvidia-smi/*.xmlfrag"))
def test_other_outputs_of_nvidia_smi_are_no_document(path: str, tmp_path: Path) -> None:
    """They describe GPUs, some of them faulty; what they are not is the artefact that was asked for."""
    report = judge(snapshot(tmp_path, {"nodes/n/nvidia-smi.xml": recorded(path)}))
    (result,) = (each for each in report.results if each.check == "driver.nvml")
    assert (result.verdict, result.reason) == ("error", "unparsable")


# --- exporters -------------------------------------------------------------------------------------------------------

ANY_NODE = {"name": "any", "match": {"nodes": ["*"]}, "extends": ["stack/gpu-operator"]}
#: Too few metrics to be content with, or none.
INCOMPLETE = {path for path, row in INDEX.items() if row["fault_class"] == "incomplete"}


@pytest.mark.parametrize("path", named("dcgm/*"))
def test_a_scrape_is_judged_as_the_index_says(path: str, tmp_path: Path) -> None:
    report = judge(snapshot(tmp_path, {"nodes/n/dcgm.prom": recorded(path)}, ANY_NODE), depth="api")
    verdicts = {each.check: each for each in report.results if each.check.startswith("telemetry.")}
    row = INDEX[path]
    if path in INCOMPLETE:
        assert verdicts["telemetry.metrics"].verdict != "pass"
    elif row["fault_class"] == "xid":
        assert verdicts["telemetry.health"].verdict != "pass"
        assert "XID" in verdicts["telemetry.health"].findings[0].observed
    else:
        assert verdicts["telemetry.scrape"].verdict == "pass"
        assert verdicts["telemetry.health"].verdict != "fail"


# --- node objects ----------------------------------------------------------------------------------------------------

#: Node objects that are called a fault, and the check that has to find it (None: nothing to judge by).
FAULTY_NODES = {
    "nodes/runai-gce-a100-mig-mixed-4inst.json": "allocatable.healthy",
    "nodes/pai-dlws-nodelist-alpha-nvidia-gpu-unschedulable.json": None,  # cordoned: no fault of the node
}


@pytest.mark.parametrize("path", [each for each in named("nodes/*.json") if "resourceslices" not in each])
def test_a_node_object_is_judged_as_the_index_says(path: str, tmp_path: Path) -> None:
    folder = snapshot(tmp_path, {"cluster/nodes.json": recorded(path)})
    data = json.loads(recorded(path))
    unnamed = not any(each.get("metadata", {}).get("name") for each in data.get("items", [data]))
    if unnamed:
        with pytest.raises(UsageProblem, match=r"nodes\.json"):
            judge(folder, depth="api")
        return
    report = judge(folder, depth="api")
    found = failed(report, "runtime", "allocatable", "labels")
    assert not {node.verdict for node in report.nodes} & set(GOOD)
    if path in FAULTY_NODES:
        assert FAULTY_NODES[path] in {None, *found}
    else:
        assert INDEX[path]["fault_class"].startswith("healthy")
        assert found == set()


def test_slices_of_nodes_without_any_other_sign_make_them_gpu_nodes(tmp_path: Path) -> None:
    slices = json.loads(recorded("rig/dra-h100.resourceslices.json"))
    (node,) = {each["spec"]["nodeName"] for each in slices["items"]}
    files = {
        "cluster/nodes.json": json.dumps({"items": [{"metadata": {"name": node}, "status": {}}]}).encode(),
        "cluster/resourceslices.json": recorded("rig/dra-h100.resourceslices.json"),
    }
    report = judge(snapshot(tmp_path, files), depth="api")
    assert [each.name for each in report.nodes] == [node]
    assert failed(report, "allocatable") == set()


# --- the arithmetic of sharing: labels that GPU Feature Discovery wrote, resources that the plugin advertised --------

GPU = "nvidia.com/gpu"


def mig(profile: str) -> str:
    return f"nvidia.com/mig-{profile}"


def relabelled(name: str, resources: dict[str, tuple[int, int]]) -> dict[str, bytes]:
    """The recorded node, its pods and features, with the labels of another state and what was advertised in it."""
    node = json.loads(recorded("rig/h100-healthy.json"))
    lines = recorded(f"rig/gfd/{name}.labels").decode().splitlines()
    labels = dict(line.split("=", 1) for line in lines if "=" in line)
    gfd = ("nvidia.com/cuda", "nvidia.com/gpu.", "nvidia.com/mig", "nvidia.com/mps", "nvidia.com/vgpu")
    kept = {key: value for key, value in node["metadata"]["labels"].items() if not key.startswith(gfd)}
    node["metadata"]["labels"] = kept | labels | {"nvidia.com/gpu.present": "true"}
    for part, index in (("capacity", 0), ("allocatable", 1)):
        others = {key: value for key, value in node["status"][part].items() if not key.startswith("nvidia.com/")}
        node["status"][part] = others | {key: str(amounts[index]) for key, amounts in resources.items()}
    return {
        "cluster/nodes.json": json.dumps(node).encode(),
        "cluster/pods.json": recorded("rig/h100-healthy.pods.json"),
    }


INVALID = {"allocatable.healthy", "labels.required"}
BALANCED = {GPU: (0, 0), mig("1g.10gb"): (16, 16), mig("2g.20gb"): (8, 8), mig("3g.40gb"): (8, 8)}


@pytest.mark.parametrize(
    ("name", "resources", "broken"),
    [
        ("h100", {GPU: (8, 8)}, set()),
        ("h100", {GPU: (8, 7)}, {"allocatable.count", "allocatable.healthy"}),
        ("h100", {GPU: (7, 7)}, {"allocatable.count"}),
        ("h100", {GPU: (32, 32)}, {"allocatable.count"}),
        ("h100", {GPU: (8, 0)}, {"allocatable.count", "allocatable.healthy"}),
        ("h100", {GPU: (8, 8), mig("1g.10gb"): (0, 0)}, set()),  # a name left over is information
        ("h100-timeslicing4-rename", {"nvidia.com/gpu.shared": (32, 32)}, set()),
        ("h100-timeslicing4-rename", {"nvidia.com/gpu.shared": (8, 8)}, {"allocatable.count"}),
        ("h100-mig-mixed-balanced", BALANCED, set()),
        ("h100-mig-mixed-balanced", {**BALANCED, mig("3g.40gb"): (7, 7)}, {"allocatable.count"}),
        ("h100-mig-mixed-half", {GPU: (4, 4), mig("1g.10gb"): (28, 28)}, set()),
        ("h100-mig-mixed-timeslicing2", {GPU: (0, 0), mig("1g.10gb"): (112, 112)}, set()),
        ("h100-mig-mixed-timeslicing2", {GPU: (0, 0), mig("1g.10gb"): (56, 56)}, {"allocatable.count"}),
        ("h100-mig-pending", {GPU: (8, 8)}, set()),
        ("a100-mig-single-7x1g", {GPU: (56, 56)}, set()),
        ("a100-mig-single-7x1g", {GPU: (8, 8)}, {"allocatable.count"}),
        ("a100-mig-single-1x7g", {GPU: (8, 8)}, set()),
        ("b200-mig-single-7x1g", {GPU: (56, 56)}, set()),
        ("gb200", {GPU: (8, 8)}, set()),
        ("h100-7gpus", {GPU: (7, 7)}, set()),
        ("h100-mig-single-enabled-nodevices-INVALID", {GPU: (8, 0)}, INVALID),
        ("h100-mig-single-mixedprofiles-INVALID", {GPU: (8, 0)}, INVALID),
    ],
)
def test_labels_and_resources_of_a_real_plugin(
    name: str, resources: dict[str, tuple[int, int]], broken: set[str], tmp_path: Path
) -> None:
    files = relabelled(name, resources)
    found = failed(judge(snapshot(tmp_path, files), depth="api"), "allocatable", "labels")
    found -= {"allocatable.accounted"}  # the pods are those of the healthy node
    assert found - ({"allocatable.count"} if name.endswith("INVALID") else set()) == broken

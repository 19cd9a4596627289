"""Real artefacts, judged as their index says; skipped where the corpus is not there, for none of it is in this repo."""

from __future__ import annotations

import csv
import json
import shutil
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from corpus import CORPUS, needs_corpus

from gpu_readiness.declaration import Check, declared
from gpu_readiness.evidence import smi
from gpu_readiness.evidence.snapshot import open_snapshot
from gpu_readiness.run import Engine, Settings
from gpu_readiness.verdict import Result, Severity, Verdict

pytestmark = needs_corpus

MODULES = ("1_driver", "2_gpu", "3_runtime", "4_allocatable", "5_labels", "6_telemetry", "9_upgrade")
GPU_LAYERS = ("driver", "gpu")
#: Captures that are called healthy, and what we say of them all the same, with the reason.
DIFFERENT = {
    "mock-nvml-a100-healthy.xml": {},
    # Two boards of one workstation with different VBIOS: true, and a warning.
    "a0s-gtx1080x2.xml": {"driver.homogeneous", "gpu.pcie-width"},
}
#: Faults and the check that has to find them.
FAULTS = {
    "a0s-gtx1080x2.xml": "gpu.pcie-width",
    "mock-nvml-gb200-ecc-injected.xml": "gpu.ecc-errors",
    "telegraf-a100-sxm4-v12.xml": "driver.gpu-count",
}


def index(folder: str) -> list[dict[str, str]]:
    if CORPUS is None:
        return []
    with (CORPUS / "real" / "INDEX.tsv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if row["path"].startswith(f"{folder}/")]


@cache
def shipped() -> tuple[Check, ...]:
    modules = [import_module(f"gpu_readiness.checks.test_{name}") for name in MODULES]
    found = (declared(value) for module in modules for value in vars(module).values())
    return tuple(check for check in found if check is not None)


def judged(folder: Path, **settings: object) -> dict[str, dict[str, Result]]:
    with open_snapshot(folder) as snapshot:
        engine = Engine(snapshot, Settings(**settings))  # type: ignore[arg-type]
        for check in shipped():
            engine.register(check)
        engine.plan_for([(node, check) for check in shipped() if engine.planned(check) for node in engine.nodes], [])
        found = {node: dict(engine.results_of(node)) for node in engine.nodes}
        engine.close()
        return found


def capture_on_a_node(path: Path, folder: Path) -> dict[str, Result]:
    (folder / "cluster").mkdir()
    (folder / "nodes" / "n1").mkdir(parents=True)
    node = {"metadata": {"name": "n1", "labels": {"nvidia.com/gpu.present": "true"}}, "status": {}}
    (folder / "cluster" / "nodes.json").write_text(json.dumps({"kind": "List", "items": [node]}), encoding="utf-8")
    shutil.copy(path, folder / "nodes" / "n1" / "nvidia-smi.xml")
    return judged(folder)["n1"]


@pytest.mark.parametrize("row", index("nvidia-smi"), ids=lambda row: Path(row["path"]).name)
def test_nvidia_smi_document(row: dict[str, str], tmp_path: Path) -> None:
    assert CORPUS is not None
    results = capture_on_a_node(CORPUS / "real" / row["path"], tmp_path)
    name = Path(row["path"]).name
    failed = {id for id, each in results.items() if each.verdict is Verdict.FAIL and id.split(".")[0] in GPU_LAYERS}
    if name in FAULTS:
        assert FAULTS[name] in failed
    elif row["fault_class"] == "incomplete":
        gaps = [
            each
            for each in results.values()
            if each.planned and not each.measured and each.severity is Severity.CRITICAL
        ]
        assert gaps
    else:
        assert failed == DIFFERENT.get(name, set()) or not failed


@pytest.mark.parametrize("row", index("nvidia-smi"), ids=lambda row: Path(row["path"]).name)
def test_nothing_that_a_check_reads_is_lost(row: dict[str, str]) -> None:
    assert CORPUS is not None
    data = (CORPUS / "real" / row["path"]).read_bytes()
    try:
        document = smi.parse_smi(data)
    except Exception as problem:  # noqa: BLE001 - what does not parse is the other test's
        pytest.skip(f"does not parse: {problem}")
    for gpu in document.gpus:
        for field, spec in smi.FIELDS.items():
            said = next((text for path in spec.paths if (text := gpu.element.findtext(path)) and text.strip()), None)
            reading = gpu.read(field)
            if said is None or said.strip().lower() in ("n/a", "none") or field.startswith(("remap.", "retired.")):
                continue
            assert reading.there or reading.detail, (field, said)
            if reading.there and isinstance(reading.value, str) and field != "device-id":
                assert reading.value.lower() == said.strip().lower()


RIG = {
    "a100-healthy": {},
    "a100-mig-mixed-balanced": {},
    "h100-7gpus": {},
    "h100-busy6-pending4": {},
    "h100-gpu2-xid48-unhealthy": {"allocatable.count", "allocatable.healthy"},
    "h100-healthy": {},
    "h100-mig-none-but-enabled": {"labels.required"},
    "h100-mig-single-7x1g": {},
    "h100-mig-single-half": {"runtime.components", "allocatable.plugin", "allocatable.healthy", "labels.required"},
    "h100-plugin-stopped": {
        "runtime.components",
        "allocatable.plugin",
        "allocatable.count",
        "allocatable.healthy",
        "allocatable.accounted",
    },
    "h100-timeslicing4": {},
}


@pytest.mark.parametrize("name", sorted(RIG))
def test_real_kubelet_and_device_plugin(name: str, tmp_path: Path) -> None:
    assert CORPUS is not None
    rig = CORPUS / "real" / "rig"
    (tmp_path / "cluster").mkdir()
    for suffix, kind in ((".json", "nodes"), (".pods.json", "pods"), (".nodefeature.json", "nodefeatures")):
        shutil.copy(rig / f"{name}{suffix}", tmp_path / "cluster" / f"{kind}.json")
    (results,) = judged(tmp_path, depth="api").values()
    failed = {id for id, each in results.items() if each.verdict is Verdict.FAIL and each.severity is Severity.CRITICAL}
    assert failed == set(RIG[name])


def test_only_the_gpu_node_of_a_mixed_cluster_is_judged(tmp_path: Path) -> None:
    assert CORPUS is not None
    (tmp_path / "cluster").mkdir()
    shutil.copy(
        CORPUS / "real" / "nodes" / "replicated-nodelist-mixed-cpu-gpu.json", tmp_path / "cluster" / "nodes.json"
    )
    assert list(judged(tmp_path, depth="api")) == ["ip-172-31-21-92"]


@pytest.mark.parametrize("name", ["runai-gce-a100-mig-mixed-3inst.json", "runai-gce-a100-mig-mixed-4inst.json"])
def test_mig_node_with_a_name_left_over(name: str, tmp_path: Path) -> None:
    assert CORPUS is not None
    (tmp_path / "cluster").mkdir()
    shutil.copy(CORPUS / "real" / "nodes" / name, tmp_path / "cluster" / "nodes.json")
    (results,) = judged(tmp_path, depth="api").values()
    assert results["allocatable.stale"].verdict is Verdict.FAIL
    assert results["allocatable.stale"].severity is Severity.INFO
    lost = results["allocatable.healthy"].verdict is Verdict.FAIL
    assert lost == ("4inst" in name)


@pytest.mark.parametrize(
    ("log", "verdict", "severity"),
    [
        ("kernel-fallen-off-bus-no-xid.log", Verdict.FAIL, Severity.CRITICAL),
        ("kernel-xid48-63-94-dbe.log", Verdict.FAIL, Severity.CRITICAL),
        ("kernel-xid144-nonfatal-vs-149-fatal.log", Verdict.FAIL, Severity.CRITICAL),
        ("kernel-xid13-flood.log", Verdict.UNTESTED, Severity.WARNING),
        ("kernel-xid13-app-error-oom.log", Verdict.UNTESTED, Severity.WARNING),
        ("kernel-peermem.log", Verdict.UNTESTED, Severity.WARNING),
    ],
)
def test_kernel_log(log: str, verdict: Verdict, severity: Severity, tmp_path: Path) -> None:
    """Excerpts do not reach back to the boot, so even the harmless ones prove nothing."""
    assert CORPUS is not None
    (tmp_path / "cluster").mkdir()
    (tmp_path / "nodes" / "n1").mkdir(parents=True)
    nodes = {"items": [{"metadata": {"name": "n1"}, "status": {}}]}
    (tmp_path / "cluster" / "nodes.json").write_text(json.dumps(nodes), encoding="utf-8")
    data = (CORPUS / "real" / "logs" / log).read_bytes()
    (tmp_path / "nodes" / "n1" / "kernel.log").write_bytes(data if data.endswith(b"\n") else data + b"\n")
    result = judged(tmp_path)["n1"]["driver.xid"]
    assert (result.verdict, result.severity) == (verdict, severity)

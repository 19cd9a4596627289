"""Small healthy snapshots for the tests of checks, and what judges them after a test has spoilt something.

`h100`, `a100_mig` and `t4` make a `Fleet`; a test changes what it is about and asks for one result:

    fleet = h100()
    fleet.smi("ecc_mode/current_ecc", "Disabled", gpu=1)
    assert fleet.judge("gpu.ecc-mode").verdict == "fail"
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from gpu_readiness import Severity, Verdict, checks
from gpu_readiness.declaration import Check, declared
from gpu_readiness.evidence.snapshot import open_snapshot
from gpu_readiness.run import Engine, Settings
from gpu_readiness.verdict import Result

Json = dict[str, Any]
Results = dict[tuple[str, str], Result]


def shipped_checks() -> dict[str, Check]:
    """Every check that the package ships, by id, in the order of the layers."""
    found = {}
    for module in sorted(each.name for each in pkgutil.iter_modules(checks.__path__)):
        for function in vars(importlib.import_module(f"{checks.__name__}.{module}")).values():
            if (check := declared(function)) is not None:
                assert check.id not in found, f"{check.id} exists twice"
                found[check.id] = check
    return found


CHECKS = shipped_checks()


class Fleet:
    """The nodes of one snapshot before they are written: everything is there to be changed.

    `nodes` and `lists` are Kubernetes objects (`lists["pods"]`), `gpus` the XML of each node's GPUs, `header` what
    stands before them. `files` are a node's other artefacts by name; a value of None is a file that is not there.
    """

    def __init__(self, names: Iterable[str], standard: Json) -> None:
        self.standard = standard
        self.nodes: dict[str, Json] = {name: {} for name in names}
        self.lists: dict[str, list[Json]] = {}
        self.header: dict[str, dict[str, str]] = {}
        self.gpus: dict[str, list[ET.Element]] = {}
        self.files: dict[str, dict[str, Any]] = {name: {} for name in self.nodes}

    # --- changes; without `node` of the first one, without `gpu` of all its GPUs -----------------------------

    @property
    def first(self) -> str:
        return next(iter(self.nodes))

    @property
    def node(self) -> Json:
        return self.nodes[self.first]

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.node["metadata"]["labels"]
        return labels

    @property
    def pods(self) -> list[Json]:
        return self.lists["pods"]

    @property
    def probe(self) -> Json:
        """The probe of the first node; asking for it makes one, and so a run of depth probe."""
        files = self.files[self.first]
        probe: Json = files.setdefault("probe.json", probe_of(self.gpus[self.first], self.header[self.first]))
        return probe

    def uuid(self, gpu: int = 0, node: str | None = None) -> str:
        return self.gpus[node or self.first][gpu].findtext("uuid") or ""

    def smi(self, path: str, text: str | None, *, gpu: int | None = None) -> Fleet:
        """Set an element of nvidia-smi's XML; None removes it."""
        for position, element in enumerate(self.gpus[self.first]):
            if gpu in (None, position):
                _set(element, path, text)
        return self

    def field(self, name: str, value: Any, *, gpu: int | None = None) -> Fleet:
        """Set a field of the probe's GPUs; None removes it."""
        for position, each in enumerate(self.probe["gpus"]):
            if gpu in (None, position):
                each["fields"][name] = value
        return self

    def file(self, name: str, content: Any, *, node: str | None = None) -> Fleet:
        """Put an artefact (text, bytes, or what JSON can hold) in place of what is there; None removes it."""
        self.files[node or self.first][name] = content
        return self

    def log(self, *lines: str) -> Fleet:
        """Add lines to the kernel log."""
        self.files[self.first]["kernel.log"] += "".join(f"{line}\n" for line in lines)
        return self

    def metric(self, name: str, value: object, *, gpu: int | None = None, **labels: str) -> Fleet:
        """Set a metric of the exporter; None removes its lines."""
        kept = [line for line in self.files[self.first]["dcgm.prom"].splitlines() if not _is_metric(line, name, gpu)]
        if value is not None:
            for position, element in enumerate(self.gpus[self.first]):
                if gpu in (None, position):
                    kept.append(_sample(name, value, self.first, position, element, self.header[self.first], labels))
        return self.file("dcgm.prom", "\n".join(kept) + "\n")

    def condition(self, type: str, status: str, **said: str) -> Fleet:  # noqa: A002 - Kubernetes' own name
        """Set a condition of the first node."""
        conditions = self.node["status"]["conditions"]
        conditions[:] = [each for each in conditions if each["type"] != type]
        conditions.append({"type": type, "status": status, "reason": "Test", "message": "", **said})
        return self

    def pod(self, app: str) -> Json:
        """The pod of a component on the first node."""
        return next(each for each in self.pods if each["metadata"]["labels"].get("app") == app)

    def says(self, **sections: Any) -> Fleet:
        """Lay keys over the standard: `says(gpu={"count": 3})`; a section that is None is taken out."""
        for name, said in sections.items():
            key = name.replace("_", "-")
            if said is None:
                self.standard.pop(key, None)
            elif isinstance(said, dict):
                self.standard[key] = {**self.standard.get(key, {}), **said}
            else:
                self.standard[key] = said
        return self

    # --- judging ---------------------------------------------------------------------------------------------

    def judge(self, check: str, **settings: Any) -> Result:
        """The result of one check on the first node."""
        with tempfile.TemporaryDirectory() as folder:
            return self.results(Path(folder), [check], **settings)[self.first, check]

    def results(self, folder: Path, ids: Iterable[str] = CHECKS, **settings: Any) -> Results:
        """Write the snapshot into a folder and judge it."""
        self.write(folder)
        return judge(folder, self.standard, ids, **settings)

    def write(self, folder: Path) -> None:
        """Write the snapshot and nothing else."""
        (folder / "cluster").mkdir(parents=True)
        for kind, items in {"nodes": list(self.nodes.values()), **self.lists}.items():
            (folder / "cluster" / f"{kind}.json").write_text(json.dumps({"kind": "List", "items": items}))
        for name, files in self.files.items():
            for artefact, content in {"nvidia-smi.xml": self._xml(name), **files}.items():
                place = folder / "nodes" / name / artefact
                place.parent.mkdir(parents=True, exist_ok=True)
                if content is not None:
                    place.write_bytes(_bytes(content))

    def _xml(self, node: str) -> bytes:
        root = ET.Element("nvidia_smi_log")
        for tag, text in self.header[node].items():
            ET.SubElement(root, tag).text = text
        root.extend(self.gpus[node])
        return ET.tostring(root)


def judge(folder: Path, standard: Json | None, ids: Iterable[str] = CHECKS, **settings: Any) -> Results:
    """The results of a snapshot that lies in a folder; every check is asked for unless the settings say layers."""
    given: tuple[str, ...] = ()
    if standard is not None:
        path = folder / "standard.yaml"
        path.write_text(yaml.safe_dump(standard))
        given = (str(path),)
    with open_snapshot(folder) as snapshot:
        engine = Engine(snapshot, Settings(standards=given, **settings))
        for check in CHECKS.values():
            engine.register(check)
        engine.plan_for([(node, CHECKS[id]) for node in engine.nodes for id in ids], [])
        return {(node, id): result for node in engine.nodes for id, result in engine.results_of(node).items()}


# --- what tests ask of a result ------------------------------------------------------------------------------


def passes(result: Result) -> bool:
    """Passed without a word."""
    assert result.verdict == "pass", shown(result)
    return not result.findings


def fails(result: Result, field: str, observed: str, *, severity: str = "critical") -> bool:
    """Failed with this severity, with a finding of this field that has these words, and an expectation and a source."""
    assert result.verdict == "fail", shown(result)
    assert result.severity == severity, shown(result)
    found = [each for each in result.findings if each.field == field and observed in each.observed]
    assert found, shown(result)
    assert all(each.expected and each.source and each.subject for each in result.findings), shown(result)
    return True


def untested(result: Result, reason: str, words: str = "") -> bool:
    """Not measured, for this reason: `error` where the attempt broke, else `untested`."""
    broken = reason in ("timeout", "unparsable", "hung")
    assert result.verdict == (Verdict.ERROR if broken else Verdict.UNTESTED), shown(result)
    assert result.reason == reason, shown(result)
    assert words in result.detail, shown(result)
    return True


def not_applicable(result: Result) -> bool:
    """The standard says that there is no such thing."""
    assert result.verdict == "not-applicable", shown(result)
    return True


def warns(result: Result, field: str, observed: str) -> bool:
    """Failed with no more than a warning."""
    return fails(result, field, observed, severity=Severity.WARNING)


def shown(result: Result) -> str:
    said = "\n".join(
        f"  {each.severity} {each.subject} {each.field}: {each.expected} / {each.observed}" for each in result.findings
    )
    return f"{result.check}: {result.verdict} {result.severity} {result.reason} {result.detail}\n{said}"


# --- healthy nodes -------------------------------------------------------------------------------------------


def h100(gpus: int = 2, nodes: int = 1) -> Fleet:
    """Nodes of the GPU operator with H100 SXM, one pod per GPU."""
    names = [f"gpu-{number}" for number in range(1, nodes + 1)]
    fleet = Fleet(names, _standard(["hardware/h100-sxm5-80gb", "sharing/exclusive"], gpus))
    for number, name in enumerate(names):
        fleet.header[name] = _header("580.105.08", "13.0", gpus)
        fleet.gpus[name] = [_h100(f"GPU-h100-{number}-{index}", index) for index in range(gpus)]
        labels = _gfd("NVIDIA-H100-80GB-HBM3", gpus, 81559, "hopper", "9.0", "580.105.08", "13.0")
        _furnish(fleet, name, labels, {"nvidia.com/gpu": str(gpus)})
    return fleet


def t4(replicas: int = 4) -> Fleet:
    """A node of the GPU operator with two T4, which retire pages and know no MIG; time-slicing."""
    fleet = Fleet(["gpu-1"], _standard(["hardware/t4", "sharing/time-slicing"], 2))
    fleet.header["gpu-1"] = _header("595.91.07", "13.2", 2)
    fleet.gpus["gpu-1"] = [_t4(f"GPU-t4-{index}", index) for index in range(2)]
    labels = _gfd("Tesla-T4-SHARED", 2, 15360, "turing", "7.5", "595.91.07", "13.2") | {
        "nvidia.com/gpu.replicas": str(replicas),
        "nvidia.com/gpu.sharing-strategy": "time-slicing",
        "nvidia.com/mig.capable": "false",
    }
    _furnish(fleet, "gpu-1", labels, {"nvidia.com/gpu": str(2 * replicas)})
    fleet.says(sharing={"strategy": "time-slicing", "replicas": replicas})
    return fleet


#: MIG profile of an A100 with 40 GB: MiB and multiprocessors.
A100_PROFILES = {"1g.5gb": (4864, 14), "2g.10gb": (9856, 28), "3g.20gb": (19968, 42)}
LAYOUT = ["3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb"]


def a100_mig(strategy: str = "mixed", layout: Iterable[str] = LAYOUT) -> Fleet:
    """A node of the GPU operator with two A100 in MIG mode, each with the layout."""
    layout = list(layout)
    fleet = Fleet(["gpu-1"], _standard(["hardware/a100-sxm4-40gb", f"sharing/mig-{strategy}"], 2))
    fleet.header["gpu-1"] = _header("570.148.08", "12.8", 2)
    fleet.gpus["gpu-1"] = [_a100(f"GPU-a100-{index}", index, layout) for index in range(2)]
    labels = _gfd("NVIDIA-A100-SXM4-40GB", 2, 40960, "ampere", "8.0", "570.148.08", "12.8")
    labels |= {"nvidia.com/mig.strategy": strategy, "nvidia.com/mig.config": "balanced"}
    labels |= {"nvidia.com/mig.config.state": "success"}
    if strategy == "mixed":
        advertised = {f"nvidia.com/mig-{name}": str(2 * layout.count(name)) for name in layout}
        labels |= {f"{key}.count": count for key, count in advertised.items()} | {"nvidia.com/gpu.replicas": "0"}
        capacity = {"nvidia.com/gpu": "0"} | advertised
    else:
        count = str(2 * len(layout))
        labels |= {"nvidia.com/gpu.product": f"NVIDIA-A100-SXM4-40GB-MIG-{layout[0]}", "nvidia.com/gpu.count": count}
        labels |= {"nvidia.com/gpu.memory": str(A100_PROFILES[layout[0]][0])}
        capacity = {"nvidia.com/gpu": count}
    _furnish(fleet, "gpu-1", labels, capacity)
    fleet.says(mig={"mode": "enabled", "strategy": strategy, "layout": layout, "config": "balanced"})
    return fleet


def dra() -> Fleet:
    """A node with two H100 that a DRA driver hands out: no device plugin, no feature labels."""
    fleet = h100()
    fleet.standard["extends"] = ["hardware/h100-sxm5-80gb", "sharing/exclusive", "stack/dra"]
    for part in ("capacity", "allocatable"):
        del fleet.node["status"][part]["nvidia.com/gpu"]
    fleet.pods[:] = [_component("dra-driver", {"app.kubernetes.io/name": "dra-driver-nvidia-gpu"}, "gpu-1", "v0.5.0")]
    devices = [
        {"name": f"gpu-{index}", "attributes": {"type": {"string": "gpu"}, "uuid": {"string": fleet.uuid(index)}}}
        for index in range(2)
    ]
    pool = {"name": "gpu-1", "generation": 2, "resourceSliceCount": 1}
    spec = {"driver": "gpu.nvidia.com", "nodeName": "gpu-1", "pool": pool, "devices": devices}
    fleet.lists["resourceslices"] = [{"metadata": {"name": "gpu-1-slice"}, "spec": spec}]
    return fleet


def _standard(hardware_and_sharing: list[str], gpus: int) -> Json:
    return {
        "extends": [*hardware_and_sharing, "stack/gpu-operator"],
        "gpu": {"count": gpus},
        "labels": {"taints": []},
    }


COMPONENTS = {
    "nvidia-container-toolkit-daemonset": "v1.20.0",
    "nvidia-device-plugin-daemonset": "v0.20.0",
    "gpu-feature-discovery": "v0.20.0",
    "nvidia-dcgm-exporter": "4.6.0-4.8.3-distroless",
    "nvidia-operator-validator": "v26.7.0",
    "nvidia-mig-manager": "v0.15.0",
}


def _furnish(fleet: Fleet, name: str, labels: dict[str, str], resources: dict[str, str]) -> None:
    """Give a node its Kubernetes objects and artefacts, as a GPU operator that works would."""
    labels |= {"nvidia.com/gpu.present": "true", "kubernetes.io/hostname": name}
    if labels["nvidia.com/mig.capable"] == "true":
        labels["nvidia.com/gpu.deploy.mig-manager"] = "true"
    pressure = ("MemoryPressure", "DiskPressure", "PIDPressure")
    own = {
        key: value
        for key, value in labels.items()
        if key.startswith(("nvidia.com/cuda", "nvidia.com/gpu.", "nvidia.com/mig"))
    }
    fleet.nodes[name] = {
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"nfd.node.kubernetes.io/feature-labels": ",".join(own)},
        },
        "spec": {},
        "status": {
            "capacity": {"cpu": "64", **resources},
            "allocatable": {"cpu": "63", **resources},
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "kubelet is posting ready status",
                },
                *({"type": each, "status": "False", "reason": "Enough", "message": ""} for each in pressure),
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.34.2",
                "containerRuntimeVersion": "containerd://1.7.28",
                "osImage": "Ubuntu 22.04.5 LTS",
                "kernelVersion": "5.15.0-153-generic",
            },
        },
    }
    pods = fleet.lists.setdefault("pods", [])
    pods += [_component(app, {"app": app}, name, version) for app, version in COMPONENTS.items()]
    feature = {"name": f"nvidia-features-for-{name}", "labels": {"nfd.node.kubernetes.io/node-name": name}}
    fleet.lists.setdefault("nodefeatures", []).append({"metadata": feature, "spec": {"labels": own}})
    fleet.lists["runtimeclasses"] = [{"metadata": {"name": "nvidia"}, "handler": "nvidia"}]
    ready = {"type": "Ready", "status": "True", "reason": "Reconciled", "message": "all is well"}
    policy = {"metadata": {"name": "cluster-policy"}, "status": {"state": "ready", "conditions": [ready]}}
    fleet.lists["clusterpolicies"] = [policy]
    fleet.lists["poddisruptionbudgets"] = []
    header = fleet.header[name]
    fleet.files[name] |= {"kernel.log": _kernel_log(header["driver_version"]), "dcgm.prom": _scrape(fleet, name)}


def _component(name: str, labels: dict[str, str], node: str, version: str) -> Json:
    container = {"name": "main", "image": f"nvcr.io/nvidia/{name}:{version}"}
    status = {"name": "main", "ready": True, "restartCount": 0, "state": {"running": {}}}
    return {
        "metadata": {
            "name": f"{name}-{node}",
            "namespace": "gpu-operator",
            "labels": labels,
            "ownerReferences": [{"kind": "DaemonSet", "name": name, "controller": True}],
        },
        "spec": {"nodeName": node, "containers": [container]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [status],
        },
    }


def gpu_pod(name: str, node: str = "gpu-1", *, gpus: int = 1, owner: str = "ReplicaSet", **spec: Any) -> Json:
    """A running pod that holds GPUs of a node."""
    container = {"name": "main", "image": "team/app:1", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    owners = [{"kind": owner, "name": name, "controller": True}] if owner else []
    return {
        "metadata": {"name": name, "namespace": "team", "labels": {"app": name}, "ownerReferences": owners},
        "spec": {"nodeName": node, "containers": [container], **spec},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def _gfd(product: str, gpus: int, memory: int, family: str, compute: str, driver: str, cuda: str) -> dict[str, str]:
    major, minor, revision = driver.split(".")
    labels = {
        "cuda.driver-version.full": driver,
        "cuda.driver-version.major": major,
        "cuda.driver-version.minor": minor,
        "cuda.driver-version.revision": revision,
        "cuda.runtime-version.full": cuda,
        "gpu.product": product,
        "gpu.count": str(gpus),
        "gpu.replicas": "1",
        "gpu.sharing-strategy": "none",
        "gpu.memory": str(memory),
        "gpu.family": family,
        "gpu.compute.major": compute.split(".", maxsplit=1)[0],
        "gpu.compute.minor": compute.split(".")[1],
        "mig.capable": "true",
    }
    return {f"nvidia.com/{key}": value for key, value in labels.items()}


def _kernel_log(driver: str) -> str:
    return (
        "[    0.000000] Linux version 5.15.0-153-generic (build@host) #163-Ubuntu SMP\n"
        "[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro iommu=pt\n"
        f"[    9.120000] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  {driver}  Mon Oct  6 10:00:00 UTC 2025\n"
        "[   20.000000] systemd[1]: Reached target Multi-User System.\n"
    )


METRICS = {"SM_CLOCK": 345, "GPU_TEMP": 34, "POWER_USAGE": 71.5, "XID_ERRORS": 0, "ROW_REMAP_FAILURE": 0}


def _scrape(fleet: Fleet, node: str) -> str:
    lines = []
    for index, gpu in enumerate(fleet.gpus[node]):
        total = int((gpu.findtext("fb_memory_usage/total") or "").split()[0])
        used = int((gpu.findtext("fb_memory_usage/used") or "").split()[0])
        memory = {"FB_FREE": total - used - 600, "FB_USED": used, "FB_RESERVED": 600}
        instances = [f"{number}" for number, _ in enumerate(gpu.findall("mig_devices/mig_device"), 1)]
        labels = [{"GPU_I_ID": each, "GPU_I_PROFILE": "mig"} for each in instances] or [{}]
        lines += [
            _sample(f"DCGM_FI_DEV_{name}", value, node, index, gpu, fleet.header[node], each)
            for name, value in {**METRICS, **memory}.items()
            for each in labels
        ]
    return "\n".join(lines) + "\n"


def _sample(
    name: str,
    value: object,
    node: str,
    index: int,
    gpu: ET.Element,
    header: Mapping[str, str],
    labels: Mapping[str, str],
) -> str:
    own = {
        "gpu": str(index),
        "UUID": gpu.findtext("uuid"),
        "modelName": gpu.findtext("product_name"),
        "Hostname": node,
        "DCGM_FI_DRIVER_VERSION": header["driver_version"],
        **labels,
    }
    block = ",".join(f'{key}="{said}"' for key, said in own.items())
    return f"{name}{{{block}}} {value}"


def _is_metric(line: str, name: str, gpu: int | None) -> bool:
    return line.startswith(f"{name}{{") and (gpu is None or f'gpu="{gpu}"' in line)


def _header(driver: str, cuda: str, gpus: int) -> dict[str, str]:
    return {"driver_version": driver, "cuda_version": cuda, "attached_gpus": str(gpus)}


_FINE = {"sram_uncorrectable_parity": "0", "sram_uncorrectable_secded": "0", "dram_uncorrectable": "0"}
_NO_EVENT = dict.fromkeys(
    ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"), "Not Active"
)


def _gpu(product: str, architecture: str, uuid: str, index: int, device: str, memory: int, watts: int) -> Json:
    return {
        "product_name": product,
        "product_architecture": architecture,
        "uuid": uuid,
        "minor_number": str(index),
        "persistence_mode": "Disabled",
        "compute_mode": "Default",
        "vbios_version": "96.00.99.00.01",
        "board_part_number": "692-2G520-0200-000",
        "gsp_firmware_version": "580.105.08",
        "inforom_version": {"img_version": "G520.0200.00.05"},
        "mig_mode": {"current_mig": "Disabled", "pending_mig": "Disabled"},
        "mig_devices": "None",
        "pci": {
            "pci_device_id": f"{device}10DE",
            "pci_bus_id": f"00000000:{0x10 + index:02X}:00.0",
            "pci_gpu_link_info": {
                "pcie_gen": {"max_link_gen": "5", "current_link_gen": "1"},
                "link_widths": {"max_link_width": "16x", "current_link_width": "16x"},
            },
        },
        "clocks_event_reasons": {f"clocks_event_reason_{name}": said for name, said in _NO_EVENT.items()}
        | {"clocks_event_reason_gpu_idle": "Active", "clocks_event_reason_sw_power_cap": "Active"},
        "fb_memory_usage": {"total": f"{memory} MiB", "used": "0 MiB"},
        "ecc_mode": {"current_ecc": "Enabled", "pending_ecc": "Enabled"},
        "ecc_errors": {
            "volatile": dict(_FINE),
            "aggregate": {**_FINE, "sram_threshold_exceeded": "No"},
        },
        "retired_pages": {
            "multiple_single_bit_retirement": {"retired_count": "N/A"},
            "double_bit_retirement": {"retired_count": "N/A"},
            "pending_retirement": "N/A",
        },
        "remapped_rows": {
            "remapped_row_corr": "0",
            "remapped_row_unc": "0",
            "remapped_row_pending": "No",
            "remapped_row_failure": "No",
        },
        "temperature": {
            "gpu_temp": "34 C",
            "gpu_temp_tlimit": "52 C",
            "gpu_temp_slow_tlimit_threshold": "-2 C",
        },
        "gpu_power_readings": {"current_power_limit": f"{watts}.00 W", "default_power_limit": f"{watts}.00 W"},
        "applications_clocks": {"graphics_clock": "Requested functionality has been deprecated"},
        "default_applications_clocks": {"graphics_clock": "Requested functionality has been deprecated"},
        "gpu_recovery_action": "None",
        "fabric": {"state": "N/A", "status": "N/A"},
        "processes": "",
    }


def _h100(uuid: str, index: int) -> ET.Element:
    return _element(
        _gpu("NVIDIA H100 80GB HBM3", "Hopper", uuid, index, "2330", 81559, 700)
        | {
            "max_clocks": {"sm_clock": "1980 MHz", "mem_clock": "2619 MHz"},
            "fabric": {"state": "Completed", "status": "Success", "health": {"bandwidth": "N/A"}},
        }
    )


def _t4(uuid: str, index: int) -> ET.Element:
    element = _element(
        _gpu("Tesla T4", "Turing", uuid, index, "1EB8", 15360, 70)
        | {
            "max_clocks": {"sm_clock": "1590 MHz", "mem_clock": "5001 MHz"},
            "mig_mode": {"current_mig": "N/A", "pending_mig": "N/A"},
            "remapped_rows": "N/A",
            "temperature": {"gpu_temp": "34 C", "gpu_temp_slow_threshold": "93 C"},
            "retired_pages": {
                "multiple_single_bit_retirement": {"retired_count": "0"},
                "double_bit_retirement": {"retired_count": "0"},
                "pending_retirement": "No",
            },
        }
    )
    _set(element, "pci/pci_gpu_link_info/pcie_gen/max_link_gen", "3")
    _set(element, "pci/pci_gpu_link_info/link_widths/current_link_width", "8x")
    return element


def _a100(uuid: str, index: int, layout: list[str]) -> ET.Element:
    element = _element(
        _gpu("NVIDIA A100-SXM4-40GB", "Ampere", uuid, index, "20B0", 40960, 400)
        | {
            "max_clocks": {"sm_clock": "1410 MHz", "mem_clock": "1215 MHz"},
            "mig_mode": {"current_mig": "Enabled", "pending_mig": "Enabled"},
            "mig_devices": "",
        }
    )
    _set(element, "pci/pci_gpu_link_info/pcie_gen/max_link_gen", "4")
    # What MIG takes away from the whole GPU.
    _set(element, "remapped_rows", "N/A")
    for name in _FINE:
        _set(element, f"ecc_errors/volatile/{name}", "N/A")
    for number, profile in enumerate(layout, 1):
        add_mig_device(element, number, profile)
    return element


def add_mig_device(gpu: ET.Element, instance: int, profile: str) -> None:
    """Carve a MIG device out of an A100."""
    memory, multiprocessors = A100_PROFILES[profile]
    device = {
        "gpu_instance_id": str(instance),
        "compute_instance_id": "0",
        "device_attributes": {"shared": {"multiprocessor_count": str(multiprocessors)}},
        "ecc_error_count": {"volatile_count": {"sram_uncorrectable": "0"}},
        "fb_memory_usage": {"total": f"{memory} MiB"},
    }
    parent = gpu.find("mig_devices")
    assert parent is not None
    parent.append(_element(device, "mig_device"))


# --- the probe -----------------------------------------------------------------------------------------------


def probe_of(gpus: list[ET.Element], header: Mapping[str, str]) -> Json:
    """A probe of a host whose driver nvidia-smi has described, with what only a probe can see."""
    count = len(gpus)
    version = header["driver_version"]
    return {
        "schema": "gpu-readiness.probe/v1",
        "driver": {"version": version, "kernel-module": version, "cuda": header["cuda_version"], "flavour": "open"},
        "counts": {"nvml": count, "pci": count, "device-files": count, "proc": count},
        "host": {
            "kernel": "5.15.0-153-generic",
            "secure-boot": "disabled",
            "cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro iommu=pt",
            "modules": ["nvidia", "nvidia_uvm", "nvidia_modeset"],
            "device-files": ["/dev/nvidiactl", "/dev/nvidia-uvm"],
            "fabric-manager": "active",
        },
        "gpus": [_probe_gpu(index, gpu) for index, gpu in enumerate(gpus)],
    }


def _probe_gpu(index: int, gpu: ET.Element) -> Json:
    def said(path: str) -> str:
        return gpu.findtext(path) or ""

    def number(path: str) -> float:
        return float(said(path).split()[0].rstrip("x"))

    fields = {
        "product": said("product_name"),
        "architecture": said("product_architecture"),
        "device-id": said("pci/pci_device_id")[:4],
        "vbios": said("vbios_version"),
        "inforom.image": said("inforom_version/img_version"),
        "inforom.valid": "valid",
        "gsp.firmware": said("gsp_firmware_version"),
        "board.part-number": said("board_part_number"),
        "memory.total": number("fb_memory_usage/total"),
        "memory.used": number("fb_memory_usage/used"),
        "persistence": "disabled",
        "compute-mode": "Default",
        "recovery-action": "none",
        "ecc.current": "enabled",
        "ecc.pending": "enabled",
        "ecc.volatile.sram-uncorrectable": 0,
        "ecc.volatile.dram-uncorrectable": 0,
        "remap.uncorrectable": 0,
        "remap.pending": "no",
        "remap.failure": "no",
        "mig.current": said("mig_mode/current_mig").lower(),
        "mig.pending": said("mig_mode/pending_mig").lower(),
        "power.limit": number("gpu_power_readings/current_power_limit"),
        "power.default-limit": number("gpu_power_readings/default_power_limit"),
        "pcie.width": number("pci/pci_gpu_link_info/link_widths/current_link_width"),
        "pcie.generation": number("pci/pci_gpu_link_info/pcie_gen/max_link_gen"),
        "pcie.aer-fatal": 0,
        "pcie.aer-nonfatal": 0,
        "nvlink.links": 18,
        "nvlink.speed": 26.562,
        "clocks.max-sm": number("max_clocks/sm_clock"),
        "clocks.max-memory": number("max_clocks/mem_clock"),
        "temperature": 34,
        "temperature.margin": 52,
        "temperature.slowdown-margin": -2,
        "fabric.state": said("fabric/state").lower(),
        "fabric.status": said("fabric/status").lower(),
    }
    return {
        "index": index,
        "uuid": said("uuid"),
        "fields": fields,
        "mig-devices": [],
        "clock-events": ["gpu_idle"],
        "processes": 0,
    }


# --- workloads -----------------------------------------------------------------------------------------------


def workload_result(
    workload: str, figures: Mapping[str, float] | None = None, *, ok: bool = True, gpus: Iterable[Json] = ()
) -> str:
    """The log of one of our workload programs; its last line is the result."""
    said = {"workload": workload, "ok": ok, "figures": dict(figures or {}), "gpus": list(gpus)}
    return f"starting {workload}\n{json.dumps({'schema': 'gpu-readiness.workload/v1', **said})}\n"


NCCL = """\
# nThread 1 nGpus 2 minBytes 1024 maxBytes 2048 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
        2048           512     float     sum      -1    344.8   97.32  410.31      0    349.5   95.99  407.99      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 400.1
"""


#: GB/s of an H100.
BANDWIDTH = {"device-gbs": 3000, "h2d-gbs": 55, "d2h-gbs": 55}
SERVING = {
    "start-seconds": 31.0,
    "tokens-asked": 64,
    "tokens-returned": 64,
    "ttft-seconds": 0.2,
    "tokens-per-second": 900.0,
    "generated-tokens-metric": 64,
}


def dcgm_diag(**test: Any) -> str:
    """What `dcgmi diag --json` prints; keys of one result laid over a pass."""
    result = {"entity_group": "GPU", "entity_id": 0, "status": "Pass", **test}
    tests = [{"name": "memory", "results": [result]}]
    return json.dumps({"DCGM Diagnostic": {"test_categories": [{"category": "Hardware", "tests": tests}]}})


def with_workloads(fleet: Fleet) -> Fleet:
    """Leave the outputs of healthy workloads on the first node."""
    gpus = [{"uuid": fleet.uuid(index), "figures": {"bf16-tflops": 700.0 + index}} for index in range(2)]
    logs = {
        "vectoradd": f"GPU 0: NVIDIA H100 (UUID: {_A_UUID})\n[Vector addition of 50000 elements]\nTest PASSED\nDone\n",
        "isolation": "sh: 1: nvidia-smi: not found\n",
        "gemm": workload_result("gemm", gpus=gpus),
        "burnin": workload_result("burnin"),
        "memory-bandwidth": workload_result("memory-bandwidth", BANDWIDTH),
        "nccl": NCCL,
        "dcgm-diag": dcgm_diag(),
        "serving-vllm": workload_result("serving", SERVING),
    }
    for name, log in logs.items():
        fleet.file(f"workloads/{name}.log", log)
    return fleet


_A_UUID = "GPU-b4895dbf-9350-2524-a89b-98161ddd9fe4"


# --- XML and bytes -------------------------------------------------------------------------------------------


def _element(content: Json, tag: str = "gpu") -> ET.Element:
    element = ET.Element(tag)
    for name, said in content.items():
        if isinstance(said, dict):
            element.append(_element(said, name))
        else:
            ET.SubElement(element, name).text = said
    return element


def _set(element: ET.Element, path: str, text: str | None) -> None:
    *parents, tag = path.split("/")
    for parent in parents:
        found = element.find(parent)
        element = found if found is not None else ET.SubElement(element, parent)
    found = element.find(tag)
    if text is None:
        if found is not None:
            element.remove(found)
        return
    if found is None:
        found = ET.SubElement(element, tag)
    found[:] = []
    found.text = text


def _bytes(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return content.encode() if isinstance(content, str) else json.dumps(content).encode()


def copied(fleet: Fleet) -> Fleet:
    """A fleet of its own, to be spoilt."""
    return deepcopy(fleet)

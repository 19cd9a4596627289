from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from corpus import CORPUS, needs_corpus
from defusedxml import ElementTree

from gpu_readiness.standard import Expected, GpuStandard, Library, NodeFacts, Standard, schema_text, standard_schema

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ROOT / "profiles"
SHIPPED = sorted(path.relative_to(PROFILES).with_suffix("").as_posix() for path in PROFILES.rglob("*.yaml"))
FLEETS = sorted((ROOT / "tests" / "standards").glob("*.yaml"))
PROMISED = {
    "t4",
    "a10",
    "a10g",
    "a30",
    "l4",
    "l40",
    "l40s",
    "a100-sxm4-40gb",
    "a100-sxm4-80gb",
    "a100-pcie-40gb",
    "a100-pcie-80gb",
    "h100-sxm5-80gb",
    "h100-pcie",
    "h100-nvl",
    "gh200",
    "h200-sxm",
    "h200-nvl",
    "b200",
    "gb200",
    "b300",
    "gb300",
    "rtx-pro-6000-server",
}
LIBRARY = Library.load()
HARDWARE = [name for name in SHIPPED if name.startswith("hardware/")]


def figures(section: Any) -> dict[str, Expected]:
    found = {name: getattr(section, name) for name in section.model_fields_set}
    return {name: value for name, value in found.items() if isinstance(value, Expected)}


def test_all_that_was_promised_is_there() -> None:
    assert {name.partition("/")[2] for name in HARDWARE} == PROMISED
    assert tuple(SHIPPED) == LIBRARY.names()


def test_the_schema_is_current() -> None:
    path = PROFILES / "schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), (
        "profiles/schema.json is old: python -c 'from gpu_readiness.standard import schema_text; "
        'print(schema_text(), end="")\' > profiles/schema.json'
    )


@pytest.mark.parametrize("path", [*sorted(PROFILES.rglob("*.yaml")), *FLEETS], ids=lambda path: path.stem)
def test_files_follow_the_schema(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(standard_schema())
    written = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=date.isoformat))
    assert [error.message for error in validator.iter_errors(written)] == []


@pytest.mark.parametrize("wrong", [{"gpu": {"ecc": "on"}}, {"gpus": {}}, {"gpu": {"count": True}}, {"waivers": [{}]}])
def test_the_schema_refuses_what_the_loader_does(wrong: dict[str, object]) -> None:
    assert list(jsonschema.Draft202012Validator(standard_schema()).iter_errors(wrong))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_standard_can_be_used_and_every_number_has_a_source(name: str) -> None:
    standard = LIBRARY.get(name)
    assert standard.title or name in standard.name
    sections = [standard.gpu, *(entry.gpu for entry in standard.hardware)]
    workloads = [figure for entry in standard.hardware for each in entry.workload.values() for figure in each.items()]
    found = [item for section in sections for item in figures(section).items()] + workloads
    assert [field for field, expected in found if expected.numbers and not expected.source] == []
    for entry in standard.hardware:
        assert bool(entry.gpu.limits.source) == (not entry.gpu.limits.is_empty)


@pytest.mark.parametrize("name", HARDWARE)
def test_hardware_says_what_checks_of_the_gpu_layer_ask(name: str) -> None:
    (entry,) = LIBRARY.get(name).hardware
    asked = (
        "product device_id memory compute_capability ecc power_limit pcie_width pcie_generation sm_clock memory_repair"
    )
    assert [field for field in asked.split() if getattr(entry.gpu, field) is None] == []
    assert entry.gpu.limits.power
    assert entry.gpu.fabric
    assert entry.gpu.mig_capable is bool(entry.gpu.mig_profiles)


def test_no_two_products_share_a_name() -> None:
    entries = [entry for name in HARDWARE for entry in LIBRARY.get(name).hardware]
    names = [name for entry in entries for name in entry.names]
    ids = [each for entry in entries for each in entry.device_ids]
    assert len(names) == len(set(names))
    assert len(ids) == len(set(ids))


def test_the_examples_of_the_documentation_load(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "standards.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for index, text in enumerate(examples):
        path = tmp_path / f"example-{index}.yaml"
        path.write_text(text, encoding="utf-8")
        assert Library.load([path]).get(path.stem).name == path.stem


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.stem)
def test_fleet_standards_choose_their_nodes(path: Path) -> None:
    library = Library.load([path])
    standard = library.for_node(NodeFacts("node", {"example.com/gpu-pool": path.stem}))
    assert standard is not None
    assert standard.name == path.stem
    assert standard.stack
    assert standard.sharing_name
    assert standard.hardware


# --- numbers against what real machines printed ---

_READ = {
    "product": "product_name",
    "memory": "fb_memory_usage/total",
    "ecc": "ecc_mode/current_ecc",
    "pcie_width": "pci/pci_gpu_link_info/link_widths/current_link_width",
    "pcie_generation": "pci/pci_gpu_link_info/pcie_gen/max_link_gen",
    "sm_clock": "max_clocks/sm_clock",
    "memory_clock": "max_clocks/mem_clock",
    "persistence": "persistence_mode",
    "remapped_rows": "remapped_rows/remapped_row_unc",
}
_POWER = (
    "gpu_power_readings/default_power_limit",
    "gpu_power_readings/current_power_limit",
    "power_readings/default_power_limit",
    "power_readings/enforced_power_limit",
)


def _captures(pattern: str) -> list[Any]:
    if CORPUS is None:
        return [pytest.param(None, marks=needs_corpus)]
    return [pytest.param(path, id=path.stem) for path in sorted((CORPUS / "real").glob(pattern))]


def _figure(text: str) -> str:
    return text.strip().removesuffix(" MiB").removesuffix(" MHz").removesuffix(" W").removesuffix("x")


def _refused(gpu: Any, standard: GpuStandard) -> list[str]:
    device = (gpu.findtext("pci/pci_device_id") or "")[:4]
    seen = [(name, gpu.findtext(path)) for name, path in _READ.items()]
    seen += [("power_limit", gpu.findtext(path)) for path in _POWER]
    seen += [("device_id", device if device.strip("0") else None)]  # one publisher blanked it out
    return [
        f"{name}: {text.strip()}, not {expected.text}"
        for name, text in seen
        if text is not None
        and text.strip() not in ("N/A", "")
        and (expected := getattr(standard, name)) is not None
        and not (expected.is_any or expected.accepts(_figure(text)))
    ]


def _judged(path: Path, standard_of: Standard | None) -> list[str]:
    found = []
    for gpu in ElementTree.parse(path).getroot().iter("gpu"):
        device = (gpu.findtext("pci/pci_device_id") or "")[:4]
        standard = standard_of.gpu_for(gpu.findtext("product_name"), device) if standard_of else None
        found += _refused(gpu, standard) if standard else []
    return found


@needs_corpus
@pytest.mark.parametrize("path", _captures("nvidia-smi/*.xml"))
def test_shipped_numbers_accept_every_real_capture(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    products = tuple({gpu.findtext("product_name") or "" for gpu in root.iter("gpu")})
    mock = path.stem.startswith("mock-")
    standard = LIBRARY.for_node(NodeFacts(path.stem, products=products, mock=mock))
    assert _judged(path, standard) == []


@needs_corpus
def test_the_captures_of_shipped_products_are_really_judged() -> None:
    assert CORPUS is not None
    judged = set()
    for path in (CORPUS / "real" / "nvidia-smi").glob("*.xml"):
        names = {gpu.findtext("product_name") or "" for gpu in ElementTree.parse(path).getroot().iter("gpu")}
        judged |= {name for name in names if LIBRARY.for_node(NodeFacts("x", products=(name,)))}
    assert judged >= {
        "NVIDIA H100 80GB HBM3",
        "NVIDIA B200",
        "NVIDIA GB200",
        "NVIDIA A10G",
        "Tesla T4",
        "NVIDIA A100-SXM4-80GB",
    }


@needs_corpus
@pytest.mark.parametrize("path", _captures("rig/nvidia-smi/*.xml"))
def test_mock_numbers_accept_the_mock(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    products = tuple({gpu.findtext("product_name") or "" for gpu in root.iter("gpu")})
    standard = LIBRARY.for_node(NodeFacts(path.stem, products=products, mock=True))
    assert standard is not None
    assert _judged(path, standard) == []

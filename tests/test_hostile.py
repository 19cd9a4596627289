"""Files made by hand to deceive, exchanged files and names that attack the reports; random damage is another test's."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest
from answers import collected
from nodes import CHECKS, Fleet, copied, h100

from gpu_readiness.evidence.snapshot import open_snapshot
from gpu_readiness.report import Report
from gpu_readiness.reports import write_all
from gpu_readiness.run import Engine, Settings, UsageProblem
from gpu_readiness.verdict import Severity

FUZZ = Path(__file__).with_name("fuzz")
GOOD = ("ready", "degraded")
KINDS = {
    "nodes": "Node",
    "pods": "Pod",
    "nodefeatures": "NodeFeature",
    "runtimeclasses": "RuntimeClass",
    "clusterpolicies": "ClusterPolicy",
    "poddisruptionbudgets": "PodDisruptionBudget",
}
#: What looks at an artefact before all else, and so never passes over one that deceives.
READERS = {
    "nvidia-smi.xml": "driver.gpu-identity",
    "probe.json": "gpu.nvlink",
    "dcgm.prom": "telemetry.scrape",
    "prometheus.json": "telemetry.prometheus",
    "kernel.log": "driver.xid",
    "pods.json": "allocatable.accounted",
    "nodes.json": "runtime.node-ready",
}


def _healthy() -> Fleet:
    """As kubectl prints it: every object says what it is."""
    fleet = collected(h100())
    for kind, items in {"nodes": fleet.nodes.values(), **fleet.lists}.items():
        for item in items:
            item["kind"] = KINDS[kind]
    return fleet


HEALTHY = _healthy()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshot"
    HEALTHY.write(folder)
    (folder / "standard.yaml").write_text(json.dumps(HEALTHY.standard))
    return folder


def report(folder: Path, **settings: object) -> Report:
    """Judge everything, write every report, and hold both to the rules that no input may break."""
    with open_snapshot(folder) as snapshot:
        engine = Engine(snapshot, Settings(standards=(str(folder / "standard.yaml"),), **settings))  # type: ignore[arg-type]
        for check in CHECKS.values():
            engine.register(check)
        planned = [check for check in CHECKS.values() if engine.planned(check)]
        engine.plan_for([(node, check) for node in engine.nodes for check in planned], [])
        for node in engine.nodes:
            engine.results_of(node)
        found = engine.report()
    for path in write_all(found, folder / "report"):
        assert path.read_text(encoding="utf-8")
    for node, results in found.by_node():
        gaps = [each for each in results if each.planned and not each.measured and each.severity is Severity.CRITICAL]
        assert not (gaps and node.verdict in GOOD)
        assert not any("the check itself broke" in each.detail for each in results), node
    if found.exit_code == 0:
        assert {node.verdict for node in found.nodes} <= {*GOOD}
    return found


def verdict(found: Report, check: str, node: str = "gpu-1") -> str:
    return next(each.verdict for each in found.results if (each.node, each.check) == (node, check))


def test_before_anything_is_done_to_it_the_node_is_ready(written: Path) -> None:
    found = report(written)
    assert [node.verdict for node in found.nodes] == ["ready"]
    assert {verdict(found, check) for artefact, check in READERS.items() if artefact != "probe.json"} == {"pass"}


@pytest.mark.parametrize("path", sorted(FUZZ.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_file_made_to_deceive(path: Path, written: Path) -> None:
    artefact = path.parent.name
    folder = written / ("nodes/gpu-1" if artefact not in ("nodes.json", "pods.json") else "cluster")
    (folder / artefact).write_bytes(path.read_bytes())
    started = time.monotonic()
    try:
        found = report(written)
    except UsageProblem:
        assert artefact == "nodes.json"
    else:
        assert verdict(found, READERS[artefact]) != "pass"
        assert found.exit_code in (1, 6)
        assert "root:" not in (written / "report" / "report.json").read_text(encoding="utf-8")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(("first", "second"), list(permutations(sorted({*KINDS} - {"nodes"}), 2)))
def test_a_list_in_the_place_of_another_is_not_an_empty_one(first: str, second: str, written: Path) -> None:
    lists = written / "cluster"
    (lists / f"{second}.json").write_bytes((lists / f"{first}.json").read_bytes())
    with open_snapshot(written) as snapshot:
        emptied = json.loads(snapshot.cluster_list(first))["items"] == []
    found = report(written)
    if second in ("pods", "runtimeclasses") and not emptied:
        assert found.nodes[0].verdict not in GOOD
    if second == "pods" and not emptied:
        assert verdict(found, "allocatable.accounted") == "error"


def test_the_artefacts_of_two_nodes_exchanged(tmp_path: Path) -> None:
    """The labels of each are true of the other's GPUs as well; UUIDs of the exporter tell them apart."""
    fleet = h100(nodes=2)
    fleet.write(tmp_path)
    (tmp_path / "standard.yaml").write_text(json.dumps(fleet.standard))
    one, other = (tmp_path / "nodes" / name / "nvidia-smi.xml" for name in fleet.nodes)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    found = report(tmp_path)
    assert {verdict(found, "telemetry.every-gpu", name) for name in fleet.nodes} == {"fail"}


ARTEFACTS = ("nvidia-smi.xml", "dcgm.prom", "prometheus.json", "kernel.log")


@pytest.mark.parametrize(("first", "second"), list(permutations(ARTEFACTS, 2)))
def test_an_artefact_in_the_place_of_another(first: str, second: str, written: Path) -> None:
    place = written / "nodes" / "gpu-1"
    (place / second).write_bytes((place / first).read_bytes())
    found = report(written)
    assert verdict(found, READERS[second]) != "pass"
    assert found.nodes[0].verdict not in GOOD


# --- names and texts of strangers ------------------------------------------------------------------------------------

HOSTILE = {
    "lone surrogate": "\ud800",
    "terminal": "\x1b]0;owned\x07\x1b[2J\x9b31m",
    "controls": "\0\x01\x08\x0b\x7f\ufffe\uffff",
    "direction": "\u202egpj.exe\u2066",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "xml": "]]><!-- & --> <?php ?>",
    "markdown": "|`**[x](javascript:alert(1))\n# heading\n---",
    "lines": "a\nb\r\nc\u2028d\x85e",
    "format": "{0} %s %(name)s ${HOME} {{ 7 * 7 }}",
    "long": "x" * 200_000,
    "empty": "",
    "path": "../../../../etc/passwd",
}


def _places(text: str) -> Iterator[Fleet]:
    """Healthy nodes with a text of a stranger in one place after the other, where a check quotes it."""
    for part in ("name", "label", "taint", "message", "pod", "uuid", "kernel", "exporter", "record"):
        fleet = copied(HEALTHY)
        if part == "name" and text:
            fleet.node["metadata"]["name"] = text
        elif part == "label":
            fleet.labels["nvidia.com/gpu.product"] = text
            fleet.labels[f"nvidia.com/gpu.deploy.{text}"] = f"paused-for-{text}"
        elif part == "taint":
            fleet.node["spec"]["taints"] = [{"key": text, "value": text, "effect": text}]
        elif part == "message":
            fleet.condition("Ready", "False", reason=text, message=text)
        elif part == "pod":
            pod = fleet.pod("nvidia-device-plugin-daemonset")
            pod["metadata"]["name"] = text
            pod["status"]["conditions"][0]["status"] = "False"
            pod["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": text, "message": text}}
        elif part == "uuid" and text.isprintable():
            fleet.smi("uuid", text, gpu=0).smi("product_name", text, gpu=0)
        elif part == "kernel":
            line = f"[   99.000000] NVRM: Xid (PCI:0000:10:00): 79, pid='{text}', name={text}"
            fleet.log(line.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
        elif part == "exporter" and text.isprintable():
            fleet.metric("DCGM_FI_DEV_XID_ERRORS", 79, gpu=0, err_code="79", err_msg=text.replace('"', ""))
        elif part == "record":
            fleet.file("nvidia-smi.xml.error", {"reason": "denied", "message": text})
        yield fleet


@pytest.mark.parametrize("kind", HOSTILE)
def test_texts_of_strangers_are_data_in_every_report(kind: str, tmp_path: Path) -> None:
    for number, fleet in enumerate(_places(HOSTILE[kind])):
        folder = tmp_path / str(number)
        fleet.write(folder)
        (folder / "standard.yaml").write_text(json.dumps(fleet.standard))
        report(folder)
        for path in (folder / "report").iterdir():
            said = path.read_text(encoding="utf-8")
            assert not set(said) & {*map(chr, range(9)), "\x0b", "\x0c", "\x1b", "\x7f", "\x9b", "\u202e"}, path.name
            if path.suffix == ".md":
                assert "<script" not in re.sub(r"(`+).*?\1", "", said)


def test_a_node_with_the_name_of_a_path_reads_nothing_there(tmp_path: Path) -> None:
    fleet = copied(HEALTHY)
    fleet.node["metadata"]["name"] = "../cluster"
    fleet.write(tmp_path / "snapshot")
    folder = tmp_path / "snapshot"
    (folder / "standard.yaml").write_text(json.dumps(fleet.standard))
    found = report(folder)
    by_name = {node.name: node.verdict for node in found.nodes}
    assert by_name["../cluster"] not in GOOD

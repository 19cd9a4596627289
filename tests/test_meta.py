"""What holds of every check: no evidence, no pass; a title, tests and a page; small, and by the public API alone."""

from __future__ import annotations

import ast
import datetime as dt
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from answers import collected
from nodes import CHECKS, Fleet, a100_mig, dra, h100, judge, with_workloads
from test_checks_serving import STANDARD as SERVING

from gpu_readiness.declaration import LAYERS
from gpu_readiness.evidence.cluster import Cluster
from gpu_readiness.evidence.snapshot import Snapshot, SnapshotError, open_snapshot
from gpu_readiness.judge import Judge
from gpu_readiness.node import Node
from gpu_readiness.run import Engine, Settings, UsageProblem

ROOT = Path(__file__).parents[1]

# --- (1) what was not measured is never reported as good -----------------------------------------------------


def _smi() -> Fleet:
    return collected(with_workloads(h100())).says(
        driver={"version": "580.*", "cuda": ">=12.8"},
        serving=SERVING,
        upgrade={"matrix": [{"driver": "580.*", "kubernetes": ">=1.34"}]},
    )


def _probed() -> Fleet:
    fleet = h100().says(driver={"modules": ["nvidia"], "device-files": ["/dev/nvidiactl"], "version": "580.*"})
    assert fleet.probe
    return fleet.file("nvidia-smi.xml", None)


#: Healthy fleets of which every check passes on one at least.
FLEETS: dict[str, Callable[[], Fleet]] = {"smi": _smi, "probe": _probed, "mig": a100_mig, "dra": dra}

HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n"
RECORD = json.dumps({"reason": "denied", "message": "forbidden"}).encode()


def _remove(place: Path) -> None:
    place.unlink()


def _empty(place: Path) -> None:
    place.write_bytes(b"")


def _truncate(place: Path) -> None:
    data = place.read_bytes()
    place.write_bytes(data[: len(data) // 2].rstrip(b"\n"))


def _proxy_answered(place: Path) -> None:
    place.write_bytes(HTML)


def _recorded_failure(place: Path) -> None:
    place.with_name(f"{place.name}.error").write_bytes(RECORD)


BREAKAGES = [_remove, _empty, _truncate, _proxy_answered, _recorded_failure]

#: Artefacts that a check looks into and can do without.
OPTIONAL = {
    ("driver.nvml", "kernel.log"): "only to say in the hint what the kernel knows of a GPU that does not answer",
    ("driver.consistent", "kernel.log"): "one more witness: a driver that answers has accepted its module",
    (
        "allocatable.count",
        "nvidia-smi.xml",
    ): "the standard, and where it is silent the labels, say how many there should be",
    ("allocatable.count", "probe.json"): "as nvidia-smi.xml",
    (
        "telemetry.prometheus",
        "nvidia-smi.xml",
    ): "the exporter, else the standard, says which or how many GPUs there are",
    ("telemetry.history", "nvidia-smi.xml"): "as telemetry.prometheus; its own series name the GPUs too",
    (
        "gpu.idle",
        "dcgm.prom",
    ): "tells which GPU a pod holds; without it pods are counted, and the busiest GPUs are theirs",
}


class Recorder(Snapshot):
    """A snapshot that notes which artefacts were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, str(root))
        self.read: set[str] = set()

    def _read(self, folder: Path, name: str, limit: int, *, tail: bool = False) -> bytes:
        data = super()._read(folder, name, limit, tail=tail)
        self.read.add(name)
        return data


def _reads(folder: Path, check: str) -> set[str]:
    """The artefacts that a check reads when nothing else was judged before it; nodes.json, which all need, aside."""
    recorder = Recorder(folder)
    with open_snapshot(folder) as snapshot:
        engine = Engine(snapshot, Settings(standards=(str(folder / "standard.yaml"),)))
        standard = engine.node("gpu-1").standard
    node = Node("gpu-1", Cluster(recorder), recorder, engine.depth, engine.workloads)
    node.bind(standard)
    today = dt.datetime.now(dt.UTC).date()
    Judge({check: CHECKS[check]}, engine.depth, today).judge(node, [check])
    return recorder.read - {"nodes.json"}


def _passing(folder: Path, standard: dict[str, object]) -> set[str]:
    return {check for (_, check), result in judge(folder, standard).items() if result.verdict == "pass"}


@pytest.fixture(scope="module", params=FLEETS)
def healthy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Fleet, dict[str, set[str]]]:
    """A healthy fleet, and for each check that passes on it the artefacts that it reads."""
    fleet = FLEETS[request.param]()
    folder = tmp_path_factory.mktemp(request.param)
    fleet.write(folder)
    passing = _passing(folder, fleet.standard)
    return fleet, {check: _reads(folder, check) for check in passing}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_no_check_passes_when_an_artefact_that_it_reads_is_broken(
    healthy: tuple[Fleet, dict[str, set[str]]], breakage: Callable[[Path], None], tmp_path: Path
) -> None:
    fleet, reads = healthy
    wrong = []
    for number, artefact in enumerate(sorted(set().union(*reads.values()))):
        folder = tmp_path / str(number)
        fleet.write(folder)
        (place,) = (each for each in folder.rglob("*") if each.as_posix().endswith(f"/{artefact}"))
        breakage(place)
        passing = _passing(folder, fleet.standard)
        wrong += [
            f"{check} passes without {artefact}"
            for check, read in reads.items()
            if artefact in read and check in passing and (check, artefact) not in OPTIONAL
        ]
    assert not wrong


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_nothing_is_judged_when_the_nodes_cannot_be_read(breakage: Callable[[Path], None], tmp_path: Path) -> None:
    fleet = h100()
    fleet.write(tmp_path)
    breakage(tmp_path / "cluster" / "nodes.json")
    with pytest.raises((SnapshotError, UsageProblem)):
        judge(tmp_path, fleet.standard)


@pytest.mark.parametrize(
    ("part", "checks"),
    [
        ("metadata/labels", {"labels.required", "labels.truth", "labels.operations"}),
        ("status/capacity", {"allocatable.healthy"}),
        ("status/allocatable", {"allocatable.count", "allocatable.healthy", "allocatable.agrees"}),
        ("status/conditions", {"runtime.node-ready"}),
        ("status/nodeInfo", {"upgrade.matrix"}),
        ("status", {"allocatable.count", "allocatable.healthy", "runtime.node-ready"}),
    ],
)
@pytest.mark.parametrize("value", [None, [], "garbage", {}])
def test_no_check_passes_when_its_part_of_the_node_is_missing(
    part: str, checks: set[str], value: object, tmp_path: Path
) -> None:
    fleet = _smi()
    place = fleet.node
    *parents, key = part.split("/")
    for parent in parents:
        place = place[parent]
    place[key] = value
    fleet.write(tmp_path)
    assert not checks & _passing(tmp_path, fleet.standard)


def test_every_check_passes_somewhere(tmp_path: Path) -> None:
    passed: set[str] = set()
    for name, fleet in FLEETS.items():
        made = fleet()
        made.write(tmp_path / name)
        passed |= _passing(tmp_path / name, made.standard)
    assert set(CHECKS) - passed == set()


def test_no_check_fails_on_a_healthy_fleet(tmp_path: Path) -> None:
    for name, fleet in FLEETS.items():
        made = fleet()
        made.write(tmp_path / name)
        failed = [
            check for (_, check), result in judge(tmp_path / name, made.standard).items() if result.verdict == "fail"
        ]
        assert not failed, name


# --- (2) the contract: ids, severities, titles, tests, pages -------------------------------------------------

DESIGNED = """
driver.nvml C, driver.gpu-count C, driver.gpu-identity C, driver.version C, driver.cuda C, driver.consistent C,
driver.modules C, driver.fabric C, driver.recovery-action C, driver.xid C, driver.homogeneous W, driver.host W,
gpu.ecc-mode C, gpu.ecc-errors C, gpu.memory-repair C, gpu.mig-mode C, gpu.mig-layout C, gpu.power-limit C,
gpu.pcie-width C, gpu.nvlink C, gpu.inforom C, gpu.clocks W, gpu.throttle W, gpu.temperature W, gpu.persistence W,
gpu.compute-mode W, gpu.pcie-errors W, gpu.idle W,
runtime.node-ready C, runtime.versions C, runtime.class C, runtime.components C, runtime.operator W,
allocatable.plugin C, allocatable.count C, allocatable.healthy C, allocatable.agrees C, allocatable.accounted C,
allocatable.stale I,
labels.required C, labels.truth C, labels.owned W, labels.taints C, labels.mig-state C, labels.operations C,
telemetry.scrape C, telemetry.every-gpu C, telemetry.metrics C, telemetry.agrees W, telemetry.health C,
telemetry.prometheus C, telemetry.history W,
workload.vectoradd C, workload.isolation W, workload.gemm C, workload.burnin C, workload.memory-bandwidth C,
workload.nccl C, workload.dcgm-diag C,
serving.start C, serving.completion C, serving.performance W, serving.metrics W,
upgrade.settled C, upgrade.matrix C, upgrade.drainable C, upgrade.capacity C
"""
SEVERITIES = {"C": "critical", "W": "warning", "I": "info"}


def test_the_checks_are_those_of_the_design() -> None:
    rows = [row.split() for row in DESIGNED.replace("\n", " ").split(",")]
    designed = {check: SEVERITIES[severity] for check, severity in rows}
    assert {check.id: check.severity.value for check in CHECKS.values()} == designed


def test_what_a_check_needs_exists_and_needs_nothing_deeper() -> None:
    for check in CHECKS.values():
        for needed in (CHECKS[each.removeprefix("?")] for each in check.needs):
            assert LAYERS.index(needed.layer) <= LAYERS.index(check.layer), check.id


@pytest.mark.parametrize("check", CHECKS)
def test_a_title_is_one_sentence_and_a_hint_says_what_to_do(check: str) -> None:
    title = CHECKS[check].title
    assert title.endswith(".")
    assert title[0].isupper()
    assert not re.search(r"[.!?]\s+[A-Z]", title)
    assert len(title) <= 140
    assert CHECKS[check].hint or "hint=" in inspect.getsource(CHECKS[check].function)


#: How the tests of a check are named: test_ecc_mode_fails_when_one_gpu_is_off.
KINDS = {"good": "passes", "bad": "(fails|warns)", "unmeasured": "is_(untested|an_error)"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_good_bad_and_unmeasured_tests(check: str, kind: str) -> None:
    layer, _, name = check.partition(".")
    text = (ROOT / "tests" / f"test_checks_{layer}.py").read_text()
    assert re.search(rf"^def test_{name.replace('-', '_')}_{KINDS[kind]}", text, re.MULTILINE)


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_a_page_and_a_row_in_the_readme(check: str) -> None:
    assert (ROOT / "docs" / "checks" / f"{check}.md").is_file()
    assert f"`{check}`" in (ROOT / "README.md").read_text()


# --- (3) a check is small, and written as a user would write one ---------------------------------------------


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_has_at_most_25_lines(check: str) -> None:
    lines, _ = inspect.getsourcelines(CHECKS[check].function)
    start = next(index for index, line in enumerate(lines) if line.startswith("def "))
    assert len(lines[start:]) <= 25


@pytest.mark.parametrize("path", sorted((ROOT / "checks").glob("*.py")), ids=lambda path: path.stem)
def test_checks_import_the_public_api_only(path: Path) -> None:
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.ImportFrom):
            assert statement.module in {"gpu_readiness", "__future__"}
        assert not isinstance(statement, ast.Import)

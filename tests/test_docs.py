"""The documentation says what the code does: links, check pages, tables, commands, and examples that really run."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import gpu_readiness.checks
from gpu_readiness.declaration import Check, declared
from gpu_readiness.demo.command import prepare
from gpu_readiness.evidence import probe, smi
from gpu_readiness.evidence.xid import XID
from gpu_readiness.plugin import OPTIONS
from gpu_readiness.standard import Library

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LETTERS = {"critical": "C", "warning": "W", "info": "I"}
COMMAND = [sys.executable, "-c", "from gpu_readiness.cli import main; main()"]


def declared_checks() -> Iterator[Check]:
    for module in sorted(each.name for each in pkgutil.iter_modules(gpu_readiness.checks.__path__)):
        for value in vars(importlib.import_module(f"gpu_readiness.checks.{module}")).values():
            found = declared(value)
            if found is not None:
                yield found


CHECKS = {check.id: check for check in declared_checks()}


def page_of(check: Check) -> str:
    return (DOCS / "checks" / f"{check.id}.md").read_text(encoding="utf-8")


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run(arguments: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `readiness-demo` is what `make demo` leaves there."""
    folder = tmp_path_factory.mktemp("docs")
    prepare(24, folder / "readiness-demo")
    return folder


@pytest.fixture
def place(demo: Path, tmp_path: Path) -> Path:
    """A folder with a snapshot of two good nodes and a faulty one, and the examples of the your-own pages."""
    source, target = demo / "readiness-demo" / "snapshot", tmp_path / "snapshot"
    shutil.copytree(source / "cluster", target / "cluster")
    for node in ("h100-01", "h100-02", "h100-03"):
        shutil.copytree(source / "nodes" / node, target / "nodes" / node)
    for page in DOCS.glob("your-own-*.md"):
        for block in [*blocks(page, "python"), *blocks(page, "yaml")]:
            if match := re.match(r"# (\S+/\S+)\n", block):
                path = tmp_path / match[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block, encoding="utf-8")
    return tmp_path


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_exist(page: Path) -> None:
    named = set(re.findall(r"--readiness-[a-z-]+[a-z]", page.read_text(encoding="utf-8")))
    assert named <= {name for name, _ in OPTIONS}


def test_each_check_has_a_page_and_no_other_has() -> None:
    assert {path.stem for path in (DOCS / "checks").iterdir()} == set(CHECKS)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_page_agrees_with_the_check(check: Check) -> None:
    page = page_of(check)
    assert page.startswith(f"# {check.id}\n\n> {check.title}\n")
    row = next(line for line in page.splitlines() if line.startswith(f"| {check.severity.value} |"))
    severity, layer, needs, depth = (cell.strip() for cell in row.strip("|").split("|"))
    assert (severity, layer, depth) == (check.severity.value, check.layer, check.depth.label)
    assert re.findall(r"\[([\w.-]+)\]", needs) == [each.removeprefix("?") for each in check.needs]
    assert unwrapped(check.hint) in unwrapped(page)
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [
        "What it reads",
        "When it does not judge",
        "What it prints",
        "How to fix it",
        "Sources",
    ]
    assert 20 <= len(page.splitlines()) <= 52


def known_hints() -> set[str]:
    texts = {f"{entry.description}: {entry.action}" for entry in XID.values()}
    for source in [*(ROOT / "checks").glob("test_*.py"), *(ROOT / "src/gpu_readiness/facts").glob("*.py")]:
        for found in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(found, ast.Constant) and isinstance(found.value, str):
                texts.add(found.value)
    return texts


HINTS = known_hints()
FINDING = re.compile(
    r"(?P<id>[\w.-]+)(?: \[(?P<grade>warning|info)\])?: (?:GPUs? \d[\d, ]*: )?(?P<field>.+?): "
    r"expected (?P<expected>.+), observed (?P<observed>.*)  \((?P<source>[^()]+)\)"
)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_page_quotes_what_the_terminal_prints(check: Check) -> None:
    lines = blocks(DOCS / "checks" / f"{check.id}.md", "text")[0].splitlines()
    assert any(FINDING.fullmatch(line) for line in lines)
    for line in lines:
        if line.startswith("    → "):
            assert line.removeprefix("    → ") in HINTS, line
        elif (match := FINDING.fullmatch(line)) is not None:
            assert match["id"] == check.id
            assert check.severity.value in ("critical", match["grade"])
        else:
            assert re.fullmatch(rf"(\d+ checks untested: blocked by {check.id}|{check.id}: (untested|error) .+)", line)


def test_index_lists_every_check_page() -> None:
    linked = re.findall(r"\(checks/([\w.-]+)\.md\)", (DOCS / "index.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(CHECKS)


def test_readme_lists_exactly_the_declared_checks() -> None:
    rows = re.findall(
        r"^\| \[`([\w.-]+)`\]\(docs/checks/\1\.md\) \| (\w) \| (.+) \|$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert rows == [
        (check.id, LETTERS[check.severity.value], check.title.removesuffix(".")) for check in CHECKS.values()
    ]


@pytest.mark.parametrize(("name", "limit"), [("README.md", 150), ("ARCHITECTURE.md", 60)])
def test_page_is_short(name: str, limit: int) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= limit


def test_readme_shows_what_the_command_prints(demo: Path) -> None:
    command, _, expected = blocks(ROOT / "README.md", "console")[0].partition("…\n")
    words = shlex.split(command.removeprefix("$ ").replace("\\\n", " "))
    assert words[0] == "gpu-readiness"
    done = run(words[1:], demo)
    assert expected in done.stdout
    assert f"exit {done.returncode}\n" in expected


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "standards.md", DOCS / "your-own-standards.md"], ids=str)
def test_standard_of_the_page_can_be_used(page: Path, tmp_path: Path) -> None:
    file = tmp_path / "standard.yaml"
    file.write_text(blocks(page, "yaml")[0], encoding="utf-8")
    done = run(["standard", "validate", str(file)], tmp_path)
    assert done.returncode == 0, done.stderr


def test_other_yaml_of_the_pages_can_be_used(tmp_path: Path) -> None:
    waivers, figures = (
        blocks(DOCS / "your-own-standards.md", "yaml")[1],
        blocks(DOCS / "your-own-workloads.md", "yaml")[1],
    )
    file = tmp_path / "standard.yaml"
    file.write_text(f"title: of the pages\n{waivers}{figures}", encoding="utf-8")
    assert Library.load([str(file)]).get("standard").waivers


def test_own_checks(place: Path) -> None:
    done = run(["check", "--readiness-snapshot", "snapshot", "--readiness-nodes", "h100-0?", "my_checks", "-q"], place)
    report = (place / "readiness-report" / "report.md").read_text(encoding="utf-8")
    assert done.returncode == 1, done.stdout
    assert "`driver.inventory`" in report
    assert "`699-2G520-0200-000`" in report
    assert "`ask the data centre`" in report


def test_own_standard(place: Path) -> None:
    arguments = ["check", "--readiness-snapshot", "snapshot", "--readiness-nodes", "h100-0?"]
    assert run(arguments, place).returncode != 1, "the shipped standards know no count"
    done = run([*arguments, "--readiness-standard", "standards"], place)
    assert done.returncode == 1
    assert "driver.gpu-count: gpus.answering: expected 8, observed 7" in done.stdout


def test_own_workload(place: Path) -> None:
    for node, output in (("h100-01", "write: 3.1 GB/s\ncheckpoint restored\n"), ("h100-03", "CUDA error 700\n")):
        log = place / "snapshot" / "nodes" / node / "workloads" / "checkpoint.log"
        log.parent.mkdir()
        log.write_text(output, encoding="utf-8")
    done = run(
        [
            "check",
            "--readiness-snapshot",
            "snapshot",
            "--readiness-nodes",
            "h100-0[13]",
            "--readiness-workloads",
            "my_workloads",
        ],
        place,
    )
    assert (
        "workload.checkpoint [warning]: checkpoint: workload: expected no fault, observed failure: CUDA error 700"
        in done.stdout
    )
    assert "h100-01" not in done.stdout.partition("GPU node readiness")[2]


def test_commands_of_the_learning_example_work(place: Path) -> None:
    command = next(block for block in blocks(DOCS / "your-own-standards.md", "console") if "learn" in block)
    done = run(shlex.split(command.removeprefix("$ "))[1:], place)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((place / "standards" / "training.yaml").read_text(encoding="utf-8"))["title"]


TOOLS = {
    "kubectl": """case "$*" in
  *"-o json") cat "$DEMO/cluster/$2.json" ;;
  *"-o name") for node in $NODES; do echo "node/$node"; done ;;
  *jsonpath*) echo gpu-operator/pods/exporter-on-node ;;
  *metrics) cat "$DEMO/nodes/h100-01/dcgm.prom" ;;
esac""",
    "ssh": """case "$*" in
  *nvidia-smi*) cat "$DEMO/nodes/$1/nvidia-smi.xml" ;;
  *dmesg) cat "$DEMO/nodes/$1/kernel.log" ;;
esac""",
}


def test_snapshot_taken_by_hand_is_judged(demo: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in TOOLS.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    made_up = demo / "readiness-demo"
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "DEMO": str(made_up / "snapshot"), "NODES": "h100-01"}
    script = next(block for block in blocks(DOCS / "snapshot.md", "bash") if "kubectl" in block)
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env={**os.environ, **env}, check=True, timeout=60)
    done = run(
        [
            "check",
            "--readiness-snapshot",
            "snapshot",
            "--readiness-standard",
            str(made_up / "standards"),
            "--readiness-nodes",
            "h100-01",
        ],
        tmp_path,
    )
    assert "GPU node readiness" not in done.stdout
    assert "1 ready; measured 1/1 nodes, 8/8 GPUs" in done.stdout
    assert done.returncode == 0


def test_evidence_page_names_every_field() -> None:
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    for field in smi.FIELDS:
        short = re.sub(r"^(ecc\.volatile|ecc\.aggregate|clock-event)\.", "", field)
        assert f"`{field}`" in page or f"`{short}`" in page, field
    for name, model in probe.schema()["$defs"].items():
        if name in ("Driver", "Counts", "Host", "ProbeGpu", "MigDevice"):
            for key in model["properties"]:
                assert f'"{key}"' in page, f"{name}.{key}"


def test_probe_example_is_a_probe_document() -> None:
    document = probe.parse_probe(blocks(DOCS / "evidence.md", "json")[0].encode())
    assert document.gpus[0].fields["nvlink.links"] == 18

"""What a person reads at the end: a few nodes one by one, many in groups, and nothing that repaints the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from nodes import h100
from sessions import Done, check, spoilt, write

from gpu_readiness.plugin.terminal import MAX_NODES


def section(done: Done) -> list[str]:
    """The lines between the heading and the bottom line."""
    _, _, rest = done.out.partition(" GPU node readiness ")
    lines = rest.splitlines()[1:]
    end = next(index for index, line in enumerate(lines) if re.search(r"; exit \d$", line))
    return lines[:end]


def bottom(done: Done) -> str:
    (line,) = re.findall(r"^.*; exit \d$", done.out, re.MULTILINE)
    return str(line)


def test_nodes_in_trouble_are_shown_worst_first_and_good_ones_not(pytester: pytest.Pytester) -> None:
    done = check(pytester, write(spoilt(h100(nodes=3)), pytester.path / "snapshot"))
    assert section(done) == [
        "✗ gpu-1  not-ready  first broken link: gpu.ecc-mode",
        "    gpu.ecc-mode: GPUs 0, 1: ecc.current: expected enabled, observed disabled  (nvidia-smi.xml)",
        "        → nvidia-smi -e, then reset the GPU",
        *[line for line in section(done) if "gpu.ecc-errors" in line or "blocked by gpu.ecc-mode" in line],
        "? gpu-3  unknown  first broken link: driver.nvml",
        "    driver.nvml: untested (missing): no nvidia-smi.xml in the snapshot",
        *[line for line in section(done) if line.endswith(" checks untested: blocked by driver.nvml")],
    ]
    assert re.fullmatch(
        r"not-ready at depth smi \(4 checks not selected\): 1 ready, 1 unknown, 1 not-ready; "
        r"measured 2/3 nodes, 4/6 GPUs, \d+/\d+ checks \(\d\d\.\d %\); exit 1",
        bottom(done),
    )
    assert done.out.index("; exit 1") < done.out.index("reports: readiness-report/report.json  ")


def test_a_fleet_in_order_needs_no_section(pytester: pytest.Pytester) -> None:
    done = check(pytester, write(h100(nodes=2), pytester.path / "snapshot"))
    assert "GPU node readiness" not in done.out
    assert bottom(done).startswith(
        "ready at depth smi (4 checks not selected): 2 ready; measured 2/2 nodes, 4/4 GPUs, "
    )
    assert bottom(done).endswith(" checks (100 %); exit 0")


def test_a_gpu_of_several_is_named(pytester: pytest.Pytester) -> None:
    fleet = h100(gpus=4).smi("mig_mode/current_mig", "Enabled", gpu=3)
    done = check(pytester, write(fleet, pytester.path / "snapshot"), "-k", "gpu.mig-mode")
    assert any(line.startswith("    gpu.mig-mode: GPU 3: mig.current: expected disabled") for line in section(done))


def test_many_nodes_in_trouble_are_grouped(pytester: pytest.Pytester) -> None:
    fleet = h100(gpus=1, nodes=40)
    names = list(fleet.nodes)
    for name in names[:30]:
        fleet.nodes[name]["spec"]["taints"] = [{"key": "broken", "effect": "NoSchedule"}]
    for name in names[30:38]:
        fleet.file("nvidia-smi.xml", None, node=name)
    done = check(pytester, write(fleet, pytester.path / "snapshot"))
    lines = section(done)
    assert len(lines) == 4
    assert lines[0] == "✗ 30 nodes not-ready: labels.taints: gpu-1, gpu-10, gpu-11, gpu-12 and 26 more"
    assert lines[1].startswith("    for example ")
    assert "observed broken:NoSchedule" in lines[1]
    assert lines[2] == "? 8 nodes unknown: driver.nvml: gpu-31, gpu-32, gpu-33, gpu-34 and 4 more"
    assert lines[3] == "    for example untested (missing): no nvidia-smi.xml in the snapshot"
    assert bottom(done).endswith("; exit 1")
    assert "2 ready, 8 unknown, 30 not-ready; measured 32/40 nodes" in bottom(done)


@pytest.mark.parametrize("count", [MAX_NODES, MAX_NODES + 1])
def test_up_to_a_dozen_nodes_are_shown_one_by_one(count: int, pytester: pytest.Pytester) -> None:
    fleet = h100(gpus=1, nodes=count)
    for name in fleet.nodes:
        fleet.file("nvidia-smi.xml", None, node=name)
    done = check(pytester, write(fleet, pytester.path / "snapshot"), "-k", "driver.nvml")
    assert done.out.count("first broken link: driver.nvml") == (count if count == MAX_NODES else 0)


def test_a_percentage_of_100_means_all_of_it(pytester: pytest.Pytester) -> None:
    fleet = h100(gpus=1, nodes=40)
    fleet.file("dcgm.prom", None, node="gpu-7")
    done = check(pytester, write(fleet, pytester.path / "snapshot"), "-m", "driver or gpu or telemetry")
    measured, planned = done.report["verdict"]["coverage"]["checks"]
    assert planned - measured == 5
    assert f"({int(1000 * measured / planned) / 10} %); exit 6" in bottom(done)


# --- text of strangers -----------------------------------------------------------------------------------------

ESCAPE = "\x1b[2J\x1b]0;hijacked\x07"
#: What XML 1.0 and Kubernetes let through, and what a terminal or a reader would obey.
UNSEEN = "\x9b31m\u202e\u200b\u2028"
NODE = "gpu-1\x1b[31m\n\u202eready"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot in which names, messages, labels and the driver's answers try to repaint the terminal."""
    fleet = h100(nodes=2)
    first, second = fleet.nodes
    fleet.smi("uuid", f"GPU-{UNSEEN}", gpu=0).smi("ecc_mode/current_ecc", f"Disabled{UNSEEN}", gpu=0)
    fleet.smi("uuid", f"GPU-b{UNSEEN}", gpu=1).smi("ecc_mode/current_ecc", "Disabled", gpu=1)
    fleet.smi("product_name", f"NVIDIA H100{UNSEEN}")
    fleet.condition("Ready", "False", message=ESCAPE, reason=ESCAPE)
    fleet.node["spec"]["taints"] = [{"key": f"a{ESCAPE}", "value": UNSEEN, "effect": "NoSchedule"}]
    fleet.labels["nvidia.com/gpu.product"] = f"H100{ESCAPE}"
    fleet.file("dcgm.prom.error", {"reason": "timeout", "message": f"no answer {ESCAPE}"}, node=second)
    fleet.file("kernel.log", f"[ 1.0] NVRM: Xid (PCI:0000:10:00): 79, pid=1, GPU has fallen off{ESCAPE}\n")
    fleet.node["metadata"]["name"] = NODE
    for pod in fleet.pods:
        if pod["spec"]["nodeName"] == first:
            pod["spec"]["nodeName"] = NODE
    fleet.files[NODE] = {"nvidia-smi.xml": fleet._xml(first), **fleet.files.pop(first)}
    fleet.header[NODE], fleet.gpus[NODE] = fleet.header[first], fleet.gpus[first]
    return write(fleet, tmp_path_factory.mktemp("hostile") / "snapshot")


@pytest.mark.parametrize(
    "arguments", [[], ["-v"], ["-vv", "-rA"], ["--co"], ["--co", "-q"], ["--durations=0", "-vv"]], ids=str
)
def test_no_control_character_reaches_the_terminal(
    arguments: list[str], hostile: Path, pytester: pytest.Pytester
) -> None:
    done = check(pytester, hostile, *arguments)
    assert done.code == (0 if "--co" in arguments else 1)
    odd = {char for char in done.said if not char.isprintable() and char != "\n"}
    assert not odd, sorted(map(hex, map(ord, odd)))
    assert "hijacked" not in done.out.replace("\\x1b]0;hijacked", "")
    assert len([line for line in done.out.splitlines() if line.startswith("✗ ")]) == (0 if "--co" in arguments else 1)


@pytest.mark.parametrize("option", ["--readiness-nodes", "--readiness-layers", "--readiness-standard"])
def test_an_error_quotes_without_obeying(option: str, hostile: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, hostile, option, f"x{ESCAPE}")
    assert done.code == 4
    assert not {char for char in done.said if not char.isprintable() and char != "\n"}


def test_the_report_keeps_the_true_name(hostile: Path, pytester: pytest.Pytester) -> None:
    done = check(pytester, hostile, "-q", "-k", "driver.nvml")
    text = (pytester.path / "readiness-report" / "report.json").read_text("utf-8")
    assert NODE in {node["name"] for node in json.loads(text)["nodes"]}
    assert done.report["verdict"]["exit_code"] == done.code

"""The commands of docs/cluster.md do what the page says, in a real cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.load import clear, load_snapshot
from rig.plane import ControlPlane
from sessions import COMMAND, environment, run

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cluster.md"


def block_with(words: str) -> str:
    found = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return next(each for each in found if words in each)


@pytest.fixture(scope="module")
def fleet(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The demo's fleet, with the labels and the context of the page's examples."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    assert run([*COMMAND, "demo", "--output", str(folder)], folder.parent).code == 0
    clear(plane)
    nodes = folder / "snapshot" / "cluster" / "nodes.json"
    listed = json.loads(nodes.read_text(encoding="utf-8"))
    for item in listed["items"]:
        item["metadata"]["labels"]["pool"] = item["metadata"]["name"].rpartition("-")[0]
    nodes.write_text(json.dumps(listed), encoding="utf-8")
    load_snapshot(plane, folder / "snapshot")
    yield plane
    clear(plane)


@pytest.fixture
def place(fleet: ControlPlane, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who follows the page: the command, and a context called prod."""
    text = fleet.kubeconfig.read_text(encoding="utf-8").replace('"current-context": "rig"', '"current-context": "prod"')
    text = text.replace('{"name": "rig", "context"', '{"name": "prod", "context"')
    (tmp_path / "kubeconfig").write_text(text, encoding="utf-8")
    return environment(
        KUBECONFIG=str(tmp_path / "kubeconfig"), PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )


def test_the_first_commands_of_the_page(place: dict[str, str], tmp_path: Path) -> None:
    expected = {"check  ": 1, "--readiness-nodes": 1, "--explain-access": 0, "snapshot": 6}
    lines = block_with("--explain-access").splitlines()
    assert len(lines) == len(expected)
    for line, (words, code) in zip(lines, expected.items(), strict=True):
        assert words in line
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=place, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
    assert (tmp_path / "prod.tar.gz").stat().st_size > 10_000
    report = json.loads((tmp_path / "readiness-report" / "report.json").read_text(encoding="utf-8"))
    assert {node["name"].rpartition("-")[0] for node in report["nodes"]} == {"h100"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
def test_the_roles_let_a_service_account_read(fleet: ControlPlane, place: dict[str, str], tmp_path: Path) -> None:
    names = {"apiVersion": "v1", "metadata": {"name": "gpu-readiness"}}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": names["metadata"] | {"namespace": "gpu-readiness"},
    }
    fleet.apply([names | {"kind": "Namespace"}, account])
    script = block_with("clusterrolebinding")
    subprocess.run(["bash", "-euc", script], cwd=ROOT, env=place, check=True, timeout=60)
    kubeconfig = fleet.account_kubeconfig("gpu-readiness", "gpu-readiness")
    done = run([*COMMAND, "check", "--readiness-kubeconfig", str(kubeconfig), "--readiness-depth", "api"], tmp_path)
    denied = {(each["check"], each["detail"]) for each in done.report["results"] if each["reason"] == "denied"}
    assert not denied
    deeper = run([*COMMAND, "check", "--readiness-kubeconfig", str(kubeconfig)], tmp_path)
    assert deeper.result("h100-01", "driver.nvml")["reason"] == "denied"


def test_each_rung_is_enough_for_what_it_opens(fleet: ControlPlane, tmp_path: Path) -> None:
    import yaml

    def rules(*names: str) -> list[dict[str, object]]:
        documents = [
            each for name in names for each in yaml.safe_load_all((ROOT / f"deploy/rbac/{name}.yaml").read_text())
        ]
        return [rule for document in documents for rule in document["rules"]]

    for rung, way in (("probe-pod", "pod"), ("probe-exec", "exec")):
        kubeconfig = fleet.user_kubeconfig(f"user-{rung}", rules("api", rung))
        options = ["--readiness-kubeconfig", str(kubeconfig), "--readiness-nodes", "h100-01"]
        done = run([*COMMAND, "check", *options], tmp_path)
        (node,) = done.report["nodes"]
        assert node["asked"]["way"] == way, done.said

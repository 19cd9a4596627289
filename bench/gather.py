"""What gathering a live fleet costs, beside a plain paged list of the same objects: `gather.py [NODES ...]`.

Starts a real control plane on loopback (tests/rig, which needs Go), so it measures the API server as well as us.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from judge import SCRIPTS, measure  # noqa: E402 - beside this file
from rig.fleet import write_fleet  # noqa: E402 - the rig is no installed package
from rig.load import load_snapshot  # noqa: E402
from rig.plane import ControlPlane  # noqa: E402

#: Nodes that are described by kubectl to know what it takes for one.
DESCRIBED = 40


def plain_lists(kubeconfig: str) -> None:
    """List and parse what a run lists, in pages of 500, and keep it, as any program has to."""
    from gpu_readiness.cluster.access import ApiServer, Refused
    from gpu_readiness.cluster.kinds import LISTED

    api = ApiServer.connect(kubeconfig)
    kept = []
    for kind in LISTED:
        token = ""
        while True:
            query = {"limit": 500} | ({"continue": token} if token else {})
            try:
                page = api.get(kind.paths()[0], seconds=120, limit=1 << 30, query=query)
            except Refused:
                break
            kept += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                break


def our_lists(kubeconfig: str) -> None:
    """List as a run does, without reading any node."""
    from gpu_readiness.cluster import gather as gathering
    from gpu_readiness.cluster.access import ApiServer

    gathering._read_nodes = lambda *_: None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        api = ApiServer.connect(kubeconfig)
        gathering.gather(api, Path(folder) / "snapshot", gathering.Wishes(driver=False), lambda _: None)


def timed(function: str, kubeconfig: Path) -> tuple[float, float]:
    """Seconds and MiB of one of the functions above in a process of its own, its start left out."""
    done = subprocess.run(
        [sys.executable, __file__, f"--{function}", str(kubeconfig)], stdout=subprocess.PIPE, check=True, text=True
    )
    seconds, mib = json.loads(done.stdout)
    return seconds, mib


def described(kubeconfig: Path, size: int) -> str:
    """What `kubectl describe node` for each node takes, from a few of them."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return "no kubectl here"
    command = [kubectl, f"--kubeconfig={kubeconfig}"]
    listed = subprocess.run([*command, "get", "nodes", "-o", "name"], stdout=subprocess.PIPE, check=True, text=True)
    names = listed.stdout.split()[:DESCRIBED]
    begun = time.perf_counter()
    for name in names:
        subprocess.run([*command, "describe", name], stdout=subprocess.DEVNULL, check=True)
    return f"{(time.perf_counter() - begun) / len(names) * size:.0f}"


def measure_fleet(size: int, table: Table, console: Console) -> None:
    """One fleet, one row."""
    with tempfile.TemporaryDirectory() as scratch, ControlPlane() as plane:
        load_snapshot(plane, write_fleet(Path(scratch), size), fast=True)
        plain, plain_mib = min(timed("plain", plane.kubeconfig) for _ in range(3))
        lists, _ = min(timed("ours", plane.kubeconfig) for _ in range(3))
        since = time.time()
        own = ("--readiness-kubeconfig", plane.kubeconfig, "--readiness-standard", Path(scratch) / "standard.yaml")
        options = ("--readiness-depth", "api", "--readiness-output", Path(scratch) / "report", "-qq")
        whole = measure(SCRIPTS / "gpu-readiness", "check", *own, *options)
        requests = plane.requests(user_agent_prefix="gpu-readiness/", since=since)
        kinds = Counter(f"{each.resource}/{each.subresource}".rstrip("/") for each in requests)
        per_node = kinds["pods/proxy"] + kinds["nodes/proxy"]
        figures = (plain, plain_mib, lists, lists / plain, whole.seconds, whole.peak_mib)
        counts = (f"{len(requests) - per_node}", f"{per_node / size:.1f}")
        table.add_row(
            f"{size}", *(f"{each:.1f}" for each in figures), *counts, described(plane.kubeconfig, size), f"{whole.code}"
        )
    console.print(f"{size} nodes: {dict(kinds)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", nargs="*", type=int, default=[500, 5000], help="sizes of the fleets")
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain or arguments.ours:
        begun = time.perf_counter()
        plain_lists(arguments.plain) if arguments.plain else our_lists(arguments.ours)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(json.dumps([time.perf_counter() - begun, peak]))
        return
    console = Console()
    columns = ("nodes", "plain s", "plain MiB", "lists s", "ratio", "check s", "check MiB", "requests", "per node")
    table = Table(*columns, "describe s", "exit")
    for column in table.columns:
        column.justify = "right"
    for size in arguments.nodes:
        measure_fleet(size, table, console)
    console.print(table)


if __name__ == "__main__":
    main()

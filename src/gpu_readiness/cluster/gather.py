"""A live cluster, read once: all that a run judges, written as a snapshot."""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gpu_readiness.cluster import exporters, histories, kernel_logs, probes
from gpu_readiness.cluster.access import AccessProblem, ApiServer, Refused, Stopped, as_unmeasured
from gpu_readiness.cluster.kinds import EVENTS, NODES, OTHERS, PODS, SLICES, Kind, rule
from gpu_readiness.cluster.lists import record, write_list
from gpu_readiness.cluster.pods import OwnPods, not_made
from gpu_readiness.cluster.rights import KERNEL_LOG, POD, Rights
from gpu_readiness.cluster.stack import NodeStack
from gpu_readiness.cluster.workers import run_all
from gpu_readiness.evidence import gathered
from gpu_readiness.evidence.cluster import Cluster, is_gpu_node
from gpu_readiness.evidence.kube import Event, KubeNode, ResourceSlice, RuntimeClass, mapping, sequence, text
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.selection import Selection
from gpu_readiness.verdict import Reason

Json = dict[str, Any]
Progress = Callable[[str], None]

#: nvcr.io's CUDA base image: the smallest of NVIDIA's that the runtime puts nvidia-smi into.
PROBE_IMAGE = "nvcr.io/nvidia/cuda:12.4.1-base-ubuntu22.04"
#: Reads of nodes at the same time by one way, and pods of ours at the same time.
CONCURRENT_READS = 48
#: Lists at the same time.
CONCURRENT_LISTS = 4
#: Seconds that one way may take to get an answer from a node's driver; an exec, which pulls no image, has half of it.
PROBE_SECONDS = 180.0
#: Seconds after which Kubernetes removes what we made, whatever became of us.
LIFETIME = 3600
#: What a node may be called: a name is a folder's name here.
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
#: Operating systems whose container runtime uses NVIDIA's runtime for every pod.
_DEFAULT_RUNTIME = ("Amazon Linux", "Bottlerocket")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be read.

    `nodes` selects as `--readiness-nodes` does; `expected` are nodes to read beside those that show GPUs. Without
    `driver`, nvidia-smi is not asked for; `probe` is as `--readiness-probe`.
    """

    nodes: str = ""
    expected: frozenset[str] = frozenset()
    driver: bool = True
    probe: str = "auto"
    image: str = PROBE_IMAGE
    seconds: float = PROBE_SECONDS
    prometheus: str = "auto"
    window: str = "24h"
    namespace: str = ""


@dataclass(slots=True)
class _Found:
    """What the lists said of the nodes to read, and why some kinds could not be listed."""

    unlisted: dict[str, Unmeasured] = field(default_factory=dict)
    nodes: dict[str, KubeNode] = field(default_factory=dict)
    with_slices: set[str] = field(default_factory=set)
    with_gpus: set[str] = field(default_factory=set)
    addresses: dict[str, frozenset[str]] = field(default_factory=dict)
    selected: list[str] = field(default_factory=list)
    stacks: dict[str, NodeStack] = field(default_factory=dict)


def gather(api: ApiServer, folder: Path, wishes: Wishes, progress: Progress) -> None:
    """Read a cluster into `folder`, which becomes a snapshot; what could not be read is recorded in its place.

    Raises:
        AccessProblem: nodes cannot be listed, and not for want of rights: there is nothing to read.
    """
    cluster = folder / "cluster"
    cluster.mkdir(parents=True)
    found = _Found()
    progress("listing nodes")
    _list_nodes(api, cluster, wishes, found)
    progress(f"listing what runs on {len(found.selected)} GPU nodes")
    _list_others(api, cluster, found)
    for name in found.selected:
        (folder / "nodes" / name).mkdir(parents=True)
    rights = Rights(api, wishes.namespace or api.namespace)
    _read_nodes(api, rights, folder, wishes, found, progress)
    progress("asking Prometheus")
    _say_where_from(api, folder, _histories(api, rights, folder, wishes, found))


def _list_nodes(api: ApiServer, cluster: Path, wishes: Wishes, found: _Found) -> None:
    def note_node(item: Json) -> bool:
        node = KubeNode.of(item)
        found.nodes[node.name] = node
        addresses = map(mapping, sequence(mapping(item.get("status")).get("addresses")))
        found.addresses[node.name] = frozenset(text(each.get("address")) for each in addresses)
        return True

    def note_slice(item: Json) -> bool:
        each = ResourceSlice.of(item)
        if each.driver == "gpu.nvidia.com":
            found.with_slices.add(each.node)
        return True

    _list(api, NODES, cluster, found, note_node)
    problem = found.unlisted.get(NODES.name)
    if problem is not None and problem.reason is not Reason.DENIED:
        raise AccessProblem(f"cluster {api.name}: {problem.message}")
    _list(api, SLICES, cluster, found, note_slice)
    shown = {name for name, node in found.nodes.items() if is_gpu_node(node)}
    found.with_gpus = {name for name in shown | found.with_slices | wishes.expected if name in found.nodes}
    selection = Selection.parse(wishes.nodes)
    found.selected = sorted(
        name
        for name in found.with_gpus
        if _NODE_NAME.fullmatch(name) and selection.takes(name, found.nodes[name].labels)
    )
    found.stacks = {name: NodeStack() for name in found.selected}


def _list_others(api: ApiServer, cluster: Path, found: _Found) -> None:
    def note_pod(item: Json) -> bool:
        """Pods of GPU nodes, and those that no node has yet; the rest of a large cluster is none of our business."""
        node = text(mapping(item.get("spec")).get("nodeName"))
        if node in found.stacks:
            found.stacks[node].add(item)
        return not node or node in found.with_gpus

    tasks = [partial(_list, api, kind, cluster, found, note_pod if kind is PODS else _all) for kind in OTHERS]
    of_nodes = {"fieldSelector": "involvedObject.kind=Node"}
    tasks.append(partial(_list, api, EVENTS, cluster, found, _of_the_kernel, of_nodes))
    run_all([tasks], CONCURRENT_LISTS, lambda done, total: None)
    for stack in found.stacks.values():
        stack.unlisted = found.unlisted.get(PODS.name)


def _list(
    api: ApiServer,
    kind: Kind,
    cluster: Path,
    found: _Found,
    keep: Callable[[Json], bool],
    selectors: Mapping[str, str] | None = None,
) -> None:
    problem = write_list(api, kind, cluster, keep, selectors=selectors)
    if problem is not None:
        found.unlisted[kind.name] = problem


def _all(item: Json) -> bool:
    return True


def _of_the_kernel(item: Json) -> bool:
    """Events that quote NVIDIA's driver, and reboots, which make those before them history."""
    event = Event.of(item)
    return "NVRM" in event.message or event.reason == "Rebooted"


def _histories(api: ApiServer, rights: Rights, folder: Path, wishes: Wishes, found: _Found) -> str:
    if wishes.prometheus == "none" or not found.selected:
        return ""
    targets = (
        histories.target_of(name, folder / "nodes" / name, found.stacks[name], found.addresses[name])
        for name in found.selected
    )
    return histories.save_histories(api, rights, folder, targets, wishes.prometheus, wishes.window)


def _say_where_from(api: ApiServer, folder: Path, note: str) -> None:
    try:
        version = api.get("/version", seconds=15.0)
        (folder / "cluster" / "version.json").write_text(json.dumps(version), encoding="utf-8")
    except (Refused, Unmeasured) as problem:
        record(folder / "cluster", "version.json", as_unmeasured(problem, "version.json"))
    taken = dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    about = {
        "schema": "gpu-readiness.snapshot/v1",
        "taken": taken,
        "cluster": api.name,
        "notes": [note] if note else [],
    }
    (folder / "snapshot.json").write_text(json.dumps(about), encoding="utf-8")


def _read_nodes(
    api: ApiServer, rights: Rights, folder: Path, wishes: Wishes, found: _Found, progress: Progress
) -> None:
    # A node that is not Ready may keep its readers until their deadlines; the others come first.
    order = sorted(found.selected, key=lambda name: (not _is_ready(found.nodes[name]), name))
    places = {name: folder / "nodes" / name for name in order}
    groups = [[partial(_scrape, api, found.stacks[name], places[name]) for name in order]]
    if wishes.driver and not rights.missing(KERNEL_LOG.rights):
        groups.append([partial(kernel_logs.save_kernel_log, api, name, places[name]) for name in order])
    with _ladder(api, folder, rights, wishes, found) as ladder:
        if ladder is not None:
            nodes = _numbered(order, found)
            groups.append([partial(_ask, ladder, node, wishes.probe, places[node.name]) for node in nodes])
        run_all(groups, CONCURRENT_READS, lambda done, total: progress(f"reading nodes: {done} of {total} reads"))
    kernel_logs.settle(places.values())


def _is_ready(node: KubeNode) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in node.conditions or ())


def _numbered(order: Iterable[str], found: _Found) -> Iterator[probes.ProbeNode]:
    for number, name in enumerate(order):
        system = found.nodes[name].info.get("osImage", "")
        default = system.startswith(_DEFAULT_RUNTIME)
        yield probes.ProbeNode(
            name, number, found.stacks[name], name in found.with_slices, default, _is_ready(found.nodes[name])
        )


@contextmanager
def _ladder(
    api: ApiServer, folder: Path, rights: Rights, wishes: Wishes, found: _Found
) -> Iterator[probes.Ladder | None]:
    """The ways to the driver, with pods of our own where they may be made."""
    if not wishes.driver or wishes.probe == "none" or not found.selected:
        yield None
        return
    classes = _runtime_classes(folder)
    ladder = partial(probes.Ladder, api, rights, classes=classes, unlisted=found.unlisted, seconds=wishes.seconds)
    if wishes.probe == "exec":
        yield ladder(None, Unmeasured(Reason.NOT_SELECTED, "not asked for"))
        return
    if lacking := rights.missing(POD.rights):
        yield ladder(None, Unmeasured(Reason.DENIED, f"not allowed; needed: {lacking[0].rule}"))
        return
    own = OwnPods(api, wishes.namespace or api.namespace, secrets.token_hex(4), wishes.image, lifetime=LIFETIME)
    with ExitStack() as stack:
        try:
            pods = stack.enter_context(own)
        except (Refused, Unmeasured) as problem:
            yield ladder(None, not_made(problem, "jobs", rule("batch", "jobs", "create")))
            return
        with_pods = ladder(pods, None)
        if found.with_slices:
            with_pods.offer_claims()
        yield with_pods


def _runtime_classes(folder: Path) -> list[RuntimeClass]:
    from gpu_readiness.evidence.snapshot import Snapshot

    try:
        return list(Cluster(Snapshot(folder, "")).runtime_classes().values())
    except Unmeasured:
        return []


def _scrape(api: ApiServer, stack: NodeStack, place: Path) -> None:
    _attempt(place, exporters.ARTEFACT, lambda: exporters.save_scrape(api, stack.exporter, place / exporters.ARTEFACT))


def _ask(ladder: probes.Ladder, node: probes.ProbeNode, wanted: str, place: Path) -> None:
    def tell(asked: gathered.Asked) -> None:
        (place / gathered.SOURCE).write_text(asked.to_json(), encoding="utf-8")

    _attempt(place, probes.ARTEFACT, lambda: ladder.ask(node, wanted, place / probes.ARTEFACT, tell))


def _attempt(place: Path, artefact: str, read: Callable[[], object]) -> None:
    """Read an artefact, or record why not; a fault of ours is no measurement either."""
    try:
        read()
    except Stopped:
        return
    except Exception as problem:  # noqa: BLE001 - one node's trouble must not keep the others from being read
        (place / artefact).unlink(missing_ok=True)
        known = isinstance(problem, Unmeasured | Refused)
        said = as_unmeasured(problem, artefact) if known else _broken(problem, artefact)
        record(place, artefact, said)


def _broken(problem: Exception, artefact: str) -> Unmeasured:
    return Unmeasured(Reason.UNPARSABLE, f"reading broke: {type(problem).__name__}: {problem}"[:300], artefact)

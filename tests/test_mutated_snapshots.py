"""Whatever becomes of the files of a snapshot: no crash, and nothing unmeasured in a node that is called ready."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nodes import a100_mig, h100

from gpu_readiness.declaration import Check, declared
from gpu_readiness.evidence.snapshot import open_snapshot
from gpu_readiness.run import Engine, Settings, UsageProblem
from gpu_readiness.verdict import NodeVerdict, Result, Severity

MODULES = ("1_driver", "2_gpu", "3_runtime", "4_allocatable", "5_labels", "6_telemetry", "9_upgrade")
NASTY = (
    b"",
    b"\0",
    b"<html><body>502 Bad Gateway</body></html>",
    b"[" * 50_000,
    b"<a>" * 50_000,
    b'{"items": [' + b"{}," * 1000 + b"{}]}",
    b'{"items": [null, 1, "x", {"metadata": 3}]}',
    b'<!DOCTYPE a [<!ENTITY e "x">]><nvidia_smi_log>&e;</nvidia_smi_log>',
    b"\xff\xfe\x00\x00",
    b"DCGM_FI_DEV_GPU_TEMP{" * 1000,
    b"NVRM: Xid (PCI:" * 1000,
    b"9" * 10_000,
)


@cache
def shipped() -> tuple[Check, ...]:
    modules = [import_module(f"gpu_readiness.checks.test_{name}") for name in MODULES]
    found = (declared(value) for module in modules for value in vars(module).values())
    return tuple(check for check in found if check is not None)


@cache
def files(kind: str) -> dict[str, bytes]:
    fleet = h100() if kind == "h100" else a100_mig("mixed", ["3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb"])
    with TemporaryDirectory() as folder:
        fleet.write(Path(folder))
        paths = [path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".yaml"]
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def judge(content: dict[str, bytes]) -> dict[str, list[Result]]:
    with TemporaryDirectory() as folder:
        for name, data in content.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        with open_snapshot(Path(folder)) as snapshot:
            engine = Engine(snapshot, Settings())
            for check in shipped():
                engine.register(check)
            engine.plan_for([(n, check) for check in shipped() if engine.planned(check) for n in engine.nodes], [])
            for node in engine.nodes:
                engine.results_of(node)
            report = engine.report()
            for node, own in report.by_node():
                gaps = [
                    each for each in own if each.planned and not each.measured and each.severity is Severity.CRITICAL
                ]
                assert not (gaps and node.verdict in (NodeVerdict.READY, NodeVerdict.DEGRADED))
            if report.exit_code == 0:
                assert {node.verdict for node in report.nodes} <= {NodeVerdict.READY, NodeVerdict.DEGRADED}
            return {node.name: own for node, own in report.by_node()}


def mutated(data: bytes, random: Random) -> bytes:
    how = random.randrange(6)
    if not data or how == 0:
        return random.choice(NASTY)
    place = random.randrange(len(data))
    if how == 1:
        return data[:place]
    if how == 2:
        return data[:place] + bytes([random.randrange(256)]) + data[place + 1 :]
    if how == 3:
        return data[:place] + data[place : place + 200] * 3 + data[place + 200 :]
    if how == 4:
        return data[:place] + data[place + random.randrange(1, 400) :]
    return data.replace(*random.choice([(b'"', b""), (b"true", b"null"), (b"0", b"-1"), (b">", b"<"), (b"{", b"[")]), 5)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["h100", "mig"]), count=st.integers(1, 3))
def test_any_mutation_is_survived(seed: int, kind: str, count: int) -> None:
    random = Random(seed)
    content = dict(files(kind))
    for name in random.sample(sorted(content), count):
        content[name] = mutated(content[name], random)
    # What is left may not be a snapshot at all: then it is refused with this error and no other.
    with suppress(UsageProblem):
        judge(content)


@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
def test_each_nasty_file_in_each_place(nasty: bytes) -> None:
    original = files("h100")
    for name in original:
        refusal = pytest.raises(UsageProblem) if name == "cluster/nodes.json" else nullcontext()
        with refusal:
            judge(original | {name: nasty})

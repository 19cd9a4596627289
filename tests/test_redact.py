"""Redaction: no serial number, UUID or address is left, and the snapshot is judged as before."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from corpus import CORPUS, needs_corpus
from hypothesis import given
from hypothesis import strategies as st
from nodes import CHECKS, h100

from gpu_readiness.demo.command import prepare
from gpu_readiness.evidence.dcgm import parse_exporter
from gpu_readiness.evidence.kernel import parse_kernel_log
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.smi import FIELDS, DriverSilent, parse_smi
from gpu_readiness.evidence.snapshot import SnapshotError, open_snapshot
from gpu_readiness.redact import Redactor, stream
from gpu_readiness.run import Engine, Settings, UsageProblem

Json = dict[str, Any]

UUID = "b4895dbf-9350-2524-a89b-98161ddd9fe4"
BARE = UUID.replace("-", "")
INSTANCE = "i-0123456789abcdef0"
SALT = b"the same in every test"


def redacted(text: str, salt: bytes = SALT) -> str:
    return Redactor(salt).text(text)


# --- what is an address, and what only looks like one --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "10.0.3.7",
        "10.0.3.7.",
        "172.31.21.92/20",
        "dial tcp 10.0.3.7:10250: connect: connection refused",
        "NCCL INFO Bootstrap : Using eth0:10.0.3.7<0>",
        "SRC=54.12.3.4 DST=10.0.0.1",
        "nfs: server 54.12.3.4 not responding",
        "http://54.12.3.4/v1/models",
        "54.12.3.4:8000",
        "user@54.12.3.4",
        r'instance=~"10\\.0\\.3\\.7:.*"',
        r'{"message":"failed\n10.0.3.7 is gone"}',
        "10.0.0.5:5000/nvidia/driver:580.105.08-ubuntu22.04",
        "ip-10-0-3-7.ec2.internal",
        "kube-proxy-ip-10-0-3-7",
        "ec2-54-12-3-4.compute-1.amazonaws.com",
        "100.64.171.120",
        "2001:db8::1:",
        "[2001:db8::8a2e:370:7334]:9400",
        "fe80::1ff:fe23:4567:890a%eth0",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "::ffff:10.0.3.7",
        "52:54:00:ab:cd:ef",
        '{"VtepMAC":"c6:c2:b9:1b:49:2e"}',
        "enx525400abcdef: link up",
        "node guid b8:ce:f6:03:00:d2:bc:4e",
    ],
)
def test_address_is_replaced(text: str) -> None:
    found = redacted(text)
    assert found != text
    assert re.sub(r"[0-9a-f:]", "", found) == re.sub(r"[0-9a-f:]", "", text), "the shape around it stays"


@pytest.mark.parametrize(
    "text",
    [
        "535.104.05",
        "96.00.74.00.01",
        "94.10.71.40.11",
        "12.4.1.0",
        "1.20.0.1",
        "G500.0202.00.02",
        "5.15.0-1051-aws",
        "nvidia-curand-cu12==10.3.5.147",
        "libcublas-10.2.2.89",
        "TensorRT 10.0.1.6",
        "CUDA Version: 10.2.1.3",
        "<vbios_version>92.10.17.40</vbios_version>",
        'DCGM_FI_DRIVER_VERSION="10.2.1.3"',
        "registry.example/nvidia/driver:10.2.1.3",
        "containerd://10.1.2.3",
        "bnxt_en 0000:19:00.0: fw 218.0.219.13/pkg 218.0.219.13",
        "i40e: firmware version 10.84.6.3",
        "Bottlerocket OS 1.20.0.1 (aws-k8s-1.29-nvidia)",
        "127.0.0.1:9400",
        "0.0.0.0",
        "255.255.240.0",
        "[::]:9400 and ::1",
        "PCI:0000:53:00.0 and 00000000:53:00.0",
        "2026-11-20T16:18:03Z 12:34:56",
        "std::vector c10::Error",
        "ff:ff:ff:ff:ff:ff",
        "Code: 00:11:22:33:44:55:66:77:88:99",
        "driver-535-104-05 2026-11-20-10",
        "00000000-0000-0000-0000-000000000000",
        "Serial Number : N/A",
        "<serial>0000000000000</serial>",
        "Serial: 8250/16550 driver, 32 ports",
        "usb 1-1: New USB device strings: Mfr=1, Product=2, SerialNumber=3",
    ],
)
def test_what_only_looks_like_an_address_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("key", ["podIP", "hostIP", "ip", "address", "clusterIPs", "podCIDR", "x.example/public-ip"])
def test_field_for_addresses_holds_one_whatever_it_looks_like(key: str) -> None:
    assert Redactor().value({key: "8.8.4.4"})[key] != "8.8.4.4"
    assert Redactor().value({"chartVersion": "8.8.4.4"}) == {"chartVersion": "8.8.4.4"}


# --- one value, one stand-in ---------------------------------------------------------------------------------


def test_uuid_has_one_stand_in_however_it_is_written() -> None:
    redactor = Redactor()
    digits = redactor.text(UUID).replace("-", "")
    assert digits != BARE
    for text in (
        f"GPU-{UUID}",
        f"MIG-GPU-{UUID}/1/0",
        f"pvc-{UUID}",
        f"pod{UUID.replace('-', '_')}.slice",
        f"root=PARTUUID={UUID.upper()}",
        UUID.replace("-", r"\x2d"),
    ):
        found = redactor.text(text)
        assert digits in re.sub(r"\\x2d|[-_]", "", found).lower()
        assert re.sub(r"[0-9a-fA-F]", "", found) == re.sub(r"[0-9a-fA-F]", "", text)
    nodeinfo = redactor.value({"machineID": BARE, "systemUUID": UUID.upper(), "boot-id": UUID})
    assert {each.replace("-", "").lower() for each in nodeinfo.values()} == {digits}


def test_address_has_one_stand_in_in_names_and_texts() -> None:
    redactor = Redactor()
    found = redactor.text("10.0.3.7")
    assert redactor.text("ip-10-0-3-7.ec2.internal") == f"ip-{found.replace('.', '-')}.ec2.internal"
    assert redactor.value({"podIP": "10.0.3.7", 'k:{"ip":"10.0.3.7"}': {}}) == {
        "podIP": found,
        f'k:{{"ip":"{found}"}}': {},
    }
    assert redactor.text("::ffff:10.0.3.7") == f"::ffff:{found}"
    assert redactor.text("2001:db8::1") == redactor.text("2001:0DB8:0:0:0:0:0:1")


def test_stand_ins_differ_between_runs_and_not_in_one() -> None:
    text = f"{UUID} 10.0.3.7 {INSTANCE} 52:54:00:ab:cd:ef Serial Number: 1650522003820"
    assert redacted(text, b"a") == redacted(text, b"a")
    assert not set(redacted(text, b"a").split()) & set(redacted(text, b"b").split()) - {"Serial", "Number:"}
    assert Redactor().text(text) != Redactor().text(text)


def test_different_addresses_have_different_stand_ins() -> None:
    redactor = Redactor(SALT)
    addresses = [f"10.{high}.{low}.1" for high in range(200) for low in range(200)]
    assert len({redactor.text(each) for each in addresses}) == len(addresses)


def test_short_serial_numbers_have_different_stand_ins() -> None:
    redactor = Redactor(SALT)
    found = {redactor.value({"serial": f"Z{number:03}"})["serial"] for number in range(300)}
    assert len(found) == 300
    assert all(re.fullmatch(r"[A-Z][0-9]{3}", each) for each in found)


def test_redacting_twice_changes_addresses_once() -> None:
    redactor = Redactor()
    once = redactor.text("10.0.3.7 ip-10-0-3-7")
    assert redactor.text(once) == once


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"serial": "1650522003820"}, r"[0-9]{13}"),
        ({"chassis_serial_number": "1822725100200"}, r"[0-9]{13}"),
        ({"serial": 1650522003820}, r"[0-9]{10,13}"),
        ({"uuid": "GPU-h100-1-0"}, r"GPU-[a-z][0-9]{3}-[0-9]-[0-9]"),
        ({"gpu_fabric_guid": "0x906175c8434fff47"}, r"0x[0-9a-f]{16}"),
        ({"uid": BARE}, r"[0-9a-f]{32}"),
        ({"providerID": f"aws:///eu-west-1a/{INSTANCE}"}, r"aws:///[a-z]{2}-[a-z]{4}-[0-9][a-z]/i-[0-9a-f]{17}"),
        ({"providerID": "gce://my-project/us-central1-a/gke-1"}, r"gce://[a-z]{2}-[a-z]{7}/[a-z-]+[0-9]-[a-z]/.{5}"),
        ({"providerID": "digitalocean://219734582"}, r"digitalocean://[0-9]{9}"),
    ],
)
def test_identity_has_a_stand_in_of_its_shape(fields: Json, shape: str) -> None:
    ((key, value),) = fields.items()
    found = Redactor().value({key: value})[key]
    assert type(found) is type(value)
    assert found != value
    assert re.fullmatch(shape, str(found))


@pytest.mark.parametrize(
    "fields",
    [
        {"serial": "N/A"},
        {"serial": None},
        {"serial": "0000000000000"},
        {"serial": True},
        {"uuid": "[Unknown Error]"},
        {"gpu_fabric_guid": "0x0000000000000000"},
        {"feature.node.kubernetes.io/cpu-cpuid.SERIALIZE": "true"},
    ],
)
def test_what_is_nobodys_identity_stays(fields: Json) -> None:
    assert Redactor().value(fields) == fields


# --- files ---------------------------------------------------------------------------------------------------


def written(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


NODES = '{"kind":"List","items":[{"metadata":{"name":"ip-10-0-3-7"},"status":{"addresses":[{"address":"54.1.2.3"}]}}]}'


def test_values_are_recognised_by_what_another_file_says_of_them(tmp_path: Path) -> None:
    source = written(
        tmp_path / "in",
        {
            "cluster/nodes.json": NODES,
            "cluster/pods.json": json.dumps({"items": [{"message": "board 1650522003820 of 54.1.2.3, node-54-1-2-3"}]}),
            "nodes/ip-10-0-3-7/nvidia-smi.xml": "<gpu><serial>1650522003820</serial></gpu>",
            "nodes/ip-10-0-3-7/empty/.keep": "",
        },
    )
    Redactor().tree(source, tmp_path / "out")
    (node,) = (tmp_path / "out" / "nodes").iterdir()
    assert re.fullmatch(r"ip-2[45][0-9]-[0-9-]+", node.name)
    (item,) = json.loads((tmp_path / "out/cluster/nodes.json").read_text())["items"]
    assert item["metadata"]["name"] == node.name
    address = item["status"]["addresses"][0]["address"]
    serial = re.findall("[0-9]{13}", (node / "nvidia-smi.xml").read_text())[0]
    (pod,) = json.loads((tmp_path / "out/cluster/pods.json").read_text())["items"]
    assert pod["message"] == f"board {serial} of {address}, node-{address.replace('.', '-')}"
    assert serial != "1650522003820"
    assert address != "54.1.2.3"
    assert (node / "empty").is_dir()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"no JSON",
        b'{"items":[{"a":1},]}',
        b'{"items":[1 2]}',
        b'{"a":1}{"b":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"{1:2}",
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"items":[' + b'{"a":' * 100_000,
        b"\0\1\2 binary \x85\x1c",
    ],
)
def test_json_that_is_none_stays_as_it_is(content: bytes, tmp_path: Path) -> None:
    source = written(tmp_path / "in", {"cluster/pods.json": content, "x.error": content})
    Redactor().tree(source, tmp_path / "out")
    assert (tmp_path / "out/cluster/pods.json").read_bytes() == content
    assert (tmp_path / "out/x.error").read_bytes() == content


def test_json_that_is_cut_off_is_redacted_as_text(tmp_path: Path) -> None:
    content = f'{{"items":[{{"podIP":"54.1.2.3","uid":"{UUID}","serial":"1650522003820","message":"x\\n10.1.2.3'
    Redactor().tree(written(tmp_path / "in", {"pods.json": content}), tmp_path / "out")
    found = (tmp_path / "out/pods.json").read_text()
    assert re.sub("[0-9a-f]", "", found) == re.sub("[0-9a-f]", "", content)
    assert not any(each in found for each in ("54.1.2.3", "10.1.2.3", UUID, "1650522003820"))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(value=_VALUES, indent=st.sampled_from([None, 1]), block=st.integers(1, 40))
def test_json_is_the_same_in_whatever_pieces_it_is_read(value: object, indent: int | None, block: int) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_BLOCK", block)
        found = "".join(stream.changed_json(io.StringIO(text), lambda key, each: each))
    assert json.loads(found) == value


@given(text=st.text(alphabet="ab \n}<,1", max_size=60), block=st.integers(1, 9))
def test_text_is_the_same_in_whatever_pieces_it_is_read(text: str, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_BLOCK", block)
        found = list(stream.blocks(io.StringIO(text)))
    assert "".join(found) == text
    assert not any(one[-1:].isalnum() and two[:1].isalnum() for one, two in pairwise(found))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_what_a_windows_shell_saved_is_redacted(encoding: str, tmp_path: Path) -> None:
    text = f"<gpu><uuid>GPU-{UUID}</uuid></gpu>"
    Redactor().tree(written(tmp_path / "in", {"nvidia-smi.xml": text.encode(encoding)}), tmp_path / "out")
    found = (tmp_path / "out/nvidia-smi.xml").read_bytes().decode(encoding)
    assert UUID not in found
    assert found.startswith("<gpu><uuid>GPU-")


def test_links_and_pipes_are_not_followed_and_are_judged_as_before(tmp_path: Path) -> None:
    fleet = h100()
    fleet.write(tmp_path / "in")
    (tmp_path / "secret").write_text("nobody's business")
    place = tmp_path / "in/nodes/gpu-1"
    (place / "nvidia-smi.xml").unlink()
    (place / "nvidia-smi.xml").symlink_to(tmp_path / "secret")
    (place / "kernel.log").unlink()
    os.mkfifo(place / "kernel.log")
    (place / "dcgm.prom.error").symlink_to(tmp_path / "secret")
    (tmp_path / "in/nodes/gpu-2").symlink_to(tmp_path)
    Redactor().tree(tmp_path / "in", tmp_path / "out")
    assert not [each for each in (tmp_path / "out").rglob("*") if not (each.is_dir() or each.is_file())]
    assert not [each for each in (tmp_path / "out").rglob("*") if each.is_symlink()]
    assert "business" not in content_of(tmp_path / "out")
    with open_snapshot(tmp_path / "in") as before, open_snapshot(tmp_path / "out") as after:
        assert before.node_dirs == after.node_dirs == {"gpu-1"}
        for name in ("nvidia-smi.xml", "kernel.log", "dcgm.prom"):
            with pytest.raises(Unmeasured) as was:
                before.artefact("gpu-1", name)
            with pytest.raises(Unmeasured) as now:
                after.artefact("gpu-1", name)
            assert (was.value.reason, was.value.message) == (now.value.reason, now.value.message)


def test_target_that_holds_something_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path / "in", {"cluster/nodes.json": NODES})
    written(tmp_path / "out", {"mine.txt": "x"})
    with pytest.raises(FileExistsError):
        Redactor().tree(source, tmp_path / "out")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Redactor().tree(tmp_path / "none", tmp_path / "out")


# --- a redacted snapshot is judged as the one it was made of -------------------------------------------------


def content_of(root: Path) -> str:
    """All names and bytes of a directory, as one text."""
    files = [each for each in root.rglob("*") if each.is_file() and not each.is_symlink()]
    return "\n".join(
        [str(each.relative_to(root)) for each in files] + [each.read_bytes().decode("latin-1") for each in files]
    )


def originals(root: Path) -> set[str]:
    """What must not survive, found without the redactor's own eyes."""
    text = content_of(root)
    found = set(re.findall(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", text))
    found |= set(re.findall(r"<(?:chassis_)?serial(?:_number)?>([0-9]+)<", text))
    found |= set(re.findall(r'"(?:podIP|hostIP|machineID|systemUUID|bootID|uid|providerID|serial)": *"([^"]+)"', text))
    found |= set(re.findall(r"(?<![0-9a-f:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![0-9a-f:])", text))
    found |= set(re.findall(r"(?:ip|ec2)-[0-9]+-[0-9]+-[0-9]+-[0-9]+", text))
    found |= set(re.findall(r"(?<![\w.-])(?:10|192\.168|172\.[123][0-9])(?:\.[0-9]+){2,3}(?![\w.-])", text))
    found |= set(re.findall(r"(?<![0-9a-z])i-[0-9a-f]{17}", text))
    return {each for each in found if each.strip("0-") and re.search("[0-9]", each)}


def survivors(source: Path, target: Path) -> list[str]:
    text = content_of(target).lower()
    candidates = [each for each in originals(source) if each.lower() in text]
    return [each for each in candidates if re.search(rf"(?<![0-9a-z.]){re.escape(each.lower())}(?![0-9a-z])", text)]


def judged(folder: Path, *standards: Path) -> Json | str:
    """Every result by node and check; the words of a text in any order, for UUIDs are sorted."""
    try:
        with open_snapshot(folder) as snapshot:
            engine = Engine(snapshot, Settings(standards=tuple(map(str, standards))))
            for check in CHECKS.values():
                engine.register(check)
            engine.plan_for([(node, check) for node in engine.nodes for check in CHECKS.values()], [])
            return {
                f"{node} {name}": [
                    result.verdict,
                    result.severity,
                    result.reason,
                    _words(result.detail),
                    sorted(
                        [_words(str(getattr(each, part))) for part in ("subject", "field", "expected", "observed")]
                        for each in result.findings
                    ),
                ]
                for node in engine.nodes
                for name, result in engine.results_of(node).items()
            }
    except (SnapshotError, UsageProblem) as problem:
        return type(problem).__name__


def _words(text: str) -> list[str]:
    return sorted(re.findall(r"[\w.:/-]+", text))


def same(source: Path, target: Path, redactor: Redactor, *standards: Path) -> bool:
    """Whether a snapshot and the redacted one are judged alike but for the stand-ins."""
    before = judged(source, *standards)
    after = json.loads(json.dumps(judged(target, *standards)))
    expected = redactor.value(json.loads(json.dumps(before)))
    expected = json.loads(json.dumps(expected), object_hook=lambda each: {k: _sorted(v) for k, v in each.items()})
    after = json.loads(json.dumps(after), object_hook=lambda each: {k: _sorted(v) for k, v in each.items()})
    assert isinstance(before, str) or before
    return bool(after == expected)


def _sorted(result: list[Any]) -> list[Any]:
    verdict, severity, reason, detail, findings = result
    return [verdict, severity, reason, sorted(detail), sorted([sorted(part) for part in each] for each in findings)]


def test_demo_fleet_is_judged_as_before_and_nothing_survives(tmp_path: Path) -> None:
    prepare(40, tmp_path / "demo")
    source, redactor = tmp_path / "demo/snapshot", Redactor()
    redactor.tree(source, tmp_path / "out")
    assert len(originals(source)) > 500
    assert survivors(source, tmp_path / "out") == []
    assert same(source, tmp_path / "out", redactor, tmp_path / "demo/standards")


def _scenarios() -> ModuleType | None:
    """The corpus builds its snapshots with programs of its own."""
    if CORPUS is None or not (CORPUS / "scenarios/build.py").is_file():
        return None
    folder = str(CORPUS / "scenarios")
    spec = importlib.util.spec_from_file_location("corpus_build", CORPUS / "scenarios/build.py")
    assert spec is not None
    assert spec.loader is not None
    module, bytecode = importlib.util.module_from_spec(spec), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = bytecode
    return module


@needs_corpus
def test_scenarios_are_judged_as_before_and_nothing_survives(tmp_path: Path) -> None:
    build = _scenarios()
    if build is None:
        pytest.skip("this corpus has no scenarios")
    seen = 0
    for number, scenario in enumerate(build.SETS["open"]):
        if number % 3 and scenario.kind != "hostile":
            continue  # all of them take half a minute
        source = build.build(scenario, tmp_path) / "snapshot"
        if not source.is_dir():
            continue  # an archive
        standard = Path(__file__).parent / "standards" / f"{scenario.fleet}.yaml"
        redactor, target = Redactor(), tmp_path / "out" / scenario.id
        redactor.tree(source, target)
        assert survivors(source, target) == [], scenario.id
        assert same(source, target, redactor, *([standard] if standard.is_file() else [])), scenario.id
        seen += 1
    assert seen > 30


# --- real captures: what is read of them but identities is as before -----------------------------------------


def real(pattern: str) -> Iterator[Path]:
    assert CORPUS is not None
    return (path for path in sorted((CORPUS / "real").glob(pattern)) if path.is_file())


@pytest.fixture(scope="module")
def real_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if CORPUS is None:
        pytest.skip("no corpus")
    target = tmp_path_factory.mktemp("real") / "out"
    Redactor().tree(CORPUS / "real", target)
    return target


def parsed(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except (Unmeasured, DriverSilent) as problem:
        return type(problem).__name__, getattr(problem, "reason", None)


IDENTITIES = {"uuid", "serial", "fabric.cluster"}


@needs_corpus
def test_nothing_of_real_captures_survives(real_out: Path) -> None:
    assert CORPUS is not None
    assert len(originals(CORPUS / "real")) > 300
    assert survivors(CORPUS / "real", real_out) == []


@needs_corpus
def test_real_nvidia_smi_reads_as_before_but_for_identities(real_out: Path) -> None:
    assert CORPUS is not None
    seen = 0
    for path in (*real("**/*.xml"), *real("nvidia-smi/*.xml*")):
        before = parsed(parse_smi, path.read_bytes())
        after = parsed(parse_smi, (real_out / path.relative_to(CORPUS / "real")).read_bytes())
        if isinstance(before, tuple):
            assert before == after
            continue
        assert before.driver_version == after.driver_version
        for one, two in zip(before.gpus, after.gpus, strict=True):
            for name in FIELDS:
                was, now = one.read(name), two.read(name)
                assert (was.state, name in IDENTITIES or was.value) == (now.state, name in IDENTITIES or now.value)
                seen += 1
    assert seen > 300


@needs_corpus
@pytest.mark.parametrize(("pattern", "parse"), [("dcgm/*.prom*", parse_exporter), ("logs/kernel*", parse_kernel_log)])
def test_real_metrics_and_logs_read_as_before_but_for_identities(
    pattern: str, parse: Callable[[bytes], Any], real_out: Path
) -> None:
    assert CORPUS is not None
    for path in real(pattern):
        before = parsed(parse, path.read_bytes())
        after = parsed(parse, (real_out / path.relative_to(CORPUS / "real")).read_bytes())
        assert _without_identities(before) == _without_identities(after), path


def _without_identities(found: object) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|ip(-[0-9]+){4}", "…", str(found))

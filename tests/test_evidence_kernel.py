from __future__ import annotations

import time
from contextlib import suppress

import pytest
from corpus import needs_corpus, recorded
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.evidence import kernel
from gpu_readiness.evidence.kernel import KernelEvent, parse_kernel_log
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

BOOT = "[    0.000000] Linux version 6.8.0 (build@host) #1-SMP\n"
XID_79 = "NVRM: Xid (PCI:0000:53:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
API_MISMATCH = """\
[ 98123.112233] NVRM: API mismatch: the client has the version 580.105.08, but
[ 98123.112240] NVRM: this kernel module has the version 580.95.05.  Please
[ 98123.112241] NVRM: make sure that this kernel module and all NVIDIA driver
[ 98123.112242] NVRM: components have the same version.
"""
UNSUPPORTED = """\
NVRM: The NVIDIA GPU 0000:b3:00.0 (PCI ID: 10de:1db4)
[ 1.6] NVRM: installed in this system is not supported by the
[ 1.7] NVRM: NVIDIA 590.48.01 driver release.
"""


def events(text: str) -> tuple[KernelEvent, ...]:
    return parse_kernel_log(text.encode()).events


@pytest.mark.parametrize(
    ("prefix", "seconds"),
    [
        ("", None),
        ("[ 8123.500000] ", 8123.5),
        ("[ 8123.500000][ T1234] ", 8123.5),
        ("<4>[ 8123.500000] ", 8123.5),
        ("[Tue Jan 21 04:41:44 2025] ", None),
        ("[Tue Jan  1 04:41:44 2025] ", None),
        ("kern  :warn  : [ 8123.500000] ", 8123.5),
        ("kern  :warn  : 2025-01-21T04:41:44,283302+00:00 ", None),
        ("2024-11-15T12:02:03,470068+00:00 ", None),
        ("2025-01-21T04:41:44+0000 node-1 kernel: ", None),
        ("2025-01-21T04:41:44.283302+00:00 node-1 kernel: [ 8123.500000] ", 8123.5),
        ("Jan 21 04:41:44 node-1 kernel: [ 8123.500000] ", 8123.5),
        ("6,339,8123500000,-;", 8123.5),
    ],
)
def test_every_prefix_of_a_kernel_message(prefix: str, seconds: float | None) -> None:
    (event,) = events(f"{prefix}{XID_79}\n")
    assert (event.kind, event.code, event.bus, event.seconds, event.line) == ("xid", 79, "0000:53:00.0", seconds, 1)
    assert event.message == XID_79


@pytest.mark.parametrize(
    "line",
    [
        "[ 4100.100000] xid-exporter[2231]: segfault at 0 ip 00007f2 sp 00007ff error 4 in libc.so.6",
        '[ 4200.200000] audit: type=1400 audit(1787041933.114:79): apparmor="DENIED" comm="Xid 79 watch"',
        "[ 4300.300000] XFS (nvme0n1p1): xfs_trans_xid 79 done",
        f"Jan 21 04:41:44 node-1 app[31]: {XID_79}",
        f"Jan 21 04:41:44 node-1 app[31]: kernel: {XID_79}",
        f"[ 4400.400000] app: {XID_79}",
        "[ 4500.500000] nvidia-peermem nv_get_p2p_free_callback:127 ERROR detected invalid context, skipping",
        "[ 4600.600000] NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.105.08  Release Build",
        "[ 4700.700000] nvidia-nvswitch0: Probing device 0000:05:00.0",
    ],
)
def test_what_is_no_event(line: str) -> None:
    assert events(f"{BOOT}{line}\n") == ()


@pytest.mark.parametrize(
    ("where", "bus"),
    [
        ("PCI:0000:53:00", "0000:53:00.0"),
        ("PCI:00000000:CA:00.0", "0000:ca:00.0"),
        ("0008:01:00.1", "0008:01:00.1"),
        ("PCI:0000:84:00 GPU-I:05", "0000:84:00.0"),
        ("53:00", "0000:53:00.0"),
        ("PCI:10000:01:00", "10000:01:00.0"),
    ],
)
def test_one_spelling_of_a_bus_address(where: str, bus: str) -> None:
    (event,) = events(f"[ 1.5] NVRM: Xid ({where}): 31, pid=1, name=a, Ch 00000008\n")
    assert (event.code, event.bus) == (31, bus)


def test_an_xid_without_a_code_is_kept() -> None:
    (event,) = events("[ 1.5] NVRM: Xid of a new kind\n")
    assert (event.kind, event.code, event.bus) == ("xid", None, None)


@pytest.mark.parametrize(
    ("rest", "fatal"),
    [
        ("144, SAW_MVB Nonfatal XC0 i0 Link 0 (0x00000001 0x00000008)", False),
        ("149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x026001c6 0x00000000)", True),
        ("145, pid=12, name=fatal, RLW_REMAP Nonfatal XC1 i0 Link -1 (0x1 0x2)", False),
        ("149, of another shape", None),
        ("79, Fatal", None),
    ],
)
def test_what_an_nvlink_5_line_says_of_itself(rest: str, fatal: bool | None) -> None:
    (event,) = events(f"[ 1.5] NVRM: Xid (PCI:0000:01:00): {rest}\n")
    assert event.nvlink_fatal is fatal


@pytest.mark.parametrize(
    ("rest", "code", "fatal"),
    [
        ("12028, Non-fatal, Link 32 egress non-posted PRIV error (First)", 12028, False),
        ("20034, Fatal, Link 30 LTSSM Fault Up", 20034, True),
        ("11004, Severity 0 Engine instance 42 Sub-engine instance 00", 11004, None),
    ],
)
def test_nvswitch_errors(rest: str, code: int, fatal: bool | None) -> None:
    (event,) = events(f"[ 1.5] nvidia-nvswitch3: SXid (PCI:0000:05:00.0): {rest}\n")
    assert (event.kind, event.code, event.bus, event.nvlink_fatal) == ("sxid", code, "0000:05:00.0", fatal)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("NVRM: GPU 0000:b3:00.0: GPU has fallen off the bus.", "fallen-off-bus"),
        ("NVRM: GPU 0000:b3:00.0: RmInitAdapter failed! (0x62:0xffff:2351)", "rm-init-failed"),
        ("NVRM: GPU 0000:b3:00.0: rm_init_adapter failed, device minor number 0", "rm-init-failed"),
        (UNSUPPORTED, "unsupported-gpu"),
    ],
)
def test_other_faults_of_the_driver(line: str, kind: str) -> None:
    (event,) = events(f"[ 1.5] {line}\n")
    assert (event.kind, event.bus, event.code) == (kind, "0000:b3:00.0", None)


def test_an_api_mismatch_of_four_lines_between_other_messages() -> None:
    lines = API_MISMATCH.splitlines(keepends=True)
    text = (
        BOOT
        + lines[0]
        + "[ 98123.112239] cni0: port 1 entered blocking state\n"
        + "".join(lines[1:])
        + f"[1.5] {XID_79}"
    )
    mismatch, xid = events(text)
    assert mismatch.versions == ("580.105.08", "580.95.05")
    assert (mismatch.kind, mismatch.line, mismatch.seconds) == ("api-mismatch", 2, 98123.112233)
    assert mismatch.message.endswith("components have the same version.")
    assert xid.code == 79


def test_an_api_mismatch_of_newer_drivers() -> None:
    text = (
        "[1.5] NVRM: API mismatch: the client 'nvidia-smi' (pid 31066)\n"
        "[1.5] NVRM: has the version 580.82.07, but this kernel module has\n"
        "[1.5] NVRM: the version 580.65.06.  Please make sure that this\n"
    )
    (event,) = events(text)
    assert event.versions == ("580.82.07", "580.65.06")


def test_a_flood_is_one_event_with_a_count() -> None:
    flood = "".join(
        f"[ {i}.5] NVRM: Xid (PCI:0000:38:00): 13, Graphics Exception: ESR {i:#x}\n" for i in range(1, 3000)
    )
    log = parse_kernel_log((BOOT + flood + f"[ 3001.0] {XID_79}\n").encode())
    assert [(event.code, event.count, event.line) for event in log.events] == [(13, 2999, 2), (79, 1, 3001)]
    assert log.counts == {("xid", 13): 2999, ("xid", 79): 1}


def test_events_are_bounded_and_counts_are_not() -> None:
    text = "".join(f"[1.5] NVRM: Xid (PCI:0000:{bus:02x}:{dev:02x}): 13, x\n" for bus in range(256) for dev in range(5))
    log = parse_kernel_log(text.encode())
    assert len(log.events) == kernel.MAX_EVENTS
    assert log.counts["xid", 13] == 1280


def test_a_message_is_bounded() -> None:
    (event,) = events(f"[1.5] NVRM: Xid (PCI:0000:53:00): 79, {'x' * 100_000}\n")
    assert len(event.message) == kernel.MAX_MESSAGE


@pytest.mark.parametrize(
    "boot",
    [
        BOOT,
        "[    0.000000][    T0] Linux version 6.8.0\n",
        "Jan 22 04:41:44 node-1 kernel: Linux version 6.8.0\n",
        "kern  :notice: 2025-02-10T16:28:06,502716+00:00 Linux version 6.8.0\n",
        "5,0,0,-;Linux version 6.8.0\n",
        "-- Boot 0123456789abcdef0123456789abcdef --\n",
        "-- Reboot --\n",
    ],
)
def test_an_earlier_boot_is_past(boot: str) -> None:
    log = parse_kernel_log(f"{BOOT}[ 20.0] {XID_79}\n{boot}[ 1.5] NVRM: Xid (PCI:0000:53:00): 31, x\n".encode())
    assert [(event.code, event.line) for event in log.events] == [(31, 4)]
    assert log.since_boot
    assert log.lines == 2


def test_a_program_that_says_linux_version_is_no_boot() -> None:
    spoken = "[ 30.0] app: Linux version 6.8.0\n[ 31.0] Linux version 6.8.0 is old\nLinux version 6.8.0\n"
    log = parse_kernel_log(f"[ 20.0] {XID_79}\n{spoken}".encode())
    assert [event.code for event in log.events] == [79]
    assert not log.since_boot


def test_the_module_that_was_loaded_last() -> None:
    loading = "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22-I3)\n"
    text = f"{BOOT}[ 10.0] {loading.format('570.1.2')}[ 99.0] {loading.format('580.105.08')}"
    assert parse_kernel_log(text.encode()).module_version == "580.105.08"
    assert parse_kernel_log(BOOT.encode()).module_version is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.MISSING),
        ("\n \n", Reason.MISSING),
        ("-- No entries --\n", Reason.MISSING),
        ("-- Boot 0123456789abcdef0123456789abcdef --\n", Reason.MISSING),
        ("dmesg: read kernel buffer failed: Operation not permitted\n", Reason.DENIED),
        (
            "Hint: You are currently not seeing messages from other users and the system.\n-- No entries --\n",
            Reason.DENIED,
        ),
        ("No journal files were opened due to insufficient permissions.\n", Reason.DENIED),
        ('Error from server (Forbidden): pods "x" is forbidden\n', Reason.DENIED),
        ("<!DOCTYPE html>\n<html>502</html>\n", Reason.UNPARSABLE),
        ("root:x:0:0:root:/root:/bin/bash\n", Reason.UNPARSABLE),
        ("\x7fELF\0\1\2", Reason.UNPARSABLE),
        ("[Feb 25 2025 13:59:45] [INFO] [tid 1803] multicast group 0 is freed.\n", Reason.UNPARSABLE),
        ("I0624 22:58:05.486697 1 health.go:185] XidCriticalError: Xid=79 on Device=GPU-1\n", Reason.UNPARSABLE),
    ],
)
def test_what_is_no_kernel_log_was_not_measured(text: str, reason: Reason) -> None:
    with pytest.raises(Unmeasured) as raised:
        parse_kernel_log(text.encode())
    assert raised.value.reason is reason


def test_bytes_that_are_no_utf_8_between_messages() -> None:
    (event,) = parse_kernel_log(BOOT.encode() + b"[ 1.0] \xff\xfe\0 garbage\n[ 2.0] " + XID_79.encode()).events
    assert event.code == 79


def test_only_the_end_of_a_huge_log_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "MAX_BYTES", 1000)
    filler = "[ 30.0] cni0: port 1 entered blocking state\n" * 100
    log = parse_kernel_log(f"{BOOT}[ 20.0] {XID_79}\n{filler}[ 40.0] NVRM: Xid (PCI:0000:53:00): 31, x\n".encode())
    assert [(event.code, event.line) for event in log.events] == [(31, 103)]
    assert log.truncated
    assert not log.since_boot


def test_five_megabytes_are_read_in_time() -> None:
    filler = "".join(
        f"[ {3000 + i / 10:.6f}] veth{i % 4096:x}: entered promiscuous mode {i:060d}\n" for i in range(50_000)
    )
    data = f"{BOOT}{filler}[ 8123.5] {XID_79}\n".encode()
    begun = time.process_time()
    (event,) = parse_kernel_log(data).events
    assert event.line == 50_002
    assert time.process_time() - begun < 2  # 0.1 s on an idle machine


@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from([*API_MISMATCH.splitlines(), BOOT.strip(), XID_79, "[1.5] ", "<4>", "6,1,9,-;"]), max_size=9
        )
        .map("".join)
        .map(str.encode),
        st.tuples(st.binary(max_size=9), st.integers(0, 120)).map(
            lambda cut: f"[1.5] {XID_79}".encode()[: cut[1]] + cut[0]
        ),
    )
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(Unmeasured):
        log = parse_kernel_log(data)
        assert log.lines
        assert sum(event.count for event in log.events) == sum(log.counts.values())


@needs_corpus
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("kernel-fallen-off-bus-no-xid", {("fallen-off-bus", None): 1, ("probe-failed", None): 1}),
        ("kernel-peermem", {}),
        ("kernel-xid13-app-error-oom", {("xid", 13): 16, ("xid", 43): 1}),
        ("kernel-xid13-flood", {("xid", 13): 117, ("xid", 43): 3}),
        ("kernel-xid144-nonfatal-vs-149-fatal", {("xid", 144): 1, ("xid", 149): 2}),
        ("kernel-xid48-63-94-dbe", {("xid", 48): 1, ("xid", 63): 1, ("xid", 94): 9}),
    ],
)
def test_recorded_kernel_logs(name: str, counts: dict[tuple[str, int | None], int]) -> None:
    log = parse_kernel_log(recorded(f"logs/{name}.log"))
    assert log.counts == counts
    if "no-xid" in name:
        assert log.events[0].bus == "0000:b3:00.0"
        assert log.events[0].message.endswith("fallen off the bus and is not responding to commands.")
    if "nonfatal" in name:
        assert [event.nvlink_fatal for event in log.events] == [False, True]

"""Makes small reports for the tests of the writers: everything is well unless the test says otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gpu_readiness.report import CheckInfo, GpuInfo, NodeReport, Report, Run, Share, StandardInfo
from gpu_readiness.verdict import (
    Finding,
    NodeVerdict,
    Reason,
    Result,
    Severity,
    Verdict,
    first_broken,
    node_verdict,
)

CHECKS = {
    "driver.nvml": CheckInfo("driver", Severity.CRITICAL, "The driver answers within its deadline."),
    "driver.host": CheckInfo("driver", Severity.WARNING, "Kernel and module flavour are the standard's."),
    "gpu.ecc-mode": CheckInfo("gpu", Severity.CRITICAL, "ECC is set as the standard says on every GPU."),
    "gpu.clocks": CheckInfo("gpu", Severity.WARNING, "Nobody locked the clocks."),
    "workload.gemm": CheckInfo("workload", Severity.CRITICAL, "Every GPU computes right and fast enough."),
}


def a_finding(subject: str = "GPU-0", observed: str = "disabled", **fields: object) -> Finding:
    values = {
        "subject": subject,
        "field": "ecc.current",
        "expected": "enabled",
        "observed": observed,
        "source": "nvidia-smi.xml",
        "hint": "set it and reset the GPU",
    }
    return Finding(**{**values, **fields})  # type: ignore[arg-type]


def a_pass(node: str, check: str) -> Result:
    return Result(node, check, Verdict.PASS, severity_of(check))


def a_fail(node: str, check: str, *findings: Finding, since: str | None = None) -> Result:
    severity = severity_of(check)
    found = findings or (a_finding(severity=severity),)
    return Result(node, check, Verdict.FAIL, severity, findings=found, since=since)


def unmeasured(node: str, check: str, reason: Reason, detail: str = "", verdict: Verdict = Verdict.UNTESTED) -> Result:
    return Result(node, check, verdict, severity_of(check), reason, detail)


def severity_of(check: str) -> Severity:
    return CHECKS[check].severity if check in CHECKS else Severity.CRITICAL


def a_node(name: str, results: Iterable[Result], depth: str = "smi", gpus: int = 2) -> NodeReport:
    own = [result for result in results if result.node == name]
    verdict = node_verdict(own)
    return NodeReport(
        name=name,
        standard="h100-exclusive",
        verdict=verdict,
        first_broken=first_broken(own, verdict),
        depth=depth,
        gpus=tuple(GpuInfo(index, f"GPU-{index}", "NVIDIA H100 80GB HBM3") for index in range(gpus)),
        expected_gpus=gpus,
    )


def a_report(results: Iterable[Result], *, exit_code: int | None = None, notes: Iterable[str] = ()) -> Report:
    """A report at depth smi whose nodes are those of the results, with verdicts that follow from them."""
    results = list(results)
    nodes = [a_node(name, results) for name in dict.fromkeys(result.node for result in results)]
    words = {node.verdict for node in nodes}
    code = 1 if NodeVerdict.NOT_READY in words else 6 if NodeVerdict.UNKNOWN in words else 0
    planned = [result for result in results if result.planned]
    return Report(
        run=Run(
            id="r-1",
            started="2026-11-20T10:00:00Z",
            finished="2026-11-20T10:01:00Z",
            gate="acceptance",
            depth="smi",
            source_kind="snapshot",
            source_name="lab",
            version="0.1.0",
            standards=(StandardInfo("h100-exclusive", "sha256:00"),),
        ),
        exit_code=code if exit_code is None else exit_code,
        checks=dict(CHECKS),
        nodes=nodes,
        results=results,
        coverage_nodes=Share(len(nodes), len(nodes)),
        coverage_gpus=Share(2 * len(nodes), 2 * len(nodes)),
        coverage_checks=Share(sum(result.measured for result in planned), len(planned)),
        notes=list(notes),
    )


def a_mixed_report() -> Report:
    """Six nodes: ready, degraded, two with one fault, one never measured, one whose driver hung up on us."""
    results = [a_pass("gpu-a", check) for check in ("driver.nvml", "driver.host", "gpu.ecc-mode")]
    results += [
        a_pass("gpu-b", "driver.nvml"),
        a_fail(
            "gpu-b",
            "driver.host",
            a_finding(
                "gpu-b",
                "6.1.0",
                field="kernel",
                expected="6.8.*",
                source="nodes.json",
                hint="",
                severity=Severity.WARNING,
            ),
        ),
    ]
    for name in ("gpu-c", "gpu-d"):
        results += [
            a_pass(name, "driver.nvml"),
            a_fail(name, "gpu.ecc-mode", a_finding("GPU-0"), a_finding("GPU-1"), since="2026-11-19T00:00:00Z"),
        ]
    results += [
        unmeasured("gpu-e", "driver.nvml", Reason.MISSING, "no nvidia-smi.xml"),
        unmeasured("gpu-e", "driver.host", Reason.BLOCKED, "blocked by driver.nvml"),
        unmeasured("gpu-e", "gpu.ecc-mode", Reason.BLOCKED, "blocked by driver.nvml"),
    ]
    results += [
        a_fail("gpu-f", "gpu.ecc-mode", a_finding("GPU-1", "pending | reset")),
        unmeasured("gpu-f", "gpu.clocks", Reason.UNPARSABLE, "line 3:\nmismatched tag", Verdict.ERROR),
        unmeasured("gpu-f", "workload.gemm", Reason.NOT_SELECTED),
        Result("gpu-f", "driver.host", Verdict.WAIVED, Severity.WARNING, detail="until 2027-01-01: new kernel"),
    ]
    return a_report(results, notes=["gpu-e has no GPU labels"])


#: What attackers, broken drivers and Unicode bring along.
HOSTILE_TEXTS = (
    "\x1b[2J\x1b[32mALL NODES READY\x1b[0m\x1b]0;owned\x07\r\nexit 0\x08\x08",
    "\x9b31mred\x9d0;title\x9c\x85\x7f",
    "x | y |\n\n# All nodes ready\n\n| x | y |\n|---|---|\n![](http://evil.example/p)\n```\n[k](javascript:a) @all",
    "` `` ``` @team <img src=x> `` `",
    "\\|<b>\\`|`[a](b)\\",
    "<script>alert(1)</script>]]>&amp;<![CDATA[ <!-- ",
    "\x00\x01\x0b\x0c\x1f\ufffe\uffff\ufdd0 end",
    "\ud800 lone \udfff\udc80",
    "\u202egnp.exe\u2066\u200b\ufeff\u2028\u2029\U000e0041",
    "`" * 600,
    "",
    "   ",
    "漢字 🔥" * 300,
)


def a_hostile_report(text: str) -> Report:
    """Two nodes, and `text` wherever text can come from outside."""
    names = [f"n{text}", f"m{text}"]
    finding = Finding(text, text, text, text, text, text)
    results = []
    for name in names:
        results += [
            a_fail(name, "gpu.ecc-mode", finding, a_finding(observed=text), since=text),
            unmeasured(name, f"mine.{text}", Reason.DENIED, text),
            unmeasured(name, "gpu.clocks", Reason.TIMEOUT, text, Verdict.ERROR),
            a_fail(name, "driver.host", a_finding(observed=text, severity=Severity.WARNING)),
            Result(name, "workload.gemm", Verdict.WAIVED, Severity.CRITICAL, detail=text, findings=(finding,)),
        ]
    report = a_report(results, notes=[text])
    report.run = replace(report.run, source_name=text, source_kind=text, gate=text, depth=text, version=text, id=text)
    report.checks[f"mine.{text}"] = CheckInfo(text, Severity.CRITICAL, text)
    report.nodes = [replace(node, standard=text, depth=text, gpus=(GpuInfo(0, text, text),)) for node in report.nodes]
    return report

"""Layer 6, telemetry: the node's own exporter answers, for every GPU, and what it says is good news."""

from __future__ import annotations

from gpu_readiness import (
    Node,
    Standard,
    State,
    check,
    exporter_disagreements,
    exporter_faults,
    exporter_strangers,
    gpu_history,
    missing_metrics,
    prometheus_series,
)

SCRAPE = ("telemetry.scrape",)


@check("telemetry.scrape", hint="look at the exporter's pod on this node; its /health says 200 whatever happens")
def test_scrape(node: Node) -> None:
    """This node's own exporter answered with metrics."""
    exporter = node.exporter
    others = sorted(name for name in exporter.hostnames if name != node.name and name in node.cluster.nodes)
    node.require(
        not others,
        "hostname",
        expected=node.name,
        observed=others,
        source="dcgm.prom",
        hint="the scrape is another node's",
    )
    node.require(bool(exporter.gpus), "series", expected="of GPUs", observed="none", source="dcgm.prom")


@check(
    "telemetry.every-gpu",
    needs=("driver.nvml", *SCRAPE),
    depth="smi",
    hint="restart the exporter after a GPU or MIG change",
)
def test_every_gpu(node: Node) -> None:
    """The exporter has the series of every GPU and MIG instance that NVML has, and of no stranger."""
    exporter = node.exporter
    for gpu in node.gpus:
        series = exporter.gpus.get(gpu.uuid)
        if not gpu.require(
            series is not None, "series", expected="in the scrape", observed="missing", source="dcgm.prom"
        ):
            continue
        if gpu.mig_enabled and series is not None:
            expected = {device.instance for device in gpu.mig_devices}
            observed = {instance for instance, _ in series.instances}
            gpu.require(observed == expected, "GPU_I_ID", expected=expected, observed=observed, source="dcgm.prom")
    strangers = exporter_strangers(node)
    node.require(not strangers, "UUID", expected="GPUs of this node", observed=strangers, source="dcgm.prom")


@check("telemetry.metrics", needs=SCRAPE, hint="add the metric to the exporter's counters file")
def test_metrics(node: Node, standard: Standard) -> None:
    """Every required metric is there for every GPU, and none of them is blank."""
    for uuid, metric, problem in missing_metrics(node, standard):
        node.require(False, f"{metric} of {uuid}", expected="a value", observed=problem, source="dcgm.prom")
    node.require(bool(node.exporter.names), "metrics", expected="some", observed="none", source="dcgm.prom")


@check("telemetry.agrees", severity="warning", needs=("driver.nvml", *SCRAPE), depth="smi", hint="restart the exporter")
def test_agrees(node: Node) -> None:
    """The exporter's driver version and memory agree with NVML's."""
    for field, expected, observed in exporter_disagreements(node):
        node.require(False, field, expected=expected, observed=observed, source="dcgm.prom")
    node.require(bool(node.gpus), "GPUs", expected="some", observed="none", source="dcgm.prom")


@check(
    "telemetry.health",
    needs=SCRAPE,
    hint="see the XID's class in docs/xid.md; a sticky XID goes away with the exporter's restart",
)
def test_health(node: Node, standard: Standard) -> None:
    """The scrape shows no fatal XID, no failed row remap and no double-bit error."""
    for uuid, fault, grade, hint in exporter_faults(node, standard):
        node.require(
            False,
            f"health of {uuid}",
            expected="no fault",
            observed=fault,
            source="dcgm.prom",
            hint=hint,
            severity=grade,
        )
    node.require(bool(node.exporter.gpus), "series", expected="of GPUs", observed="none", source="dcgm.prom")


@check(
    "telemetry.prometheus",
    needs=("?driver.nvml",),
    hint="look at Prometheus' targets: is this node's exporter scraped, and does a relabelling rule drop its series?",
)
def test_prometheus(node: Node, standard: Standard) -> None:
    """Prometheus has the series of every GPU of this node, and they are fresh."""
    for uuid, age, limit in prometheus_series(node, standard):
        there = age.state is not State.ABSENT
        node.require(there, f"series of {uuid}", expected="in Prometheus", observed="missing", source="prometheus.json")
        if there:
            node.judge(f"age of the samples of {uuid}", age, limit)


@check(
    "telemetry.history", severity="warning", hint="look at the series in Prometheus: when did it begin, and what ran?"
)
def test_history(node: Node, standard: Standard) -> None:
    """Over the window, Prometheus has no XID, slowdown, PCIe replays or ECC errors beyond the limits."""
    for each in gpu_history(node, standard):
        node.judge_if_known(each.field, each.reading, each.limit, hint=each.hint)

"""GPU node readiness for Kubernetes, as a pytest plugin.

What a check needs is exported here, and nothing else is public: `check`, the nouns it reads (`Node`, `Gpu`,
`Standard`), what it may raise (`Unmeasured`, `NotApplicable`), and facts that follow from evidence. Names are loaded
on first use: this package is imported in every pytest run of whoever installed it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_readiness.declaration import NotApplicable, check
    from gpu_readiness.evidence.reading import Reading, State, Unmeasured
    from gpu_readiness.facts.components import advertisers, component, expected_components, image_tag
    from gpu_readiness.facts.conditions import judged_conditions
    from gpu_readiness.facts.gpus import (
        bad_fabric_bits,
        gpus_with_ecc,
        has_no_mig,
        idle_gpus,
        mig_layout,
        odd_ones_out,
        repairs_by,
        thermal_limit,
        uncorrectable_now,
        volatile_limit,
        wanted_layout,
    )
    from gpu_readiness.facts.kernel import fatal_xids, graded_events, mismatched_modules
    from gpu_readiness.facts.labels import (
        broken_layout,
        is_gfd_label,
        judged_taints,
        label_truths,
        mig_manager_labels,
        paused_or_moving,
    )
    from gpu_readiness.facts.prometheus import gpu_history, prometheus_series
    from gpu_readiness.facts.resources import (
        dissenters,
        dra_pool,
        expected_resources,
        is_left_over,
        mig_witnesses,
        quantities,
        requested,
        said_quantities,
        uses_dra,
        witnesses,
    )
    from gpu_readiness.facts.telemetry import (
        exporter_disagreements,
        exporter_faults,
        exporter_strangers,
        missing_metrics,
    )
    from gpu_readiness.facts.upgrade import eviction_obstacles, pods_on_drain, row_of, unplaceable
    from gpu_readiness.facts.workloads import judge_workload, serving_figure, serving_run
    from gpu_readiness.gpu import Gpu
    from gpu_readiness.node import Node
    from gpu_readiness.standard import Expected, Standard
    from gpu_readiness.verdict import Finding, Reason, Severity, Verdict

__version__ = "0.1.0"

_HOMES = {
    "judge_workload": "gpu_readiness.facts.workloads",
    "serving_figure": "gpu_readiness.facts.workloads",
    "serving_run": "gpu_readiness.facts.workloads",
    "NotApplicable": "gpu_readiness.declaration",
    "check": "gpu_readiness.declaration",
    "Reading": "gpu_readiness.evidence.reading",
    "State": "gpu_readiness.evidence.reading",
    "Unmeasured": "gpu_readiness.evidence.reading",
    "advertisers": "gpu_readiness.facts.components",
    "component": "gpu_readiness.facts.components",
    "expected_components": "gpu_readiness.facts.components",
    "image_tag": "gpu_readiness.facts.components",
    "judged_conditions": "gpu_readiness.facts.conditions",
    "bad_fabric_bits": "gpu_readiness.facts.gpus",
    "gpus_with_ecc": "gpu_readiness.facts.gpus",
    "has_no_mig": "gpu_readiness.facts.gpus",
    "idle_gpus": "gpu_readiness.facts.gpus",
    "mig_layout": "gpu_readiness.facts.gpus",
    "odd_ones_out": "gpu_readiness.facts.gpus",
    "repairs_by": "gpu_readiness.facts.gpus",
    "thermal_limit": "gpu_readiness.facts.gpus",
    "uncorrectable_now": "gpu_readiness.facts.gpus",
    "volatile_limit": "gpu_readiness.facts.gpus",
    "wanted_layout": "gpu_readiness.facts.gpus",
    "fatal_xids": "gpu_readiness.facts.kernel",
    "graded_events": "gpu_readiness.facts.kernel",
    "mismatched_modules": "gpu_readiness.facts.kernel",
    "broken_layout": "gpu_readiness.facts.labels",
    "is_gfd_label": "gpu_readiness.facts.labels",
    "judged_taints": "gpu_readiness.facts.labels",
    "label_truths": "gpu_readiness.facts.labels",
    "mig_manager_labels": "gpu_readiness.facts.labels",
    "paused_or_moving": "gpu_readiness.facts.labels",
    "gpu_history": "gpu_readiness.facts.prometheus",
    "prometheus_series": "gpu_readiness.facts.prometheus",
    "dissenters": "gpu_readiness.facts.resources",
    "dra_pool": "gpu_readiness.facts.resources",
    "expected_resources": "gpu_readiness.facts.resources",
    "is_left_over": "gpu_readiness.facts.resources",
    "mig_witnesses": "gpu_readiness.facts.resources",
    "quantities": "gpu_readiness.facts.resources",
    "requested": "gpu_readiness.facts.resources",
    "said_quantities": "gpu_readiness.facts.resources",
    "uses_dra": "gpu_readiness.facts.resources",
    "witnesses": "gpu_readiness.facts.resources",
    "exporter_disagreements": "gpu_readiness.facts.telemetry",
    "exporter_faults": "gpu_readiness.facts.telemetry",
    "exporter_strangers": "gpu_readiness.facts.telemetry",
    "missing_metrics": "gpu_readiness.facts.telemetry",
    "eviction_obstacles": "gpu_readiness.facts.upgrade",
    "pods_on_drain": "gpu_readiness.facts.upgrade",
    "row_of": "gpu_readiness.facts.upgrade",
    "unplaceable": "gpu_readiness.facts.upgrade",
    "Gpu": "gpu_readiness.gpu",
    "Node": "gpu_readiness.node",
    "Expected": "gpu_readiness.standard",
    "Standard": "gpu_readiness.standard",
    "Finding": "gpu_readiness.verdict",
    "Reason": "gpu_readiness.verdict",
    "Severity": "gpu_readiness.verdict",
    "Verdict": "gpu_readiness.verdict",
}

__all__ = [
    "Expected",
    "Finding",
    "Gpu",
    "Node",
    "NotApplicable",
    "Reading",
    "Reason",
    "Severity",
    "Standard",
    "State",
    "Unmeasured",
    "Verdict",
    "advertisers",
    "bad_fabric_bits",
    "broken_layout",
    "check",
    "component",
    "dissenters",
    "dra_pool",
    "eviction_obstacles",
    "expected_components",
    "expected_resources",
    "exporter_disagreements",
    "exporter_faults",
    "exporter_strangers",
    "fatal_xids",
    "gpu_history",
    "gpus_with_ecc",
    "graded_events",
    "has_no_mig",
    "idle_gpus",
    "image_tag",
    "is_gfd_label",
    "is_left_over",
    "judge_workload",
    "judged_conditions",
    "judged_taints",
    "label_truths",
    "mig_layout",
    "mig_manager_labels",
    "mig_witnesses",
    "mismatched_modules",
    "missing_metrics",
    "odd_ones_out",
    "paused_or_moving",
    "pods_on_drain",
    "prometheus_series",
    "quantities",
    "repairs_by",
    "requested",
    "row_of",
    "said_quantities",
    "serving_figure",
    "serving_run",
    "thermal_limit",
    "uncorrectable_now",
    "unplaceable",
    "uses_dra",
    "volatile_limit",
    "wanted_layout",
    "witnesses",
]


def __getattr__(name: str) -> Any:
    """Load a public name from where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value

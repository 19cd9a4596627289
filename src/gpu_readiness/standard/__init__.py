"""Node standards: what a node has to be, read from YAML, and which standard is whose."""

from __future__ import annotations

from gpu_readiness.standard.detect import sharing_of, stack_of
from gpu_readiness.standard.errors import StandardError
from gpu_readiness.standard.expected import Expected, Order
from gpu_readiness.standard.learn import Learned, learn
from gpu_readiness.standard.library import Library
from gpu_readiness.standard.match import NodeFacts
from gpu_readiness.standard.model import HardwareEntry, Standard
from gpu_readiness.standard.schema import schema_text, standard_schema
from gpu_readiness.standard.sections import (
    AllocatableStandard,
    ComponentStandard,
    DriverStandard,
    GpuStandard,
    HostStandard,
    LabelsStandard,
    Limits,
    Match,
    MigStandard,
    RuntimeStandard,
    ServingStandard,
    SharingStandard,
    TelemetryStandard,
    UpgradeRow,
    UpgradeStandard,
    UpgradeTarget,
    Waiver,
    XidStandard,
)
from gpu_readiness.standard.show import Row, rows

__all__ = [
    "AllocatableStandard",
    "ComponentStandard",
    "DriverStandard",
    "Expected",
    "GpuStandard",
    "HardwareEntry",
    "HostStandard",
    "LabelsStandard",
    "Learned",
    "Library",
    "Limits",
    "Match",
    "MigStandard",
    "NodeFacts",
    "Order",
    "Row",
    "RuntimeStandard",
    "ServingStandard",
    "SharingStandard",
    "Standard",
    "StandardError",
    "TelemetryStandard",
    "UpgradeRow",
    "UpgradeStandard",
    "UpgradeTarget",
    "Waiver",
    "XidStandard",
    "learn",
    "rows",
    "schema_text",
    "sharing_of",
    "stack_of",
    "standard_schema",
]

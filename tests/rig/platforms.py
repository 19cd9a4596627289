"""The platforms on which GPU nodes run, one for each stack that has a shipped standard: what tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gpu_readiness.demo.models import H100, L40S, T4, Model
from gpu_readiness.demo.pools import H100_POOL, POOLS, Component, Host, Pool

_IMAGES = "nvcr.io/nvidia"
_NAME = "app.kubernetes.io/name"
#: As their Helm charts install them.
_PLUGIN = Component("device-plugin", (_NAME, "nvidia-device-plugin"), f"{_IMAGES}/k8s-device-plugin", "v0.20.0")
_EXPORTER = Component(
    "dcgm-exporter", (_NAME, "dcgm-exporter"), f"{_IMAGES}/k8s/dcgm-exporter", "4.6.0-4.8.3-ubuntu22.04"
)
_AGENT = Component("node-monitoring-agent", (_NAME, "eks-node-monitoring-agent"), "example.com/eks/agent", "v1.4.1")
_OPERATOR_LABELS = ("nvidia.com/", "feature.node.kubernetes.io/")
_UBUNTU = Host("Ubuntu 22.04.5 LTS", "5.15.0-1089-azure", "containerd://1.7.28")
_AMAZON = Host("Amazon Linux 2023.9.20250929", "6.12.46-66.121.amzn2023.x86_64", "containerd://2.1.4")
_BOTTLEROCKET = Host("Bottlerocket OS 1.52.0 (aws-k8s-1.34-nvidia)", "6.12.46", "containerd://2.1.4+bottlerocket")
_COS = Host("Container-Optimized OS from Google", "6.6.97+", "containerd://2.0.6")
_RHCOS = Host(
    "Red Hat Enterprise Linux CoreOS 418.94.202508060022-0", "5.14.0-427.81.1.el9_4.x86_64", "cri-o://1.31.11"
)


@dataclass(frozen=True, slots=True)
class Platform(Pool):
    """A pool of the demo on a platform. `runs`: its components, and `where`: their namespace; None for the pool's own.

    `kubelet` follows the version of the kubelet. `labels` and `conditions` are the platform's; labels that begin with
    one of `without` are not there. `classes`: its RuntimeClasses.
    """

    runs: tuple[Component, ...] | None = None
    where: str | None = None
    kubelet: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = _OPERATOR_LABELS
    classes: tuple[str, ...] = ()

    @property
    def components(self) -> tuple[Component, ...]:
        """What runs on each of its nodes."""
        return super(Platform, self).components if self.runs is None else self.runs

    @property
    def namespace(self) -> str:
        """Where its stack runs."""
        return super(Platform, self).namespace if self.where is None else self.where

    @property
    def operated(self) -> bool:
        """Whether there is a GPU operator."""
        return self.stack == "gpu-operator" and self.runs is None


def _of(pool: Pool, key: str, **more: object) -> Platform:
    said = {name: getattr(pool, name) for name in Pool.__dataclass_fields__}
    return Platform(**said | {"key": key, "taint": None, "title": f"GPU nodes of the stack {key}"} | more)


def _plain(key: str, model: Model, gpus: int, host: Host, **more: object) -> Platform:
    """A platform with a device plugin and an exporter, and without an operator."""
    given = {"runs": (_PLUGIN, _EXPORTER), "where": "gpu", **more}
    return _of(H100_POOL, key, model=model, gpus=gpus, host=host, **given)


_GKE_LABELS = {
    "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
    "cloud.google.com/gke-accelerator-count": "8",
    "cloud.google.com/gke-gpu": "true",
    "cloud.google.com/gke-gpu-driver-version": "latest",
}
_GKE_PLUGIN = Component(
    "device-plugin", ("k8s-app", "nvidia-gpu-device-plugin"), "gke.gcr.io/nvidia-gpu-device-plugin", "1.0.48"
)
_GKE_EXPORTER = replace(_EXPORTER, label=(_NAME, "gke-managed-dcgm-exporter"))
_DRA_POOL = next(pool for pool in POOLS if pool.stack == "dra")

#: By the name of the stack's standard.
PLATFORMS: dict[str, Platform] = {
    each.key: each
    for each in (
        _of(H100_POOL, "gpu-operator", taint=H100_POOL.taint, without=(), classes=("nvidia",)),
        _of(
            H100_POOL,
            "openshift",
            host=_RHCOS,
            where="nvidia-gpu-operator",
            labels={"node.openshift.io/os_id": "rhel", "feature.node.kubernetes.io/system-os_release.ID": "rhel"},
            without=("feature.node.kubernetes.io/system-os_release",),
            classes=("nvidia",),
        ),
        _of(_DRA_POOL, "dra", without=()),
        _plain(
            "gke",
            H100,
            8,
            _COS,
            runs=(_GKE_PLUGIN, _GKE_EXPORTER),
            where="kube-system",
            kubelet="-gke.1758000",
            labels=_GKE_LABELS,
            conditions={"XidCriticalError": "False"},
            taint=H100_POOL.taint,
        ),
        _plain(
            "eks",
            L40S,
            4,
            _AMAZON,
            runs=(_PLUGIN, _EXPORTER, _AGENT),
            kubelet="-eks-113cf36",
            labels={"eks.amazonaws.com/nodegroup": "gpu", "k8s.amazonaws.com/accelerator": "nvidia-l40s"},
            conditions={"AcceleratedHardwareReady": "True"},
        ),
        _plain(
            "eks-bottlerocket",
            L40S,
            4,
            _BOTTLEROCKET,
            runs=(_EXPORTER, _AGENT),
            kubelet="-eks-113cf36",
            labels={"eks.amazonaws.com/nodegroup": "gpu", "k8s.amazonaws.com/accelerator": "nvidia-l40s"},
            conditions={"AcceleratedHardwareReady": "True"},
        ),
        _plain(
            "aks",
            T4,
            4,
            _UBUNTU,
            labels={"kubernetes.azure.com/accelerator": "nvidia", "kubernetes.azure.com/agentpool": "gpu"},
            classes=("nvidia-container-runtime",),
        ),
        _plain("k3s", L40S, 4, _UBUNTU, kubelet="+k3s1", classes=("nvidia", "nvidia-cdi")),
        _plain("plain", T4, 4, _UBUNTU),
    )
}

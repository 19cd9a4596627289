"""The pools of the demo fleet: one way to run GPUs each, with the stack that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpu_readiness.demo.models import A100, GB200, H100, L40S, T4, Model

POOL_LABEL = "example.com/gpu-pool"
KUBELET = "v1.34.2"
OPERATOR = "v26.7.0"
_NGC = "nvcr.io/nvidia"
_DRA_IMAGE = "registry.k8s.io/dra-driver-nvidia/dra-driver-nvidia-gpu"


@dataclass(frozen=True, slots=True)
class Component:
    """A DaemonSet of the GPU stack: its name in standards, the label that its pods are found by, its image."""

    name: str
    label: tuple[str, str]
    image: str
    version: str


@dataclass(frozen=True, slots=True)
class Host:
    """What a pool's nodes run on."""

    os_image: str
    kernel: str
    runtime: str
    architecture: str = "amd64"


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes that are all alike. `layout`: the MIG profiles on every GPU. `taint`: key, value and effect."""

    key: str
    title: str
    model: Model
    gpus: int
    driver: str
    cuda: str
    host: Host
    stack: Literal["gpu-operator", "dra"] = "gpu-operator"
    sharing: Literal["exclusive", "mig-mixed", "time-slicing"] = "exclusive"
    replicas: int = 1
    layout: tuple[str, ...] = ()
    taint: tuple[str, str, str] | None = None

    @property
    def namespace(self) -> str:
        """Where its stack runs."""
        return "gpu-operator" if self.stack == "gpu-operator" else "nvidia-dra-driver-gpu"

    @property
    def components(self) -> tuple[Component, ...]:
        """What runs on each of its nodes."""
        dra = Component("dra-driver", ("app.kubernetes.io/name", "dra-driver-nvidia-gpu"), _DRA_IMAGE, "v0.5.0")
        exporter = Component(
            "dcgm-exporter", ("app", "nvidia-dcgm-exporter"), f"{_NGC}/k8s/dcgm-exporter", "4.6.0-4.8.3-distroless"
        )
        if self.stack == "dra":
            return dra, exporter
        system = "ubuntu" + self.host.os_image.split()[1][:5]
        plugin = f"{_NGC}/k8s-device-plugin"
        found = [
            Component("driver", ("app", "nvidia-driver-daemonset"), f"{_NGC}/driver", f"{self.driver}-{system}"),
            Component(
                "toolkit", ("app", "nvidia-container-toolkit-daemonset"), f"{_NGC}/k8s/container-toolkit", "v1.20.0"
            ),
            Component("device-plugin", ("app", "nvidia-device-plugin-daemonset"), plugin, "v0.20.0"),
            Component("gfd", ("app", "gpu-feature-discovery"), plugin, "v0.20.0"),
            exporter,
            Component("validator", ("app", "nvidia-operator-validator"), f"{_NGC}/gpu-operator", OPERATOR),
        ]
        if self.model.mig_capable:
            manager = f"{_NGC}/cloud-native/k8s-mig-manager"
            found.append(Component("mig-manager", ("app", "nvidia-mig-manager"), manager, "v0.15.0"))
        if self.model.fabric == "mnnvl":
            found.append(dra)
        return tuple(found)


_JAMMY = Host("Ubuntu 22.04.5 LTS", "5.15.0-153-generic", "containerd://1.7.28")
_NOBLE_AWS = Host("Ubuntu 24.04.3 LTS", "6.8.0-1035-aws", "containerd://2.1.4")
H100_POOL = Pool(
    "h100",
    "Eight H100 SXM per node, one pod per GPU",
    H100,
    8,
    "580.105.08",
    "13.0",
    _JAMMY,
    taint=("nvidia.com/gpu", "present", "NoSchedule"),
)
POOLS: tuple[Pool, ...] = (
    H100_POOL,
    Pool(
        "a100-mig",
        "Four A100 per node, each of them divided by MIG, strategy mixed",
        A100,
        4,
        "570.148.08",
        "12.8",
        _JAMMY,
        sharing="mig-mixed",
        layout=("3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb"),
    ),
    Pool(
        "t4-shared",
        "Four T4 per node, time-sliced among four pods each",
        T4,
        4,
        "595.91.07",
        "13.2",
        _NOBLE_AWS,
        sharing="time-slicing",
        replicas=4,
    ),
    Pool("l40s", "Four L40S per node, one pod per GPU", L40S, 4, "595.91.07", "13.2", _NOBLE_AWS),
    Pool(
        "h100-dra",
        "Eight H100 SXM per node, handed out by the DRA driver",
        H100,
        8,
        "580.105.08",
        "13.0",
        Host("Ubuntu 24.04.3 LTS", "6.8.0-71-generic", "containerd://2.1.4"),
        stack="dra",
    ),
    Pool(
        "gb200",
        "Four GB200 per compute tray of an NVL72 rack",
        GB200,
        4,
        "580.173.02",
        "13.0",
        Host("Ubuntu 24.04.3 LTS", "6.8.0-1043-nvidia-64k", "containerd://2.1.4", "arm64"),
    ),
)

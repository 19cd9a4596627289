"""The labels of a node: GPU Feature Discovery's, Node Feature Discovery's and the GPU operator's."""

from __future__ import annotations

from gpu_readiness.demo.node import DemoNode
from gpu_readiness.demo.pools import POOL_LABEL

CLUSTER_UUID = "5f1c8a0e-9c1d-4f0b-8f57-7d6f3c2b9a41"
CLIQUE = "1"
_OPERANDS = (
    "driver",
    "gpu-feature-discovery",
    "container-toolkit",
    "device-plugin",
    "dcgm",
    "dcgm-exporter",
    "node-status-exporter",
    "operator-validator",
    "client",
)


def node_labels(node: DemoNode) -> dict[str, str]:
    """All labels of the Node object."""
    architecture = node.pool.host.architecture
    found = {
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": node.pool.model.machine,
        "topology.kubernetes.io/zone": "zone-a",
        POOL_LABEL: node.pool.key,
    }
    return found | nfd_labels(node) | gfd_labels(node) | _operator_labels(node) | node.labels


def nfd_labels(node: DemoNode) -> dict[str, str]:
    """What Node Feature Discovery writes."""
    host = node.pool.host
    prefix = "feature.node.kubernetes.io/"
    return {
        f"{prefix}kernel-version.full": host.kernel,
        f"{prefix}pci-10de.present": "true",
        f"{prefix}system-os_release.ID": "ubuntu",
        f"{prefix}system-os_release.VERSION_ID": host.os_image.split()[1][:5],
    }


def gfd_labels(node: DemoNode) -> dict[str, str]:
    """What GPU Feature Discovery writes; nothing where the DRA driver takes its place."""
    pool, model = node.pool, node.pool.model
    if pool.stack == "dra":
        return {}
    mig = any(gpu.mig for gpu in node.gpus)
    shared = node.replicas > 1
    found = {
        **_versions("driver", pool.driver, ("major", "minor", "revision"), ("major", "minor", "rev")),
        **_versions("runtime", pool.cuda, ("major", "minor"), ("major", "minor")),
        "gfd.timestamp": "1787033811",
        "gpu.compute.major": str(model.compute[0]),
        "gpu.compute.minor": str(model.compute[1]),
        "gpu.count": str(len(node.gpus)),
        "gpu.family": model.architecture.lower().replace(" ", "-"),
        "gpu.machine": model.machine,
        "gpu.memory": str(model.memory),
        "gpu.mode": "compute",
        "gpu.product": model.label + ("-SHARED" if shared else ""),
        "gpu.replicas": "0" if mig else str(node.replicas),
        "gpu.sharing-strategy": "time-slicing" if shared else "none",
        "mig.capable": str(model.mig_capable).lower(),
        "mps.capable": "false",
        "vgpu.present": "false",
    }
    if mig:
        found["mig.strategy"] = "mixed"
    if model.fabric == "mnnvl" and all(gpu.fabric == "Completed" for gpu in node.gpus):
        found["gpu.clique"] = f"{CLUSTER_UUID}.{CLIQUE}"
    for name, count in node.mig_devices.items():
        profile = model.mig_profiles[name]
        found |= {
            f"mig-{name}.count": str(count),
            f"mig-{name}.engines.copy": str(profile.copy_engines),
            f"mig-{name}.engines.decoder": str(profile.decoders),
            f"mig-{name}.memory": str(profile.memory),
            f"mig-{name}.multiprocessors": str(profile.multiprocessors),
            f"mig-{name}.product": f"{model.label}-MIG-{name}",
            f"mig-{name}.replicas": "1",
            f"mig-{name}.sharing-strategy": "none",
            f"mig-{name}.slices.ci": name[0],
            f"mig-{name}.slices.gi": name[0],
        }
    return {f"nvidia.com/{key}": value for key, value in found.items()}


def _versions(what: str, version: str, parts: tuple[str, ...], old_parts: tuple[str, ...]) -> dict[str, str]:
    """A version as a whole and in parts, in the current spelling and in the deprecated one."""
    numbers = version.split(".")
    current = {f"cuda.{what}-version.{part}": number for part, number in zip(parts, numbers, strict=True)}
    deprecated = {f"cuda.{what}.{part}": number for part, number in zip(old_parts, numbers, strict=True)}
    return current | deprecated | {f"cuda.{what}-version.full": version}


def _operator_labels(node: DemoNode) -> dict[str, str]:
    if node.pool.stack == "dra":
        return {"nvidia.com/gpu.deploy.operands": "false"}
    found = {"gpu.present": "true", "gpu-driver-upgrade-state": "upgrade-done"}
    found |= {f"gpu.deploy.{operand}": "true" for operand in _OPERANDS}
    if node.pool.model.mig_capable:
        wanted = "all-balanced" if node.pool.layout else "all-disabled"
        found |= {"gpu.deploy.mig-manager": "true", "mig.config": wanted, "mig.config.state": "success"}
    return {f"nvidia.com/{key}": value for key, value in found.items()}

"""What a node says of itself: which stack hands out its GPUs, and how they are shared."""

from __future__ import annotations

import re
from collections.abc import Mapping

_GPU = "nvidia.com/gpu"
_GKE = "cloud.google.com/gke-"
_SHARINGS = {"time-slicing": "time-slicing", "time-sharing": "time-slicing", "mps": "mps"}


def stack_of(
    labels: Mapping[str, str],
    os_image: str,
    kubelet_version: str,
    has_cluster_policy: bool,
    has_dra_gpu_slices: bool,
    resources: Mapping[str, str],
) -> str:
    """The name of the stack standard that fits a node, without its folder.

    `has_cluster_policy` is a fact of the cluster, the rest are the node's; `resources` is its capacity.
    """
    operated = any(key.startswith("nvidia.com/gpu.deploy.") for key in labels)
    on_gke = "-gke." in kubelet_version or any(key.startswith((f"{_GKE}gpu", f"{_GKE}accelerator")) for key in labels)
    if on_gke and not operated:
        return "gke"
    if has_dra_gpu_slices and not _advertises(resources):
        return "dra"
    if operated or has_cluster_policy:
        return "openshift" if "CoreOS" in os_image or "node.openshift.io/os_id" in labels else "gpu-operator"
    if os_image.startswith("Bottlerocket"):
        return "eks-bottlerocket"
    if "-eks-" in kubelet_version or any(key.startswith("eks.amazonaws.com/") for key in labels):
        return "eks"
    if any(key.startswith("kubernetes.azure.com/") for key in labels):
        return "aks"
    if "+k3s" in kubelet_version or "+rke2" in kubelet_version:
        return "k3s"
    return "plain"


def sharing_of(labels: Mapping[str, str], mig_enabled: bool | None) -> tuple[str, int | None]:
    """The name of the sharing standard that fits a node, without its folder, and its replicas where GPUs are shared.

    What MIG manager was asked for counts more than `mig_enabled` (None: nobody looked), so that a GPU which lost its
    MIG mode is not taken for one that never had it. MIG without a strategy is no way to share: it is left for the
    check of the MIG mode to find.
    """
    strategy = labels.get("nvidia.com/gpu.sharing-strategy") or labels.get(f"{_GKE}gpu-sharing-strategy", "")
    said = labels.get("nvidia.com/gpu.replicas") or labels.get(f"{_GKE}max-shared-clients-per-gpu", "")
    shared = _SHARINGS.get(strategy)
    number = int(said) if shared and re.fullmatch(r"[0-9]{1,6}", said) else 0
    replicas = number if number > 1 else None
    if _wants_mig(labels, mig_enabled):
        mixed = labels.get("nvidia.com/mig.strategy") == "mixed" or not _has_feature_labels(labels)
        single = f"{_GKE}gpu-partition-size" in labels
        return ("mig-mixed" if mixed and not single else "mig-single"), replicas
    return shared or "exclusive", replicas


def _wants_mig(labels: Mapping[str, str], mig_enabled: bool | None) -> bool:
    wanted = labels.get("nvidia.com/mig.config")
    strategy = labels.get("nvidia.com/mig.strategy")
    if f"{_GKE}gpu-partition-size" in labels:
        return True
    if wanted is not None:
        return wanted != "all-disabled" and strategy in ("single", "mixed")
    if mig_enabled is not None:
        return mig_enabled and (strategy in ("single", "mixed") or not _has_feature_labels(labels))
    devices = any(key.startswith("nvidia.com/mig-") and key.endswith(".count") for key in labels)
    return devices or "-MIG-" in labels.get(f"{_GPU}.product", "")


def _has_feature_labels(labels: Mapping[str, str]) -> bool:
    return f"{_GPU}.product" in labels


def _advertises(resources: Mapping[str, str]) -> bool:
    own = (value for key, value in resources.items() if key.startswith((_GPU, "nvidia.com/mig-")))
    return any(str(value).strip() not in ("", "0") for value in own)

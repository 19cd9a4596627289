from __future__ import annotations

import json

import pytest
from corpus import CORPUS, needs_corpus

from gpu_readiness.standard import sharing_of, stack_of

UBUNTU = "Ubuntu 22.04.5 LTS"
OPERATED = {"nvidia.com/gpu.deploy.device-plugin": "true"}
GPU = {"nvidia.com/gpu": "8"}


@pytest.mark.parametrize(
    ("stack", "labels", "os_image", "kubelet", "policy", "slices", "resources"),
    [
        ("gpu-operator", OPERATED, UBUNTU, "v1.34.2", True, False, GPU),
        ("gpu-operator", OPERATED, UBUNTU, "v1.34.2", False, False, GPU),
        ("gpu-operator", {}, UBUNTU, "v1.34.2", True, False, GPU),
        ("gpu-operator", OPERATED, UBUNTU, "v1.34.2", True, True, GPU),
        ("gpu-operator", OPERATED | {"cloud.google.com/gke-gpu": "true"}, "COS", "v1.34.2-gke.1", True, False, GPU),
        ("gpu-operator", OPERATED, UBUNTU, "v1.34.2+k3s1", True, False, GPU),
        ("openshift", OPERATED, "Red Hat Enterprise Linux CoreOS 418", "v1.31.10", True, False, GPU),
        ("openshift", {"node.openshift.io/os_id": "rhel"}, "RHEL", "v1.31.10", True, False, GPU),
        ("gke", {"cloud.google.com/gke-accelerator": "nvidia-l4"}, "COS", "v1.34.2", False, False, GPU),
        ("gke", {}, "COS", "v1.34.2-gke.100", True, False, GPU),
        ("dra", {}, UBUNTU, "v1.34.2", False, True, {}),
        ("dra", {}, UBUNTU, "v1.34.2", True, True, {"nvidia.com/gpu": "0", "cpu": "96"}),
        ("plain", {}, UBUNTU, "v1.34.2", False, True, {"nvidia.com/mig-1g.10gb": "7"}),
        (
            "eks-bottlerocket",
            {"eks.amazonaws.com/nodegroup": "g"},
            "Bottlerocket OS 1.52.0",
            "v1.34.2",
            False,
            False,
            GPU,
        ),
        ("eks", {"eks.amazonaws.com/nodegroup": "g"}, "Amazon Linux 2023", "v1.34.2", False, False, GPU),
        ("eks", {}, "Amazon Linux 2023", "v1.34.2-eks-113cf36", False, False, GPU),
        ("aks", {"kubernetes.azure.com/accelerator": "nvidia"}, UBUNTU, "v1.34.2", False, False, GPU),
        ("k3s", {}, UBUNTU, "v1.34.2+rke2r1", False, False, GPU),
        ("plain", {}, UBUNTU, "v1.34.2", False, False, GPU),
        ("plain", {}, "", "", False, False, {}),
    ],
)
def test_stack(
    stack: str,
    labels: dict[str, str],
    os_image: str,
    kubelet: str,
    policy: bool,
    slices: bool,
    resources: dict[str, str],
) -> None:
    assert stack_of(labels, os_image, kubelet, policy, slices, resources) == stack


def nvidia(**labels: str) -> dict[str, str]:
    return {f"nvidia.com/{key.replace('__', '-').replace('_', '.')}": value for key, value in labels.items()}


@pytest.mark.parametrize(
    ("expected", "labels", "mig"),
    [
        (("exclusive", None), {}, None),
        (("exclusive", None), nvidia(gpu_sharing__strategy="none", gpu_replicas="1"), False),
        (("time-slicing", 4), nvidia(gpu_sharing__strategy="time-slicing", gpu_replicas="4"), False),
        (("mps", 10), nvidia(gpu_sharing__strategy="mps", gpu_replicas="10"), None),
        (("time-slicing", None), nvidia(gpu_sharing__strategy="time-slicing", gpu_replicas="many"), None),
        (("time-slicing", None), nvidia(gpu_sharing__strategy="time-slicing", gpu_replicas="9" * 5000), None),
        (
            ("time-slicing", 2),
            {
                "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
                "cloud.google.com/gke-max-shared-clients-per-gpu": "2",
            },
            None,
        ),
        (("mig-single", None), {"cloud.google.com/gke-gpu-partition-size": "1g.5gb"}, None),
        (("exclusive", None), nvidia(mig_strategy="single", gpu_product="X"), False),
        (("exclusive", None), nvidia(mig_strategy="single", gpu_product="X"), None),
        (("mig-single", None), nvidia(mig_strategy="single", gpu_product="X-MIG-1g.10gb"), None),
        (("mig-single", None), nvidia(mig_strategy="single", gpu_product="X"), True),
        (("mig-mixed", None), {**nvidia(mig_strategy="mixed"), "nvidia.com/mig-1g.10gb.count": "7"}, None),
        (
            ("mig-single", 2),
            nvidia(
                mig_strategy="single", gpu_product="X-MIG-1g", gpu_sharing__strategy="time-slicing", gpu_replicas="2"
            ),
            True,
        ),
        (("mig-single", None), nvidia(mig_strategy="single", mig_config="all-1g.10gb", gpu_product="X"), False),
        (("exclusive", None), nvidia(mig_strategy="single", mig_config="all-disabled", gpu_product="X"), True),
        (("exclusive", None), nvidia(gpu_product="X", gpu_replicas="0"), True),
        (("mig-mixed", None), {}, True),
    ],
)
def test_sharing(expected: tuple[str, int | None], labels: dict[str, str], mig: bool | None) -> None:
    assert sharing_of(labels, mig) == expected


@needs_corpus
@pytest.mark.parametrize(
    ("capture", "expected"),
    [
        ("h100-healthy", ("exclusive", None)),
        ("h100-timeslicing4", ("time-slicing", 4)),
        ("h100-mig-single-7x1g", ("mig-single", None)),
        ("a100-mig-mixed-balanced", ("mig-mixed", None)),
        ("t4-healthy", ("exclusive", None)),
    ],
)
def test_what_the_real_feature_discovery_labels(capture: str, expected: tuple[str, int | None]) -> None:
    assert CORPUS is not None
    node = json.loads((CORPUS / "real" / "rig" / f"{capture}.json").read_text())
    labels = node.get("items", [node])[0]["metadata"]["labels"]
    assert sharing_of(labels, None) == expected

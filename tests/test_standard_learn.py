from __future__ import annotations

from pathlib import Path

import pytest

from gpu_readiness.standard import Library, NodeFacts, StandardError, learn

H100 = "NVIDIA H100 80GB HBM3"


def observed(node: str, **changes: object) -> dict[str, object]:
    return {
        "node": node,
        "driver.version": "580.105.08",
        "driver.cuda": "13.0",
        "gpu.count": 8,
        "gpu.products": {H100: 8},
        "gpu.memory": 81559,
        "gpu.power-limit": 700,
        "gpu.ecc": "enabled",
        "mig.layout": [],
        "allocatable.resources.nvidia.com/gpu": 8,
        "runtime.components.gfd.version": "v0.20.0",
        "label.nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    } | changes


def loaded(text: str, folder: Path) -> Library:
    path = folder / "golden.yaml"
    path.write_text(text)
    return Library.load([path])


def test_one_good_node_is_a_standard(tmp_path: Path) -> None:
    learned = learn([observed("a")], "golden")
    assert learned.doubts == []
    standard = loaded(learned.text, tmp_path).for_node(NodeFacts("b", products=(H100,)))
    assert standard is not None
    assert standard.name == "golden"
    assert [entry.name for entry in standard.hardware] == ["hardware/h100-sxm5-80gb"]
    assert standard.allocatable.resources["nvidia.com/gpu"].accepts("8")
    assert standard.labels.required["nvidia.com/gpu.product"].accepts("NVIDIA-H100-80GB-HBM3")
    gpu = standard.gpu_for(H100, None)
    assert gpu is not None
    assert gpu.power_limit is not None
    assert gpu.power_limit.source == "learnt from 1 of 1 node"
    assert gpu.memory is not None
    assert gpu.memory.accepts(81331)


def test_the_majority_is_learnt_and_the_others_are_named() -> None:
    nodes = [observed("a"), observed("b"), observed("c", **{"gpu.power-limit": 650, "gpu.ecc": None})]
    learned = learn(nodes, "golden")
    assert "value: 700" in learned.text
    assert learned.doubts == ["gpu.power-limit: 700 on 2 nodes, but 650 on c", "gpu.ecc: not measured on c"]


def test_without_a_majority_nothing_is_learnt() -> None:
    learned = learn([observed("a"), observed("b", **{"driver.cuda": "12.8"})], "golden")
    assert "cuda" not in learned.text
    assert learned.doubts == ["driver.cuda: no majority, left out: 13.0 on a; 12.8 on b"]


def test_what_nobody_could_measure_is_left_out() -> None:
    learned = learn([observed("a", **{"gpu.ecc": None})], "golden")
    assert "ecc" not in learned.text
    assert learned.doubts == ["gpu.ecc: not measured on a"]


def test_what_cannot_be_true_of_the_hardware_is_a_doubt(tmp_path: Path) -> None:
    learned = learn([observed("a", **{"gpu.power-limit": 300})], "golden")
    assert "gpu.power-limit: 300 is not within" in learned.doubts[0]
    assert "extends" not in learned.text
    loaded(learned.text, tmp_path)


def test_text_that_would_be_a_matcher_is_left_out() -> None:
    learned = learn([observed("a", **{"host.kernel": "any"})], "golden")
    assert "kernel" not in learned.text
    assert learned.doubts == ["host.kernel: 'any' would be read as a matcher, left out"]


@pytest.mark.parametrize(
    ("node", "match"),
    [
        ({"label.nvidia.com/gpu.product": "X"}, "labels"),
        ({"node": "a", "driver.version": "1.2"}, "nodes"),
    ],
)
def test_it_always_says_whom_it_is_for(node: dict[str, object], match: str, tmp_path: Path) -> None:
    standard = loaded(learn([node], "golden").text, tmp_path).get("golden")
    assert match in standard.match.model_fields_set


def test_nothing_to_learn_from() -> None:
    with pytest.raises(StandardError, match="no node was observed"):
        learn([], "golden")
    with pytest.raises(StandardError, match="unknown key"):
        learn([{"node": "a", "gpu.colour": "green"}], "golden")

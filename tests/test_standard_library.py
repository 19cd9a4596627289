from __future__ import annotations

from pathlib import Path

import pytest

from gpu_readiness.standard import Library, NodeFacts, StandardError, rows

H100 = "NVIDIA H100 80GB HBM3"


def write(folder: Path, **texts: str) -> list[str]:
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.write_text(text)
        paths.append(str(path))
    return paths


def facts(name: str = "gpu-1", *, products: tuple[str, ...] = (H100,), **more: object) -> NodeFacts:
    return NodeFacts(name, products=products, **more)  # type: ignore[arg-type]


def test_without_standards_a_node_gets_what_fits_it() -> None:
    library = Library.load()
    standard = library.for_node(facts(stack="gpu-operator", sharing="exclusive"))
    assert standard is not None
    assert standard.name == "hardware/h100-sxm5-80gb + sharing/exclusive + stack/gpu-operator"
    assert (standard.stack, standard.sharing_name) == ("gpu-operator", "exclusive")
    assert standard.digest.startswith("sha256:")
    assert library.for_node(facts("gpu-2", stack="gpu-operator", sharing="exclusive")) is standard


def test_a_node_of_two_models_gets_both() -> None:
    standard = Library.load().for_node(facts(products=("Tesla T4", "NVIDIA A10G"), sharing="exclusive"))
    assert standard is not None
    assert [entry.name for entry in standard.hardware] == ["hardware/a10g", "hardware/t4"]
    t4, a10g = standard.gpu_for("Tesla T4", None), standard.gpu_for("NVIDIA A10G", None)
    assert t4 is not None
    assert a10g is not None
    assert t4.memory_repair == "page-retirement"
    assert a10g.memory_repair == "row-remap"


@pytest.mark.parametrize("products", [(), ("NVIDIA GeForce RTX 4090",)])
def test_no_hardware_no_standard(products: tuple[str, ...]) -> None:
    assert Library.load().for_node(facts(products=products, device_ids=("2684",), stack="plain")) is None


def test_without_a_product_a_device_id_is_not_enough() -> None:
    assert Library.load().for_node(facts(products=(), device_ids=("2330",))) is None


def test_mock_numbers_are_for_the_mock_only() -> None:
    library = Library.load()
    mock, real = library.for_node(facts(mock=True)), library.for_node(facts())
    assert mock is not None
    assert real is not None
    assert mock.name == "mock/h100"
    memory = [standard.gpu_for(H100, None) for standard in (mock, real)]
    assert [gpu.memory.accepts(81920) for gpu in memory if gpu and gpu.memory] == [True, True]
    assert [gpu.memory.accepts(81000) for gpu in memory if gpu and gpu.memory] == [False, True]


@pytest.mark.parametrize(
    ("product", "device_id"),
    [
        (H100, None),
        ("H100 80GB HBM3", None),
        ("nvidia h100 80gb hbm3", "2330"),
        ("NVIDIA-H100-80GB-HBM3", None),
        ("NVIDIA-H100-80GB-HBM3-SHARED", None),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb-SHARED", None),
        ("nvidia-h100-80gb", None),
        (None, "2330"),
        (None, "0x233010DE"),
        ("something else", "233010de"),
    ],
)
def test_a_product_goes_by_many_names(product: str | None, device_id: str | None) -> None:
    standard = Library.load().get("hardware/h100-sxm5-80gb")
    gpu = standard.gpu_for(product, device_id)
    assert gpu is not None
    assert gpu.power_limit is not None
    assert gpu.power_limit.text == "700"


def test_other_hardware_than_the_standard_covers_has_no_numbers() -> None:
    standard = Library.load().get("hardware/h100-sxm5-80gb")
    assert standard.gpu_for("NVIDIA H100 PCIe", "2331") is None
    assert standard.gpu_for(None, None) is None


def test_without_hardware_the_own_section_is_all(tmp_path: Path) -> None:
    own = write(tmp_path, own="gpu: {ecc: disabled}", silent="driver: {version: any}")
    library = Library.load([own[0]])
    gpu = library.get("own").gpu_for("anything", None)
    assert gpu is not None
    assert gpu.ecc is not None
    assert gpu.ecc.text == "disabled"
    assert Library.load([own[1]]).get("silent").gpu_for(H100, None) is None


def test_own_words_win_and_later_ones_over_earlier(tmp_path: Path) -> None:
    paths = write(
        tmp_path,
        base="driver: {version: 570.*, cuda: '12.8'}\nlabels: {required: {a: 1, b: 1}}",
        other="driver: {version: 575.*}",
        own="extends: [hardware/h100-sxm5-80gb, base, other]\nlabels: {required: {b: 2}}\ngpu: {power-limit: 650}",
    )
    standard = Library.load(paths).get("own")
    assert standard.driver.version is not None
    assert standard.driver.version.text == "575.*"
    assert standard.driver.cuda is not None
    assert {key: each.text for key, each in standard.labels.required.items()} == {"a": "1", "b": "2"}
    gpu = standard.gpu_for(H100, None)
    assert gpu is not None
    assert gpu.power_limit is not None
    assert (gpu.power_limit.text, gpu.power_limit.source) == ("650", "")
    assert gpu.memory is not None
    assert gpu.memory.text == "81559 ±1%"


def test_null_takes_a_word_back(tmp_path: Path) -> None:
    text = "extends: [stack/eks]\nnot-applicable: {labels.truth: }\nruntime: {components: {device-plugin: }}"
    standard = Library.load(write(tmp_path, own=text)).get("own")
    assert "labels.truth" not in standard.not_applicable
    assert "labels.owned" in standard.not_applicable
    assert standard.runtime.components == {}


def test_waivers_add_up(tmp_path: Path) -> None:
    waiver = "waivers: [{check: gpu.%s, nodes: ['*'], reason: x, until: 2030-01-01}]"
    paths = write(tmp_path, base=waiver % "ecc-mode", own="extends: [base]\n" + waiver % "clocks")
    assert [each.check for each in Library.load(paths).get("own").waivers] == ["gpu.ecc-mode", "gpu.clocks"]


def test_stack_and_sharing_are_put_under_what_leaves_them_open(tmp_path: Path) -> None:
    paths = write(tmp_path, own="extends: [hardware/h100-sxm5-80gb]\nruntime: {class: special}")
    standard = Library.load(paths).for_node(facts(stack="gpu-operator", sharing="mps", replicas=4))
    assert standard is not None
    assert standard.name == "own"
    assert (standard.stack, standard.sharing_name, standard.sharing.replicas) == ("gpu-operator", "mps", 4)
    assert standard.runtime.class_ is not None
    assert standard.runtime.class_.text == "special"
    assert standard.runtime.handler is not None


def test_what_the_standard_says_of_sharing_is_not_what_the_node_does(tmp_path: Path) -> None:
    paths = write(tmp_path, own="extends: [hardware/h100-sxm5-80gb]\nsharing: {strategy: time-slicing, replicas: 4}")
    standard = Library.load(paths).for_node(facts(sharing="exclusive"))
    assert standard is not None
    assert (standard.sharing_name, standard.sharing.replicas) == ("time-slicing", 4)
    paths = write(tmp_path, own="mig: {strategy: single}")
    standard = Library.load(paths).for_node(facts(sharing="exclusive"))
    assert standard is not None
    assert standard.mig.mode is not None
    assert standard.mig.mode.text == "enabled"


def test_the_most_specific_standard_wins(tmp_path: Path) -> None:
    paths = write(
        tmp_path,
        default="title: for all",
        stack="match: {stack: gke}",
        product=f"match: {{products: [{H100}]}}",
        label="match: {labels: {pool: 'a*'}}",
        labels="match: {labels: {pool: 'a*', zone: z}}",
        node="match: {nodes: ['gpu-0*']}",
    )
    library = Library.load(paths)

    def chosen(name: str = "gpu-1", **more: object) -> str:
        standard = library.for_node(facts(name, **more))  # type: ignore[arg-type]
        assert standard is not None
        return standard.name

    assert chosen(products=("NVIDIA L4",)) == "default"
    assert chosen(products=("NVIDIA L4",), stack="gke") == "stack"
    assert chosen() == "product"
    assert chosen(products=(), device_ids=("2330",)) == "default"
    assert chosen(labels={"pool": "a1"}) == "label"
    assert chosen(labels={"pool": "b1"}) == "product"
    assert chosen(labels={"pool": "a1", "zone": "z"}) == "labels"
    assert chosen("gpu-01", labels={"pool": "a1", "zone": "z"}) == "node"


def test_none_of_the_given_ones_matches() -> None:
    library = Library.load(["hardware/t4"])
    standard = library.for_node(facts(sharing="exclusive"))
    assert standard is not None
    assert standard.name == "hardware/h100-sxm5-80gb + sharing/exclusive"


def test_a_tie_names_both(tmp_path: Path) -> None:
    library = Library.load(write(tmp_path, a="match: {labels: {x: '1'}}", b="match: {labels: {y: '1'}}"))
    with pytest.raises(StandardError, match="standards a and b match node gpu-1 equally well"):
        library.for_node(facts(labels={"x": "1", "y": "1"}))


def test_nodes_that_are_named_in_full(tmp_path: Path) -> None:
    assert Library.load(write(tmp_path, a="match: {nodes: [b, a, 'c-*']}")).named_nodes() == ("a", "b")


def test_a_folder_may_hold_parts(tmp_path: Path) -> None:
    (tmp_path / "hardware").mkdir()
    write(tmp_path / "hardware", mine="match: {products: [My GPU]}\ngpu: {count: 2}")
    write(tmp_path, common="driver: {cuda: any}", pool="extends: [common, hardware/mine]\nmatch: {labels: {pool: a}}")
    library = Library.load([tmp_path])
    assert library.for_node(facts(products=("x",))) is None
    composed = library.for_node(facts(products=("My GPU",)))
    assert composed is not None
    assert composed.name == "hardware/mine"
    pool = library.for_node(facts(labels={"pool": "a"}))
    assert pool is not None
    assert pool.name == "pool"
    assert pool.gpu_for("My GPU", None) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: [own]", "standard own: extends itself: own -> own"),
        (
            "extends: [hardware/h100-sxm5-80g]",
            "'hardware/h100-sxm5-80g' is not known, did you mean hardware/h100-sxm5-80gb?",
        ),
        (
            "extends: [hardware/h200-sxm]\nworkload: {memory-bandwidth: {device-gbs: '>=2.333'}}",
            "is not within 50% and 105%",
        ),
        (
            "extends: [hardware/h100-sxm5-80gb]\ngpu: {power-limit: 7000}",
            "gpu.power-limit: 7000 is not within 50% and 105% of 700",
        ),
        (
            "extends: [hardware/h100-sxm5-80gb]\ngpu: {sm-clock: [1980, 198]}",
            "gpu.sm-clock: one of 1980, 198 is not within",
        ),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(StandardError) as problem:
        Library.load(write(tmp_path, own=text))
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_circle_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(StandardError, match="extends itself: a -> b -> a"):
        Library.load(write(tmp_path, a="extends: [b]", b="extends: [a]\nmatch: {nodes: [x]}"))


def test_hardware_says_hardware_only(tmp_path: Path) -> None:
    with pytest.raises(
        StandardError, match="standard hardware/x: driver: a hardware standard says match, gpu and workload"
    ):
        Library.load(write(tmp_path, x="name: hardware/x\ndriver: {version: any}"))


def test_hardware_may_extend_hardware(tmp_path: Path) -> None:
    text = "name: hardware/cool\nextends: [hardware/h100-sxm5-80gb]\ngpu: {power-limit: 600}"
    standard = Library.load(write(tmp_path, cool=text)).get("hardware/cool")
    assert [entry.name for entry in standard.hardware] == ["hardware/cool"]
    gpu = standard.gpu_for(H100, None)
    assert gpu is not None
    assert gpu.power_limit is not None
    assert gpu.power_limit.text == "600"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("h100", "standard h100: neither a shipped standard nor a file or folder"),
        ("hardware/l40-s", "did you mean hardware/l40s?"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, said: str) -> None:
    with pytest.raises(StandardError) as problem:
        Library.load([path])
    assert said in str(problem.value)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StandardError, match=r"no \*\.yaml in this folder"):
        Library.load([tmp_path])


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    paths = write(tmp_path, a="title: x") + write(tmp_path / "b", a="title: y")
    with pytest.raises(StandardError, match="standard a: given twice"):
        Library.load(paths)


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    paths = write(
        tmp_path,
        a="title: A\nmatch: {nodes: [a]}\ndriver: {version: 1.2, cuda: '12.8'}",
        b="title: B\nmatch: {nodes: [b]}\ndriver: {cuda: '12.8', version: 1.2}",
        c="match: {nodes: [c]}\ndriver: {cuda: '12.8', version: 1.3}",
    )
    library = Library.load(paths)
    a, b, c = (library.get(name).digest for name in "abc")
    assert a == b != c


def test_rows_say_all_and_who_says_so() -> None:
    found = list(rows(Library.load().get("hardware/t4")))
    power = next(row for row in found if row.path == "gpu.power-limit")
    assert (power.text, power.hardware) == ("70", "hardware/t4")
    assert "T4" in power.source
    assert "workload.memory-bandwidth.device-gbs" in {row.path for row in found}


def test_prometheus_is_asked_about_the_longest_window_of_any_standard(tmp_path: Path) -> None:
    assert Library.load().history_window() == "24h"
    for name, text in {
        "all": "telemetry: {history: {window: 90m}}",
        "silent": "driver: {version: any}",
        "pool": "match: {nodes: [a]}\ntelemetry: {prometheus: required, history: {window: 2h}}",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(f"{text}\n", encoding="utf-8")

    def load(*names: str) -> Library:
        return Library.load([tmp_path / f"{name}.yaml" for name in names])

    assert load("all").history_window() == "90m"
    assert load("all", "pool").history_window() == "2h"
    assert load("pool").history_window() == "24h", "other nodes are judged by shipped standards"
    assert load("silent").history_window() == "24h"
    assert [load(name).demands_prometheus() for name in ("all", "pool")] == [False, True]


@pytest.mark.parametrize("window", ["24", "1y", "-1h", "0h", "1h30m", "24 h"])
def test_a_window_is_a_number_and_a_unit(window: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f'telemetry: {{history: {{window: "{window}"}}}}\n', encoding="utf-8")
    with pytest.raises(StandardError, match="window"):
        Library.load([path])

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.standard import StandardError
from gpu_readiness.standard.document import MAX_BYTES, parse_document, read_document


def refused(text: str | bytes) -> str:
    with pytest.raises(StandardError) as problem:
        parse_document(text, "h100.yaml")
    said = str(problem.value)
    assert said.isprintable()
    assert said.startswith("standard h100.yaml: ")
    return said.removeprefix("standard h100.yaml: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu: {ecc: on}", "gpu.ecc: 'on' is not one of enabled, disabled, any"),
        ("gpu: {ecc: true}", "gpu.ecc: 'true' is not one of enabled, disabled, any"),
        ("gpu: {ecc: [enabled, off]}", "gpu.ecc: 'off' is not one of enabled, disabled, any"),
        ("gpu: {powr-limit: 700}", "gpu.powr-limit: unknown key, did you mean power-limit?"),
        ("gpu: {power_limit: 700}", "gpu.power_limit: unknown key, did you mean power-limit?"),
        ("gpus: {count: 8}", "gpus: unknown key, did you mean gpu?"),
        ("gpu: {count: eight}", "gpu.count: 'eight' is no number"),
        ("gpu: {power-limit: 700 W}", "gpu.power-limit: '700 W' is no number"),
        ("gpu: {power-limit: {value: 700, tolerance: 2%}}", "gpu.power-limit: tolerance: '2%' cannot be read"),
        ("gpu: 8", "gpu: "),
        ('gpu: {"\\e[31m\\n": 1}', "unknown key"),
        ("gpu: {limits: {powr: 1}}", "gpu.limits.powr: unknown key, did you mean power?"),
        ("mig: {strategy: some}", "mig.strategy: "),
        ("sharing: {replicas: 0}", "sharing.replicas: "),
        ("sharing: {renamed: yes}", "sharing.renamed: input should be a valid boolean, got 'yes'"),
        (
            "runtime: {components: {gfd: {vers: any}}}",
            "runtime.components.gfd.vers: unknown key, did you mean version?",
        ),
        ("not-applicable: {ecc: because}", "not-applicable.ecc"),
        ("waivers: [{check: gpu.ecc-mode, nodes: [a], reason: x}]", "waivers.0.until: "),
        ("waivers: [{check: gpu.ecc-mode, nodes: [a], reason: '', until: 2026-01-01}]", "waivers.0.reason: "),
        ("waivers: [{check: a.b, nodes: [a], reason: x, until: soon}]", "waivers.0.until: "),
        ("driver: {version: '>=new'}", "driver.version: '>=new' is no range"),
        ("a: [1", "line 2: did not find expected"),
        ("gpu: {count: 8, count: 4}", "line 1: 'count' is written twice"),
        ("gpu: !!python/object:os.system {}", "line 1: could not determine a constructor"),
        ("? [a]\n: b", "line 1: a key has to be text"),
        ("- a", "not a mapping of sections, but a list"),
        ("", "not a mapping of sections, but nothing"),
        ("a: 1\n---\nb: 2", "line 2: but found another document"),
        (b"\xff\xfe\x00", "no YAML text"),
        ("a: \x00", "no YAML text"),
        ("a: &x [*x]", "line 1: an alias inside of what it names"),
    ],
)
def test_what_is_refused(text: str | bytes, said: str) -> None:
    assert said in refused(text)


def test_deep_nesting_is_refused() -> None:
    assert "nested deeper than 30" in refused("a: " + "[" * 100_000)


def test_aliases_that_multiply_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases written out" in refused("\n".join(levels))


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(StandardError, match=r"standard large\.yaml: larger than 1 MiB"):
        read_document(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StandardError, match="cannot be read"):
        read_document(tmp_path)


def test_scalars_stay_as_they_are_written() -> None:
    document = parse_document(
        "driver: {version: 570.10, deny: [570.100]}\n"
        "match: {device-ids: [2330, 1EB8, 20E1], labels: {a: true, b: 08}}\n"
        "runtime: {container-runtime: 12:30}\n",
        "x",
    )
    assert document.driver.version is not None
    assert document.driver.version.text == "570.10"
    assert not document.driver.version.accepts("570.100")
    assert document.match.device_ids == ("2330", "1EB8", "20E1")
    assert document.match.labels == {"a": "true", "b": "08"}
    assert document.runtime.container_runtime is not None
    assert document.runtime.container_runtime.text == "12:30"


def test_a_key_without_a_value_is_silent() -> None:
    document = parse_document("gpu:\nmig: {mode: }\nlabels: {taints: }\n", "x")
    assert document.gpu.is_empty
    assert document.mig.mode is None
    assert document.labels.taints is None


def test_anchors_may_be_used() -> None:
    document = parse_document(
        "match: {nodes: &some [a, b]}\nwaivers: [{check: a.b, nodes: *some, reason: x, until: 2026-12-31}]", "x"
    )
    assert document.waivers[0].nodes == ("a", "b")


def test_a_layout_is_for_all_gpus_or_for_each() -> None:
    assert parse_document("mig: {layout: [1g.10gb, 2g.20gb]}", "x").mig.layout == ("1g.10gb", "2g.20gb")
    assert parse_document("mig: {layout: {0: [7g.80gb], 1: []}}", "x").mig.layout == {"0": ("7g.80gb",), "1": ()}
    assert parse_document("mig: {layout: any}", "x").mig.layout == "any"


@given(st.binary(max_size=200))
def test_bytes_never_end_in_a_traceback(raw: bytes) -> None:
    with suppress(StandardError):
        parse_document(raw, "x")

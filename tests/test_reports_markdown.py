from __future__ import annotations

from pathlib import Path

import pytest
from factories_report import (
    HOSTILE_TEXTS,
    a_fail,
    a_finding,
    a_hostile_report,
    a_mixed_report,
    a_pass,
    a_report,
    unmeasured,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gpu_readiness.report import Report
from gpu_readiness.reports import markdown
from gpu_readiness.verdict import Reason, Result, Severity, Verdict

GOLDEN = """\
# GPU readiness: not-ready

**not-ready at depth smi; 1 check needs a workload.** Of 6 nodes: 3 not-ready, 1 unknown, 1 degraded, 1 ready. \
Exit code 1: a node is not good enough.

Measured: nodes 6 of 6 (100 %), GPUs 12 of 12 (100 %), checks 11 of 15 (73.3 %).

Gate acceptance, snapshot `lab`, `2026-11-20T10:00:00Z` to `2026-11-20T10:01:00Z`, gpu-readiness `0.1.0`, \
standards: `h100-exclusive`.

- `gpu-e has no GPU labels`

| ready | degraded | unknown | not-ready |
|---:|---:|---:|---:|
| 1 | 1 | 1 | 3 |

| check | failed | warned | not measured | waived |
|---|---:|---:|---:|---:|
| `driver.nvml` |  |  | 1 |  |
| `driver.host` |  | 1 | 1 | 1 |
| `gpu.ecc-mode` | 3 |  | 1 |  |
| `gpu.clocks` |  |  | 1 |  |

## 2 nodes are not-ready at depth smi

`gpu-c`, `gpu-d`.

First broken link: `gpu.ecc-mode` (`ECC is set as the standard says on every GPU.`). Standard: `h100-exclusive`.

| check | GPU | field | expected | observed | source | hint |
|---|---|---|---|---|---|---|
| `gpu.ecc-mode` since `2026-11-19T00:00:00Z` | all 2 | `ecc.current` | `enabled` | `disabled` | `nvidia-smi.xml` \
| `set it and reset the GPU` |

## `gpu-f` is not-ready at depth smi

First broken link: `gpu.ecc-mode` (`ECC is set as the standard says on every GPU.`). Standard: `h100-exclusive`.

| check | GPU | field | expected | observed | source | hint |
|---|---|---|---|---|---|---|
| `gpu.ecc-mode` | 1 `GPU-1` | `ecc.current` | `enabled` | `pending \\| reset` | `nvidia-smi.xml` \
| `set it and reset the GPU` |

Not measured:

- `gpu.clocks`: error (unparsable): `line 3: mismatched tag`

## `gpu-e` is unknown at depth smi

First not measured: `driver.nvml` (`The driver answers within its deadline.`). Standard: `h100-exclusive`.

Not measured:

- `driver.nvml`: untested (missing): `no nvidia-smi.xml`
- `driver.host`, `gpu.ecc-mode`: untested (blocked): `blocked by driver.nvml`

## `gpu-b` is degraded at depth smi

Standard: `h100-exclusive`.

| check | GPU | field | expected | observed | source | hint |
|---|---|---|---|---|---|---|
| `driver.host` (warning) | the node | `kernel` | `6.8.*` | `6.1.0` | `nodes.json` |  |
"""


def test_the_whole_page(tmp_path: Path) -> None:
    assert markdown.write(a_mixed_report(), tmp_path).read_text(encoding="utf-8") == GOLDEN


def test_ready_names_its_depth_and_what_was_not_looked_at() -> None:
    results = [a_pass("n", "driver.nvml")]
    results += [unmeasured("n", check, Reason.NOT_SELECTED) for check in ("driver.host", "gpu.clocks", "workload.gemm")]
    text = markdown.render(a_report(results))
    assert "**ready at depth smi; 2 checks need a probe; 1 check needs a workload.** Of 1 node: 1 ready." in text
    assert "##" not in text


def test_ready_nodes_of_a_run_that_did_not_pass_are_not_the_last_word() -> None:
    text = markdown.render(a_report([a_pass("n", "driver.nvml")], exit_code=6))
    assert "Exit code 6: a node is unknown, or less was measured than was asked for." in text


def test_a_share_is_never_rounded_up_to_all() -> None:
    gap = unmeasured("n", "gpu.clocks", Reason.MISSING)
    text = markdown.render(a_report([gap, *[a_pass("n", "driver.nvml")] * 99_999]))
    assert "checks 99999 of 100000 (99.9 %)" in text


def test_no_node_is_unknown() -> None:
    text = markdown.render(a_report([], exit_code=6))
    assert "# GPU readiness: unknown" in text
    assert "Of 0 nodes: none was judged." in text
    assert "nodes 0 of 0, GPUs" in text


def test_a_node_of_which_nothing_was_measured_says_so() -> None:
    text = markdown.render(a_report([unmeasured("n", "driver.nvml", Reason.NOT_SELECTED)], exit_code=6))
    assert "## `n` is unknown at depth smi" in text
    assert "Nothing was measured." in text


def test_a_fail_without_a_finding_has_a_row() -> None:
    text = markdown.render(a_report([Result("n", "driver.nvml", Verdict.FAIL, Severity.CRITICAL, Reason.HUNG)]))
    assert "| `driver.nvml` | the node |  |  | `hung` |  |  |" in text


@pytest.mark.parametrize(
    ("subjects", "shown"),
    [
        (["GPU-0"], "0 `GPU-0`"),
        (["GPU-1", "GPU-0"], "all 2"),
        (["pod/a", "pod/b", "pod/c", "pod/d"], "`pod/a`, `pod/b`, `pod/c` and 1 more"),
        (["n"], "the node"),
    ],
)
def test_subjects_with_the_same_finding_share_a_row(subjects: list[str], shown: str) -> None:
    text = markdown.render(a_report([a_fail("n", "gpu.ecc-mode", *map(a_finding, subjects))]))
    assert f"| `gpu.ecc-mode` | {shown} | `ecc.current` |" in text


def test_nodes_share_a_section_though_other_gpus_have_the_fault() -> None:
    results = [a_fail(f"n{number}", "gpu.ecc-mode", a_finding(f"GPU-{number % 2}")) for number in range(40)]
    text = markdown.render(a_report(results))
    assert text.count("\n## ") == 1
    assert "`n38`, `n39`." in text
    assert "| `gpu.ecc-mode` | 40 in all |" in text


def test_different_gaps_are_not_told_as_one() -> None:
    results = [unmeasured(name, "driver.nvml", Reason.MISSING, f"no {name}") for name in ("a", "b")]
    assert markdown.render(a_report(results)).count("\n## ") == 2


def test_the_worst_nodes_come_first_and_the_rest_is_counted() -> None:
    results = [a_fail(f"warm{n}", "gpu.clocks", a_finding(field=str(n), severity=Severity.WARNING)) for n in range(400)]
    results += [a_fail(f"bad{n}", "gpu.ecc-mode", a_finding(field=str(n))) for n in range(100)]
    results += [a_pass(f"warm{n}", "driver.nvml") for n in range(400)]
    text = markdown.render(a_report(results))
    sections = text.count("\n## ")
    assert len(text.encode()) <= markdown.LIMIT_BYTES
    assert text.endswith(f"\n… and {500 - sections} more nodes in report.json\n")
    assert text.index("`bad99`") < text.index("`warm0`")


def test_where_room_is_short_nodes_are_summarized_before_any_is_left_out() -> None:
    results = [a_fail(f"n{n}", "gpu.ecc-mode", a_finding(observed=str(n))) for n in range(600)]
    results += [unmeasured(f"m{n}", "driver.nvml", Reason.DENIED, f"no rights on m{n}") for n in range(600)]
    text = markdown.render(a_report(results))
    assert "## 600 nodes are not-ready" in text
    assert "`n99` and 500 more." in text
    assert "| `(see report.json)` |" in text
    assert "- `driver.nvml`: untested (denied)\n" in text
    assert "more nodes" not in text


def test_one_node_with_very_many_findings_is_still_named() -> None:
    fire = "🔥" * 500
    findings = [a_finding(observed=fire, field=f"{number}{fire}", hint=fire) for number in range(500)]
    text = markdown.render(a_report([a_fail("n", "gpu.ecc-mode", *findings)]))
    assert len(text.encode()) <= markdown.LIMIT_BYTES
    assert "## `n` is not-ready" in text
    assert "more findings in report.json" in text


def _tokens(text: str) -> list[Token]:
    blocks = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    return [each for block in blocks for each in (block, *(block.children or []))]


def _assert_inert(report: Report) -> None:
    text = markdown.render(report)
    assert len(text.encode()) <= markdown.LIMIT_BYTES
    assert text.replace("\n", "").isprintable()
    tokens = _tokens(text)
    foreign = {"html_block", "html_inline", "link_open", "image", "fence", "code_block", "softbreak", "hardbreak"}
    assert not foreign & {token.type for token in tokens}
    assert sum(token.type == "heading_open" for token in tokens) == 1 + text.count("\n## ") <= 3
    prose = "".join(token.content for token in tokens if token.type == "text")
    assert not set(prose) & set("@<>[]`|\\#!")


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_text_is_inert(text: str) -> None:
    _assert_inert(a_hostile_report(text))


@given(st.text(st.characters() | st.sampled_from("`|\\\n<>@#![]()*_~\x1b\ud800")))
@settings(max_examples=60, deadline=None)
def test_any_text_is_inert(text: str) -> None:
    _assert_inert(a_hostile_report(text))

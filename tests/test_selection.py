from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.selection import Selection

LABELS = {"pool": "a", "zone": "eu-1", "nvidia.com/gpu.present": "true", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        ("", True),
        ("   ", True),
        ("pool=a", True),
        ("pool==a", True),
        ("pool = a", True),
        ("pool=b", False),
        ("pool!=a", False),
        ("pool!=b", True),
        ("missing!=b", True),  # as kubectl: a label that is not there is not b
        ("missing=b", False),
        ("empty=", True),
        ("pool=", False),
        ("missing=", False),
        ("pool in (a)", True),
        ("pool in (b, a)", True),
        ("pool in (b,c)", False),
        ("missing in (b)", False),
        ("pool notin (b, c)", True),
        ("pool notin (b, a)", False),
        ("missing notin (a)", True),
        ("!missing", True),
        ("! missing", True),
        ("!pool", False),
        ("pool=a,zone=eu-1", True),
        ("pool=a, zone in (eu-1, eu-2), !missing", True),
        ("pool=a,zone=eu-2", False),
        ("zone,pool=a", True),
        ("missing,pool=a", False),
        ("nvidia.com/gpu.present=true", True),
        ("pool=a,", True),
    ],
)
def test_a_label_selector_takes_what_kubectl_takes(selector: str, taken: bool) -> None:
    assert Selection.parse(selector).takes("gpu-01", LABELS) is taken


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        ("gpu-01", True),
        ("gpu-0", False),
        ("gpu-02,gpu-01", True),
        ("gpu-02, gpu-01 ,", True),
        ("gpu-*", True),
        ("*-01", True),
        ("gpu-0[12]", True),
        ("gpu-0?", True),
        ("GPU-01", False),
        ("other-*", False),
    ],
)
def test_names_and_globs(names: str, taken: bool) -> None:
    assert Selection.parse(names).takes("gpu-01", {}) is taken


@pytest.mark.parametrize(
    "selector",
    [
        *("pool=a b", "pool in (a", "a!b", "=a", "pool=a,,zone=b", "pool>(3)", "(a)", "pool=ä"),
        *("!pool=a", "!pool in (a)", "pool=a=b", ",", " , ,"),
    ],
)
def test_what_is_no_selector_is_said_and_never_takes_every_node(selector: str) -> None:
    with pytest.raises(ValueError, match="--readiness-nodes"):
        Selection.parse(selector)


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    try:
        selection = Selection.parse(text)
    except ValueError:
        return
    assert selection.takes("gpu-01", LABELS) in (True, False)
    assert text.strip() == "" or selection.names or selection.terms

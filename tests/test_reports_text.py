from __future__ import annotations

import pytest
from factories_report import HOSTILE_TEXTS
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gpu_readiness.reports.text import clean, code_cell, code_span, word, xml_text

ANY_TEXT = st.text(st.characters() | st.sampled_from("`|\\\x1b\x9b[]\n\r \ud800")) | st.sampled_from(HOSTILE_TEXTS)


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"),
        ("\x1b[1;31mlost\x1b[0m", "lost"),
        ("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x07 here", "click here"),
        ("\x1b]0;never ended", "0;never ended"),
        ("\x9b2Jgone", "gone"),
        ("one\r\ntwo\nthree\tfour\u2028five\xa0six", "one two three four five six"),
        ("a\x00b\x08c\u202ed\ud800e\u200bf", "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf"),
        ("Ω 700 W ±2 % 漢字", "Ω 700 W ±2 % 漢字"),
    ],
)
def test_clean_keeps_what_can_be_read_and_shows_that_something_else_was_there(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_clean_marks_a_cut() -> None:
    assert clean("abcdef", limit=4) == "abc…"
    assert clean("abcd", limit=4) == "abcd"


@given(ANY_TEXT)
def test_clean_text_is_one_printable_line(text: str) -> None:
    assert clean(text).isprintable()
    assert len(clean(text)) <= 500
    clean(text).encode()


@given(ANY_TEXT)
def test_xml_text_has_only_line_breaks_and_tabs_beyond_the_printable(text: str) -> None:
    assert xml_text(text).translate({ord("\n"): None, ord("\t"): None}).isprintable()


@given(ANY_TEXT)
def test_nothing_ends_a_code_span(text: str) -> None:
    (paragraph,) = (token for token in MarkdownIt().parse(f"a {code_span(text)} z") if token.type == "inline")
    children = paragraph.children or []
    assert (children[0].content, children[-1].content) == ("a ", " z") or "(empty)" in paragraph.content
    assert [token.type for token in children[1:-1]] in ([], ["code_inline"])


@given(ANY_TEXT)
def test_nothing_ends_a_table_cell(text: str) -> None:
    table = f"| a | b |\n|---|---|\n| {code_cell(text)} | last |\n"
    inlines = [token for token in MarkdownIt().enable("table").parse(table) if token.type == "inline"]
    assert [token.content for token in inlines][-1] == "last"
    assert len(inlines) == 4
    assert [token.type for token in inlines[2].children or []] in (["code_inline"], ["text"])


def test_a_code_span_shows_its_text_unchanged() -> None:
    text = "`a` ``b`` | \\ c"
    (inline,) = (token for token in MarkdownIt().parse(code_span(text)) if token.type == "inline")
    assert [token.content for token in inline.children or []] == [text]


def test_only_plain_words_stay_outside_code_spans() -> None:
    assert word("pre-upgrade") == "pre-upgrade"
    assert word("#1") == "`#1`"
    assert word("www.evil.example") == "`www.evil.example`"
    assert word("") == "(empty)"

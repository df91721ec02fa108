"""Names and numbers in HTML, YAML and Markdown."""

from __future__ import annotations

import pytest

from vitral.reports.wording import for_html, for_markdown, interval, number, plain


@pytest.mark.parametrize("name", ["a\nb", "a\r\n\tb", "a\u2028b", "a\x85b", "  a  b  "])
def test_a_name_is_on_one_line(name: str) -> None:
    assert plain(name) == "a b"


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\ud800", "\ufffe", "\u202e", "\u2066"])
def test_what_no_document_can_hold_is_replaced(character: str) -> None:
    assert plain(f"a{character}b") == "a\ufffdb"


def test_a_long_name_is_cut_to_the_limit() -> None:
    assert plain("x" * 1000, 20) == "x" * 19 + "…"


def test_html_is_escaped_after_the_cut() -> None:
    assert for_html("<&\"'" * 10, 5) == "&lt;&amp;&quot;&#x27;…"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain name (2)", "plain name (2)"),
        ("a|b", r"a\|b"),
        ("*_`", r"\*\_\`"),
        ("[x](y)", r"\[x\](y)"),
        ("# head", r"\# head"),
        ("---", r"\---"),
        ("1. one", r"1\. one"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("x\n---\ny", "x --- y"),
        ("http://a.b", r"http\://a.b"),
    ],
)
def test_markdown_takes_a_name_literally(name: str, written: str) -> None:
    assert for_markdown(name) == written


def test_the_interval_solves_wilsons_equation() -> None:
    # Both ends p of the interval satisfy |share - p| = 1.96 sqrt(p (1 - p) / count).
    for share, count in ((0.9, 100), (0.5, 7), (0.31, 2000)):
        for end in interval(share, count):
            assert abs(share - end) == pytest.approx(1.96 * (end * (1 - end) / count) ** 0.5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_interval_stays_within_0_and_1(share: float) -> None:
    low, high = interval(share, 3)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize("value", [None, "3", True, float("nan"), float("inf"), [1]])
def test_only_finite_numbers_are_numbers(value: object) -> None:
    assert number({"x": value}, "x") is None

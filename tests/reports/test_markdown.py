"""Markdown in the admin: what is rendered, and that nothing gets through it."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.reports.markdown import MOST, render
from tests.support.growth import grows_too_fast

LINK = 'target="_blank" rel="noopener noreferrer nofollow"'
TAGS = {
    *("p", "br", "pre", "code", "strong", "em", "ul", "ol", "li", "a", "hr"),
    *("blockquote", "h3", "h4", "h5", "h6", "div"),
}


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("", ""),
        ("One\ntwo\n\nthree", "<p>One<br>two</p>\n<p>three</p>"),
        ("a **b** *c* _d_ e", "<p>a <strong>b</strong> <em>c</em> <em>d</em> e</p>"),
        ("2 * 3 * 4, snake_case_name", "<p>2 * 3 * 4, snake_case_name</p>"),
        ("**say `x*y*z`**", "<p><strong>say <code>x*y*z</code></strong></p>"),
        ("``a ` b`` and `", "<p><code>a ` b</code> and `</p>"),
        ("```py\nif a < b:\n    **x**\n```\nNext",
         "<pre><code>if a &lt; b:\n    **x**</code></pre>\n<p>Next</p>"),
        ("~~~~ py\n~~~\n~~~~", "<pre><code>~~~</code></pre>"),
        ("``` a ` b", "<p>``` a ` b</p>"),
        ("```\nnever closed", "<pre><code>never closed</code></pre>"),
        ("# Title #", "<h3>Title</h3>"),
        ("###### Small", "<h6>Small</h6>"),
        ("---", "<hr>"),
        ("> a\n> b", "<blockquote><p>a<br>b</p></blockquote>"),
        ("- a\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'),
        ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
        ("- a\n  - b\n- c",
         "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ul>"),
        ("1. a\n   ```\n   x\n   ```\n",
         '<ol start="1"><li><p>a</p><pre><code>x</code></pre></li></ol>'),
        ("[a](http://x.example/?b=1&c)",
         f'<p><a class="llm-link" href="http://x.example/?b=1&amp;c" {LINK}>a</a></p>'),
        ("See http://x.example/a.",
         f'<p>See <a class="llm-link" href="http://x.example/a" {LINK}>'
         "http://x.example/a</a>.</p>"),
        ("![a](https://x.example/i.png)",
         f'<p>!<a class="llm-link" href="https://x.example/i.png" {LINK}>a</a></p>'),
    ],
)  # fmt: skip
def test_what_answers_use_is_rendered(text: str, html: str) -> None:
    assert render(text) == html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html,<script>alert(1)</script>)",
        "[a]( javascript:alert(1) )",
        '[a](https://x.example/"onmouseover="alert(1))',
        "[a](https://x.example/'onmouseover='alert(1))",
        "[<img src=x onerror=alert(1)>](https://x.example/)",
        "https://x.example/\"><script>alert(1)</script>",
        "```<script>\n<script>alert(1)</script>\n```",
        "`<script>alert(1)</script>`",
        "**<script>alert(1)</script>**",
        "# <script>alert(1)</script>",
        "- <script>alert(1)</script>",
        "> <script>alert(1)</script>",
        "\0000\0<script>\0",
        "`a` \0000\0 \x001\x00",
    ],
)  # fmt: skip
def test_no_script_gets_in(text: str) -> None:
    _check(render(text))


@given(
    st.text(
        alphabet=st.sampled_from("ab1 \n\t\0*_`~#>-+.()[]<\"'&=:/!\\\r"), max_size=200
    )
)
def test_no_text_makes_a_tag_or_an_attribute_of_its_own(text: str) -> None:
    _check(render(text))


def _check(html: str) -> None:
    """Check that all tags are known, and closed in the order they were opened."""
    _Checker().check(html)
    assert "\0" not in html


class _Checker(HTMLParser):
    """A parser that reads HTML as a browser does."""

    def check(self, html: str) -> None:
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        for name, value in attrs:
            assert name in {"class", "href", "target", "rel", "start"}
            if name == "href":
                assert (value or "").startswith(("http://", "https://"))
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


@pytest.mark.parametrize(
    "text",
    ["*", "**a ", "_a ", "`", "``` ", "[", "[a](", "> ", "- ", "  - ", "https://",
     "- a\n\n", "`a``", "\n", "* * ", "1. "],
)  # fmt: skip
def test_no_text_is_slow(text: str) -> None:
    began = time.process_time()
    _check(render((text * MOST)[:MOST]))
    assert time.process_time() - began < 3


_BEGINS = ["", "```", "~~~", "[a](http://", "**", "- ", "> "]
_MIDDLES = [
    *"`~*_[]()>-#+ \t\n1.!a\\<\xa0\r",
    *("a ", "*a", "_a", "[a](", "- - ", "`a", "`` ", "http://a", "\t-"),
    *("\n\n", "\n- ", "\n> ", "\n```", "\n  ", "\n   -"),
]
_ENDS = ["", "`", "x", "*", "]"]


@pytest.mark.parametrize("begin", _BEGINS)
def test_no_text_costs_far_more_where_it_is_longer(begin: str) -> None:
    shapes = [(begin, middle, end) for middle in _MIDDLES for end in _ENDS]
    assert [shape for shape in shapes if grows_too_fast(render, shape, 1500)] == []


def test_a_very_long_text_is_shown_as_it_is() -> None:
    html = render("<b>" + "*a* " * MOST)
    assert html.startswith('<div class="llm-plain">&lt;b&gt;*a* *a*')

"""Render the part of Markdown that answers use as HTML, safely for any text.

Every character of the text is escaped; tags come only from this module, and the only
attribute that holds any of the text is the address of a link, which begins with http.
Nothing is loaded: an image becomes a link. Text that is not Markdown here is unchanged.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from html import escape

from django.utils.safestring import SafeString, mark_safe

# A longer text is shown as plain text.
MOST = 100_000
_DEPTH = 6
# Possessive, to avoid backtracking: a long line, tried in every split, would take
# seconds.
_FENCE = re.compile(r" {0,3}(`{3,}+|~{3,}+)[^`]*+$")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*)$")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_QUOTE = re.compile(r" {0,3}> ?(.*)$")
_ITEM = re.compile(r"( {0,3})([-*+]|\d{1,9}[.)])( {1,4}|\t)(.*)$")
_TICKS = re.compile(r"`+")
_HELD = re.compile("\0(\\d+)\0")
# All repetitions are bounded, or end at their own mark, so that none is slow.
_INLINE = re.compile(
    r"\[(?P<label>[^\[\]\n]{1,500})\]\((?P<target>https?://[^\s()<>\"'\0]{1,2000})\)"
    r"|(?P<bare>https?://[^\s<>\"'\0\]\[*]{1,2000})"
    r"|\*\*(?=\S)(?P<strong>[^*\n]{1,1000}?)(?<=\S)\*\*"
    r"|(?<![\w*])\*(?=\S)(?P<star>[^*\n]{1,1000}?)(?<=\S)\*(?![\w*])"
    r"|(?<![\w_])_(?=\S)(?P<line>[^_\n]{1,1000}?)(?<=\S)_(?![\w_])"
)


def render(text: str) -> SafeString:
    """Return a text as HTML."""
    if len(text) > MOST:
        return mark_safe(f'<div class="llm-plain">{escape(text)}</div>')
    lines = text.replace("\0", "\ufffd").replace("\r\n", "\n").split("\n")
    return mark_safe("\n".join(_blocks(lines, 0)))


def _blocks(lines: list[str], depth: int) -> Iterator[str]:
    """Yield the blocks of some lines; blocks that are nested too deeply stay text."""
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif fence := _FENCE.match(line):
            code, at = _code(lines, at + 1, fence[1])
            yield f"<pre><code>{escape(code)}</code></pre>"
        elif heading := _HEADING.match(line):
            # Two levels lower, below the page's own headings.
            level = min(6, len(heading[1]) + 2)
            yield f"<h{level}>{_inline(heading[2].rstrip(' #'))}</h{level}>"
            at += 1
        elif _RULE.match(line):
            yield "<hr>"
            at += 1
        elif depth < _DEPTH and _QUOTE.match(line):
            inner, at = _quoted(lines, at)
            yield f"<blockquote>{''.join(_blocks(inner, depth + 1))}</blockquote>"
        elif depth < _DEPTH and (item := _ITEM.match(line)):
            html, at = _list(lines, at, item, depth)
            yield html
        else:
            end = at + 1
            while end < len(lines) and not _ends_paragraph(lines[end], depth):
                end += 1
            said = "\n".join(part.strip() for part in lines[at:end])
            yield f"<p>{_inline(said)}</p>"
            at = end


def _ends_paragraph(line: str, depth: int) -> bool:
    marks = (_FENCE, _HEADING, _RULE, *((_QUOTE, _ITEM) if depth < _DEPTH else ()))
    return not line.strip() or any(mark.match(line) for mark in marks)


def _code(lines: list[str], start: int, fence: str) -> tuple[str, int]:
    """Return the code from line `start` on, and the index of the line after it."""
    for at in range(start, len(lines)):
        mark = lines[at].strip()
        if len(mark) >= len(fence) and mark == fence[0] * len(mark):
            return "\n".join(lines[start:at]), at + 1
    return "\n".join(lines[start:]), len(lines)


def _quoted(lines: list[str], at: int) -> tuple[list[str], int]:
    inner = []
    while at < len(lines) and (quote := _QUOTE.match(lines[at])):
        inner.append(quote[1])
        at += 1
    return inner, at


def _list(
    lines: list[str], at: int, item: re.Match[str], depth: int
) -> tuple[str, int]:
    is_numbered = item[2][0].isdigit()
    tag, start = "ul", ""
    if is_numbered:
        tag, start = "ol", f' start="{int(item[2][:-1])}"'
    items = []
    found: re.Match[str] | None = item
    while found and found[2][0].isdigit() == is_numbered:
        inner, at = _item(lines, at, found)
        items.append(f"<li>{''.join(_blocks(inner, depth + 1))}</li>")
        found = _ITEM.match(lines[at]) if at < len(lines) else None
    return f"<{tag}{start}>{''.join(items)}</{tag}>", at


def _item(lines: list[str], at: int, item: re.Match[str]) -> tuple[list[str], int]:
    """Return an item's lines, with those indented below, and the index after them."""
    inner = [item[4]]
    indent = len(item[1]) + 2
    at += 1
    while at < len(lines):
        line = lines[at].replace("\t", "    ")
        width = len(line) - len(line.lstrip(" "))
        if line.strip() and width < indent:
            break
        if not line.strip() and not _goes_on(lines, at + 1, indent):
            return inner, _behind_blank(lines, at)
        # The text of an item begins two to five characters to the right of its mark.
        inner.append(line[min(width, len(item[1]) + len(item[2]) + 1) :])
        at += 1
    return inner, at


def _goes_on(lines: list[str], at: int, indent: int) -> bool:
    return at < len(lines) and lines[at].replace("\t", "    ").startswith(" " * indent)


def _behind_blank(lines: list[str], at: int) -> int:
    """Return the index of an item after the blank line at `at`, or else `at`."""
    is_next = at + 1 < len(lines) and _ITEM.match(lines[at + 1])
    return at + 1 if is_next else at


def _inline(text: str) -> str:
    """Return a paragraph's text with its marks; code goes first, as it has none."""
    held: list[str] = []
    html = _marked(_without_code(text, held)).replace("\n", "<br>")
    return _HELD.sub(lambda found: held[int(found[1])], html)


def _without_code(text: str, held: list[str]) -> str:
    """Replace each piece of code with its number in `held`, which gets its HTML."""
    runs = list(_TICKS.finditer(text))
    places: dict[int, list[int]] = {}
    for number, run in enumerate(runs):
        places.setdefault(len(run[0]), []).append(number)
    parts, done, number = [], 0, 0
    while number < len(runs):
        opening = runs[number]
        same = places[len(opening[0])]
        closing = bisect_right(same, number)
        if closing == len(same):
            number += 1
            continue
        end = runs[same[closing]]
        parts += [text[done : opening.start()], f"\0{len(held)}\0"]
        code = text[opening.end() : end.start()]
        held.append(f"<code>{escape(code.strip())}</code>")
        done, number = end.end(), same[closing] + 1
    return "".join([*parts, text[done:]])


def _marked(text: str) -> str:
    parts, done = [], 0
    for found in _INLINE.finditer(text):
        parts += [escape(text[done : found.start()]), _mark(found)]
        done = found.end()
    return "".join([*parts, escape(text[done:])])


def _mark(found: re.Match[str]) -> str:
    if found["label"]:
        return _link(found["target"], escape(found["label"]))
    if bare := found["bare"]:
        address = bare.rstrip(".,;:!?)")
        return _link(address, escape(address)) + escape(bare[len(address) :])
    if found["strong"]:
        return f"<strong>{_marked(found['strong'])}</strong>"
    return f"<em>{_marked(found['star'] or found['line'])}</em>"


def _link(address: str, label: str) -> str:
    attributes = 'target="_blank" rel="noopener noreferrer nofollow"'
    return f'<a class="llm-link" href="{escape(address)}" {attributes}>{label}</a>'

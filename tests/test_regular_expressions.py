"""No regular expression that reads untrusted text is slow on a long one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.support.growth import grows_too_fast

# What these read is short or trusted.
_EXCEPT = {
    "llmchat.reports.search._APART": "a search has a thousand characters at most",
    "llmchat.reports.search._WORD_OR_BESIDE": "PostgreSQL has written it",
    "llmchat.realtime.socketio.strict_json._NOT_FINITE": "this server has written it",
}
_PACKAGES = ("llmchat", "accounts", "serving")
# The lookbehind: an expression's name may be the end of a longer name.
_METHODS = r"(?<!\w){}\.(match|fullmatch|search|sub|findall|finditer)\("
_ANY = (" ", "a", "1", '"', "\n")


def _expressions() -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes], str]]:
    """Yield each module-level expression: its name, itself, its module's source."""
    for package in _PACKAGES:
        path = importlib.import_module(package).__path__
        for found in pkgutil.walk_packages(path, f"{package}."):
            if ".migrations." in found.name:
                continue
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if isinstance(value, re.Pattern):
                    yield f"{found.name}.{name}", value, inspect.getsource(module)


def _uses() -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes], str]]:
    """Yield each expression with each method that its own module calls on it."""
    for name, expression, source in _expressions():
        own = name.rpartition(".")[2]
        used = re.findall(_METHODS.format(re.escape(own)), source)
        for method in sorted(set(used)):
            yield name, expression, method


ALL = list(_uses())
USES = [use for use in ALL if use[0] not in _EXCEPT]


def _shapes(pattern: str) -> Iterator[tuple[str, str, str]]:
    """Yield beginnings, middles and ends of texts, made from parts of a pattern."""
    signs = {char for char in pattern if char.isprintable() and not char.isalnum()}
    words = re.findall("[A-Za-z]{4,}", pattern)[:2]
    escaped = [f"\\{sign}" for sign in sorted(signs)] if "\\" in signs else []
    middles = [*sorted({*signs, *_ANY}), *escaped, *words]
    begins = ["", *(sign * 3 for sign in sorted(signs)), *words]
    ends = ["", "x", "\0", '"', "`"]
    for begin in begins:
        for middle in middles:
            yield from ((begin, middle, end) for end in ends)


def _run(
    expression: re.Pattern[str] | re.Pattern[bytes], method: str
) -> Callable[[str], object]:
    of_bytes = isinstance(expression.pattern, bytes)

    def run(text: str) -> object:
        read = text.encode("latin-1", "replace") if of_bytes else text
        how = partial(expression.sub, read[:0]) if method == "sub" else None
        found = how(read) if how else getattr(expression, method)(read)
        return list(found) if method == "finditer" else found

    return run


@pytest.mark.parametrize(
    ("name", "expression", "method"), USES, ids=[f"{use[0]}-{use[2]}" for use in USES]
)
def test_no_expression_is_slow(
    name: str, expression: re.Pattern[str] | re.Pattern[bytes], method: str
) -> None:
    pattern = expression.pattern
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    run = _run(expression, method)
    slow = [shape for shape in _shapes(text) if grows_too_fast(run, shape, 1500)]
    assert slow == []


def test_what_is_slow_is_found() -> None:
    fence = re.compile(r"(`{3,})[ \t]*([\w+#.-]{0,30})[^`]*$")
    slow = partial(grows_too_fast, _run(fence, "match"), size=1500)
    assert slow(shape=("```", " ", "`"))
    assert not slow(shape=("```", " ", ""))
    assert {"llmchat.reports.markdown._FENCE", *_EXCEPT} <= {use[0] for use in ALL}

"""Which routes the API has, as read from the URL patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

_OURS = ("accounts", "llmchat", "serving")
# Views that respond with a page, or with an error because there is no such route.
_PAGES = {"page", "docs", "schema", "admin_login", "api_not_found", "no_page"}
_READING = ("GET",)
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Route:
    """A path as people write it, such as `/llm/streams/{messageId}`, and its view."""

    path: str
    callback: Any

    @property
    def is_plain(self) -> bool:
        """Return whether the view is not one of REST framework's."""
        return not hasattr(self.callback, "cls")

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the methods that the view handles; for a plain view, GET."""
        if self.is_plain:
            return _READING
        view = self.callback.cls
        return tuple(m for m in _METHODS if hasattr(view, m.lower()))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names in the path."""
        return parameters_of(self.path)


def routes() -> Iterator[Route]:
    """Yield the routes of the API, without pages and the admin."""
    yield from _routes(get_resolver().url_patterns, "")


def readable(pattern: str) -> str:
    """Return the readable path for the complete regular expression of a route."""
    path = re.sub(r"[\^$]", "", pattern).removesuffix("/?").replace("\\.", ".")
    named = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", path)
    named = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", named)
    return "/" + re.sub(r"_(\w)(?=\w*})", lambda match: match[1].upper(), named)


def parameters_of(path: str) -> tuple[str, ...]:
    """Return the names in a path, in their order."""
    return tuple(re.findall(r"{(\w+)}", path))


def _routes(patterns: list[Any], prefix: str) -> Iterator[Route]:
    for pattern in patterns:
        whole = prefix + str(pattern.pattern)
        if whole.startswith("admin/"):
            continue
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, whole)
        elif isinstance(pattern, URLPattern) and _is_api(pattern):
            yield Route(readable(whole), pattern.callback)


def _is_api(pattern: URLPattern) -> bool:
    callback = pattern.callback
    is_ours = str(callback.__module__).split(".")[0] in _OURS
    return is_ours and pattern.name not in _PAGES and callback.__name__ not in _PAGES

"""Which module may import which. The rooms keep a change in one place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from scripts.imports import PACKAGES, base_of, find_modules, imported_by, is_below

# Each room of the product, and the other rooms that it may import. Imports only run
# downwards, so there are no cycles.
_FLOOR = (
    *("llmchat.conf", "llmchat.overhead"),
    *("llmchat.metrics", "llmchat.log_fields", "llmchat.tracing"),
)
_PROVIDERS = ("llmchat.providers",)
_OUTSIDE = ("llmchat.outages", "llmchat.cache", "llmchat.database")
_COMMON = (*_FLOOR, *_PROVIDERS, "llmchat.errors", *_OUTSIDE)
_MODELS = (*_COMMON, "llmchat.models")
_ACCESS = (*_MODELS, "llmchat.access")
_BOOKS = (*_ACCESS, "llmchat.books")
_ANSWERS = (*_BOOKS, "llmchat.workers", "llmchat.answers")
_API = (
    *_ANSWERS,
    *("llmchat.api", "llmchat.realtime", "llmchat.reports", "accounts"),
)
ROOMS: dict[str, tuple[str, ...]] = {
    "llmchat.conf": (),
    "llmchat.overhead": (),
    "llmchat.metrics": ("llmchat.overhead",),
    "llmchat.log_fields": (),
    "llmchat.tracing": ("llmchat.conf",),
    "llmchat.providers": (),
    "llmchat.workers": (),
    "llmchat.realtime": ("llmchat.workers",),
    "llmchat.outages": (),
    "llmchat.cache": ("llmchat.outages",),
    "llmchat.database": ("llmchat.outages",),
    "llmchat.engines": ("llmchat.outages", "llmchat.database"),
    "llmchat.errors": _PROVIDERS,
    "llmchat.models": _FLOOR,
    "llmchat.access": _MODELS,
    "llmchat.books": _ACCESS,
    "llmchat.answers": (*_BOOKS, "llmchat.workers"),
    "llmchat.reports": _MODELS,
    "llmchat.checks": _MODELS,
    "llmchat.api": (*_ANSWERS, "llmchat.realtime", "llmchat.reports", "accounts"),
    "llmchat.description": _API,
    "llmchat.routing": _API,
    "llmchat.urls": (*_API, "llmchat.description"),
    "llmchat.templatetags": (*_MODELS, "llmchat.reports"),
    "llmchat.admin": (*_ANSWERS, "llmchat.reports", "accounts"),
    "llmchat.management": (*_ANSWERS, "llmchat.checks", "accounts"),
    "llmchat.apps": (*_ANSWERS, "llmchat.checks"),
    "accounts": (),
    "config": ("accounts", "llmchat", "serving"),
    "serving": ("accounts", "llmchat"),
}

# Rooms that could become libraries, and what they import besides the standard library.
OUTSIDE: dict[str, tuple[str, ...]] = {
    "llmchat.realtime.engineio": (),
    "llmchat.realtime.socketio": (),
    "llmchat.realtime": ("channels", "llmchat.workers"),
    "llmchat.workers": ("channels", "msgpack"),
    "llmchat.providers": (
        *("aiohappyeyeballs", "certifi", "orjson", "xllamacpp"),
        *("httpx", "httpx_aiohttp", "aiohttp"),
    ),
}

# What may be imported in only one module.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "llmchat.providers.http.library": ("httpx", "httpx_aiohttp", "aiohttp"),
    "llmchat.tracing": ("opentelemetry",),
}

# Importers, and what none of them may import, including all that is below it.
FORBIDDEN: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    # The two protocols never meet.
    (("llmchat.realtime.engineio",), ("llmchat.realtime.socketio",)),
    (("llmchat.realtime.socketio",), ("llmchat.realtime.engineio",)),
    # A use case knows nothing of the interfaces through which it is called.
    (
        ("llmchat.access", "llmchat.answers", "llmchat.books", "llmchat.models"),
        ("rest_framework", "channels"),
    ),
    # The program does not depend on what exists only for its development.
    (PACKAGES, ("tests", "benchmarks", "scripts", "pytest")),
)


MODULES = find_modules()


@cache
def _imports() -> dict[str, set[str]]:
    return {module: imported_by(module, path) for module, path in MODULES.items()}


def _imports_of(room: str) -> Iterator[tuple[str, str]]:
    for module, names in _imports().items():
        if is_below(module, (room,)):
            yield from ((module, name) for name in sorted(names))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_the_rooms_below_it(room: str) -> None:
    allowed = (room, *ROOMS[room])
    offences = [
        f"{module} imports {name}: {room} may import {', '.join(ROOMS[room]) or 'none'}"
        for module, name in _imports_of(room)
        if is_below(name, PACKAGES) and not is_below(name, allowed)
    ]

    assert offences == []


def test_every_module_has_a_room() -> None:
    homeless = [
        module
        for module in MODULES
        if module not in ("llmchat", "llmchat.migrations")
        and not is_below(module, (*ROOMS, "llmchat.migrations"))
    ]

    assert homeless == []


@pytest.mark.parametrize("package", OUTSIDE)
def test_a_library_needs_no_more_than_it_says(package: str) -> None:
    allowed = (*sys.stdlib_module_names, *OUTSIDE[package], package)
    offences = [
        f"{module} imports {name}"
        for module, name in _imports_of(package)
        if not is_below(name, allowed)
    ]

    assert offences == []


@pytest.mark.parametrize(("importers", "forbidden"), FORBIDDEN)
def test_a_room_does_not_import_what_it_must_not_know(
    importers: tuple[str, ...], forbidden: tuple[str, ...]
) -> None:
    offences = [
        f"{module} imports {name}"
        for room in importers
        for module, name in _imports_of(room)
        if is_below(name, forbidden)
    ]

    assert offences == []


@pytest.mark.parametrize("home", ONLY_IN)
def test_what_one_module_wraps_is_named_nowhere_else(home: str) -> None:
    offences = [
        f"{module} imports {name}: only {home} may"
        for module, names in _imports().items()
        if module != home
        for name in sorted(names)
        if is_below(name, ONLY_IN[home])
    ]

    assert offences == []


@pytest.mark.parametrize("room", [*ROOMS, *OUTSIDE, *ONLY_IN])
def test_the_rules_speak_of_rooms_that_exist(room: str) -> None:
    assert room in MODULES


def test_no_room_imports_itself_through_another() -> None:
    seen: dict[str, set[str]] = {}

    def below(room: str) -> set[str]:
        if room not in seen:
            seen[room] = set()
            names = [n for n in ROOMS if is_below(n, ROOMS[room]) and n != room]
            seen[room] = {*names, *(deep for n in names for deep in below(n))}
        return seen[room]

    circles = [room for room in ROOMS if room in below(room)]

    assert circles == []


def test_relative_imports_are_understood() -> None:
    assert "llmchat.realtime.engineio.errors" in {
        name.rpartition(".")[0] for name in _imports()["llmchat.realtime.server"]
    }
    sample = ast.parse("from . import a\nfrom ..b import c").body
    assert isinstance(sample[0], ast.ImportFrom)
    assert isinstance(sample[1], ast.ImportFrom)
    assert base_of(sample[0], "x.y.z", is_package=False) == "x.y"
    assert base_of(sample[0], "x.y", is_package=True) == "x.y"
    assert base_of(sample[1], "x.y.z", is_package=False) == "x.b"

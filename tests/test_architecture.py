"""Who may import whom. The layers are what keeps a change in one place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

STANDARD_LIBRARY_ONLY = ("llmchat.realtime.engineio", "llmchat.realtime.socketio")

PROTOCOL_SHELL = (
    "llmchat.realtime.server",
    "llmchat.realtime.clients",
    "llmchat.realtime.consumers",
    "llmchat.realtime.asgi_server",
    "llmchat.realtime.dispatch",
    "llmchat.realtime.sockets",
    "llmchat.realtime.namespaces",
    "llmchat.realtime.replay",
    "llmchat.realtime.cors",
)
APPLICATION = (
    "accounts",
    "llmchat.models",
    "llmchat.answers.services",
    "llmchat.answers.streams",
    "llmchat.books.conversations",
    "llmchat.providers",
    "llmchat.api.views",
    "llmchat.api.namespace",
)

# Importers, and what none of them may import, with all below it.
FORBIDDEN: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("llmchat.realtime.engineio",), ("llmchat.realtime.socketio",)),
    (("llmchat.realtime.socketio",), ("llmchat.realtime.engineio",)),
    # A provider's wire format is nobody else's, and needs no Django.
    (("llmchat.providers",), ("django", "rest_framework", "channels", "accounts")),
    # Accounts could serve another project.
    (("accounts",), ("llmchat", "config")),
    # What is configured does not know who configures it.
    (("llmchat",), ("config",)),
    # The real-time server knows nothing of chats.
    (PROTOCOL_SHELL, APPLICATION),
    # A use case knows nothing of the doors that it is entered by.
    (
        (
            "llmchat.answers.services",
            "llmchat.answers.streams",
            "llmchat.books.conversations",
        ),
        (
            "rest_framework",
            "django.http",
            "llmchat.realtime.server",
            "llmchat.realtime.consumers",
            "llmchat.realtime.sockets",
            "llmchat.api.views",
            "llmchat.api.namespace",
            "llmchat.realtime.socketio",
            "llmchat.realtime.engineio",
        ),
    ),
    (
        ("llmchat.models",),
        ("llmchat.answers.services", "llmchat.api.views", "rest_framework"),
    ),
    (("llmchat.conf",), ("llmchat", "accounts", "config")),
    # The program does not need what only its tests have.
    (("accounts", "config", "llmchat"), ("tests", "benchmarks", "pytest")),
)


def _modules() -> Iterator[tuple[str, Path]]:
    for package in ("accounts", "config", "llmchat"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imported_by(module: str, path: Path) -> set[str]:
    """Return the full names of what a module imports, type checking aside."""
    tree = ast.parse(path.read_text())
    ignored = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and _is_type_checking(node)
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in ignored:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base_of(node, module, is_package=path.stem == "__init__")
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def _base_of(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    upwards = node.level - is_package
    package = parts[: len(parts) - upwards] if upwards else parts
    return ".".join([*package, node.module] if node.module else package)


def _is_below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


MODULES = dict(_modules())
IMPORTS = {module: _imported_by(module, path) for module, path in MODULES.items()}


@pytest.mark.parametrize(("importers", "forbidden"), FORBIDDEN)
def test_a_layer_does_not_import_what_it_must_not_know(
    importers: tuple[str, ...], forbidden: tuple[str, ...]
) -> None:
    offences = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if _is_below(module, importers)
        for name in sorted(names)
        if _is_below(name, forbidden)
    ]

    assert offences == []


@pytest.mark.parametrize("package", STANDARD_LIBRARY_ONLY)
def test_a_protocol_machine_needs_the_standard_library_alone(package: str) -> None:
    offences = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if _is_below(module, (package,))
        for name in sorted(names)
        if not _is_below(name, (package,))
        and name.split(".")[0] not in sys.stdlib_module_names
    ]

    assert offences == []


@pytest.mark.parametrize("importers", [importers for importers, _ in FORBIDDEN])
def test_the_rules_speak_of_modules_that_exist(importers: tuple[str, ...]) -> None:
    missing = [name for name in importers if name not in MODULES]

    assert missing == []


def test_relative_imports_are_understood() -> None:
    assert "llmchat.conf" in IMPORTS["llmchat.api.origins"]
    sample = ast.parse("from . import a\nfrom ..b import c").body
    assert isinstance(sample[0], ast.ImportFrom)
    assert isinstance(sample[1], ast.ImportFrom)
    assert _base_of(sample[0], "x.y.z", is_package=False) == "x.y"
    assert _base_of(sample[0], "x.y", is_package=True) == "x.y"
    assert _base_of(sample[1], "x.y.z", is_package=False) == "x.b"

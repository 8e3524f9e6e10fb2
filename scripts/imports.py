"""Read from the sources which module imports which, without importing any."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("accounts", "config", "llmchat", "serving")


def find_modules() -> dict[str, Path]:
    """Return the modules of the product by their full names."""
    return dict(_modules())


def imported_by(module: str, path: Path) -> set[str]:
    """Return the full names that a module imports, except for type checking only."""
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
            base = base_of(node, module, is_package=path.stem == "__init__")
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def base_of(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """Return the full name of the module that a `from … import` in `module` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    upwards = node.level - is_package
    package = parts[: len(parts) - upwards] if upwards else parts
    return ".".join([*package, node.module] if node.module else package)


def is_below(name: str, prefixes: tuple[str, ...]) -> bool:
    """Return whether `name` is one of `prefixes`, or is inside one of them."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")

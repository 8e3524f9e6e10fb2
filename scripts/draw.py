"""Redraw the pictures in docs/architecture.md: `python -m scripts.draw`.

Each picture is between two markers, so that a test can find out which are outdated.
"""

from __future__ import annotations

import os

import django

from scripts import rooms, tables
from scripts.imports import ROOT

PAGE = ROOT / "docs" / "architecture.md"
_DRAWINGS = {"rooms": rooms.draw, "tables": tables.draw}


def redraw(page: str) -> str:
    """Return `page` with its pictures redrawn from the current code."""
    for name, draw in _DRAWINGS.items():
        start, end = f"<!-- {name}: python -m scripts.draw -->\n", f"<!-- /{name} -->\n"
        if page.count(start) != 1 or page.count(end) != 1:
            raise ValueError(
                f"{PAGE.name} must contain {start!r} and {end!r} exactly once"
            )
        before, after = page.split(start)[0], page.split(end)[1]
        page = f"{before}{start}```mermaid\n{draw()}\n```\n{end}{after}"
    return page


def main() -> None:
    """Set up Django without a .env file, and write the page."""
    os.environ["LLMCHAT_ENV_FILE"] = ""
    os.environ["DJANGO_DEBUG"] = "1"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    PAGE.write_text(redraw(PAGE.read_text()))


if __name__ == "__main__":
    main()

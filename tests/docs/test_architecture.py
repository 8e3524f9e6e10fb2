"""That the page on the architecture names what there is."""

from __future__ import annotations

import re

import pytest

from tests.support.live import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = sorted(
    path.name if path.suffix else f"{path.name}/"
    for path in (ROOT / "llmchat").iterdir()
    if (path.suffix == ".py" or (path / "__init__.py").exists())
    and not path.name.startswith("_")
)
FILES = {
    path.name
    for package in ("accounts", "config", "llmchat", "serving")
    for path in (ROOT / package).rglob("*.py")
}


@pytest.mark.parametrize("name", ROOMS)
def test_every_room_has_a_place_in_the_tables(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_no_module_is_named_that_is_gone() -> None:
    named = set(re.findall(r"`([a-z_]+\.py)`", PAGE))
    assert named <= FILES

"""That the page on the architecture names what there is."""

from __future__ import annotations

import re

import pytest

from tests.support.live import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
MODULES = sorted(
    path.name
    for path in (ROOT / "llmchat").glob("*.py")
    if not path.name.startswith("_")
)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_place_in_the_tables(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_no_module_is_named_that_is_gone() -> None:
    named = set(re.findall(r"`([a-z_]+\.py)`", PAGE.partition("## Decisions")[0]))
    assert named <= set(MODULES)

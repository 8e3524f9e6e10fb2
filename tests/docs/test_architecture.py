"""The page on the architecture describes what exists."""

from __future__ import annotations

import re

import pytest

from scripts import draw, rooms, tables
from tests.support.live import ROOT

PAGE = draw.PAGE.read_text()
ROOMS = sorted(
    path.name if path.suffix else f"{path.name}/"
    for path in (ROOT / "llmchat").iterdir()
    if (path.suffix == ".py" or (path / "__init__.py").exists())
    and not path.name.startswith("_")
)
FILES = {
    path.name
    for package in ("accounts", "config", "llmchat", "serving", "tests")
    for path in (ROOT / package).rglob("*.py")
}
# The rows of "Where things happen": the paths and the names to look for.
PLACES = [
    (re.findall(r"`([^`]+)`", where), re.findall(r"`([^`]+)`", names))
    for where, names in re.findall(r"(?m)^\| [^|]+\? \| ([^|]+) \|([^|]*)\|$", PAGE)
]


def test_every_room_has_a_place_in_the_tables() -> None:
    assert "realtime/" in ROOMS
    assert {name for name in ROOMS if f"`{name}`" not in PAGE} == set()


def test_no_module_is_named_that_is_gone() -> None:
    named = set(re.findall(r"`(?:[a-z_]+/)*([a-z_]+\.py)`", PAGE))
    assert named <= FILES


def test_the_places_are_found() -> None:
    assert (["serving/draining.py"], ["Draining"]) in PLACES


@pytest.mark.parametrize(("paths", "names"), PLACES, ids=lambda found: " ".join(found))
def test_a_place_holds_what_to_look_for(paths: list[str], names: list[str]) -> None:
    files = [
        file
        for path in paths
        for file in ([ROOT / path] if path.endswith(".py") else (ROOT / path).glob("*"))
    ]
    text = "\n".join(file.read_text() for file in files if file.suffix == ".py")

    assert text
    assert [
        name
        for name in names
        if not re.search(rf"(?m)^\s*(?:(?:async )?def|class) {name}\b|^{name}\b", text)
    ] == []


def test_the_pictures_are_up_to_date() -> None:
    assert draw.redraw(PAGE) == PAGE, "run `python -m scripts.draw`"


def test_every_table_is_explained() -> None:
    names = {model._meta.db_table for model in tables.find_models()}

    assert names <= set(re.findall(r"(?m)^\| `([a-z_]+)` \|", PAGE))


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    arrows = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"e"}, "d": set(), "e": set()}

    reduced = rooms.reduce_arrows(arrows)

    assert reduced == {**arrows, "a": {"b", "d"}}


def test_a_page_without_its_markers_is_not_redrawn() -> None:
    with pytest.raises(ValueError, match="rooms"):
        draw.redraw("no picture")

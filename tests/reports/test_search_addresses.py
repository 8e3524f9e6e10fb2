"""An address is found as it is typed, in messages that contain it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from accounts.models import User
from llmchat.reports import search
from tests.support.admin_fixtures import make_conversation

ADDRESS = "https://example.org/a?b=c"


@pytest.mark.parametrize(
    "text",
    [
        *(ADDRESS, f"see {ADDRESS}", f"{ADDRESS} said"),
        *("https://example.org/", "https://en.wikipedia.org/wiki/A_(b)"),
        *("https://example.org:8080/a.html?b=1&c=2#d", "example.org/a?b=1&c=2"),
        *("std::vector<int>", "12:30", "note: this", "/usr/local/lib", "and/or"),
    ],
)
def test_an_address_is_found_as_it_is_typed(ann: User, text: str) -> None:
    meant = make_conversation(ann, ("user", f"I see {text} said they"))
    make_conversation(ann, ("user", "see https said note"))

    assert set(search.find(text).hits) == {meant.pk}
    assert list(search.matching(type(meant).objects.all(), text)) == [meant]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no operators")
def test_other_words_and_what_is_excluded_stay_so(ann: User) -> None:
    both = make_conversation(ann, ("user", f"sea {ADDRESS}")).pk
    sea = make_conversation(ann, ("user", "the sea")).pk

    def found(text: str) -> Any:
        return set(search.find(text).hits)

    assert found(f"sea -{ADDRESS}") == {sea}
    assert found(f"the or {ADDRESS}") == {sea, both}
    assert found(f'{ADDRESS} "sea') == {both}
    assert found(f'"sea {ADDRESS}"') == {both}
    assert found(f'"{ADDRESS} sea"') == set()

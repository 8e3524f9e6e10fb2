"""A search reads few texts, however many match and however long they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from llmchat.reports import search
from tests.support.admin_fixtures import make_conversation

pytestmark = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite has no index of words"
)
SCAN = "expressionwrapper"


@pytest.fixture(autouse=True)
def said(db: None) -> None:
    """Store 40 messages, longer the older they are; half of them mention the sea."""
    ann = User.objects.create_user("ann")
    for number in range(20):
        words = ("the sea", "the land")[number % 2] + " far" * 25 * number
        make_conversation(
            ann, ("user", words), ("assistant", words), ago=timedelta(hours=number)
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE llmchat_message")


def searched(text: str) -> tuple[search.Found, str]:
    with CaptureQueriesContext(connection) as asked:
        found = search.find(text)
    return found, " ".join(query["sql"] for query in asked.captured_queries)


def test_a_word_that_few_messages_hold_is_looked_up_at_once() -> None:
    found, asked = searched("sea")
    assert (len(found.hits), found.limit) == (10, "")
    assert SCAN not in asked


@pytest.mark.parametrize("text", ["sea", '"the sea"', "sea -land", "sea or land"])
def test_the_latest_messages_hold_the_latest_matches(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = searched(text)
    monkeypatch.setattr(search, "_MANY", 0)
    scanned, asked = searched(text)
    assert SCAN in asked
    assert (set(scanned.hits), scanned.limit) == (set(whole.hits), "")

    monkeypatch.setattr(search, "_LATEST", 10)
    monkeypatch.setattr(search, "_ENOUGH", 3)
    latest, asked = searched(text)
    assert latest.limit == (
        "Many messages match: only the latest 10 messages were searched."
    )
    assert set(latest.hits) < set(whole.hits)

    monkeypatch.setattr(search, "_ENOUGH", 30)
    assert set(searched(text)[0].hits) == set(whole.hits)


def test_the_longer_the_messages_the_fewer_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "_MANY", 0)
    monkeypatch.setattr(search, "_ENOUGH", 1)
    looked: list[Any] = []
    for long in (1, 1000, 5000):
        monkeypatch.setattr(search, "_LONG", long)
        looked.append(searched("sea or land")[0].limit)
    counts = [int(limit.split(" messages were")[0].split()[-1]) for limit in looked]
    assert counts == [1, 7, 14]


@pytest.mark.parametrize(
    "text", ['"the sea"', '"the sea" far', '"sea the" or "the sea"']
)
def test_a_phrase_is_looked_for_in_the_latest_messages_with_its_words(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, asked = searched(text)
    assert SCAN in asked
    assert (len(whole.hits), whole.limit) == (9 if "far" in text else 10, "")
    assert not search.find('"sea the"').hits

    monkeypatch.setattr(search, "_PHRASED", 8)
    latest, _ = searched(text)
    assert latest.limit == (
        "Many messages contain these words: only the latest 8 of them were searched"
        " for the phrase."
    )
    assert set(latest.hits) < set(whole.hits)


@pytest.mark.parametrize(
    "text",
    [
        *("don't", "user_id", "open-source", '"say don\'t"'),
        *('"https://en.wikipedia.org/wiki/Foo_(bar)"', '"a=1&y=2"', '"<b c>d"'),
        *('"it is" or "don\'t"', '"https://example.com/a?x=1&y=2"'),
    ],
)
def test_what_is_a_phrase_to_the_index_is_looked_for_as_one(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = User.objects.get()
    said = text.replace('"', "").replace(" or ", " ")
    there = make_conversation(ann, ("user", f"I say {said} here"))
    for _ in range(3):
        make_conversation(ann, ("user", "t don source open id user it"))
    found, asked = searched(text)
    assert set(found.hits) == {there.pk}
    assert found.limit == ""
    # The exception is a tag and one word to PostgreSQL.
    assert SCAN in asked or text == '"<b c>d"'

    monkeypatch.setattr(search, "_LONG", 1)
    assert len(searched(text)[0].hits) <= 1  # one text is read, however long it is


def test_a_phrase_that_is_excluded_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with_sea = set(searched("sea")[0].hits)
    monkeypatch.setattr(search, "_PHRASED", 1)
    found, _ = searched('the -"the land"')
    assert (set(found.hits), found.limit) == (with_sea, "")

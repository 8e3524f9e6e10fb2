"""The front page's notes on its figures: how many answers their lists do not show."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from llmchat.reports import past
from tests.support.admin_fixtures import make_conversation
from tests.support.deletion import delete_users

CSV = "/admin/llmchat/message/usage/{}/csv/"
# Figures that include no deleted answers.
FULL = ("Interrupted", "Cut off (length)", "Streaming now")


def notes(client: Client) -> dict[str, str]:
    """Return the page's note on each figure."""
    return {one.name: one.note for one in client.get("/admin/").context["figures"]}


def csv_rows(client: Client) -> list[dict[str, str]]:
    """Return the lines of the file with the figures of seven days."""
    text = client.get(CSV.format(7)).content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    ("count", "note"),
    [(1, "1 answer without a known cost"), (2, "2 answers without a known cost")],
)
def test_answers_without_a_known_cost_are_told(
    admin_client: Client, ann: User, count: int, note: str
) -> None:
    make_conversation(ann, cost=Decimal(1))
    for _ in range(count):
        make_conversation(ann)
    assert note in notes(admin_client)["Cost"]


def test_whatever_counts_deleted_answers_says_so(
    admin_client: Client, ann: User
) -> None:
    bob = User.objects.create_user("bob")
    for user in (ann, bob, bob):
        make_conversation(user, cost=Decimal(1))
        make_conversation(user, provider="other", state="error")
        make_conversation(user, finish_reason="length")
    make_conversation(bob, provider="third", state="interrupted")
    assert not [note for note in notes(admin_client).values() if "deleted" in note]
    assert "Deleted answers" not in admin_client.get("/admin/").text

    delete_users(User.objects.filter(pk=ann.pk))
    cache.clear()

    told = notes(admin_client)
    assert told["Answers"] == "0 tokens; 3 of these have been deleted"
    assert told["Cost"].endswith("cost; 2 of these have been deleted")
    assert told["Failed"].endswith("; 1 of these has been deleted")
    assert not [told[name] for name in FULL if "deleted" in told[name]]
    page = admin_client.get("/admin/")
    deleted = {"openai": 2, "other": 1, "third": 0}
    for name, count in deleted.items():
        (row,) = re.findall(rf"<tr>\s*<th[^>]*><a[^>]*>{name}</a>(.*?)</th>", page.text)
        assert past.note(count) in row
        assert bool(row) == bool(count)
    # The listed answers and the deleted ones add up to each figure.
    context = page.context
    gone = {"Answers": 3, "Cost": 2, "Failed": 1}
    for figure in context["figures"]:
        listed = admin_client.get(figure.url).context["cl"].result_count
        value = figure.note.split()[0] if figure.name == "Cost" else figure.value
        assert listed + gone.get(figure.name, 0) == int(value), figure.name
    assert "Deleted answers" in page.text
    rows = [row for row in csv_rows(admin_client) if row["figure"] != "top user"]
    sums = {row["name"]: row["deleted"] for row in rows if row["deleted"] != "0"}
    assert sums == {"": "3", "openai": "2", "other": "1", "model-1": "3"}

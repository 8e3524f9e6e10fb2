"""The front page answers operators' questions, with figures that never disagree."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from llmchat.books.workers import worker_id
from llmchat.models import Conversation
from llmchat.reports import failing, usage
from llmchat.reports.money import money
from llmchat.reports.top_conversations import top_conversations
from tests.support.admin_fixtures import make_conversation

CSV = "/admin/llmchat/message/usage/{}/csv/"


def dear(user: User, cost: str, **fields: Any) -> Conversation:
    """Store a conversation with one answer of this cost."""
    row = make_conversation(user, cost=Decimal(cost), **fields)
    Conversation.objects.filter(pk=row.pk).update(cost=cost, turn_count=1)
    return row


def figures(client: Client, days: int) -> dict[str, tuple[str, str]]:
    """Return the number and the address of each figure at the top of the page."""
    context = client.get("/admin/", {"days": days}).context
    return {one.name: (one.value, one.url) for one in context["figures"]}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("0.0042", "$0.0042"),
        ("0.00004", "<$0.0001"),
        ("0.00005", "$0.0001"),
        ("0.99994", "$0.9999"),
        ("0.99996", "$1.00"),
        ("1.234", "$1.23"),
        ("1234567.891", "$1,234,567.89"),
        ("-0.5", "-$0.5000"),
    ],
)
def test_money_has_one_format(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


@pytest.mark.parametrize("days", usage.RANGES)
def test_each_figure_is_the_number_of_rows_that_it_leads_to(
    admin_client: Client, ann: User, days: int
) -> None:
    for ago in (0, 1, 6, 7, 29, 30, 89, 90):
        past = {"ago": timedelta(days=ago)}
        make_conversation(ann, state="error", **past)
        make_conversation(ann, state="interrupted", finish_reason="error", **past)
        make_conversation(ann, finish_reason="length", **past)
        make_conversation(ann, finish_reason="stop", cost=Decimal(1), **past)
        make_conversation(ann, state="cancelled", **past)
        make_conversation(ann, state="streaming", worker=worker_id(), **past)
        make_conversation(ann, provider="", **past)
    each = {1: 1, 7: 3, 30: 5, 90: 7}[days]

    shown = figures(admin_client, days)

    counts = {name: value for name, (value, _) in shown.items()}
    assert counts["Answers"] == f"{5 * each}"
    assert counts["Cost"] == f"${each}.00"
    for name in ("Failed", "Interrupted", "Cut off (length)"):
        assert counts[name] == f"{each}"
    for name, (value, url) in shown.items():
        rows = admin_client.get(url).context["cl"].result_count
        expected = 4 * each if name == "Cost" else int(value)  # 4 are not priced
        assert rows == expected, name


@pytest.mark.parametrize("days", ["", "2", "-1", "9999999", "x", "٧"])
def test_another_range_is_the_usual_one(
    admin_client: Client, ann: User, days: str
) -> None:
    page = admin_client.get("/admin/", {"days": days})
    assert page.context["usage_days"] == usage.DAYS
    assert "days in UTC" in page.content.decode()


def test_who_spends_most_comes_first_and_is_linked(
    admin_client: Client, ann: User
) -> None:
    bob = User.objects.create_user("bob")
    least, most = dear(ann, "0.5", title="Least"), dear(ann, "2.5", title="Most")
    middle = dear(bob, "1", title="Middle", output_tokens=1000)

    page = admin_client.get("/admin/", {"days": 7}).context
    users, conversations = page["tables"][:2]

    assert [(one.name, one.cost) for one, _ in users.rows] == [("ann", 3), ("bob", 1)]
    found = admin_client.get(users.rows[0][1]).context["cl"].result_list
    assert {message.conversation for message in found} == {least, most}
    names = [(one.name, one.detail, one.cost) for one, _ in conversations.rows]
    assert names == [
        ("Most", "ann", Decimal("2.5")),
        ("Middle", "bob", 1),
        ("Least", "ann", Decimal("0.5")),
    ]
    assert f"/{middle.pk}/" in conversations.rows[1][1]
    assert "$2.50" in admin_client.get(conversations.rows[0][1]).content.decode()


def test_a_conversation_counts_with_what_it_has_cost_on_these_days(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmchat.reports.top_conversations._FIRST", 2)
    olds = [dear(ann, "9", title=f"Old {n}", ago=timedelta(days=9)) for n in range(9)]
    for row in olds:  # each continues today, at little cost
        again = make_conversation(ann, cost=Decimal("0.25"))
        answer = again.messages.get(role="assistant")
        answer.conversation, answer.position = row, 2
        answer.save()
        Conversation.objects.filter(pk=row.pk).update(
            cost="9.25", updated_at=again.updated_at
        )
    dear(ann, "1", title="New")
    begin, end = usage._span(usage.measure(7).days)

    found = top_conversations(begin, end, 3)

    assert [one.sums.cost for one in found] == [1, Decimal("0.25"), Decimal("0.25")]
    assert found[0].title == "New"


def test_what_is_not_priced_is_not_free(admin_client: Client, ann: User) -> None:
    make_conversation(ann, provider="local", output_tokens=9)

    assert figures(admin_client, 1)["Cost"][0] == "not priced"
    assert "$" not in re.sub(
        r"<script.*?</script>|\sx-\w+[^\s>]*|\$\w+", "",
        admin_client.get("/admin/?days=1").content.decode().partition("llm-figures")[2]
        .partition("<canvas")[0],
    )  # fmt: skip


def test_what_nobody_knows_is_told_in_the_same_words_everywhere(
    admin_client: Client, ann: User
) -> None:
    row = make_conversation(ann, state="interrupted")
    answer = row.messages.get(role="assistant")
    Conversation.objects.update(turn_count=1)
    assert figures(admin_client, 1)["Cost"][0] == "cost not known"
    listed = "/admin/llmchat/{}/"
    for page in (
        "/admin/?days=1",
        listed.format("message"),
        listed.format("conversation"),
        f"{listed.format('conversation')}{row.pk}/change/",
        f"{listed.format('message')}{answer.pk}/change/",
    ):
        text = admin_client.get(page).content.decode()
        assert "cost not known" in text, page
        assert "not priced" not in text, page


def test_a_model_without_a_name_leads_to_its_answers_alone(
    admin_client: Client, ann: User
) -> None:
    make_conversation(ann)
    nameless = make_conversation(ann, model="", state="error")
    models = admin_client.get("/admin/").context["tables"][-1]
    ((total, url),) = (row for row in models.rows if not row[0].name)
    assert total.answers == 1
    (found,) = admin_client.get(url).context["cl"].result_list
    assert found.conversation == nameless


def test_the_figures_as_csv_are_those_of_the_page(
    admin_client: Client, ann: User
) -> None:
    dear(ann, "1.25", title="=1+1", provider="+cmd", model="-m", finish_reason="length")
    page = admin_client.get("/admin/?days=7").context["usage"]

    response = admin_client.get(CSV.format(7))

    assert "usage-7-days.csv" in response["Content-Disposition"]
    text = response.content.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    total = rows[0]
    assert (total["figure"], total["answers"]) == ("total", str(page.total.answers))
    assert Decimal(total["cost_usd"]) == page.total.cost
    assert total["cut_off_length"] == "1"
    assert total["without_known_cost"] == "0"
    assert (total["from"], total["to"]) == (str(page.days[0]), str(page.days[-1]))
    names = {row["figure"]: row["name"] for row in rows}
    assert names == {
        "total": "",
        "provider": "'+cmd",
        "model": "'-m",
        "top user": "ann",
        "top conversation": "'=1+1",
    }


def test_the_csv_is_for_those_who_may_see_the_figures(
    admin_client: Client, client: Client, ann: User
) -> None:
    assert admin_client.get(CSV.format(8)).status_code == 404
    User.objects.filter(pk=ann.pk).update(is_staff=True)
    client.force_login(User.objects.get(pk=ann.pk))
    assert client.get(CSV.format(7)).status_code == 403


def test_a_failing_provider_needs_attention_and_says_why(
    admin_client: Client, ann: User
) -> None:
    fails = {"state": "error", "provider": "broken"}
    for _ in range(2):
        make_conversation(ann, error_code="provider_timeout", **fails)
    make_conversation(ann, error_code="provider_error", **fails, ago=timedelta(hours=2))
    for _ in range(9):  # not the provider's fault
        make_conversation(ann, state="error", error_code="bad_request", provider="good")
    assert not list(failing.providers())

    make_conversation(ann, error_code="provider_unavailable", **fails)
    for _ in range(3):
        make_conversation(ann, provider="broken")

    (notice,) = failing.providers()
    now = timezone.now()
    is_early = (now - timedelta(hours=1)).date() != now.date()
    assert notice.text == (
        "broken: 3 of 6 answers failed in the last hour, mostly because it took too"
        " long (provider_timeout). See all its failures"
        f" {'since yesterday' if is_early else 'from today'}."
    )
    assert notice.text in unescape(admin_client.get("/admin/").content.decode())
    assert admin_client.get(notice.url).context["cl"].result_count >= 3

    for _ in range(10):
        make_conversation(ann, provider="broken")
    assert not list(failing.providers())

"""Figures on the same answers are the same wherever they are shown."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Count, Q, Sum
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.books import day_totals, past
from llmchat.models import Conversation, Message, PastUse
from llmchat.models.budgets import today
from llmchat.reports import usage, usage_csv
from llmchat.reports.known_costs import known_cost
from llmchat.reports.money import cost_in_words
from llmchat.reports.outcomes import ended
from llmchat.reports.own_usage import use_of
from tests.support.admin_fixtures import past_conversation, store

STATES = ("complete", "complete", "error", "cancelled", "interrupted", "streaming")
REASONS = ("stop", "length", "content_filter", "tool_calls", "other", "")
COSTS = (None, 0, "0.0000000001", "0.25", "0.1", "0.2", "12345.678")
# Midnight, moments close to it, and those at which clocks are changed somewhere.
MOMENTS = ("00:00", "23:59:59.999999", "00:30", "01:00", "01:30", "02:00", "22:00")
MESSAGES = reverse("admin:llmchat_message_changelist")


@pytest.fixture
def boss(db: None) -> Client:
    """An operator's client, and answers of all kinds: some added up, some deleted."""
    dice = random.Random(7)
    users = [User.objects.create_user(f"user-{number}") for number in range(4)]
    _store(80, dice, users)
    day_totals.keep()
    _store(20, dice, users)
    past.move(Q(conversation__in=_some(dice)))
    users[3].delete()
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def _store(count: int, dice: random.Random, users: Sequence[User]) -> None:
    """Store conversations with the sums of their answers."""
    past = [_conversation(dice, users) for _ in range(count)]
    store(past)
    _sum_up([row for row, _ in past])


def _conversation(
    dice: random.Random, users: Sequence[User]
) -> tuple[Conversation, list[Message]]:
    day = today() - timedelta(days=dice.choice((0, 1, 2, 6, 7, 29, 30, 60, 89, 90)))
    moment = datetime.combine(day, time.fromisoformat(dice.choice(MOMENTS)), UTC)
    row, messages = past_conversation(
        dice.choice(users),
        *[("user", "Hello"), ("assistant", "Hi")] * dice.choice((1, 1, 3)),
        title=dice.choice(("", "Greeting")),
        provider=dice.choice(("openai", "claude", "gone", "")),
        state=dice.choice(STATES),
        ago=datetime.now(UTC) - moment,
        model=dice.choice(("model-1", "model-2", "")),
        finish_reason=dice.choice(REASONS),
        input_tokens=dice.choice((None, 0, 7)),
        output_tokens=dice.choice((None, 0, 9)),
        cost=dice.choice(COSTS),
    )
    for message in messages:
        message.created_at = moment
    return row, messages


def _sum_up(rows: Sequence[Conversation]) -> None:
    """Store the sums of each conversation's answers in its row."""
    names = ("input_tokens", "output_tokens", "cost")
    answers = ended(Message.objects.filter(conversation__in=rows))
    sums = answers.values_list("conversation").annotate(
        Count("pk"), *[Sum(name) for name in names]
    )
    found = {ident: figures for ident, *figures in sums}
    for row in rows:
        turns, *values = found.get(row.pk, [0] * 4)
        row.turn_count = turns
        for name, value in zip(names, values, strict=True):
            setattr(row, name, value or 0)
    Conversation.objects.bulk_update(rows, ["turn_count", *names])


def _some(dice: random.Random) -> list[Any]:
    rows = sorted(Conversation.objects.values_list("pk", flat=True))
    return dice.sample(rows, 15)


def stored(days: int) -> list[Message]:
    first = today() - timedelta(days=days - 1)
    return [
        one
        for one in ended(Message.objects.all()).order_by("pk")
        if one.created_at.astimezone(UTC).date() >= first
    ]


def summed(rows: Sequence[Message]) -> tuple[Any, ...]:
    costs = [one.cost for one in rows if one.cost is not None]
    return (
        len(rows),
        sum(one.input_tokens or 0 for one in rows),
        sum(one.output_tokens or 0 for one in rows),
        sum(costs, Decimal(0)),
        len(rows) - len(costs),
    )


def figures(*totals: Any) -> tuple[Any, ...]:
    return (
        sum(one.answers for one in totals),
        sum(one.input_tokens for one in totals),
        sum(one.output_tokens for one in totals),
        sum((one.cost or Decimal(0) for one in totals), Decimal(0)),
        sum(one.unpriced for one in totals),
    )


def test_the_parts_are_the_whole(boss: Client) -> None:
    for days in usage.RANGES:
        report = usage.measure(days)
        whole = figures(report.total)
        rows = PastUse.objects.filter(day__gte=report.days[0])
        pairs = zip(summed(stored(days)), figures(*rows), strict=True)
        assert whole == tuple(one + other for one, other in pairs)
        by_day = [one for day in report.by_day.values() for one in day.values()]
        assert figures(*by_day) == whole
        assert figures(*report.by_provider) == whole
        assert figures(*report.by_model) == whole
        assert figures(*report.by_user) == summed(stored(days))
        of_csv = "".join(usage_csv.lines(report, with_titles=True))
        for figure, parts in (("total", 1), ("provider", 2), ("model", 1)):
            assert _told(of_csv, figure) == (parts * whole[0], parts * whole[3])


def _told(text: str, figure: str) -> tuple[int, Decimal]:
    """Return the number of answers in the lines of a figure, and their cost."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    lines = [line for line in rows if line["figure"] == figure]
    return (
        sum(int(line["answers"]) for line in lines),
        sum((Decimal(line["cost_usd"] or 0) for line in lines), Decimal(0)),
    )


def test_each_users_figures_are_their_own(boss: Client) -> None:
    users = dict(User.objects.values_list("username", "pk"))
    for days in usage.RANGES:
        report = usage.measure(days)
        for total in report.by_user:
            own = use_of(users[total.name], report.days[0], report.last_day)
            assert figures(*own) == figures(total)
            assert (total.cost is None) == all(row.cost is None for row in own)


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/New_York"])
def test_each_figure_leads_to_as_many_answers(
    boss: Client, zone: str, settings: Any
) -> None:
    """The days are in UTC, whatever the server's time zone."""
    settings.TIME_ZONE = zone
    for days in (1, 7, 90):
        context = boss.get(reverse("admin:index"), {"days": days}).context
        told = [_listed(figure) for figure in context["figures"]]
        told += [
            (url, total.answers - total.deleted.answers)
            for table in context["tables"]
            for total, url in table.rows
        ]
        lists = [(url, count) for url, count in told if "outcome=" in url]
        assert len(lists) > 4
        found = [(url, boss.get(url).context["cl"].result_count) for url, _ in lists]
        assert found == lists


def _listed(figure: Any) -> tuple[str, int]:
    """Return a figure's link, and how many answers it says the list has."""
    told = figure.note if figure.name == "Cost" else figure.value
    count = re.match(r"[\d,]+", told)
    gone = re.search(r"([\d,]+) of these ha(?:s|ve) been deleted", figure.note)
    return figure.url, _number(count and count[0]) - _number(gone and gone[1])


def _number(text: str | None) -> int:
    return int((text or "0").replace(",", ""))


def test_a_conversation_costs_the_same_everywhere(boss: Client) -> None:
    url = reverse("admin:llmchat_conversation_changelist")
    shown: dict[Any, str] = {}
    pages = boss.get(url).context["cl"].paginator.num_pages
    for number in range(1, pages + 1):
        changes = boss.get(url, {"p": number}).context["cl"]
        for row in changes.result_list:
            shown[row.pk] = changes.model_admin.dollars(row)
    assert len(shown) == Conversation.objects.count()
    assert len(set(shown.values())) > 4
    for row in Conversation.objects.all():
        page = boss.get(reverse("admin:llmchat_conversation_change", args=[row.pk]))
        assert page.context["cost"] == shown[row.pk]
        assert cost_in_words(known_cost(row), row) == shown[row.pk]

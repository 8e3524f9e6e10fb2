"""The admin's front page: usage, cost, and what needs attention."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

from llmchat.models import Message
from llmchat.reports import failing, links, past, times, usage
from llmchat.reports.failing import Notice
from llmchat.reports.money import cost_of, without_cost
from llmchat.reports.outcomes import Outcome
from llmchat.reports.usage import Total, UsageReport

# A palette that is safe for colour blindness.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_OTHER = "other"


def may_see(user: Any) -> bool:
    """Return whether an operator may see the usage of all users."""
    return any(map(user.has_perm, ("llmchat.view_message", "llmchat.view_usage")))


def may_see_titles(user: Any) -> bool:
    """Return whether an operator may see what conversations are about."""
    return bool(user.has_perm("llmchat.view_conversation"))


def show(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add usage and notices to the context of the front page."""
    context["title"] = "Usage"
    user = request.user
    context["notices"] = [
        replace(notice, url=links.for_user(user, notice.url))
        for notice in _notices(user)
    ]
    if may_see(user):
        recent = usage.recent(days_of(request))
        context |= {
            "usage": recent,
            "figures": [
                replace(figure, url=links.for_user(user, figure.url))
                for figure in _figures(recent)
            ],
            "ranges": [(days, _range_name(days)) for days in usage.RANGES],
            "usage_days": len(recent.days),
            "sample": times.SAMPLE,
            "tables": list(_tables(recent, user)),
            "tokens_chart": json.dumps(chart(recent, lambda total: total.tokens)),
            "cost_chart": json.dumps(
                chart(recent, lambda total: round(float(total.cost or 0), 4))
            ),
            "legend": list(zip(_names(recent), _COLOURS, strict=False)),
        }
    return context


def _notices(user: Any) -> Iterator[Notice]:
    if user.has_perm("llmchat.view_providerkey"):
        yield from failing.keys()
    if user.has_perm("llmchat.view_message"):
        yield from failing.providers()
    if user.has_perm("llmchat.view_provider"):
        yield from failing.retired_models()
    if user.has_perm("llmchat.view_provideraccess"):
        yield from failing.open_providers()
    if may_see(user):
        yield from failing.unpriced_models()


def days_of(request: HttpRequest) -> int:
    """Return the number of days that a request asks for, if offered, or the default."""
    wanted = request.GET.get("days", "")
    offered = {str(days): days for days in usage.RANGES}
    return offered.get(wanted, usage.DAYS)


def _range_name(days: int) -> str:
    return "Today" if days == 1 else f"{days} days"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number at the top of the page, with a note on it and the page it links to."""

    name: str
    value: str
    note: str = ""
    url: str = ""


def _noted(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _figures(recent: UsageReport) -> Iterator[Figure]:
    total, days, deleted = recent.total, recent.days, recent.total.deleted
    running = Message.objects.filter(state=Message.State.STREAMING).count()
    yield Figure(
        "Answers",
        f"{total.answers:,}",
        _noted(f"{total.tokens:,} tokens", past.note(deleted.answers)),
        links.messages(days),
    )
    yield Figure(
        "Cost",
        cost_of(total),
        _noted(without_cost(total.unpriced), past.note(deleted.unpriced))
        if total.unpriced
        else "",
        links.messages(days, cost__isnull="True") if total.unpriced else "",
    )
    for outcome, count, gone in (
        (Outcome.FAILED, total.failures, deleted.failures),
        (Outcome.INTERRUPTED, total.interrupted, 0),
        (Outcome.LENGTH, total.cut_off, 0),
    ):
        share = f"{100 * count / total.answers:.1f}% of answers" if count else ""
        note = _noted(share, past.note(gone))
        url = links.messages(days, outcome)
        yield Figure(capfirst(str(outcome.label)), f"{count:,}", note, url)
    streams = reverse("admin:llmchat_runningstream_changelist")
    yield Figure("Streaming now", f"{running:,}", "", streams)


@dataclass(frozen=True, slots=True)
class Table:
    """Totals of providers, models, users or conversations, each with its link.

    `row_name` is the name of what a row stands for.
    """

    title: str
    row_name: str
    rows: list[tuple[Total, str]]
    failures: bool = False


def _tables(recent: UsageReport, user: Any) -> Iterator[Table]:
    def linked(totals: Sequence[Total], name: str) -> list[tuple[Total, str]]:
        days = recent.days
        urls = (links.messages(days, **{name: total.key}) for total in totals)
        return [
            (total, links.for_user(user, url))
            for total, url in zip(totals, urls, strict=True)
        ]

    users = linked(recent.by_user, "user__id__exact")
    yield Table("Top users by cost", "User", users)
    # A title is made from the first prompt, which not every operator may read.
    if may_see_titles(user):
        conversations = [
            (total, links.conversation(total.key)) for total in recent.by_conversation
        ]
        yield Table("Top conversations by cost", "Conversation", conversations)
    providers = linked(recent.by_provider, "provider")
    yield Table("Providers", "Provider", providers, failures=True)
    yield Table("Models", "Model", linked(recent.by_model, "model"), failures=True)


def _names(recent: UsageReport) -> list[str]:
    """Return the names in the charts: the top providers, and `other` for the rest."""
    names = [total.name for total in recent.by_provider]
    if len(names) <= len(_COLOURS):
        return names
    return [*names[: len(_COLOURS) - 1], _OTHER]


def chart(recent: UsageReport, measure: Callable[[Total], float]) -> dict[str, Any]:
    """Return stacked bars by day in the format of the theme's chart."""
    names = _names(recent)
    datasets = [
        {
            "label": name,
            "data": [
                sum(
                    measure(total)
                    for total in recent.by_day[day].values()
                    if total.name == name
                    or (name == _OTHER and total.name not in names)
                )
                for day in recent.days
            ],
            "backgroundColor": colour,
            "stack": "all",
            "displayYAxis": True,
            "maxTicksXLimit": 10,
            "maxBarThickness": 14,
        }
        for name, colour in zip(names, _COLOURS, strict=False)
    ]
    labels = [f"{day:%-d %b}" for day in recent.days]
    return {"labels": labels, "datasets": datasets}

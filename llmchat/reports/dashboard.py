"""The admin's front page: usage, cost, and what needs attention."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

from llmchat.models import Message
from llmchat.reports import failing, links, times, usage
from llmchat.reports.money import NOT_PRICED, money
from llmchat.reports.outcomes import Outcome
from llmchat.reports.usage import Total, UsageReport

# A palette that is safe for colour blindness.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_OTHER = "other"


def show(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add usage and notices to the context of the front page."""
    context["title"] = "Usage"
    user = request.user
    context["notices"] = [
        *(failing.keys() if user.has_perm("llmchat.view_providerkey") else ()),
        *(failing.providers() if user.has_perm("llmchat.view_message") else ()),
        *(failing.retired_models() if user.has_perm("llmchat.view_provider") else ()),
        *(
            failing.open_providers()
            if user.has_perm("llmchat.view_provideraccess")
            else ()
        ),
        *(failing.unpriced_models() if user.has_perm("llmchat.view_message") else ()),
    ]
    if any(map(user.has_perm, ("llmchat.view_message", "llmchat.view_usage"))):
        recent = usage.recent(days_of(request))
        context |= {
            "usage": recent,
            "figures": list(_figures(recent, user)),
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


def days_of(request: HttpRequest) -> int:
    """Return the days that a request asks for, of those that there are."""
    wanted = request.GET.get("days", "")
    offered = {str(days): days for days in usage.RANGES}
    return offered.get(wanted, usage.DAYS)


def _range_name(days: int) -> str:
    return "Today" if days == 1 else f"{days} days"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number at the top of the page, what it is a part of, and where it leads."""

    name: str
    value: str
    note: str = ""
    url: str = ""


def _deleted(count: int) -> str:
    """Return what the list that a figure leads to does not have."""
    return f"; {count:,} of the answers were deleted since" if count else ""


def _figures(recent: UsageReport, user: Any) -> Iterator[Figure]:
    total, days = recent.total, recent.days
    running = Message.objects.filter(state=Message.State.STREAMING).count()
    yield Figure(
        "Answers",
        f"{total.answers:,}",
        f"{total.tokens:,} tokens" + _deleted(recent.deleted),
        links.messages(days),
    )
    unpriced = links.messages(days, cost__isnull="True") if total.unpriced else ""
    yield Figure(
        "Cost",
        money(total.cost),
        f"{total.unpriced:,} answers {NOT_PRICED}" if total.unpriced else "",
        unpriced,
    )
    for outcome, count in (
        (Outcome.FAILED, total.failures),
        (Outcome.INTERRUPTED, total.interrupted),
        (Outcome.LENGTH, total.cut_off),
    ):
        share = f"{100 * count / total.answers:.1f}% of answers" if count else ""
        url = links.messages(days, outcome)
        yield Figure(capfirst(str(outcome.label)), f"{count:,}", share, url)
    may_watch = user.has_perm("llmchat.view_runningstream")
    streams = reverse("admin:llmchat_runningstream_changelist") if may_watch else ""
    yield Figure("Streaming now", f"{running:,}", "", streams)


@dataclass(frozen=True, slots=True)
class Table:
    """Totals of providers, models, users or conversations, each with its link."""

    title: str
    rows: list[tuple[Total, str]]
    failures: bool = False


def _tables(recent: UsageReport, user: Any) -> Iterator[Table]:
    def linked(totals: Sequence[Total], name: str) -> list[tuple[Total, str]]:
        days = recent.days
        return [(one, links.messages(days, **{name: one.key})) for one in totals]

    yield Table("Top users by cost", linked(recent.by_user, "user__id__exact"))
    may_read = user.has_perm("llmchat.view_conversation")
    yield Table(
        "Top conversations by cost",
        [
            (one, links.conversation(one.key) if may_read else "")
            for one in recent.by_conversation
        ],
    )
    yield Table("Providers", linked(recent.by_provider, "provider"), failures=True)
    yield Table("Models", linked(recent.by_model, "model"), failures=True)


def _names(recent: UsageReport) -> list[str]:
    """Return the names in the charts: the most used providers, and the others."""
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

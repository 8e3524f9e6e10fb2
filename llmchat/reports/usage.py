"""Usage of the last days: tokens, cost, times, failures.

The days are in UTC, and today is the last of them. All figures of a report are about
the same answers: those that began on these days and have ended. They are cached for a
minute, so that a busy front page puts no load on the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TypeVar

from django.contrib.auth import get_user_model
from django.core.cache import cache

from llmchat.models.budgets import today
from llmchat.reports import day_totals, past
from llmchat.reports.day_totals import Group, Sums
from llmchat.reports.outcomes import Outcome, outcome_of
from llmchat.reports.times import Times, times
from llmchat.reports.top_conversations import CostlyConversation, top_conversations

RANGES = (1, 7, 30, 90)
DAYS = 30
_KEPT_S = 60
_CACHE_KEY = "llmchat:usage:4"
_TOP = 10
_MODELS = 20
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many answers of a total are no longer stored, so that no list shows them."""

    answers: int = 0
    failures: int = 0
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over the answers of one provider, model, user or conversation.

    `key` is what the lists filter by; `detail` is what else is shown of it. `cost`
    is None if there are answers, but none with a known price. Deleting answers does not
    change a total, so `deleted` is not compared.
    """

    name: str
    answers: int
    failures: int
    input_tokens: int
    output_tokens: int
    cost: Decimal | None
    unpriced: int = 0
    cut_off: int = 0
    interrupted: int = 0
    key: str = ""
    detail: str = ""
    deleted: Deleted = field(default=Deleted(), compare=False)

    @property
    def tokens(self) -> int:
        """Return input and output tokens together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The usage of the last days.

    `by_day` holds, for each day, the totals of each provider. Users and conversations
    are those that cost most. Answers that have been deleted are included in all figures
    except those of users and conversations, and the times.
    """

    total: Total
    days: tuple[date, ...]
    by_day: dict[date, dict[str, Total]]
    by_provider: tuple[Total, ...]
    by_model: tuple[Total, ...]
    by_user: tuple[Total, ...]
    by_conversation: tuple[Total, ...]
    times: tuple[Times, ...]

    @property
    def last_day(self) -> date:
        """Return the day that the report was made on."""
        return self.days[-1]


def recent(days: int = DAYS) -> UsageReport:
    """Return the usage of the last days, at most a minute old."""
    key = f"{_CACHE_KEY}:{days}"
    usage: UsageReport | None = cache.get(key)
    if usage is None or usage.last_day != today():
        usage = measure(days)
        cache.set(key, usage, _KEPT_S)
    return usage


def measure(count: int = DAYS) -> UsageReport:
    """Measure the usage of the last days."""
    last = today()
    days = tuple(last - timedelta(days=ago) for ago in reversed(range(count)))
    groups = [*day_totals.by_model(days[0], last), *past.groups(days[0], last)]
    by_day: dict[date, dict[str, Total]] = {day: {} for day in days}
    for day, in_day in _parted(groups, lambda group: group.day).items():
        for name, part in _parted(in_day, lambda group: group.provider).items():
            by_day[day][name] = _total(part, name)
    return UsageReport(
        total=_total(groups),
        days=days,
        by_day=by_day,
        by_provider=_totals(_parted(groups, lambda group: group.provider)),
        by_model=_totals(_parted(groups, lambda group: group.model))[:_MODELS],
        by_user=_users(day_totals.top_users(days[0], last, _TOP)),
        by_conversation=tuple(
            _total_of(conversation)
            for conversation in top_conversations(*_span(days), _TOP)
        ),
        times=times(*_span(days)),
    )


def _span(days: Sequence[date]) -> tuple[datetime, datetime]:
    """Return when the first of these days begins and the last one ends."""
    begin, end = (
        datetime.combine(day, time.min, UTC)
        for day in (days[0], days[-1] + timedelta(days=1))
    )
    return begin, end


def _parted(groups: Iterable[Group], key: Callable[[Group], K]) -> dict[K, list[Group]]:
    parts: dict[K, list[Group]] = {}
    for group in groups:
        parts.setdefault(key(group), []).append(group)
    return parts


def _totals(parts: dict[str, list[Group]]) -> tuple[Total, ...]:
    """Return the totals of each part, the most expensive and most used first."""
    totals = [_total(groups, name) for name, groups in parts.items()]
    return tuple(sorted(totals, key=lambda total: (-(total.cost or 0), -total.tokens)))


def _total(groups: Sequence[Group], name: str = "") -> Total:
    costs = [group.sums.cost for group in groups if group.sums.cost is not None]
    counted: Counter[Outcome] = Counter()
    for group in groups:
        counted[outcome_of(group.state, group.finish_reason)] += group.sums.answers

    return Total(
        name=name,
        key=name,
        answers=sum(group.sums.answers for group in groups),
        failures=counted[Outcome.FAILED],
        interrupted=counted[Outcome.INTERRUPTED],
        cut_off=counted[Outcome.LENGTH],
        unpriced=sum(group.sums.unpriced for group in groups),
        input_tokens=sum(group.sums.input_tokens for group in groups),
        output_tokens=sum(group.sums.output_tokens for group in groups),
        cost=sum(costs, Decimal(0)) if costs or not groups else None,
        deleted=_deleted([group for group in groups if group.deleted]),
    )


def _deleted(groups: Sequence[Group]) -> Deleted:
    return Deleted(
        answers=sum(group.sums.answers for group in groups),
        failures=sum(
            group.sums.answers
            for group in groups
            if outcome_of(group.state) is Outcome.FAILED
        ),
        unpriced=sum(group.sums.unpriced for group in groups),
    )


def _users(rows: Sequence[tuple[int, Sums]]) -> tuple[Total, ...]:
    users = get_user_model().objects.filter(pk__in=[ident for ident, _ in rows])
    names = dict(users.values_list("pk", "username"))
    return tuple(
        _summed(sums, names[ident], str(ident))
        for ident, sums in rows
        if ident in names
    )


def _total_of(conversation: CostlyConversation) -> Total:
    ident = str(conversation.id)
    title = conversation.title or ident
    return _summed(conversation.sums, title, ident, conversation.username)


def _summed(sums: Sums, name: str, key: str, detail: str = "") -> Total:
    return Total(
        name=name,
        key=key,
        detail=detail,
        answers=sums.answers,
        failures=0,
        unpriced=sums.unpriced,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost=sums.cost,
    )

"""The filters of the admin's lists."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.admin import FieldListFilter, ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter
from unfold.contrib.filters.forms import SearchForm

from accounts.models import User
from llmchat.admin.base import may_view_users, number, provider_choices
from llmchat.models import Message
from llmchat.providers.types import FinishReason
from llmchat.reports.links import ENDED
from llmchat.reports.outcomes import Outcome, answers, condition, ended

if TYPE_CHECKING:
    _RangeDateFilter = FieldListFilter
    _AutocompleteFilter = FieldListFilter
else:
    from unfold.contrib.filters.admin import (
        AutocompleteSelectFilter as _AutocompleteFilter,
    )
    from unfold.contrib.filters.admin import (
        RangeDateFilter as _RangeDateFilter,
    )


class DayFilter(_RangeDateFilter):
    """From one day to another, both included, in UTC.

    The theme's own filter leaves the last day out.
    """

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter the list, ignoring what is not a date."""
        limits = {}
        if (first := self._day("from")) is not None:
            limits[f"{self.field_path}__gte"] = _begin(first)
        last = self._day("to")
        if last is not None and last < date.max:
            limits[f"{self.field_path}__lt"] = _begin(last + timedelta(days=1))
        return queryset.filter(**limits)

    def _day(self, which: str) -> date | None:
        wanted = self.used_parameters.get(f"{self.field_path}_{which}")
        try:
            return parse_date(str(wanted))
        except ValueError:
            return None


def _begin(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


# Parameters: an id chosen from a list, or a name typed by operators who may not see it.
_ID, _NAME = "user__id__exact", "username"


class UserFilter(_AutocompleteFilter):
    """By user; a number that no database can hold is an incorrect lookup.

    An operator who may not view users has to type a whole name, so that the filter
    reveals none.
    """

    def __init__(
        self, field: Any, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> None:
        """Check the id before Django looks the user up."""
        wanted = request.GET.get(_ID)
        if wanted and number(wanted) is None:
            raise IncorrectLookupParameters
        self._name = request.GET.get(_NAME, "")
        self._is_typed = bool(self._name) or not may_view_users(request)
        super().__init__(field, request, *args, **kwargs)
        self.used_parameters.pop(_NAME, None)

    def expected_parameters(self) -> list[str | None]:
        """Return the parameters that belong to this filter."""
        return [*super().expected_parameters(), _NAME]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter the list; a name that no user has matches no row."""
        if self._name.strip():
            user_id = chosen_user(request)
            if user_id is None:
                return queryset.none()
            queryset = queryset.filter(user=user_id)
        rows: QuerySet[Any] | None = super().queryset(request, queryset)
        return queryset if rows is None else rows

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the field to show: a list, or a text field for a name."""
        if not self._is_typed:
            yield from super().choices(changelist)
            return
        label, data = _(" By username "), {_NAME: self._name}
        yield {"form": SearchForm(name=_NAME, label=str(label), data=data)}


def chosen_user(request: HttpRequest) -> int | None:
    """Return the id of the user by whom a list is filtered."""
    name = request.GET.get(_NAME, "").strip()
    if not name:
        return number(request.GET.get(_ID, ""))
    if "\0" in name:
        return None
    try:
        return User.objects.get_by_natural_key(name).pk
    except User.DoesNotExist:
        return None


class ProviderFilter(DropdownFilter):
    """By the provider's name, which messages keep when the provider is deleted."""

    title = _("provider")
    parameter_name = "provider"

    def lookups(
        self, request: HttpRequest, model_admin: ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        """Return the providers to choose from."""
        return provider_choices()

    def has_output(self) -> bool:
        """Return whether it filters: a link can name a provider that was deleted."""
        return super().has_output() or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter the list."""
        name = self.value()
        return queryset.filter(provider=name) if name else queryset


class OutcomeFilter(DropdownFilter):
    """By how an answer ended."""

    title = _("outcome")
    parameter_name = "outcome"

    def lookups(
        self, request: HttpRequest, model_admin: ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        """Return the outcomes to choose from."""
        return [(ENDED, _("any answer that has ended")), *Outcome.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter the list."""
        return answers_of(queryset, self.value())


class HasOutcomeFilter(OutcomeFilter):
    """Conversations with an answer that did not end as it should."""

    title = _("has an answer that was")

    def lookups(
        self, request: HttpRequest, model_admin: ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        """Return the outcomes to choose from."""
        return [(outcome.value, outcome.label) for outcome in _UNUSUAL]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter the list."""
        wanted = self.value()
        if wanted not in _UNUSUAL:
            return queryset
        # The limit makes the database find these answers first, by their index.
        latest = answers_of(Message.objects.order_by("-created_at"), wanted)[:_LATEST]
        return queryset.filter(pk__in=latest.values("conversation"))


# How many of the answers that did not end as they should are looked at.
_LATEST = 10_000
_UNUSUAL = [
    outcome
    for outcome in Outcome
    if outcome not in (Outcome.COMPLETE, Outcome.STREAMING)
]


class FinishReasonFilter(DropdownFilter):
    """By the reason given for the end of an answer."""

    title = _("finish reason")
    parameter_name = "finish_reason"

    def lookups(
        self, request: HttpRequest, model_admin: ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        """Return the reasons to choose from."""
        return [
            (FinishReason.STOP.value, _("stop: it was complete")),
            (FinishReason.LENGTH.value, _("length: it reached the token limit")),
            (FinishReason.CONTENT_FILTER.value, _("content_filter: it was blocked")),
            (FinishReason.TOOL_CALLS.value, _("tool_calls: it asked for tools")),
            (FinishReason.OTHER.value, _("other: specific to its provider")),
            ("cancelled", _("cancelled: its user stopped it")),
            ("error", _("error: it failed or was interrupted")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter the list."""
        reason = self.value()
        return queryset.filter(finish_reason=reason) if reason else queryset


def answers_of(rows: QuerySet[Message], outcome: str | None) -> QuerySet[Message]:
    """Return the answers with this outcome, or all messages if there is no such one."""
    if outcome == ENDED:
        return ended(rows)
    if outcome not in Outcome.values:
        return rows
    return answers(rows).filter(condition(Outcome(outcome)))

"""Who has changed what in the admin, and when, but never the values."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from llmchat.admin.base import ReadOnly, number
from llmchat.admin.filters import DayFilter, UserFilter
from llmchat.admin.look import ModelAdmin, display

# Kinds whose names may be shown. Other names contain a text, an amount or a part of a
# key.
_NAMED = frozenset({"accounts.user", "auth.group", "llmchat.provider"})
_LABELS = {"added": "success", "changed": "info", "deleted": "danger"}
_WORDS = {1: "added", 2: "changed", 3: "deleted"}


class KindFilter(DropdownFilter):
    """By what was changed."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the kinds that have entries."""
        used = LogEntry.objects.order_by().values("content_type").distinct()
        kinds = ContentType.objects.filter(pk__in=used)
        return sorted(((str(kind.pk), kind.name) for kind in kinds), key=lambda x: x[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter the list."""
        kind = number(self.value() or "")
        return queryset if kind is None else queryset.filter(content_type=kind)


@admin.register(LogEntry)
class AuditAdmin(ReadOnly, ModelAdmin):
    """The log of the admin, for superusers and those with the right to see it."""

    list_display = ["action_time", "user", "done", "kind", "what", "details"]
    list_display_links = None
    list_filter = [
        ("user", UserFilter),
        KindFilter,
        ("action_flag", ChoicesDropdownFilter),
        ("action_time", DayFilter),
    ]
    list_filter_submit = True
    list_select_related = ["user", "content_type"]
    ordering = ["-pk"]
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Forbid it, even to superusers."""
        return False

    def change_view(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Refuse: Django's title of an entry would show the name that `what` hides."""
        raise PermissionDenied

    def history_view(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Refuse, for the same reason."""
        raise PermissionDenied

    @display(description=_("action"), label=_LABELS)
    def done(self, entry: LogEntry) -> str:
        """Show whether something was added, changed or deleted."""
        return _WORDS.get(entry.action_flag, "changed")

    @admin.display(description=_("kind"))
    def kind(self, entry: LogEntry) -> str:
        """Show what kind of thing it was."""
        return entry.content_type.name if entry.content_type else "–"

    @admin.display(description=_("item"))
    def what(self, entry: LogEntry) -> str:
        """Show the id of the thing, and its name if that may be shown."""
        kind = entry.content_type
        label = f"{kind.app_label}.{kind.model}" if kind else ""
        name = entry.object_repr if label in _NAMED else ""
        return f"{entry.object_id or '–'} {name}".strip()

    @admin.display(description=_("details"))
    def details(self, entry: LogEntry) -> str:
        """Show which fields have changed, or what was done."""
        return details_of(entry.change_message)


def details_of(message: str) -> str:
    """Return a log message without names and values."""
    if not message.startswith("["):
        # The sentences after the first one report the outcome.
        return message.split(". ")[0]
    try:
        parts = json.loads(message)
    except json.JSONDecodeError:
        return ""
    return "; ".join(text for part in parts if (text := _part(part)))


def _part(part: dict[str, Any]) -> str:
    for verb, about in part.items():
        fields, name = ", ".join(about.get("fields", ())), about.get("name", "")
        of = f"{name}: {fields}" if name and fields else name or fields
        return f"{verb} {of}" if of else ""
    return ""

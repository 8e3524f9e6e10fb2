"""What the history of a page says of the rows on it: which, but not what they are.

Whoever may view the page may read its history, though not every row on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest

if TYPE_CHECKING:
    from llmchat.admin.look import ModelAdmin as _ModelAdmin
else:
    _ModelAdmin = object

# Every user is told of them.
_NAMED = frozenset({"llmchat.providermodel"})


class NumbersRows(_ModelAdmin):
    """Tells of keys, budgets and members by their number. Listed before the theme's."""

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Iterable[Any],
        add: bool = False,
    ) -> list[dict[str, dict[str, list[str]]]]:
        """Return what is noted of a change (called by Django, once it is saved)."""
        noted = list(map(_numbered, formsets or ()))
        return super().construct_change_message(request, form, noted, add)


def _numbered(formset: Any) -> Any:
    """Return what Django asks a formset for, with numbers in the place of names."""
    if formset.model._meta.label_lower in _NAMED:
        return formset
    # A deleted row has lost its number, but was posted with it.
    pk = formset.model._meta.pk.name
    posted = {id(form.instance): form[pk].value() for form in formset.initial_forms}
    return SimpleNamespace(
        forms=formset.forms,
        new_objects=[_Row(row, row.pk) for row in formset.new_objects],
        changed_objects=[
            (_Row(row, row.pk), fields) for row, fields in formset.changed_objects
        ],
        deleted_objects=[_Row(row, posted[id(row)]) for row in formset.deleted_objects],
    )


class _Row:
    """A row as far as Django asks for it: its kind and its text."""

    def __init__(self, row: Any, number: object) -> None:
        self._meta = row._meta
        self._number = number

    def __str__(self) -> str:
        return str(self._number)

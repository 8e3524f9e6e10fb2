"""What the history of a page says about the rows on it: their numbers, not their names.

An operator who may view the page can read its history, but might not be allowed to view
every row on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

if TYPE_CHECKING:
    from llmchat.admin.look import ModelAdmin as _ModelAdmin
else:
    _ModelAdmin = object

# Rows whose names every user can see.
_NAMED = frozenset({"llmchat.providermodel"})
# Rows that only link the page's row to another one, which is noted instead: their own
# numbers are on no page.
_LINKED = {"llmchat.provideraccess": "group", "accounts.user_groups": "user"}
# How this module notes a row. Earlier versions noted its name.
_NUMBERS = re.compile(r"\d+|(?:group|user) \d+(?:, now (?:group|user) \d+)?")


class NumbersRows(_ModelAdmin):
    """An admin whose history notes keys, budgets, groups and users by number.

    List it before the theme's class.
    """

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Iterable[Any],
        add: bool = False,
    ) -> list[dict[str, dict[str, list[str]]]]:
        """Return what is noted of a change (called by Django once it is saved)."""
        noted = list(map(_numbered, formsets or ()))
        return super().construct_change_message(request, form, noted, add)

    def history_view(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Hide the names in entries of earlier versions."""
        response: HttpResponse = super().history_view(request, *args, **kwargs)
        if isinstance(response, TemplateResponse) and response.context_data:
            page = response.context_data["action_list"]
            # The entries themselves stay as they are.
            page.object_list = list(page.object_list)
            for entry in page.object_list:
                entry.change_message = _without_names(entry.change_message)
        return response


def _without_names(message: str) -> str:
    """Return what Django has noted of a change, without the names of rows."""
    if not message.startswith("["):
        return message
    try:
        parts = json.loads(message)
    except json.JSONDecodeError:
        return message
    named = {apps.get_model(label)._meta.verbose_name_raw for label in _NAMED}
    for about in (about for part in parts for about in part.values()):
        if about.get("name") not in named and "object" in about:
            is_number = _NUMBERS.fullmatch(about["object"])
            about["object"] = about["object"] if is_number else "…"
    return json.dumps(parts)


def _numbered(formset: Any) -> Any:
    """Return what Django reads of a formset, with numbers in place of names."""
    if formset.model._meta.label_lower in _NAMED:
        return formset
    # The forms know what each row was, even if it is now deleted or was posted as
    # another one. Only those of the changed and deleted rows are asked: the form of a
    # row that another operator has deleted does not know it.
    forms = {id(form.instance): form for form in formset.initial_forms}
    return SimpleNamespace(
        forms=formset.forms,
        new_objects=[_Row(row, _number(row)) for row in formset.new_objects],
        changed_objects=[
            (_Row(row, _both(_stored(forms[id(row)]), _number(row))), fields)
            for row, fields in formset.changed_objects
        ],
        deleted_objects=[
            _Row(row, _stored(forms[id(row)])) for row in formset.deleted_objects
        ],
    )


def _stored(form: Any) -> str:
    """Return the number of a form's row before it was posted."""
    meta = form.instance._meta
    link = _LINKED.get(meta.label_lower)
    if link is None:
        return str(form[meta.pk.name].initial)
    return f"{link} {form.initial[link]}"


def _number(row: Any) -> str:
    """Return the number of a row, or the kind and number of the row it links to."""
    link = _LINKED.get(row._meta.label_lower)
    if link is None:
        return str(row.pk)
    return f"{link} {getattr(row, row._meta.get_field(link).attname)}"


def _both(before: str, after: str) -> str:
    return before if before == after else f"{before}, now {after}"


class _Row:
    """What Django reads of a row: its kind and its text."""

    def __init__(self, row: Any, text: str) -> None:
        self._meta = row._meta
        self._text = text

    def __str__(self) -> str:
        return self._text

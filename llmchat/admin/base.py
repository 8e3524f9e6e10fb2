"""Base classes and helpers of the admin."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin import options
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest

from accounts.models import User
from llmchat.models import Provider
from llmchat.reports.money import money

if TYPE_CHECKING:
    _Options = options.ModelAdmin[Any]
    _ModelAdmin = options.ModelAdmin[Any]
    _Form = forms.ModelForm[Any]
else:  # Django's own classes take no parameters
    _Options = object
    _ModelAdmin = options.ModelAdmin
    _Form = forms.ModelForm

# How many entries of the history are written in one statement.
_ENTRIES_AT_ONCE = 500
# The one format of money in the admin.
dollars = money


class ReadOnly(_Options):
    """Read-only rows; Django's permissions decide on deleting."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow nothing to be added by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow nothing to be changed by hand."""
        return False


class PlainForm(_Form):
    """Show decimal numbers without the zeros that the database adds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.initial.items():
            if isinstance(value, Decimal):
                self.initial[name] = Decimal(f"{value.normalize():f}")


class ChangesForm(PlainForm):
    """Save only the changed fields, because other processes may write the rest."""

    def written_fields(self) -> list[str]:
        """Return the fields of the row to save."""
        fields = {field.name for field in self.instance._meta.concrete_fields}
        return [name for name in self.changed_data if name in fields]

    def save(self, commit: bool = True) -> Any:
        """Save all of a new row, and the changes of an existing one."""
        row = super().save(commit=False)
        if commit:
            row.save(update_fields=self.written_fields() if row.pk else None)
        return row


class SavesChanges(_ModelAdmin):
    """Let the form, a `ChangesForm`, save the row.

    List it after the theme's class, whose own `save_model` calls this one.
    """

    def save_model(
        self, request: HttpRequest, obj: Model, form: Any, change: bool
    ) -> None:
        """Save the row (called by Django with a valid form)."""
        form.save()


def number(text: str) -> int | None:
    """Return the number in a query string, None if a database could not hold it."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def provider_choices() -> list[tuple[str, Any]]:
    """Return the choices of a filter by provider."""
    return list(Provider.objects.values_list("name", "label"))


def may_view_users(request: HttpRequest) -> bool:
    """Return whether the operator may see e-mail addresses and names."""
    names = ("accounts.view_user", "accounts.change_user")
    return any(map(request.user.has_perm, names))


def log(request: HttpRequest, about: Model, message: str) -> None:
    """Add an entry to the admin's history."""
    log_all(request, type(about), [(about.pk, str(about))], message)


def log_all(
    request: HttpRequest,
    kind: type[Model],
    rows: Iterable[tuple[object, str]],
    message: str,
) -> None:
    """Add an entry for each of `rows`, by id and name, in a few statements."""
    user = request.user
    assert isinstance(user, User)  # the admin requires a log-in
    entry = partial(
        LogEntry,
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(kind, for_concrete_model=False),
        action_flag=CHANGE,
        change_message=message,
    )
    entries = (entry(object_id=str(pk), object_repr=name[:200]) for pk, name in rows)
    while batch := list(islice(entries, _ENTRIES_AT_ONCE)):
        LogEntry.objects.bulk_create(batch)

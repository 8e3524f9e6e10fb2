"""What the classes of the admin share."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin import options
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest

from accounts.models import User
from llmchat.models import AnswerState, Provider

if TYPE_CHECKING:
    _Options = options.ModelAdmin[Any]
    _ModelAdmin = options.ModelAdmin[Any]
    _Form = forms.ModelForm[Any]
else:  # Django's own classes take no parameters
    _Options = object
    _ModelAdmin = options.ModelAdmin
    _Form = forms.ModelForm

# Colours of the look's labels.
STATE_LABELS = {
    AnswerState.COMPLETE.label: "success",
    AnswerState.STREAMING.label: "info",
    AnswerState.CANCELLED.label: "warning",
    AnswerState.ERROR.label: "danger",
    AnswerState.INTERRUPTED.label: "danger",
}


class ReadOnly(_Options):
    """Shown as it is and never edited; deleting is left to Django's permissions."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say that nothing is added by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say that nothing is changed by hand."""
        return False


class ChangesForm(_Form):
    """Writes what was changed in it alone; others may be writing the rest."""

    def written_fields(self) -> list[str]:
        """Return the fields of the row that what was entered goes to."""
        fields = {field.name for field in self.instance._meta.concrete_fields}
        return [name for name in self.changed_data if name in fields]

    def save(self, commit: bool = True) -> Any:
        """Write a new row whole, and of an old one what was changed."""
        row = super().save(commit=False)
        if commit:
            row.save(update_fields=self.written_fields() if row.pk else None)
        return row


class SavesChanges(_ModelAdmin):
    """Leaves the writing to its form, a `ChangesForm`.

    Named after the look's class, which wraps the saving in something of its own.
    """

    def save_model(
        self, request: HttpRequest, obj: Model, form: Any, change: bool
    ) -> None:
        """Called by Django for a form that is valid."""
        form.save()


def number(text: str) -> int | None:
    """Return the number that a query holds, None where none of a database does."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def provider_choices() -> list[tuple[str, Any]]:
    """Return the providers for a filter, without asking every conversation."""
    return list(Provider.objects.values_list("name", "label"))


def dollars(cost: Decimal | None) -> str:
    """Return a cost for people, as precise as it is small."""
    if cost is None:
        return "–"
    return f"${cost:,.2f}" if cost >= 1 or not cost else f"${cost:.4f}"


def may_view_users(request: HttpRequest) -> bool:
    """Return whether the operator may see more of people than their usernames."""
    names = ("accounts.view_user", "accounts.change_user")
    return any(map(request.user.has_perm, names))


def log(request: HttpRequest, about: Model, message: str) -> None:
    """Write into the admin's history what somebody has done."""
    user = request.user
    assert isinstance(user, User)  # the admin lets nobody else in
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(about, for_concrete_model=False),
        object_id=str(about.pk),
        object_repr=str(about)[:200],
        action_flag=CHANGE,
        change_message=message,
    )

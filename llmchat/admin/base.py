"""What the classes of the admin share."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.contrib.admin import options
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest

from accounts.models import User
from llmchat.models import AnswerState, Provider

if TYPE_CHECKING:
    _Options = options.ModelAdmin[Any]
else:  # Django's own class takes no parameters
    _Options = object

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


def provider_choices() -> list[tuple[str, Any]]:
    """Return the providers for a filter, without asking every conversation."""
    return list(Provider.objects.values_list("name", "label"))


def dollars(cost: Decimal | None) -> str:
    """Return a cost for people, as precise as it is small."""
    if cost is None:
        return "–"
    return f"${cost:,.2f}" if cost >= 1 or not cost else f"${cost:.4f}"


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

"""*Save and test*: a request to a provider, outside the transaction that saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from llmchat.access.keytest import Trial
from llmchat.admin.base import log
from llmchat.admin.look import action

if TYPE_CHECKING:
    from llmchat.admin.look import ModelAdmin as _ModelAdmin
else:
    _ModelAdmin = object

# Each test is a request to a provider while the operator waits.
MAX_TESTS = 5
_TO_TEST = "llmchat.to_test"
_LEVELS = {True: messages.SUCCESS, False: messages.ERROR, None: messages.WARNING}


class SavesAndTests(_ModelAdmin):
    """An admin whose form has a button that saves, tests, and stays on the form.

    List it before the theme's class.
    """

    actions_submit_line = ["save_and_test"]

    def test(self, request: HttpRequest, pk: Any) -> None:
        """Test the row, and show the outcome."""
        raise NotImplementedError

    @action(description=_("Save and test"), permissions=["change"])
    def save_and_test(self, request: HttpRequest, row: Model) -> None:
        """Mark the row for a test after the transaction that saves it."""
        request.META[_TO_TEST] = row.pk

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the button on a new row's form, too; test the saved row if requested."""
        buttons = self.get_actions_submit_line(request, object_id)
        context = {"actions_submit_line": buttons, **(extra_context or {})}
        response: HttpResponse = super().changeform_view(
            request, object_id, form_url, context
        )
        if (pk := request.META.pop(_TO_TEST, None)) is not None:
            self.test(request, pk)
        return response

    def response_add(
        self, request: HttpRequest, obj: Model, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Stay on the form of a row that is to be tested."""
        _stay(request)
        return super().response_add(request, obj, post_url_continue)

    def response_change(self, request: HttpRequest, obj: Model) -> HttpResponse:
        """Stay on the form of a row that is to be tested."""
        _stay(request)
        return super().response_change(request, obj)

    def may_test(self, request: HttpRequest, count: int) -> bool:
        """Return whether `count` rows may be tested at once; show an error if not."""
        if count > MAX_TESTS:
            text = _("Select at most five.")
            self.message_user(request, text, level=messages.ERROR)
        return count <= MAX_TESTS

    def tell(self, request: HttpRequest, row: Model, name: str, trial: Trial) -> None:
        """Show the outcome of a test, and note it in the row's history."""
        level = _LEVELS[trial.works]
        self.message_user(request, f"{name}: {trial.text}", level=level)
        log(request, row, f"Tested. {trial.text}")


def _stay(request: HttpRequest) -> None:
    if _TO_TEST in request.META:
        data = request.POST.copy()
        data["_continue"] = "1"
        request.POST = data  # type: ignore[assignment]

"""What the page of a fault, which Django shows in debug, does not show."""

from __future__ import annotations

import re
from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.template.defaultfilters import pprint
from django.views.debug import SafeExceptionReporterFilter


class SecretsFilter(SafeExceptionReporterFilter):
    """Hides keys, passwords and tokens wherever a request's fault is shown.

    Django hides them outside of debug alone. A form of the admin takes a provider's
    key in, though, and whoever reports the fault copies its page.
    """

    hidden_settings = re.compile(
        "API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|CREDENTIAL"
        # The fields of the forms that take a key in.
        "|^(.+-)?value$",
        re.IGNORECASE,
    )

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """Hide what was entered into a secret field."""
        entered = super().get_post_parameters(request)
        return {name: self.cleanse_setting(name, entered[name]) for name in entered}

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        """Hide secrets by their names, and what was entered by what it is."""
        entered = self._entered(request)
        local = super().get_traceback_frame_variables(request, tb_frame)
        return {name: self._safe(name, value, entered) for name, value in local}.items()

    def _safe(self, name: str, value: Any, entered: set[str]) -> Any:
        cleansed = self.cleanse_setting(name, value)
        shown = pprint(cleansed)
        if any(secret in shown for secret in entered):
            return self.cleansed_substitute
        return cleansed

    def _entered(self, request: HttpRequest | None) -> set[str]:
        if request is None:
            return set()
        hidden = [name for name in request.POST if self.hidden_settings.search(name)]
        values = {text for name in hidden for text in request.POST.getlist(name)}
        # As they are in a representation, too.
        return {form for text in values if text for form in (text, repr(text)[1:-1])}

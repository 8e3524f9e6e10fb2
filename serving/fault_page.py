"""A filter of what Django's debug page of an exception must not show."""

from __future__ import annotations

import re
from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.template.defaultfilters import pprint
from django.views.debug import SafeExceptionReporterFilter


class SecretsFilter(SafeExceptionReporterFilter):
    """Hide keys, passwords and tokens on the debug page, too.

    Django hides them only with debug off. But a form of the admin takes a provider's
    key, and people copy the debug page into bug reports.
    """

    hidden_settings = re.compile(
        "API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|CREDENTIAL"
        # The fields of the forms that take a key.
        "|^(.+-)?value$",
        re.IGNORECASE,
    )

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """Return the fields of a form, with the values of secret ones hidden."""
        entered = super().get_post_parameters(request)
        return {name: self.cleanse_setting(name, entered[name]) for name in entered}

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        """Return local variables; secrets are hidden by name, entered ones by value."""
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
        # Also as they appear in a `repr`.
        return {form for text in values if text for form in (text, repr(text)[1:-1])}

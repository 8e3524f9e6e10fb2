"""The button and the action that fetch a provider's models from its own list."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from llmchat.access.fetching import fetch_models
from llmchat.admin.base import log
from llmchat.admin.look import ModelAdmin, action
from llmchat.models import Provider

# Each fetch is a request to a provider while the operator waits.
_MAX_FETCHES = 3
_TO_FETCH = "llmchat.provider_to_fetch"


class FetchesModels(ModelAdmin):
    """An admin that fetches models, from the list of providers and from a form."""

    actions = ["fetch_models"]
    actions_submit_line = ["save_and_fetch"]

    @action(description=_("Fetch models"), permissions=["change"])
    def fetch_models(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        """Fetch the models of the selected providers."""
        rows = list(queryset[: _MAX_FETCHES + 1])
        if len(rows) > _MAX_FETCHES:
            self.message_user(
                request, _("Select at most three providers."), level=messages.ERROR
            )
            return
        for row in rows:
            self._fetch(request, row)

    @action(description=_("Save and fetch models"), permissions=["change"])
    def save_and_fetch(self, request: HttpRequest, provider: Provider) -> None:
        """Mark the provider for a fetch after the transaction that saves it."""
        request.META[_TO_FETCH] = provider.pk

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Fetch models, if requested, after the transaction that saves the provider."""
        response: HttpResponse = super().changeform_view(
            request, object_id, form_url, extra_context
        )
        if (pk := request.META.pop(_TO_FETCH, None)) is not None:
            self._fetch(request, Provider.objects.get(pk=pk))
        return response

    def _fetch(self, request: HttpRequest, provider: Provider) -> None:
        fetched = fetch_models(provider)
        level = messages.SUCCESS if fetched.is_done else messages.ERROR
        self.message_user(request, f"{provider}: {fetched.text}", level=level)
        log(request, provider, f"Fetched models. {fetched.text}")

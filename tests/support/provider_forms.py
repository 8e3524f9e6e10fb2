"""A provider's page in the admin, filled in as a browser would."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from llmchat.models import Provider

ADD = "/admin/llmchat/provider/add/"
LIST = "/admin/llmchat/provider/"
SAVE_AND_TEST = {"llmchat_provider_save_and_test": ""}


def change_url(provider: Provider) -> str:
    """Return the address of a provider's page."""
    return reverse("admin:llmchat_provider_change", args=[provider.pk])


def entered(client: Client, url: str) -> dict[str, Any]:
    """Return what a browser would post from the page as it is shown."""
    shown = client.get(url).context
    data = _values(shown["adminform"].form)
    for inline in shown["inline_admin_formsets"]:
        data |= _values(inline.formset.management_form)
        for form in inline.formset.forms:
            data |= _values(form)
    return {k: v for k, v in data.items() if v is not None and v is not False}


def submit(client: Client, url: str, **changes: Any) -> HttpResponse:
    """Save the page with `changes`, where None clears a field, and follow redirects."""
    data = entered(client, url) | changes
    sent = {name: value for name, value in data.items() if value is not None}
    return client.post(url, sent, follow=True)


def errors_of(response: HttpResponse) -> dict[str, list[str]]:
    """Return the errors of the form that is shown again, by field."""
    form = response.context["adminform"].form  # type: ignore[attr-defined]
    return {name: list(texts) for name, texts in form.errors.items()}


def messages_of(response: HttpResponse) -> list[str]:
    """Return what the admin says above the page."""
    return [str(message) for message in response.context["messages"]]  # type: ignore[attr-defined]


def _values(form: Any) -> dict[str, Any]:
    return {field.html_name: field.value() for field in form}

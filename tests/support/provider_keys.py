"""Stored provider keys, and the keys that encrypt them."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from llmchat.models import Provider, ProviderKey

CANARY = "sk-canary-0123456789-wxyz"


def stored(provider: Provider, value: str = CANARY, **fields: Any) -> ProviderKey:
    key = ProviderKey(provider=provider, **fields)
    key.set_value(value)
    key.save()
    return key


def configure(settings: Any, *keys: str) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"encryption_keys": keys}


def post_provider(
    boss: Client, provider: Provider, key: ProviderKey, **entered: str
) -> None:
    """Save the provider's page, with its key on it."""
    url = reverse("admin:llmchat_provider_change", args=[provider.pk])
    initial = boss.get(url).context["adminform"].form.initial
    data = {name: value for name, value in initial.items() if value}
    data |= {
        "keys-TOTAL_FORMS": 1,
        "keys-INITIAL_FORMS": 1,
        "keys-0-provider": provider.pk,
        "keys-0-id": key.pk,
        "keys-0-enabled": "on",
        "access-TOTAL_FORMS": 0,
        "access-INITIAL_FORMS": 0,
    }
    data |= {f"keys-0-{name}": value for name, value in entered.items()}
    assert boss.post(url, data).status_code == 302

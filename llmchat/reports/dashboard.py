"""The admin's front page: usage, cost, and what needs attention."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from llmchat.models import Message, Provider, ProviderKey
from llmchat.models.encryption import EncryptionError
from llmchat.reports import usage
from llmchat.reports.usage import Total, UsageReport

# A palette that is safe for colour blindness.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_OTHER = "other"
_RETIRED_WITHIN = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Notice:
    """A problem for operators, and the page that solves it."""

    text: str
    url: str


def show(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add usage and notices to the context of the front page."""
    context["title"] = "Usage"
    user = request.user
    context["notices"] = [
        *(failing_keys() if user.has_perm("llmchat.view_providerkey") else ()),
        *(retired_models() if user.has_perm("llmchat.view_provider") else ()),
        *(open_providers() if user.has_perm("llmchat.view_provideraccess") else ()),
    ]
    if any(map(user.has_perm, ("llmchat.view_message", "llmchat.view_usage"))):
        recent = usage.recent()
        context |= {
            "usage": recent,
            "usage_days": usage.DAYS,
            "streaming_now": Message.objects.filter(
                state=Message.State.STREAMING
            ).count(),
            "tokens_chart": json.dumps(chart(recent, lambda total: total.tokens)),
            "cost_chart": json.dumps(chart(recent, lambda total: float(total.cost))),
            "legend": list(zip(_names(recent), _COLOURS, strict=False)),
        }
    return context


def failing_keys() -> Iterator[Notice]:
    """Yield the keys that a provider rejected or that cannot be decrypted."""
    for key in ProviderKey.objects.filter(enabled=True).select_related("provider"):
        if problem := _problem(key):
            url = reverse("admin:llmchat_providerkey_change", args=[key.pk])
            yield Notice(f"{key.provider.label}: the key {key} {problem}", url)


def _problem(key: ProviderKey) -> str:
    try:
        key.value()
    except EncryptionError:
        return "cannot be decrypted with LLMCHAT_ENCRYPTION_KEYS."
    if key.last_error:
        return f"was refused ({key.last_error})."
    return ""


def retired_models() -> Iterator[Notice]:
    """Yield the default models that a provider no longer offers."""
    refused = set(
        Message.objects.filter(
            role=Message.Role.ASSISTANT,
            created_at__gte=timezone.now() - _RETIRED_WITHIN,
            error_code="model_not_found",
        )
        .order_by()
        .values_list("provider", "model")
        .distinct()
    )
    for provider in Provider.objects.filter(enabled=True):
        if (provider.name, provider.default_model) in refused:
            url = reverse("admin:llmchat_provider_change", args=[provider.pk])
            model = provider.default_model
            yield Notice(
                f"{provider.label}: it does not offer the default model {model}.", url
            )


def open_providers() -> Iterator[Notice]:
    """Yield the providers that everyone may use although they have groups.

    The admin rejects this, but a dump of an older version can restore it.
    """
    for provider in Provider.objects.exclude(access=None).filter(restricted=False):
        url = reverse("admin:llmchat_provider_change", args=[provider.pk])
        yield Notice(f"{provider.label}: everyone may use it, despite its groups.", url)


def _names(recent: UsageReport) -> list[str]:
    """Return the names in the charts: the most used providers, and the others."""
    names = [total.name for total in recent.by_provider]
    if len(names) <= len(_COLOURS):
        return names
    return [*names[: len(_COLOURS) - 1], _OTHER]


def chart(recent: UsageReport, measure: Callable[[Total], float]) -> dict[str, Any]:
    """Return stacked bars by day in the format of the theme's chart."""
    names = _names(recent)
    datasets = [
        {
            "label": name,
            "data": [
                sum(
                    measure(total)
                    for total in recent.by_day[day].values()
                    if total.name == name
                    or (name == _OTHER and total.name not in names)
                )
                for day in recent.days
            ],
            "backgroundColor": colour,
            "stack": "all",
            "displayYAxis": True,
            "maxTicksXLimit": 10,
            "maxBarThickness": 14,
        }
        for name, colour in zip(names, _COLOURS, strict=False)
    ]
    labels = [f"{day:%-d %b}" for day in recent.days]
    return {"labels": labels, "datasets": datasets}

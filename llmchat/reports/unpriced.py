"""Answers that are not priced: neither their model nor its provider has a price.

That does not mean that they are free, so operators get a notice, and do not take a
sum without them for the bill. Default models without a price get one, too, if a budget
in dollars refuses their answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.core.cache import cache
from django.db.models import Q
from django.urls import reverse

from llmchat.models import Budget, Price, Provider, ProviderModel
from llmchat.models.budgets import today
from llmchat.reports import day_totals

_KEPT_S = 60
_CACHE_KEY = "llmchat:unpriced:2"
_MODELS = 5


def notices() -> list[tuple[str, str]]:
    """Return notices of the models whose answers of this month are not priced.

    There are at most five, after one on the default models that budgets refuse. Each is
    a text, and the address of the page to enter a price on. They are at most a minute
    old, and of today: prices and months end at midnight.
    """
    key = f"{_CACHE_KEY}:{today()}"
    known: list[tuple[str, str]] | None = cache.get(key)
    if known is None:
        known = [*_refused(), *_notices()]
        cache.set(key, known, _KEPT_S)
    return known


def _refused() -> Iterator[tuple[str, str]]:
    """Yield the default models that budgets in dollars refuse, in one notice."""
    if not Budget.objects.filter(unit=Budget.Unit.DOLLARS).exists():
        return
    flat = Q(input_price=None) | Q(output_price=None)
    rows, priced = Provider.objects.filter(flat, enabled=True), _priced()
    names = [
        f"{row.default_model} of {row.label}"
        for row in rows.order_by("pk")
        if row.pk not in priced
    ]
    if names:
        text = (
            "Budgets in US dollars refuse requests to models without a price, such as "
            f"these default models: {', '.join(names)}. Enter their prices, or choose "
            "other default models."
        )
        yield text, reverse("admin:llmchat_providermodel_changelist")


def _priced() -> set[int]:
    """Return the providers whose default models have prices of their own today."""
    day = today()
    known = Price.objects.filter(valid_from__lte=day).order_by("valid_from")
    # The latest price of each is the one that counts.
    latest = {
        price.model.provider_id: price.valid_until
        for price in known.select_related("model__provider")
        if _is_of_default(price.model)
    }
    return {pk for pk, until in latest.items() if until is None or until > day}


def _is_of_default(model: ProviderModel) -> bool:
    provider = model.provider
    return provider.canonical(model.name) == provider.canonical(provider.default_model)


def _notices() -> Iterator[tuple[str, str]]:
    day = today()
    counts = day_totals.to_price(day.replace(day=1), day, _MODELS)
    providers = {row.name: row for row in Provider.objects.all()} if counts else {}
    for provider, model, count in counts:
        answers = "1 answer" if count == 1 else f"{count:,} answers"
        verb = "is" if count == 1 else "are"
        text = (
            f"{answers} this month {verb} not priced, because the model has no price: "
            f"{model or '–'} of {_label(providers, provider)}."
        )
        yield text, _page(providers.get(provider), model)


def _label(providers: Mapping[str, Provider], name: str) -> str:
    return providers[name].label if name in providers else name


def _page(provider: Provider | None, model: str) -> str:
    """Return the page to enter a price on.

    The model that answered can have a longer name than the one that was requested, such
    as with a date, so names are compared by their beginning.
    """
    if provider is None:
        return reverse("admin:llmchat_provider_changelist")
    model = provider.canonical(model)  # earlier answers might have another name
    names = ProviderModel.objects.filter(provider=provider).values_list("name", "pk")
    meant = [
        (len(name), pk)
        for name, pk in names
        if model.startswith(provider.canonical(name))
    ]
    if not meant:
        return reverse("admin:llmchat_provider_change", args=[provider.pk])
    return reverse("admin:llmchat_providermodel_change", args=[max(meant)[1]])

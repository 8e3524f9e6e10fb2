"""Which prices are in use, for answers that have ended and for those that run."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db.models import Q, QuerySet

from llmchat.models import Message, Price, Provider, ProviderModel


def is_in_use(price: Price) -> bool:
    """Return whether answers were billed by a price, or a running one will be."""
    return is_billed(price) or _is_awaited(price)


def is_billed(price: Price) -> bool:
    """Return whether answers were billed by a price."""
    return price.pk is not None and Message.objects.filter(price=price.pk).exists()


def running(model: ProviderModel) -> QuerySet[Message]:
    """Return the running answers that this model writes, or may as a fallback."""
    provider = model.provider
    name = provider.canonical(model.name)
    asked = Q(provider=provider.name, model=name)
    if name == provider.canonical(provider.default_model):
        before = Provider.objects.filter(fallback=provider)
        asked |= Q(provider__in=before.values("name"))
    return Message.objects.filter(asked, state=Message.State.STREAMING).order_by()


def _is_awaited(price: Price) -> bool:
    """Return whether an answer that still runs will be billed by this price."""
    # Read from the database: a form may have changed this object already.
    stored = Price.objects.filter(model=price.model_id)
    rows = list(stored.select_related("model__provider"))
    if price.pk is None or not rows:
        return False
    moments = running(rows[0].model).values_list("created_at", flat=True)
    found = (_known_then(rows, moment) for moment in moments)
    return any(row is not None and row.pk == price.pk for row in found)


def _known_then(rows: list[Price], moment: datetime) -> Price | None:
    """Return the price of a moment as known then; its end may have changed since."""
    day = moment.astimezone(UTC).date()
    begun = [row for row in rows if row.created_at <= moment and row.valid_from <= day]
    return max(begun, key=lambda row: row.valid_from, default=None)

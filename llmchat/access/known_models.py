"""The models of a provider that a user is offered by name."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils import timezone

from llmchat import models
from llmchat.access.catalogue import is_enabled
from llmchat.access.permissions import Access
from llmchat.access.prices import price_at


def names_of(row: models.Provider, access: Access) -> list[str]:
    """Return the models of a remembered provider that a user may name, in order.

    The default model comes first, then those of the catalogue, then those that only a
    permission names. Other models may be allowed too, but their names are not known.
    """
    named = access.named_models(row)
    first = [name for name in named if name == row.default_model]
    found = dict.fromkeys([*first, *_listed(row, access), *named])
    return [name for name in found if is_enabled(row, name)]


def _listed(row: models.Provider, access: Access) -> Iterator[str]:
    today = timezone.now().date()
    known = row.model_rows.values()
    for model in sorted(known, key=lambda model: (model.position, model.pk)):
        is_offered = model.retires_on is None or model.retires_on > today
        if is_offered and access.allows(row, model.name):
            yield model.name


def is_priced(row: models.Provider, name: str) -> bool:
    """Return whether an answer of a model would have a price now."""
    if row.input_price is not None and row.output_price is not None:
        return True
    model = row.model_rows.get(name)
    if model is None:
        return False
    return price_at(model.price_rows, timezone.now()) is not None

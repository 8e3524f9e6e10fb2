"""A provider's models, fetched from its own list of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from llmchat import database, models
from llmchat.access import catalogue, keys
from llmchat.models.revision import revise
from llmchat.providers.errors import ProviderError
from llmchat.providers.listing import MAX_MODELS, Listed, list_models
from llmchat.providers.local import find_weights
from llmchat.providers.registry import LOCAL_MODELS
from llmchat.providers.types import Key

_FIELDS = ("label", "context_tokens", "max_output_tokens", "retires_on", "reasons")


@dataclass(frozen=True, slots=True)
class Fetched:
    """The outcome of a fetch in words; `is_done` False: nothing was changed."""

    is_done: bool
    text: str


def fetch_models(row: models.Provider) -> Fetched:
    """Fetch a provider's list of models; store the new ones, and which are gone.

    New models are disabled, except the default model. What an operator has entered
    stays as it is.
    """
    if not row.embedded and not row.address:
        return Fetched(False, "Enter its base URL first.")
    if row.needs_key and not keys.ring(row).keys:
        return Fetched(False, "Enter a key first.")
    try:
        found = _listed(row)
    except ProviderError as exc:
        return Fetched(False, _in_words(exc))
    if len(found) > MAX_MODELS:
        return Fetched(False, f"It lists {len(found)} models, which is too many.")
    with transaction.atomic():
        added, gone, back = _note(row, found)
    return Fetched(True, _summary(len(found), added, gone, back))


def _listed(row: models.Provider) -> list[Listed]:
    """Return what the provider lists. Raises: ProviderError."""
    if row.embedded:
        find_weights()
        return [Listed(name) for name in LOCAL_MODELS]
    provider = catalogue.value_of(row)
    key: Key | None = next(iter(keys.ring(row).keys), None)
    with database.paused():
        return async_to_sync(list_models)(provider, key)


def _note(
    row: models.Provider, found: list[Listed]
) -> tuple[list[str], list[str], list[str]]:
    """Store what is listed; return the names that are new, gone, and back again."""
    revise()  # its lock comes first, and lets only one fetch write at a time
    today = timezone.now().date()
    known = list(models.ProviderModel.objects.filter(provider=row))
    names = {row.canonical(model.name) for model in known}
    # Some gateways list a model under another name than Gemini does, or under both.
    found = [replace(model, name=row.canonical(model.name)) for model in found]
    found = list({model.name: model for model in found}.values())
    listed = {model.name for model in found}
    position = max((model.position for model in known), default=0)
    new = [model for model in found if model.name not in names]
    models.ProviderModel.objects.bulk_create(
        _row(row, model, position + number) for number, model in enumerate(new, 1)
    )
    gone, back = [], []
    for model in known:
        is_listed = row.canonical(model.name) in listed
        if is_listed and model.missing_since is not None:
            back.append(model)
        elif not is_listed and model.missing_since is None:
            gone.append(model)
    for changed, day in ((gone, today), (back, None)):
        idents = [model.pk for model in changed]
        models.ProviderModel.objects.filter(pk__in=idents).update(missing_since=day)
    return (
        [model.name for model in new],
        [model.name for model in gone],
        [model.name for model in back],
    )


def _row(
    provider: models.Provider, listed: Listed, position: int
) -> models.ProviderModel:
    said = {name: getattr(listed, name) for name in _FIELDS}
    return models.ProviderModel(
        provider=provider,
        name=listed.name,
        enabled=listed.name == provider.canonical(provider.default_model),
        position=min(position, 32_767),
        **{name: value for name, value in said.items() if value is not None},
    )


def _summary(count: int, *changes: list[str]) -> str:
    parts = [f"It lists {count} {'model' if count == 1 else 'models'}"]
    for names, what in zip(changes, ("new", "gone", "back"), strict=True):
        if names:
            shown = ", ".join(sorted(names)[:5])
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            parts.append(f"{len(names)} {what}: {shown}{more}")
    if len(parts) == 1:
        parts.append("nothing has changed")
    hint = " New models are disabled until you enable them." if changes[0] else ""
    return f"{'; '.join(parts)}.{hint}"


def _in_words(exc: ProviderError) -> str:
    detail = f" ({exc.log_detail})" if exc.log_detail else ""
    return f"{exc.text.rstrip('.')}{detail}."

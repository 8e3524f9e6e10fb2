"""From the stored provider rows to what the provider layer works with."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Literal, cast

from django.db.models import Q, QuerySet
from django.utils import timezone

from llmchat import conf, models
from llmchat.encryption import EncryptionError
from llmchat.errors import refusal
from llmchat.providers.types import Key, Protocol, Provider, Usage

logger = logging.getLogger(__name__)

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
SystemRole = Literal["system", "developer"]
Thinking = Literal["omit", "disabled"]

# Setting with the key, setting with the address, of the providers that are shipped.
_SETTINGS = {
    "openai": ("openai_api_key", "openai_base_url"),
    "claude": ("anthropic_api_key", "anthropic_base_url"),
    "gemini": ("gemini_api_key", "gemini_base_url"),
    "deepseek": ("deepseek_api_key", "deepseek_base_url"),
}
_STORED = "key "
_REST = timedelta(minutes=5)
_USE_IS_NOTED_EVERY = timedelta(minutes=1)
_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Route:
    """Where one turn goes: the provider, the keys in order, and what it costs.

    Prices are US dollars for a million tokens, None: not known. `embedded` says that
    the address is known only once the model on this machine runs.
    """

    provider: Provider
    keys: tuple[Key, ...]
    default_model: str
    embedded: bool
    input_price: Decimal | None
    output_price: Decimal | None

    def at(self, base_url: str) -> Provider:
        """Return the provider at another address."""
        return replace(self.provider, base_url=base_url)

    def cost(self, usage: Usage) -> Decimal | None:
        """Return what `usage` costs, in US dollars; None where no price is known."""
        if self.input_price is None or self.output_price is None:
            return None
        dollars = self.input_price * (usage.input_tokens or 0)
        return (dollars + self.output_price * usage.output_tokens) / _MILLION


def route(name: str) -> Route:
    """Return the way to the provider that clients call `name`.

    Raises: ChatError `provider_not_found`, `key_not_configured`.
    """
    row = (
        models.Provider.objects.filter(name=name, enabled=True)
        .prefetch_related("keys")
        .first()
    )
    if row is None:
        raise refusal("provider_not_found")
    keys = _keys(row)
    if row.needs_key and not keys:
        raise refusal("key_not_configured", label=row.label)
    return Route(
        provider=_as_value(row),
        keys=keys,
        default_model=row.default_model,
        embedded=row.embedded,
        input_price=row.input_price,
        output_price=row.output_price,
    )


def trial(key: models.ProviderKey) -> tuple[Provider, Key]:
    """Return what it takes to try one stored key, whether it is in use or not.

    Raises: EncryptionError when none of the encryption keys fits.
    """
    return _as_value(key.provider), Key(f"{_STORED}{key.pk}", key.value())


def available() -> Iterable[tuple[models.Provider, bool]]:
    """Return the enabled providers, each with whether it can be used."""
    rows = models.Provider.objects.filter(enabled=True).prefetch_related("keys")
    return [(row, not row.needs_key or bool(_keys(row))) for row in rows]


def note_keys(keys: tuple[Key, ...], refused: dict[str, str]) -> None:
    """Remember which keys a provider refused (ident to code) and which one worked."""
    now = timezone.now()
    for ident, code in refused.items():
        _row_of(ident).update(last_error=code, resting_until=now + _REST)
    worked = next((key for key in keys if key.ident not in refused), None)
    if worked is not None:
        _row_of(worked.ident).filter(
            Q(last_used_at=None)
            | Q(last_used_at__lt=now - _USE_IS_NOTED_EVERY)
            | ~Q(last_error="")
        ).update(last_used_at=now, last_error="", resting_until=None)


def _row_of(ident: str) -> QuerySet[models.ProviderKey]:
    rows = models.ProviderKey.objects.all()
    if not ident.startswith(_STORED):
        return rows.none()
    return rows.filter(pk=int(ident.removeprefix(_STORED)))


def _keys(row: models.Provider) -> tuple[Key, ...]:
    """Return the keys in the order of use; a stored one wins over the environment."""
    now = timezone.now()
    stored = [key for key in row.keys.all() if key.enabled]
    rested = [k for k in stored if k.resting_until is None or k.resting_until <= now]
    keys = tuple(_decrypted(rested or stored))
    if keys:
        return keys
    from_environment = _setting(row.name, 0)
    return (Key("environment", from_environment),) if from_environment else ()


def _decrypted(rows: Iterable[models.ProviderKey]) -> Iterable[Key]:
    for row in rows:
        try:
            yield Key(f"{_STORED}{row.pk}", row.value())
        except EncryptionError as exc:
            logger.error("provider key %s cannot be used: %s", row.pk, exc)


def _setting(name: str, which: int) -> str:
    names = _SETTINGS.get(name)
    return "" if names is None else str(getattr(conf.get(), names[which])).strip()


def _as_value(row: models.Provider) -> Provider:
    return Provider(
        name=row.name,
        # The choices of the row's fields are these literals.
        protocol=cast("Protocol", row.protocol),
        label=row.label,
        base_url=row.base_url or _setting(row.name, 1),
        needs_key=row.needs_key,
        max_tokens_field=cast("MaxTokensField", row.max_tokens_field),
        max_output_tokens=row.max_output_tokens,
        accepts_sampling=row.accepts_sampling,
        temperature_max=row.temperature_max,
        system_role=cast("SystemRole", row.system_role),
        thinking=cast("Thinking", row.thinking),
        include_usage=row.include_usage,
    )

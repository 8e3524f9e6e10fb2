"""The catalogue of providers: from stored rows to routes for the provider layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal, cast

from django.utils import timezone

from llmchat import conf, models
from llmchat.access import keys, memory, prices
from llmchat.access.memory import Memory
from llmchat.access.permissions import Access
from llmchat.access.prices import Charge
from llmchat.errors import ChatError, from_provider, refusal
from llmchat.providers.errors import (
    ModelNotFoundError,
    ProviderAuthError,
    ProviderError,
    ProviderQuotaError,
)
from llmchat.providers.local import find_weights
from llmchat.providers.registry import LOCAL_MODELS
from llmchat.providers.types import Key, Protocol, Provider, Usage

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
SystemRole = Literal["system", "developer"]
Thinking = Literal["omit", "disabled"]
# Codes of settings that an operator has not entered yet.
_UNCONFIGURED = ("key_not_configured", "address_not_configured")
_MILLION = Decimal(1_000_000)
_ANY_USAGE = Usage(1, 1, "estimated")


@dataclass(frozen=True, slots=True)
class Route:
    """Where one turn goes: the provider, its keys in order, and its prices.

    The prices of a model are in its row in `model_rows`; those of the route, US dollars
    per million tokens, are for models that have none. `embedded`: the address is not
    known until the built-in model runs. `fallback` answers if this provider fails
    before the first token; it has no fallback of its own. `model` is the model to ask,
    by its canonical name.
    """

    provider: Provider
    keys: tuple[Key, ...]
    default_model: str
    embedded: bool
    input_price: Decimal | None
    output_price: Decimal | None
    fallback: Route | None = None
    model_rows: Mapping[str, models.ProviderModel] = field(default_factory=dict)
    model: str = ""

    @property
    def is_configured(self) -> bool:
        """Whether there is an address, and a key if one is needed."""
        return self.missing is None

    @property
    def missing(self) -> ChatError | None:
        """The error for a missing address or key, if one is missing."""
        return _missing(self.provider, self.keys, embedded=self.embedded)

    @property
    def is_priced(self) -> bool:
        """Whether a request to the model would have a price now."""
        return self.highest_cost(_ANY_USAGE, self.model) is not None

    def at(self, base_url: str) -> Provider:
        """Return the provider at another address."""
        return replace(self.provider, base_url=base_url)

    def charge(
        self,
        usage: Usage,
        model: str | None = None,
        at: datetime | None = None,
        *,
        is_refused: bool = False,
    ) -> Charge | None:
        """Return what a request is billed, None if it is not priced.

        `model` is the model that was asked, None for the default one, and `at` is when
        it was asked. `is_refused`: it refused without any output.
        """
        rows, moment = self._prices(model), at or timezone.now()
        found = prices.charge(rows, usage, moment, is_refused=is_refused)
        return found or self._flat_charge(usage)

    def highest_cost(
        self, usage: Usage, model: str | None = None, at: datetime | None = None
    ) -> Decimal | None:
        """Return the most that `usage` can cost here, None if it is not priced."""
        cost = prices.highest(self._prices(model), usage, at or timezone.now())
        if cost is not None:
            return cost
        flat = self._flat_charge(usage)
        return flat.cost if flat else None

    def _prices(self, model: str | None) -> Sequence[models.Price]:
        row = self.model_rows.get(model or self.default_model)
        return row.price_rows if row else ()

    def _flat_charge(self, usage: Usage) -> Charge | None:
        """Return the charge by the provider's own prices, None if it has none."""
        if usage.is_free:
            return Charge(Decimal(0))
        if self.input_price is None or self.output_price is None:
            return None
        dollars = self.input_price * (usage.input_tokens or 0)
        return Charge((dollars + self.output_price * usage.output_tokens) / _MILLION)


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider as clients see it; `refusal` says why it is not usable now."""

    row: models.Provider
    configured: bool
    refusal: ChatError | None


def route(
    name: str, access: Access, model: str | None = None, known: Memory | None = None
) -> Route:
    """Return the route to the provider that clients call `name`.

    Without a `model` it leads to the provider's default one. `known` is what the caller
    has read already. A user who lacks permission does not learn how the provider is
    configured.

    Raises: ChatError `provider_not_found`, `permission_denied`, `model_not_found`,
        `key_not_configured`, `address_not_configured`.
    """
    row = (known or memory.current()).providers.get(name)
    if row is None or not row.enabled:
        raise refusal("provider_not_found")
    asked = row.canonical(model or row.default_model)
    access.require(row, asked)
    if not is_enabled(row, asked):
        raise from_provider(ModelNotFoundError())
    found = _as_route(row, asked)
    fallback = _fallback(row, access)
    if fallback is None and (missing := found.missing) is not None:
        raise missing
    return replace(found, fallback=fallback) if fallback else found


def offers(access: Access, *, is_budgeted: bool = False) -> Iterable[Offer]:
    """Return the enabled providers that a user may use, and why any cannot answer.

    `is_budgeted`: a budget applies, so that a fallback without a price cannot answer.
    """
    rows = memory.current().providers.values()
    return [
        _offer(row, access, is_budgeted=is_budgeted)
        for row in rows
        if row.enabled and access.patterns(row.name)
    ]


def _offer(row: models.Provider, access: Access, *, is_budgeted: bool) -> Offer:
    why_not = _why_not(row)
    configured = why_not is None or why_not.code not in _UNCONFIGURED
    if why_not is not None:
        fallback = _fallback(row, access)
        if fallback is not None and (fallback.is_priced or not is_budgeted):
            why_not = None  # its fallback answers
    return Offer(row, configured, why_not)


def _why_not(row: models.Provider) -> ChatError | None:
    if row.embedded:
        try:
            find_weights()
        except ProviderError as exc:
            return from_provider(exc)
    ring = keys.ring(row)
    missing = _missing(_remembered_value(row), ring.keys, embedded=row.embedded)
    if missing is not None:
        return missing
    if not row.needs_key:
        return None
    for error in (ProviderAuthError, ProviderQuotaError):
        if ring.refused_for == error.code:
            return from_provider(error())
    return None


def _missing(
    provider: Provider, found: tuple[Key, ...], *, embedded: bool
) -> ChatError | None:
    if not embedded and not provider.base_url:
        return refusal("address_not_configured", label=provider.label)
    if provider.needs_key and not found:
        return refusal("key_not_configured", label=provider.label)
    return None


def _fallback(row: models.Provider, access: Access) -> Route | None:
    """Return the route to the row's fallback, None if that is not usable either."""
    other = row.fallback
    if other is None or other.pk == row.pk or not other.enabled or _why_not(other):
        return None
    if not access.allows(other, other.default_model):
        return None
    if not is_enabled(other, other.default_model):
        return None
    return _as_route(other, other.default_model)


def is_enabled(row: models.Provider, model: str) -> bool:
    """Return whether a model may be asked for; a model without a row may be."""
    known = row.model_rows.get(model)
    return known is None or known.enabled


def _as_route(row: models.Provider, model: str) -> Route:
    return Route(
        provider=_able(_remembered_value(row), row.model_rows.get(model)),
        keys=keys.ring(row).keys,
        default_model=row.default_model,
        embedded=row.embedded,
        input_price=row.input_price,
        output_price=row.output_price,
        model_rows=row.model_rows,
        model=model,
    )


def _able(provider: Provider, model: models.ProviderModel | None) -> Provider:
    """Return the provider, limited to what the model takes and can write."""
    if model is None:
        return provider
    if model.takes_images and model.takes_tools and model.max_output_tokens is None:
        return provider
    return replace(
        provider,
        model_output_tokens=model.max_output_tokens,
        takes_images=provider.takes_images and model.takes_images,
        takes_tools=provider.takes_tools and model.takes_tools,
    )


def _remembered_value(row: models.Provider) -> Provider:
    """Return a remembered row as a `Provider`, which is remembered as well."""
    settings = conf.get()
    last = _values.get(row.name)
    if last is None or last[0] is not row or last[1] is not settings:
        last = _values[row.name] = row, settings, value_of(row)
    return last[2]


# By name: a row, the settings (which hold some addresses), and the value made of both.
_values: dict[str, tuple[models.Provider, conf.Conf, Provider]] = {}


def value_of(row: models.Provider) -> Provider:
    """Return a row as the provider layer takes it."""
    return Provider(
        name=row.name,
        # The choices of the row's fields are these literals.
        protocol=cast("Protocol", row.protocol),
        label=row.label,
        base_url=row.address,
        needs_key=row.needs_key,
        max_tokens_field=cast("MaxTokensField", row.max_tokens_field),
        max_output_tokens=row.max_output_tokens,
        accepts_sampling=row.accepts_sampling,
        temperature_max=row.temperature_max,
        system_role=cast("SystemRole", row.system_role),
        thinking=cast("Thinking", row.thinking),
        include_usage=row.include_usage,
        takes_images=not row.embedded,
        takes_tools=not row.embedded,
        models=LOCAL_MODELS if row.embedded else (),
    )

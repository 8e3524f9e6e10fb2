"""What an answer costs, from the prices of its model and what it has used.

Nothing is read or stored here. The results are exact sums and products of decimals.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from llmchat.models import Price
from llmchat.models.hours import days, spans
from llmchat.providers.types import Usage

_MILLION = Decimal(1_000_000)
_ONE = Decimal(1)
_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Charge:
    """A cost in US dollars, and the price that it was worked out from.

    `price` is None if the provider's own price was used, the same for every model.
    """

    cost: Decimal
    price: Price | None = None


def price_at(prices: Iterable[Price], moment: datetime) -> Price | None:
    """Return the price that applies at a moment, None if none is known."""
    day = moment.astimezone(UTC).date()
    begun = [price for price in prices if price.valid_from <= day]
    latest = max(begun, key=lambda price: price.valid_from, default=None)
    if latest is None or (latest.valid_until and latest.valid_until <= day):
        return None
    return latest


def charge(
    prices: Iterable[Price],
    usage: Usage,
    began_at: datetime,
    *,
    is_refused: bool = False,
) -> Charge | None:
    """Return what one request is billed, None if no price is known.

    `began_at` is when it was sent. `is_refused`: the model refused without any output,
    which some prices bill and others do not. Usage that the provider itself does not
    bill (`is_free`) costs nothing.
    """
    price = price_at(prices, began_at)
    if price is None:
        return None
    if usage.is_free or (is_refused and not price.bills_refusals):
        return Charge(Decimal(0), price)
    written = price.input if price.cache_write is None else price.cache_write
    kept = written if price.long_cache_write is None else price.long_cache_write
    read = price.input if price.cache_read is None else price.cache_read
    inputs = (
        price.input * usage.uncached_tokens
        + read * usage.cache_read_tokens
        + written * (usage.cache_write_tokens - usage.cache_write_long_tokens)
        + kept * usage.cache_write_long_tokens
    )
    return Charge(_total(price, usage, inputs, began_at), price)


def highest(
    prices: Iterable[Price], usage: Usage, began_at: datetime
) -> Decimal | None:
    """Return the most that `usage` can cost, however much of it goes through caches.

    `usage` is an estimate of all attempts together, so the dearer tier may be assumed
    although no single attempt would reach it.
    """
    price = price_at(prices, began_at)
    if price is None:
        return None
    cached = (price.cache_read, price.cache_write, price.long_cache_write)
    rates = (price.input, *cached)
    dearest = max(rate for rate in rates if rate is not None)
    inputs = dearest * (usage.input_tokens or 0)
    return _total(price, usage, inputs, began_at)


def is_peak(price: Price, moment: datetime) -> bool:
    """Return whether a moment is in the peak hours of a price, which cost more."""
    moment = moment.astimezone(UTC)
    try:
        peaks, free = spans(price.peak_hours), days(price.off_days)
    except ValueError:
        return False  # no form stores such values, but an answer must be able to end
    if moment.weekday() >= _SATURDAY or moment.date() in free:
        return False
    minute = 60 * moment.hour + moment.minute
    return any(begin <= minute < end for begin, end in peaks)


def _total(price: Price, usage: Usage, inputs: Decimal, began_at: datetime) -> Decimal:
    """Return the dollars of input and output, each with the factors that apply."""
    outputs: Decimal = price.output * usage.output_tokens
    if price.above_tokens is not None and _inputs(usage) > price.above_tokens:
        inputs *= price.input_factor
        outputs *= price.output_factor
    factor: Decimal = price.peak_factor if is_peak(price, began_at) else _ONE
    return (inputs + outputs) * factor / _MILLION


def _inputs(usage: Usage) -> int:
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return usage.uncached_tokens + cached

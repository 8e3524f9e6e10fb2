"""What an answer costs: each attempt at the price of its own model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from llmchat.access.catalogue import Route
from llmchat.access.prices import Charge
from llmchat.books.turn import Begun, Outcome
from llmchat.models import Message
from llmchat.providers.types import Usage

# Costs are rounded to the precision that is stored, so that all sums of them agree.
_CENTS = Message._meta.get_field("cost").decimal_places
_STORED = Decimal(1).scaleb(-_CENTS)
_REFUSED = "content_filter"
# The highest cost that a column holds and SQLite can read back. No real bill comes near
# it, but wrong counts from a server, or a mistyped price, might.
HIGHEST = Decimal(999_999)


@dataclass(frozen=True, slots=True)
class Bill:
    """What all attempts cost together in US dollars, None if that is unknown.

    `price_id` is the price of the model that answered, or was asked last; None if it
    has no price of its own.
    """

    cost: Decimal | None
    price_id: int | None


def bill(begun: Begun, outcome: Outcome) -> Bill:
    """Return what is billed for an answer."""
    route = begun.answered_by(fell_back=outcome.fell_back)
    lines = outcome.lines or (outcome.usage,)
    is_refused = _is_refused(outcome)
    charges = _charges(begun, route, lines, is_refused=is_refused)
    last = charges[-1]
    if outcome.before is not None:
        before = outcome.lines_before or (outcome.before,)
        charges += _charges(begun, begun.route, before)
    price_id = last.price.pk if last is not None and last.price is not None else None
    return Bill(_sum(charges), price_id)


def _charges(
    begun: Begun,
    route: Route,
    lines: Iterable[Usage],
    *,
    is_refused: bool = False,
) -> list[Charge | None]:
    """Return the charges of attempts; only the last can be a refusal."""
    *earlier, last = lines
    model, at = route.model, begun.began_at
    charges = [route.charge(usage, model, at) for usage in earlier]
    return [*charges, route.charge(last, model, at, is_refused=is_refused)]


def _sum(charges: Iterable[Charge | None]) -> Decimal | None:
    total = Decimal(0)
    for charge in charges:
        if charge is None:
            return None
        total += charge.cost
    total = min(total, HIGHEST)
    exponent = total.as_tuple().exponent
    is_finer = isinstance(exponent, int) and exponent < -_CENTS
    return total.quantize(_STORED) if is_finer else total


def _is_refused(outcome: Outcome) -> bool:
    """Return whether the model refused without any text or thought.

    The few tokens that some providers count for a refusal are no output, and thoughts
    are not always counted as such. Output of an earlier attempt says nothing about the
    attempt that was refused.
    """
    is_filtered = (
        outcome.error_code == "content_filtered" or outcome.finish_reason == _REFUSED
    )
    *_, last = outcome.lines or (outcome.usage,)
    has_output = outcome.text or outcome.tool_calls or last.has_output
    return is_filtered and not has_output

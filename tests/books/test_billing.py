"""Which of an answer's attempts cost nothing, without a database."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from uuid import uuid4

import pytest

from llmchat.access.catalogue import Route
from llmchat.books.billing import bill
from llmchat.books.turn import Begun, Outcome
from llmchat.models import AnswerState, Price, ProviderModel
from llmchat.providers.registry import DEFAULT_PROVIDERS
from llmchat.providers.types import Usage

ONE = Usage(1_000_000, 0, "provider")
NOTHING = Usage(0, 0, "estimated")
THOUGHT = Usage(1_000_000, 1_000_000, "provider", has_output=True)


def cost_of_refusal(*lines: Usage) -> Decimal | None:
    """Return the cost of attempts at 8 and 40 dollars; the last was refused."""
    price = Price(valid_from=date(2026, 1, 1), input=8, output=40, bills_refusals=False)
    row = ProviderModel(name="m")
    row.__dict__["price_rows"] = (price,)
    provider = DEFAULT_PROVIDERS["claude"].provider
    route = Route(provider, (), "m", False, None, None, model_rows={"m": row})
    begun = Begun(1, route, "m", uuid4(), uuid4(), uuid4(), "")
    outcome = Outcome(
        AnswerState.ERROR,
        "",
        sum(lines[1:], start=lines[0]),
        "m",
        "error",
        "content_filtered",
        lines=lines,
    )
    return bill(begun, outcome).cost


@pytest.mark.parametrize(
    ("lines", "cost"),
    [
        ((ONE,), 0),
        ((THOUGHT,), 48),
        # Output of an earlier attempt does not belong to the refusal.
        ((THOUGHT, ONE), 48),
        ((ONE, THOUGHT), 56),
        # A refusal that no provider counted has a line, so that it is the free one.
        ((ONE, NOTHING), 8),
    ],
)
def test_a_refusal_is_free_where_nothing_came_of_it(
    lines: tuple[Usage, ...], cost: int
) -> None:
    assert cost_of_refusal(*lines) == cost

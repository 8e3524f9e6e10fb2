"""Counts and costs beyond any real bill: the answer must end normally even so."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from llmchat.books.turn import Outcome
from llmchat.database import in_database
from llmchat.models import Conversation, Message, Provider
from llmchat.providers.types import Usage
from tests.support.access import answer
from tests.support.turns import begin_turn, end_stored

DEAREST = Decimal("999999.9999")


async def test_a_cost_beyond_all_bills_is_the_highest_that_can_be_stored(
    user, provider, turn
):
    """Counts of a server are bounded, and so are prices, but not their product."""
    rates = {"input_price": DEAREST, "output_price": DEAREST}
    await in_database(lambda: Provider.objects.update(**rates))
    usage = Usage(100_000_000, 100_000_000, "provider")
    outcome = Outcome(Message.State.COMPLETE, "Hello", usage, "m", "stop")
    first = await in_database(begin_turn, user.pk, turn("Hi"))
    await in_database(end_stored, first, outcome)
    more = replace(turn("And?"), conversation_id=first.conversation_id)
    second = await in_database(begin_turn, user.pk, more)
    assert second.conversation_id == first.conversation_id
    await in_database(end_stored, second, outcome)

    answers = Message.objects.filter(role="assistant").order_by("position")
    stored = await in_database(lambda: list(answers))
    assert [(row.state, row.cost) for row in stored] == [("complete", 999_999)] * 2
    assert (await in_database(Conversation.objects.get)).cost == 999_999


async def test_what_is_kept_for_long_is_stored_as_it_is_charged(user, provider, turn):
    begun = await in_database(begin_turn, user.pk, turn("Hi"))
    usage = Usage(10, 3, "provider", cache_write_tokens=6, cache_write_long_tokens=4)
    outcome = Outcome(Message.State.COMPLETE, "Hello", usage, "m", "stop")
    await in_database(end_stored, begun, outcome)
    stored = await answer()
    assert (stored.cache_write_tokens, stored.cache_write_long_tokens) == (6, 4)

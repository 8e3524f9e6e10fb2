"""A fallback answers if the provider fails before the first token."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from llmchat.answers.events import Cancelled, Done, Failed
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.providers.types import ChatMessage, Image
from tests.support.access import answer, forbid_the_default_model
from tests.support.chat_fixtures import end_of, events_of
from tests.support.streaming import streaming


async def test_the_fallback_answers_where_the_provider_fails_without_a_word(
    user, provider, fallback, upstream, spare, turn
):
    upstream.status = 401
    start, *_, done = await events_of(user, turn("Hi"))

    assert isinstance(done, Done)
    assert (start.provider, start.model) == ("test", "model-1")
    assert (done.text, done.provider) == ("From the spare", "spare")
    assert spare.requests[0]["model"] == "spare-1"


async def test_an_answer_of_the_fallback_is_stored_with_its_price(
    user, provider, fallback, upstream, spare, turn
):
    upstream.status = 401
    await end_of(user, turn("Hi"))

    stored = await answer()
    assert (stored.state, stored.provider) == ("complete", "spare")
    assert stored.cost == Decimal("0.00013")
    assert stored.attempts == 2


async def test_the_fallback_is_not_asked_once_a_word_was_said(
    user, provider, fallback, upstream, spare, turn
):
    upstream.cut = True
    failed = await end_of(user, turn("Hi"))

    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.partial) == ("provider_error", "Hello")
    assert not spare.requests


async def test_the_error_of_the_last_that_was_asked_is_told(
    user, provider, fallback, upstream, spare, turn
):
    upstream.status, spare.status = 401, 404
    failed = await end_of(user, turn("Hi"))

    assert isinstance(failed, Failed)
    assert failed.error.code != "provider_auth"
    assert (await answer()).provider == "spare"


@pytest.mark.parametrize("status", [400, 413])
async def test_a_request_that_is_wrong_is_not_sent_to_the_fallback(
    user, provider, fallback, upstream, spare, turn, status
):
    upstream.status = status
    assert isinstance(await end_of(user, turn("Hi")), Failed)
    assert not spare.requests


async def test_the_fallback_is_asked_where_the_provider_has_no_key(
    user, provider, fallback, upstream, turn
):
    provider.needs_key = True
    await in_database(provider.save)

    assert (await end_of(user, turn("Hi"))).text == "From the spare"
    assert not upstream.requests


@pytest.mark.parametrize(
    "reason",
    ["disabled", "forbidden", "other model", "keyless", "no address", "itself"],
)
async def test_a_fallback_that_is_of_no_use_is_not_asked(
    user, provider, fallback, upstream, spare, turn, reason
):
    def spoil() -> None:
        fallback.enabled = reason != "disabled"
        fallback.needs_key = reason == "keyless"
        fallback.save()
        if reason == "forbidden":
            fallback.restricted = True
            fallback.save()
        if reason == "other model":
            forbid_the_default_model(user, fallback)
        if reason == "no address":
            fallback.base_url = ""
            fallback.save()
        if reason == "itself":
            provider.fallback = provider
            provider.save()

    await in_database(spoil)
    upstream.status = 401
    failed = await end_of(user, turn("Hi"))
    assert failed.error.code == "provider_auth"
    assert (len(upstream.requests), len(spare.requests)) == (1, 0)


async def test_a_stream_of_the_fallback_can_be_cancelled(
    user, provider, fallback, upstream, spare, turn
):
    upstream.status = 401
    spare.steps = ("From ", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, stream):
        assert stream.cancel()
    async with asyncio.timeout(5):
        await spare.hung_up.wait()
    assert isinstance(events[-1], Cancelled)
    assert events[-1].partial == "From "


PICTURE = ChatMessage("user", "What?", images=(Image(url="https://example.org/a"),))


async def test_a_fallback_that_cannot_take_the_turn_is_not_asked(
    user, provider, fallback, upstream, spare, turn
):
    fallback.protocol = "deepseek"
    await in_database(fallback.save)
    asked = replace(turn(), messages=(PICTURE,))
    assert (await end_of(user, asked)).text == "Hello"
    upstream.status = 401
    failed = await end_of(user, asked)
    assert isinstance(failed, Failed)
    assert failed.error.code == "provider_auth"
    assert not spare.requests


async def test_where_only_the_fallback_could_answer_it_has_to_take_the_turn(
    user, provider, fallback, upstream, spare, turn
):
    fallback.protocol = "deepseek"
    await in_database(fallback.save)
    provider.needs_key = True
    await in_database(provider.save)
    with pytest.raises(ChatError) as caught:
        await end_of(user, replace(turn(), messages=(PICTURE,)))
    assert caught.value.text == "Spare does not support images"
    assert not upstream.requests
    assert not spare.requests

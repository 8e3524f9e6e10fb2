"""Turns through the OpenAI API: how answers end, and what they continue."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.db.models import Model
from django.test import AsyncClient

from llmchat.database import in_database
from llmchat.models import Provider
from tests.support.access import answer
from tests.support.api_keys import make_key
from tests.support.openai_api import Ask, asking, data_of, one_with_text
from tests.support.upstream import Upstream

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("told", "reason"),
    [("length", "length"), ("content_filter", "content_filter"), ("odd", "stop")],
)
async def test_a_reason_is_told_in_openais_words(
    ask: Ask, upstream: Upstream, told: str, reason: str
) -> None:
    upstream.reason = told

    whole = (await ask("chat/completions", messages=HI)).json()
    chunks = await data_of(await ask("chat/completions", messages=HI, stream=True))

    assert whole["choices"][0]["finish_reason"] == reason
    assert json.loads(chunks[-2])["choices"][0]["finish_reason"] == reason
    assert chunks[-1] == "[DONE]"


async def test_the_end_of_a_stream_names_the_model_that_has_answered(
    ask: Ask, upstream: Upstream
) -> None:
    told = {"messages": HI, "stream_options": {"include_usage": True}}

    whole = (await ask("chat/completions", **told)).json()
    chunks = await data_of(await ask("chat/completions", **told, stream=True))

    models = [json.loads(chunk)["model"] for chunk in chunks[:-1]]
    assert models[0] == "test/model-1"
    assert models[-2:] == [whole["model"]] * 2 == ["test/upstream-1"] * 2


async def test_what_the_provider_has_cached_is_told_as_openai_tells_it(
    ask: Ask, upstream: Upstream
) -> None:
    details = {"cached_tokens": 4, "cache_write_tokens": 2}
    counts: Any = {"prompt_tokens": 7, "completion_tokens": 3}
    upstream.usage = {**counts, "prompt_tokens_details": details}

    completion = (await ask("chat/completions", messages=HI)).json()["usage"]
    response = (await ask("responses", input="Hi")).json()["usage"]

    assert completion["prompt_tokens"] == response["input_tokens"] == 7
    assert completion["prompt_tokens_details"] == details
    assert response["input_tokens_details"] == details


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_cancelled_does_not_end_like_a_whole_one(
    ask: Ask, upstream: Upstream, user: Model, stream: bool
) -> None:
    upstream.steps = ("Hel", asyncio.Event())
    asked = asyncio.create_task(
        read(await ask("chat/completions", messages=HI, stream=True))
        if stream
        else ask("chat/completions", messages=HI)
    )
    running = await one_with_text(user)
    running.cancel()
    result = await asked

    if stream:
        assert "[DONE]" not in result
        error = json.loads(result[-1])["error"]
        assert "partialResponse" not in error
    else:
        error = result.json()["error"]
        assert result.status_code == 409
        assert error["partialResponse"] == "Hel"
        assert result.headers["x-should-retry"] == "false"
        assert float(result.headers["x-llmchat-cost"]) == error["usage"]["cost"] > 0
    assert error["code"] == "cancelled"
    assert error["usage"]["completion_tokens"] == 1


async def read(response: Any) -> list[Any]:
    return await data_of(response)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_turn_that_is_refused_has_a_status_of_its_own(
    ask: Ask, upstream: Upstream, provider: Provider, stream: bool
) -> None:
    provider.needs_key = True
    await in_database(provider.save)

    response = await ask("chat/completions", messages=HI, stream=stream)

    assert response.status_code == 503
    assert response.json()["error"]["code"] == "key_not_configured"
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("reason", "code"),
    [("content_filter", "content_filtered"), ("length", "empty_answer")],
)
async def test_an_answer_without_a_word_is_not_to_be_asked_for_again(
    ask: Ask, upstream: Upstream, reason: str, code: str
) -> None:
    upstream.steps, upstream.reason = (), reason

    response = await ask("chat/completions", messages=HI)

    assert response.json()["error"]["code"] == code
    assert response.headers["x-should-retry"] == "false"


async def test_an_answer_is_stored_like_any_other(ask: Ask, upstream: Upstream) -> None:
    response = await ask("chat/completions", messages=HI, temperature=0.5)
    stored = await answer()

    assert response.headers["x-llmchat-conversation-id"] == str(stored.conversation_id)
    assert response.json()["id"] == f"chatcmpl-{stored.pk.hex}"
    assert response.headers["x-llmchat-cost"] == "0.000013"
    assert (stored.content, stored.provider) == ("Hello", "test")
    assert upstream.requests[0]["temperature"] == 0.5


async def test_what_has_no_price_has_no_cost(
    ask: Ask, upstream: Upstream, provider: Provider
) -> None:
    provider.input_price = None
    await in_database(provider.save)

    response = await ask("chat/completions", messages=HI)

    assert "x-llmchat-cost" not in response.headers
    assert "cost" not in response.json()["usage"]


async def test_an_api_key_is_a_key_of_the_sdks(
    async_client: AsyncClient, provider: Provider, user: Any
) -> None:
    _, key = await make_key(user, "chat read")
    _, reading = await make_key(user, "read")

    answered = await asking(async_client, key)("chat/completions", messages=HI)
    refused = await asking(async_client, reading)("responses", input="Hi")
    headers = {"authorization": f"Bearer {reading}"}
    models = await async_client.get("/v1/models", headers=headers)

    assert answered.status_code == 200
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "scope_missing"
    assert "test/model-1" in [model["id"] for model in models.json()["data"]]

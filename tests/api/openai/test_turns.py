"""Turns through the OpenAI API: how answers end, and what they go on with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db.models import Model
from django.test import AsyncClient

from accounts.tokens import issue_tokens
from llmchat.answers import runtime
from llmchat.database import in_database
from llmchat.models import Provider
from tests.support.access import answer
from tests.support.api_keys import make_key
from tests.support.chat_fixtures import User
from tests.support.upstream import Upstream

HI = [{"role": "user", "content": "Hi"}]
Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def ask(async_client: AsyncClient, user: Model, provider: Provider) -> Ask:
    return asking(async_client, await in_database(issue, user))


def issue(user: Any) -> str:
    return issue_tokens(user=user).access


def asking(client: AsyncClient, token: str) -> Ask:
    async def post(path: str, **body: Any) -> Any:
        return await client.post(
            f"/v1/{path}",
            json.dumps({"model": "test"} | body),
            content_type="application/json",
            headers={"authorization": f"Bearer {token}"},
        )

    return post


async def data_of(response: Any) -> list[Any]:
    """Return the data of all events; comments and names are left out."""
    assert response.headers["Content-Type"] == "text/event-stream"
    text = b"".join([part async for part in response.streaming_content]).decode()
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    return [line.removeprefix("data: ") for line in lines]


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


async def test_a_response_that_its_limit_has_ended_is_incomplete(
    ask: Ask, upstream: Upstream
) -> None:
    upstream.reason = "length"

    whole = (await ask("responses", input="Hi")).json()
    events = await data_of(await ask("responses", input="Hi", stream=True))
    last = json.loads(events[-1])

    assert last["type"] == "response.incomplete"
    for response in (whole, last["response"]):
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}


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


async def one_with_text(user: Model) -> Any:
    """Return the user's running answer as soon as it has any text."""
    async with asyncio.timeout(10):
        while True:
            for stream in runtime.get().streams.of_user(user.pk):
                if stream.parts:
                    return stream
            await asyncio.sleep(0.01)


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


async def test_a_response_goes_on_with_the_conversation_of_another(
    ask: Ask, upstream: Upstream, async_client: AsyncClient
) -> None:
    first = (await ask("responses", input="Hi", instructions="Be brief")).json()
    before = first["id"]

    await ask("responses", input="More", previous_response_id=before)
    await ask("responses", input="X", previous_response_id=before, instructions="Long")

    def sent(number: int) -> list[tuple[str, str]]:
        messages = upstream.requests[number]["messages"]
        return [(message["role"], message["content"]) for message in messages]

    talk = [("user", "Hi"), ("assistant", "Hello")]
    assert sent(1) == [("system", "Be brief"), *talk, ("user", "More")]
    assert sent(2) == [("system", "Long"), *talk, ("user", "X")]

    other = await in_database(lambda: issue(User.objects.create_user("bob")))
    stranger = asking(async_client, other)
    for ident in (before, "resp_nothing"):
        response = await stranger("responses", input="Hi", previous_response_id=ident)
        error = response.json()["error"]
        assert response.status_code == 404
        assert error["param"] == "previous_response_id"


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


async def test_the_format_of_a_response_is_passed_through(
    ask: Ask, upstream: Upstream
) -> None:
    schema = {"name": "word", "schema": {"type": "object"}, "strict": True}
    text = {"format": {"type": "json_schema"} | schema}

    response = await ask("responses", input="Hi", text=text)

    asked = upstream.requests[0]["response_format"]
    assert asked == {"type": "json_schema", "json_schema": schema}
    assert response.json()["text"] == text


async def test_a_schema_comes_back_however_odd_it_is(
    ask: Ask, upstream: Upstream
) -> None:
    schema: dict[str, Any] = {"maximum": 10**30}
    for _ in range(300):
        schema = {"not": schema}
    text = {"format": {"type": "json_schema", "name": "odd", "schema": schema}}

    events = await data_of(await ask("responses", input="Hi", text=text, stream=True))
    last = json.loads(events[-1])

    assert last["type"] == "response.completed"
    assert last["response"]["text"] == text


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

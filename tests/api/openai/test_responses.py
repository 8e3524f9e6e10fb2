"""Responses through the OpenAI API: what they continue, and what is returned."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from django.db.models import Model
from django.test import AsyncClient

from llmchat.database import in_database
from tests.support.chat_fixtures import User
from tests.support.openai_api import Ask, asking, data_of, issue, one_with_text
from tests.support.upstream import Upstream


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


async def test_every_event_is_one_of_the_sdks(ask: Ask, upstream: Upstream) -> None:
    # Imported here, because that takes a second.
    from openai.types.responses import ResponseStreamEvent
    from pydantic import TypeAdapter

    events = await data_of(await ask("responses", input="Hi", stream=True))

    for event in events:
        TypeAdapter(ResponseStreamEvent).validate_json(event, strict=True)
    numbers = [json.loads(event)["sequence_number"] for event in events]
    assert numbers == list(range(len(events)))


async def test_responses_go_on_from_any_answer(ask: Ask, upstream: Upstream) -> None:
    async def respond(text: Any, before: str | None = None) -> tuple[str, str]:
        upstream.steps = (f"to {text}" if isinstance(text, str) else "to them",)
        response = await ask("responses", input=text, previous_response_id=before)
        ident: str = response.json()["id"]
        return ident, response.headers["x-llmchat-conversation-id"]

    first, conversation = await respond("a")
    _, same = await respond("b", first)
    third, other = await respond("c", first)
    said = [{"role": role, "content": role} for role in ("developer", "user")]
    fourth, still_other = await respond(said, third)
    await respond("d", fourth)

    sent = [message["content"] for message in upstream.requests[-1]["messages"]]
    assert sent == ["developer", "a", "to a", "c", "to c", "user", "to them", "d"]
    assert conversation == same != other == still_other


async def test_instructions_stay_with_what_is_gone_on_with(
    ask: Ask, upstream: Upstream
) -> None:
    first = (await ask("responses", input="a")).json()["id"]
    told = {"previous_response_id": first, "instructions": "Be brief"}
    second = (await ask("responses", input="b", **told)).json()["id"]

    await ask("responses", input="c", previous_response_id=second)

    system = upstream.requests[-1]["messages"][0]
    assert system == {"role": "system", "content": "Be brief"}


async def test_images_are_gone_on_with_or_asked_for_again(
    ask: Ask, upstream: Upstream
) -> None:
    async def go_on(url: str) -> Any:
        part = {"type": "input_image", "image_url": url}
        said = [{"role": "user", "content": [part]}]
        first = (await ask("responses", input=said)).json()["id"]
        return await ask("responses", input="b", previous_response_id=first)

    address = "https://example.com/a.png"
    went_on = await go_on(address)
    refused = await go_on("data:image/png;base64,iVBORw0KGgo=")

    assert went_on.status_code == 200
    (part,) = upstream.requests[1]["messages"][0]["content"]
    assert part["image_url"] == {"url": address}
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "previous_response_id"


async def test_an_answer_that_is_being_written_is_not_gone_on_with(
    ask: Ask, upstream: Upstream, user: Model
) -> None:
    go_on = asyncio.Event()
    upstream.steps = ("Hel", go_on, "lo")
    asked = asyncio.create_task(ask("responses", input="a"))
    running = await one_with_text(user)
    before = f"resp_{running.begun.message_id.hex}"

    early = await ask("responses", input="b", previous_response_id=before)
    go_on.set()
    await asked
    late = await ask("responses", input="b", previous_response_id=before)

    assert (early.status_code, late.status_code) == (409, 200)
    assert early.json()["error"]["param"] == "previous_response_id"
    assert upstream.requests[-1]["messages"][1]["content"] == "Hello"


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

"""What a request of the OpenAI API can hold, and what the errors say is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from llmchat.api.openai.completion_fields import completion_request
from llmchat.api.openai.errors import ParameterError
from llmchat.api.openai.response_fields import response_request
from llmchat.providers.types import Image, Options

TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def asked(*messages: Any, **fields: Any) -> dict[str, Any]:
    said = messages or ({"role": "user", "content": "Hi"},)
    return {"model": "m", "messages": list(said)} | fields


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (asked(model=None), "model"),
        (asked(model="x" * 200), "model"),
        (asked(messages="Hi"), "messages"),
        (asked({"role": "assistant", "content": "Hi"}), "messages"),
        (asked({"role": "nobody", "content": "Hi"}), "messages[0].role"),
        (asked({"role": "user", "content": ""}), "messages[0].content"),
        (asked({"role": "user", "content": 5}), "messages[0].content"),
        (asked("Hi"), "messages[0]"),
        (asked({"role": "tool", "content": "x"}), "messages[0].tool_call_id"),
        (asked(user({"type": "input_audio"})), "messages[0].content[0].type"),
        (asked(user({"type": "text"})), "messages[0].content[0].text"),
        (
            asked(user({"type": "image_url", "image_url": {"url": "file:///x"}})),
            "messages[0].content[0].image_url.url",
        ),
        (asked(temperature=3), "temperature"),
        (asked(max_tokens=0), "max_tokens"),
        (asked(max_completion_tokens="9"), "max_completion_tokens"),
        (asked(stream="yes"), "stream"),
        (asked(stream_options=True), "stream_options"),
        (asked(stream_options={"include_usage": 1}), "stream_options.include_usage"),
        (asked(n=2), "n"),
        (asked(n=True), "n"),
        (asked(logprobs=True), "logprobs"),
        (asked(top_p=0.5), "top_p"),
        (asked(audio={"voice": "alloy"}), "audio"),
        (asked(modalities=["text", "audio"]), "modalities"),
        (asked(functions=[{}]), "functions"),
        (asked(stop=["a"] * 5), "stop"),
        (asked(stop=[""]), "stop"),
        (asked(stop=""), "stop"),
        (asked(stop=False), "stop"),
        (asked(stop={}), "stop"),
        (asked(tools=0), "tools"),
        (asked(tools=False), "tools"),
        (asked(tools=""), "tools"),
        (
            asked(tools=[TOOL | {"function": {"name": "a", "description": 0}}]),
            "tools[0].function.description",
        ),
        (asked(stream_options={"include_usage": 0}), "stream_options.include_usage"),
        (
            asked({"role": "assistant", "content": "x", "tool_calls": 0}),
            "messages[0].tool_calls",
        ),
        (asked(seed=1.5), "seed"),
        (asked(tools=[{"type": "code"}]), "tools[0].type"),
        (asked(tools=[{"type": "function"}]), "tools[0].function.name"),
        (asked(tool_choice="required"), "tool_choice"),
        (asked(response_format={"type": "xml"}), "response_format.type"),
        (
            asked(response_format={"type": "json_schema"}),
            "response_format.json_schema",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(body: Any, param: str) -> None:
    with pytest.raises(ParameterError) as refusal:
        completion_request(body)

    assert (refusal.value.param, refusal.value.status) == (param, 400)
    assert refusal.value.text.startswith(param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input.content"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": 0, "role": "user", "content": "x"}]}, "input[0].type"),
        ({"input": ["x"]}, "input[0].type"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": 0}, "tools"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"instructions": 5}, "instructions"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.json_schema"),
    ],
)
def test_a_response_is_refused_by_name_too(fields: Any, param: str) -> None:
    with pytest.raises(ParameterError) as refusal:
        response_request({"model": "m", "input": "Hi"} | fields)

    assert (refusal.value.param, refusal.value.status) == (param, 400)


def test_what_changes_nothing_is_taken() -> None:
    request = completion_request(
        asked(
            n=1,
            logprobs=False,
            top_p=1.0,
            presence_penalty=0,
            logit_bias={},
            tools=[],
            tool_choice="auto",
            stop=None,
            user="ann",
            store=True,
            metadata={"a": "b"},
            seed=None,
            parallel_tool_calls=True,
            reasoning_effort="low",
            unknown=1,
            response_format={"type": "text"},
        )
    )

    assert request.options == Options()


def test_messages_are_taken_in_every_form() -> None:
    request = completion_request(
        asked(
            {"role": "developer", "content": [{"type": "text", "text": "Be brief"}]},
            user(
                {"type": "text", "text": "one"},
                {"type": "text", "text": "two\0"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            ),
            {"role": "assistant", "content": None},
            {"role": "user", "content": "Hi"},
        )
    )

    first, second, third = request.messages
    assert (first.role, first.content) == ("system", "Be brief")
    assert second.content == "one\ntwo\ufffd"
    assert second.images == (
        Image(media_type="image/png", data="iVBORw0KGgo=", detail="low"),
    )
    assert third.content == "Hi"


def test_the_newer_name_of_the_limit_wins() -> None:
    request = completion_request(asked(max_tokens=5, max_completion_tokens=9))

    assert request.max_tokens == 9


def test_a_tool_may_be_chosen() -> None:
    choice = {"type": "function", "function": {"name": "look"}}

    request = completion_request(asked(tools=[TOOL], tool_choice=choice))

    assert request.options == Options(tools=(TOOL,), tool_choice=choice)


def test_the_output_of_a_response_may_come_back_as_it_went_out() -> None:
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    item = {"type": "message", "role": "assistant", "id": "msg_1", "content": [part]}

    ask = user({"type": "input_text", "text": "More"})

    request = response_request({"model": "m", "input": [item, ask]})

    assert [message.content for message in request.input] == ["Hello", "More"]

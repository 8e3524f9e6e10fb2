"""How tools, images and other options are sent, and what is refused beforehand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llmchat.providers.acceptance import check
from llmchat.providers.answer import estimate_input_tokens
from llmchat.providers.errors import BadRequestError
from llmchat.providers.history import build_history
from llmchat.providers.registry import ADAPTERS, DEFAULT_PROVIDERS
from llmchat.providers.text import encode_json
from llmchat.providers.types import (
    Chat,
    ChatMessage,
    Image,
    Key,
    Options,
    ToolCall,
)
from tests.support.provider_script import play

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather",
        "parameters": SCHEMA,
        "strict": True,
    },
}
BARE = {"type": "function", "function": {"name": "now"}}
NAMED = {"type": "function", "function": {"name": "weather"}}
JSON_OBJECT = {"type": "json_object"}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
PNG = Image(media_type="image/png", data="AAAA")
LINK = Image(url="https://example.org/a.png", detail="low")
CALLS = (
    ToolCall("call.1", "weather", '{"city": "Ulm"}'),
    ToolCall("call.2", "now", ""),
)
ASKED = ChatMessage("user", "Weather?")
CALLED = ChatMessage("assistant", "", tool_calls=CALLS)
RESULTS = (
    ChatMessage("tool", "rain", tool_call_id="call.1"),
    ChatMessage("tool", "", tool_call_id="call.2"),
)


def body(name: str, *messages: ChatMessage, **options: Any) -> dict[str, Any]:
    provider = DEFAULT_PROVIDERS[name].provider
    provider = replace(provider, base_url=provider.base_url or "http://127.0.0.1:1")
    chat = Chat("some-model", messages or (ASKED,), options=Options(**options))
    check(provider, chat)
    adapter = ADAPTERS[provider.protocol]
    return adapter.build_request(provider, Key("k", "sk-1"), chat).body


def refusal(name: str, *messages: ChatMessage, **options: Any) -> str:
    with pytest.raises(BadRequestError) as caught:
        body(name, *messages, **options)
    return caught.value.text


# --- OpenAI's own format ---


def test_options_go_to_openai_as_they_are() -> None:
    options: dict[str, Any] = {
        "stop": ("END",),
        "seed": 2**70,
        "response_format": JSON_SCHEMA,
        "tools": (WEATHER, BARE),
        "tool_choice": NAMED,
    }
    sent = body("openai", **options)
    lists = {"stop": ["END"], "tools": [WEATHER, BARE]}
    assert {name: sent[name] for name in options} == options | lists
    assert json.loads(encode_json(sent)) == sent


def test_a_chat_without_options_names_none() -> None:
    assert body("openai").keys() == {"model", "messages", "stream", "stream_options"}
    assert "tool_choice" not in body("openai", tool_choice="auto")


def test_calls_and_results_go_to_openai_in_their_place() -> None:
    assert body("openai", ASKED, CALLED, *RESULTS)["messages"] == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in CALLS
            ],
        },
        {"role": "tool", "tool_call_id": "call.1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call.2", "content": ""},
    ]


def test_images_go_to_openai_as_parts() -> None:
    message = ChatMessage("user", "What?", images=(PNG, LINK))
    data = {"url": "data:image/png;base64,AAAA"}
    assert body("openai", message)["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": data},
        {"type": "image_url", "image_url": {"url": LINK.url, "detail": "low"}},
    ]


def test_an_image_needs_no_text() -> None:
    message = ChatMessage("user", "", images=(PNG,))
    (part,) = body("openai", message)["messages"][0]["content"]
    assert part["type"] == "image_url"
    (block,) = body("claude", message)["messages"][0]["content"]
    assert block["type"] == "image"
    (part,) = body("gemini", message)["contents"][0]["parts"]
    assert "inlineData" in part


# --- Claude ---


def test_tools_go_to_claude_with_their_schema() -> None:
    sent = body("claude", tools=(WEATHER, BARE), tool_choice="required", stop=("END",))
    assert sent["tools"] == [
        {
            "name": "weather",
            "description": "Tell the weather",
            "input_schema": SCHEMA,
            "strict": True,
        },
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert sent["tool_choice"] == {"type": "any"}
    assert sent["stop_sequences"] == ["END"]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        (NAMED, {"type": "tool", "name": "weather"}),
    ],
)
def test_the_choice_of_tools_is_claudes_own(choice: Any, sent: object) -> None:
    assert body("claude", tools=(WEATHER,), tool_choice=choice)["tool_choice"] == sent


def test_results_are_one_message_of_claudes_user_before_what_he_says() -> None:
    messages = (ASKED, CALLED, *RESULTS, ChatMessage("user", "And?"))
    sent = body("claude", *messages, tools=(WEATHER,))["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == [
        {
            "type": "tool_use",
            "id": "call_1",
            "name": "weather",
            "input": {"city": "Ulm"},
        },
        {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
    ]
    assert sent[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"},
        {"type": "tool_result", "tool_use_id": "call_2"},
        {"type": "text", "text": "And?"},
    ]


def test_tools_that_were_called_are_declared_to_claude_though_none_are_given() -> None:
    sent = body("claude", ASKED, CALLED, *RESULTS)
    assert [tool["name"] for tool in sent["tools"]] == ["weather", "now"]
    assert sent["tool_choice"] == {"type": "none"}


def test_images_go_to_claude_as_blocks_before_the_text() -> None:
    message = ChatMessage("user", "What?", images=(PNG, LINK))
    data = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert body("claude", message)["messages"][0]["content"] == [
        {"type": "image", "source": data},
        {"type": "image", "source": {"type": "url", "url": LINK.url}},
        {"type": "text", "text": "What?"},
    ]


def test_a_schema_goes_to_claude() -> None:
    sent = body("claude", response_format=JSON_SCHEMA)["output_config"]
    assert sent == {"format": {"type": "json_schema", "schema": SCHEMA}}


# --- Gemini ---


def test_tools_go_to_gemini_as_declarations() -> None:
    sent = body("gemini", tools=(WEATHER,), tool_choice=NAMED)
    declaration = {
        "name": "weather",
        "description": "Tell the weather",
        "parametersJsonSchema": SCHEMA,
    }
    assert sent["tools"] == [{"functionDeclarations": [declaration]}]
    config = {"mode": "ANY", "allowedFunctionNames": ["weather"]}
    assert sent["toolConfig"] == {"functionCallingConfig": config}


def test_results_are_a_content_of_their_own_for_gemini() -> None:
    messages = (ASKED, CALLED, *RESULTS, ChatMessage("user", "And?"))
    contents = body("gemini", *messages)["contents"]
    assert [content["role"] for content in contents] == [
        "user",
        "model",
        "user",
        "user",
    ]
    first, second = contents[1]["parts"]
    made = {"id": "call.1", "name": "weather", "args": {"city": "Ulm"}}
    assert first["functionCall"] == made
    assert "thoughtSignature" in first
    assert second == {"functionCall": {"id": "call.2", "name": "now", "args": {}}}
    assert contents[2]["parts"][0]["functionResponse"] == {
        "id": "call.1",
        "name": "weather",
        "response": {"result": "rain"},
    }
    assert contents[2]["parts"][1]["functionResponse"]["name"] == "now"


def test_the_rest_goes_to_geminis_configuration() -> None:
    sent = body("gemini", stop=("END",), seed=7, response_format=JSON_SCHEMA)
    assert sent["generationConfig"] == {
        "stopSequences": ["END"],
        "seed": 7,
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    config = body("gemini", response_format=JSON_OBJECT)["generationConfig"]
    assert config == {"responseMimeType": "application/json"}


def test_images_go_to_gemini_inline() -> None:
    message = ChatMessage("user", "What?", images=(PNG,))
    assert body("gemini", message)["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"text": "What?"},
    ]


# --- What the providers' own clients accept ---

EVERYTHING = (
    ChatMessage("user", "What?", images=(PNG,)),
    CALLED,
    *RESULTS,
    ChatMessage("user", "And?"),
)
ASKING: dict[str, Any] = {
    "tools": (WEATHER, BARE),
    "tool_choice": NAMED,
    "stop": ("END",),
    "response_format": JSON_SCHEMA,
}


# The clients are imported where they are used: see test_sdks.py.
def test_anthropics_client_knows_what_is_sent() -> None:
    from anthropic.types import (
        MessageParam,
        OutputConfigParam,
        ToolChoiceParam,
        ToolParam,
    )
    from anthropic.types.message_create_params import MessageCreateParamsStreaming
    from pydantic import TypeAdapter

    sent = body("claude", *EVERYTHING, **ASKING)
    known = MessageCreateParamsStreaming.__annotations__
    assert sent.keys() <= known.keys()
    TypeAdapter(list[MessageParam]).validate_python(sent["messages"])
    TypeAdapter(list[ToolParam]).validate_python(sent["tools"])
    TypeAdapter(ToolChoiceParam).validate_python(sent["tool_choice"])
    TypeAdapter(OutputConfigParam).validate_python(sent["output_config"])


def test_googles_client_knows_what_is_sent() -> None:
    from google.genai import types

    sent = body("gemini", *EVERYTHING, seed=1, **ASKING)
    for content in sent["contents"]:
        types.Content.model_validate_json(encode_json(content))
    types.GenerationConfig.model_validate(sent["generationConfig"])
    types.ToolConfig.model_validate(sent["toolConfig"])
    for tool in sent["tools"]:
        types.Tool.model_validate(tool)


def test_openais_client_knows_what_is_sent() -> None:
    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.chat.completion_create_params import (
        CompletionCreateParamsStreaming,
    )
    from pydantic import TypeAdapter

    sent = body("openai", *EVERYTHING, seed=1, **ASKING)
    known = CompletionCreateParamsStreaming.__annotations__
    assert sent.keys() <= known.keys()
    TypeAdapter(list[ChatCompletionMessageParam]).validate_python(sent["messages"])


# --- What a provider cannot take ---

PICTURE = ChatMessage("user", "What?", images=(PNG,))
REFUSED: dict[str, tuple[str, tuple[ChatMessage, ...], dict[str, Any]]] = {
    "Claude does not support seed": ("claude", (), {"seed": 0}),
    "Claude supports only text and json_schema as response_format": (
        "claude",
        (),
        {"response_format": JSON_OBJECT},
    ),
    "Claude does not support blank stop sequences": (
        "claude",
        (),
        {"stop": ("a", "\n")},
    ),
    "Gemini supports images only as data, not as URLs": (
        "gemini",
        (ChatMessage("user", "What?", images=(PNG, LINK)),),
        {},
    ),
    "Gemini supports at most 5 stop sequences": ("gemini", (), {"stop": ("a",) * 6}),
    "Gemini supports seeds of at most 32 bits": ("gemini", (), {"seed": 2**31}),
    "Gemini does not support this response_format": (
        "gemini",
        (),
        {"response_format": {"type": "grammar"}},
    ),
    "DeepSeek does not support images": ("deepseek", (PICTURE,), {}),
    "DeepSeek does not support seed": ("deepseek", (), {"seed": 1}),
    "DeepSeek supports at most 16 stop sequences": (
        "deepseek",
        (),
        {"stop": ("a",) * 17},
    ),
    "DeepSeek supports only text and json_object as response_format": (
        "deepseek",
        (),
        {"response_format": JSON_SCHEMA},
    ),
    "Local model does not support images": ("local", (PICTURE,), {}),
    "Local model does not support tools": ("local", (), {"tools": (BARE,)}),
    "response_format.json_schema.schema must be an object": (
        "gemini",
        (),
        {"response_format": {"type": "json_schema"}},
    ),
    "tools must be functions": ("claude", (), {"tools": ({"type": "custom"},)}),
    "tool_choice must be auto, none, required or a named function": (
        "gemini",
        (),
        {"tools": (WEATHER,), "tool_choice": {"type": "allowed_tools"}},
    ),
    "A tool message has no matching tool call": ("openai", (ASKED, RESULTS[0]), {}),
    "A tool call has no matching tool message": (
        "openai",
        (ASKED, CALLED, RESULTS[0]),
        {},
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_a_provider_cannot_take_is_refused_with_a_sentence(text: str) -> None:
    name, messages, options = REFUSED[text]
    assert refusal(name, *messages, **options) == text


def test_what_deepseek_can_take_it_is_sent() -> None:
    sent = body("deepseek", tools=(BARE,), response_format=JSON_OBJECT, stop=("a",))
    assert sent["tools"] == [BARE]
    assert sent["response_format"] == JSON_OBJECT
    assert sent["thinking"] == {"type": "disabled"}


def test_options_that_are_nested_too_deeply_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    tool = {"type": "function", "function": {"name": "x", "parameters": deep}}
    assert refusal("openai", tools=(tool,)) == "The request is nested too deeply"


@pytest.mark.parametrize("depth", [200, 900, 960, 990, 1100])
@pytest.mark.parametrize("api", ["openai", "claude", "gemini"])
async def test_what_is_nested_too_deeply_to_be_sent_is_a_bad_request(
    api: str, depth: int
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"a": deep}
    tool = {"type": "function", "function": {"name": "x", "parameters": deep}}
    played = await play(api, options=Options(tools=(tool,)))
    # There is no answer, so a request that is sent at all is retried.
    assert (played.code, played.requests) in [("bad_request", 0), ("provider_error", 3)]


# --- The history ---


def test_calls_results_and_images_survive_the_joining_of_messages() -> None:
    history = build_history(
        Chat(
            "m",
            (
                CALLED,  # before the first question, with its results
                *RESULTS,
                ChatMessage("user", "One", images=(PNG,)),
                ChatMessage("user", " ", images=(LINK,)),
                ChatMessage("assistant", "So:"),
                CALLED,
                *RESULTS,
                ChatMessage("assistant", ""),  # an answer that failed
                ChatMessage("user", "Two"),
            ),
        )
    )
    assert history.turns == (
        ChatMessage("user", "One", images=(PNG, LINK)),
        ChatMessage("assistant", "So:", tool_calls=CALLS),
        *RESULTS,
        ChatMessage("user", "Two"),
    )


@pytest.mark.parametrize("name", ["openai", "claude", "gemini"])
@pytest.mark.parametrize("arguments", ["", " ", "[1]", '{"a":', "x", "[" * 100_000])
def test_arguments_that_are_no_object_can_be_sent(name: str, arguments: str) -> None:
    call = ToolCall("call_1", "weather", arguments)
    result = ChatMessage("tool", "No.", tool_call_id="call_1")
    called = ChatMessage("assistant", "", tool_calls=(call,))
    assert encode_json(body(name, ASKED, called, result))


def test_lone_surrogates_in_calls_and_results_are_replaced() -> None:
    call = ToolCall("c\ud800", "w\ud800", "{\ud800}")
    result = ChatMessage("tool", "\ud800", tool_call_id="c\ud800")
    messages = (ASKED, ChatMessage("assistant", "", tool_calls=(call,)), result)
    for name in ("openai", "claude", "gemini"):
        assert b"ud800" not in encode_json(body(name, *messages))


# --- What it may cost ---


def test_tools_images_and_calls_count_as_input() -> None:
    plain = Chat("m", (ASKED,))
    base = estimate_input_tokens(plain)
    tools = replace(plain, options=Options(tools=(WEATHER,)))
    assert estimate_input_tokens(tools) > base + 50
    pictured = replace(ASKED, images=(PNG, PNG))
    assert estimate_input_tokens(Chat("m", (pictured,))) == base + 10_000
    assert estimate_input_tokens(Chat("m", (ASKED, CALLED))) > base + 10

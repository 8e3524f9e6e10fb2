"""DeepSeek's own rules for tools: they require its earlier reasoning."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from llmchat.providers.deepseek import build_request
from llmchat.providers.errors import BadRequestError
from llmchat.providers.types import Chat, ChatMessage, Finished, Options, ToolCall
from tests.emulator.driver import KEY, Lab, chat

TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
CALL = ToolCall("call_1", "look", "{}")


def asked(*, with_tools: bool, with_calls: bool) -> Chat:
    """Return a chat that may call a tool, or has done so."""
    messages = chat("scenario-short", "Look", "I looked.", "Again").messages
    if with_calls:
        calling = ChatMessage("assistant", "", tool_calls=(CALL,))
        result = ChatMessage("tool", "seen", tool_call_id="call_1")
        messages = (*messages, calling, result)
    options = Options(tools=(TOOL,) if with_tools else ())
    return Chat("scenario-short", messages, options=options)


def answers_in(lab: Lab, given: Chat, thinking: Any) -> list[Any]:
    provider = lab.provider("deepseek", thinking=thinking)
    messages: Any = build_request(provider, KEY, given).body["messages"]
    return [message for message in messages if message["role"] == "assistant"]


@pytest.mark.parametrize("thinking", ["omit", "disabled"])
@pytest.mark.parametrize("with_calls", [False, True])
async def test_deepseek_takes_tools_behind_earlier_answers(
    setting: Lab, thinking: Any, with_calls: bool
) -> None:
    given = asked(with_tools=True, with_calls=with_calls)
    provider = setting.provider("deepseek", thinking=thinking)
    stream = setting.client.stream_chat(provider, [KEY], given)
    async with aclosing(stream) as events:
        *_, end = [event async for event in events]
    assert isinstance(end, Finished)


@pytest.mark.parametrize(
    ("with_tools", "with_calls", "thinking", "has_reasoning"),
    [
        (True, False, "omit", True),
        (False, True, "omit", True),
        (False, False, "omit", False),
        (True, True, "disabled", False),
    ],
)
async def test_reasoning_is_sent_where_deepseek_wants_it(
    setting: Lab, with_tools: bool, with_calls: bool, thinking: Any, has_reasoning: bool
) -> None:
    given = asked(with_tools=with_tools, with_calls=with_calls)
    answers = answers_in(setting, given, thinking)
    assert len(answers) == (2 if with_calls else 1)
    assert {"reasoning_content" in answer for answer in answers} == {has_reasoning}


async def test_a_server_that_wants_the_reasoning_itself_is_told_of_in_words(
    setting: Lab,
) -> None:
    outcome = await setting.ask("deepseek", "fail-thoughtless")
    assert isinstance(outcome.error, BadRequestError)
    assert "earlier reasoning" in outcome.error.text
    assert "turn off thinking" in outcome.error.log_detail


async def test_a_model_without_tools_on_chat_completions_says_so(setting: Lab) -> None:
    given = asked(with_tools=True, with_calls=False)
    given = replace(given, model="gpt-6-luna")
    provider = setting.provider("openai")
    with pytest.raises(BadRequestError) as caught:
        async for _ in setting.client.stream_chat(provider, [KEY], given):
            pass
    assert "does not support tools" in caught.value.text
    assert "Responses" in caught.value.log_detail

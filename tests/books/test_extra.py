"""Turns that hold more than text: stored like any other turn, and found again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llmchat.answers.events import Done
from llmchat.api.conversation_export import _markdown
from llmchat.api.conversation_fields import in_full
from llmchat.books.conversations import history_hash, stored_hash
from llmchat.books.extra import decoded, extra_of
from llmchat.books.turn import Outcome, Turn
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import AnswerState, Conversation, Message
from llmchat.providers.types import (
    ChatMessage,
    Image,
    Options,
    ToolCall,
    Usage,
)
from tests.support.chat_fixtures import end_of
from tests.support.turns import begin_turn, end_turn

TOOLS = Options(
    tools=({"type": "function", "function": {"name": "weather"}},), stop=("END",)
)
ASKED = ChatMessage("user", "Weather?")
CALLS = (
    ToolCall("a", "weather", '{"city": "Ulm\\u0000"}'),
    ToolCall("b", "weather", "{}"),
)
CALLED = ChatMessage("assistant", "", tool_calls=CALLS)
RESULTS = (
    ChatMessage("tool", "rain", tool_call_id="a"),
    ChatMessage("tool", "", tool_call_id="b"),
)
PNG = Image(media_type="image/png", data="AAAA")


def of(*messages: ChatMessage, session_id: str = "s-1", **fields) -> Turn:
    return Turn(session_id, "test", messages, options=TOOLS, **fields)


def calling(upstream) -> None:
    """Make the upstream answer with tool calls and no text."""
    pieces = [
        {
            "index": index,
            "id": call.id,
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(CALLS)
    ]
    upstream.steps = ({"choices": [{"delta": {"tool_calls": pieces}}]},)
    upstream.reason = "tool_calls"


def saying(upstream, *texts: str) -> None:
    upstream.steps, upstream.reason = texts, "stop"


async def stored() -> list[list[tuple[str, str, str]]]:
    """Return the messages of all conversations, the oldest first."""

    def read() -> list[list[tuple[str, str, str]]]:
        fields = ("role", "content", "extra")
        found = []
        for row in Conversation.objects.order_by("created_at"):
            assert row.thread_hash == stored_hash(row.pk)
            rows = row.messages.order_by("position").values_list(*fields)
            found.append(list(rows))
        return found

    return await in_database(read)


def test_histories_that_differ_in_more_than_text_are_different():
    messages = [
        ChatMessage("user", "a"),
        ChatMessage("user", "a", images=(PNG,)),
        ChatMessage("user", "a", images=(PNG, PNG)),
        ChatMessage("user", "a", images=(replace(PNG, data="AAAB"),)),
        ChatMessage("user", "a", images=(replace(PNG, media_type="image/gif"),)),
        ChatMessage("user", "a", images=(Image(url="https://a/"),)),
        ChatMessage("assistant", "a"),
        ChatMessage("assistant", "a", tool_calls=CALLS),
        ChatMessage("assistant", "a", tool_calls=CALLS[:1]),
        ChatMessage("assistant", "a", tool_calls=(replace(CALLS[0], id="c"),)),
        ChatMessage("assistant", "a", tool_calls=(replace(CALLS[0], arguments=""),)),
        ChatMessage("tool", "a"),
        ChatMessage("tool", "a", tool_call_id="a"),
        ChatMessage("tool", "a", tool_call_id="b"),
        ChatMessage("user", extra_of(RESULTS[0]) + "\0a"),
    ]
    hashes = {history_hash([(m.role, m.content, extra_of(m))]) for m in messages}
    assert len(hashes) == len(messages)


def test_the_bytes_of_an_image_are_not_stored():
    large = Image(media_type="image/png", data="A" * 100_000)
    extra = extra_of(ChatMessage("user", "a", images=(large,)))
    assert len(extra) < 200
    assert decoded(extra)["images"][0]["bytes"] == 75_000


async def test_an_answer_that_only_calls_is_whole(user, provider, upstream):
    calling(upstream)
    done = await end_of(user, of(ASKED))

    assert isinstance(done, Done)
    assert (done.text, done.finish_reason, done.tool_calls) == ("", "tool_calls", CALLS)
    assert upstream.requests[0]["stop"] == ["END"]
    assert upstream.requests[0]["tools"] == list(TOOLS.tools)
    row = await in_database(lambda: Message.objects.get(role="assistant"))
    assert (row.state, row.content) == ("complete", "")
    assert row.finish_reason == "tool_calls"
    shown = in_full(row)
    assert [call["name"] for call in shown["toolCalls"]] == ["weather"] * 2
    assert "images" not in shown


async def test_results_go_on_with_the_conversation_that_called(
    user, provider, upstream
):
    calling(upstream)
    first = await end_of(user, of(ASKED))
    saying(upstream, "Rain")
    called = ChatMessage("assistant", "", tool_calls=first.tool_calls)
    history = (ASKED, called, *RESULTS)
    second = await end_of(user, of(*history))
    answer = ChatMessage("assistant", "Rain")
    third = await end_of(user, of(*history, answer, ChatMessage("user", "Sure?")))

    assert second.conversation_id == first.conversation_id == third.conversation_id
    (conversation,) = await stored()
    assert [(role, content) for role, content, _ in conversation] == [
        ("user", "Weather?"),
        ("assistant", ""),
        ("tool", "rain"),
        ("tool", ""),
        ("assistant", "Rain"),
        ("user", "Sure?"),
        ("assistant", "Rain"),
    ]
    assert json.loads(conversation[2][2]) == {"toolCallId": "a"}
    row = await in_database(Conversation.objects.get)
    text = "".join([piece async for piece in _markdown(row)])
    assert "## Tool\n\nrain" in text
    assert "`weather({})`" in text


async def test_other_calls_in_the_history_begin_another_conversation(
    user, provider, upstream
):
    calling(upstream)
    await end_of(user, of(ASKED))
    saying(upstream, "Rain")
    others = (replace(CALLS[0], arguments="{}"), CALLS[1])
    other = ChatMessage("assistant", "", tool_calls=others)
    await end_of(user, of(ASKED, other, *RESULTS))
    assert [len(messages) for messages in await stored()] == [2, 5]


async def test_another_image_in_the_history_begins_another_conversation(
    user, provider, upstream
):
    shown = ChatMessage("user", "What?", images=(PNG,))
    answer = ChatMessage("assistant", "Hello")
    again = ChatMessage("user", "And?")
    await end_of(user, of(shown))
    await end_of(user, of(shown, answer, again))
    await end_of(user, of(replace(shown, images=()), answer, again))
    assert [len(messages) for messages in await stored()] == [4, 4]


async def test_results_go_to_the_conversation_that_is_named(user, provider, upstream):
    calling(upstream)
    first = await end_of(user, of(ASKED))
    saying(upstream, "Rain")
    history = (ASKED, CALLED, *RESULTS)
    await end_of(user, of(*history, conversation_id=first.conversation_id))
    (conversation,) = await stored()
    roles = [role for role, _, _ in conversation]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]


async def test_what_the_provider_cannot_take_is_refused_before_anything_is_stored(
    user, provider, upstream
):
    provider.protocol = "claude"
    await in_database(provider.save)
    with pytest.raises(ChatError) as caught:
        await end_of(user, replace(of(ASKED), options=Options(seed=1)))
    assert (caught.value.code, caught.value.status) == ("bad_request", 400)
    assert caught.value.text == "Test does not support seed"
    assert not upstream.requests
    assert await stored() == []


async def test_calls_that_a_client_was_not_told_of_are_not_in_its_history(
    user, provider, upstream
):
    """The first attempt was committed, but too late for its client."""
    usage = Usage(1, 1, "provider")
    whole = Outcome(AnswerState.COMPLETE, "", usage, "m", tool_calls=CALLS)
    failed = Outcome(AnswerState.ERROR, "", usage, "m", "error", "internal_error")

    def end() -> None:
        begun = begin_turn(user.pk, of(ASKED))
        end_turn(begun, whole)
        end_turn(begun, failed, again=True)

    await in_database(end)
    assert await stored() == [[("user", "Weather?", ""), ("assistant", "", "")]]

"""Conversations in the form that every provider takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .errors import BadRequestError
from .text import well_formed
from .types import Chat, ChatMessage, ToolCall


@dataclass(frozen=True, slots=True)
class History:
    """A conversation that every provider takes.

    `system` is all system messages joined. `turns` is never empty and begins with the
    user. No two neighbors have the same role, except the results of tools, which
    directly follow the answer with the calls, one for each call. The last turn is the
    user's or a tool's. No turn is blank: otherwise a stored answer that failed would
    make every later turn fail.
    """

    system: str
    turns: tuple[ChatMessage, ...]

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that were called, each once."""
        calls = (call for turn in self.turns for call in turn.tool_calls)
        return tuple(dict.fromkeys(call.name for call in calls))


def build_history(chat: Chat) -> History:
    """Return the chat's messages as a `History`.

    Raises:
        BadRequestError: nothing is left that a provider could answer, or the results
            of tools do not fit the calls.
    """
    system: list[str] = []
    turns: list[ChatMessage] = []
    for message in map(_clean, chat.messages):
        if message.role == "tool" or _says_something(message):
            _add(message, system, turns)
    if not turns or turns[-1].role not in ("user", "tool"):
        raise BadRequestError(
            "no user message at the end", text="The last message has no text"
        )
    _check_results(turns)
    return History("\n\n".join(system), tuple(turns))


def _clean(message: ChatMessage) -> ChatMessage:
    content = well_formed(message.content)
    if content is not message.content:
        message = replace(message, content=content)
    if message.tool_calls:
        message = replace(
            message, tool_calls=tuple(map(_clean_call, message.tool_calls))
        )
    if message.tool_call_id:
        message = replace(message, tool_call_id=well_formed(message.tool_call_id))
    return message


def _clean_call(call: ToolCall) -> ToolCall:
    texts = (call.id, call.name, call.arguments)
    return ToolCall(*map(well_formed, texts))


def _says_something(message: ChatMessage) -> bool:
    return bool(message.content.strip() or message.images or message.tool_calls)


def _add(message: ChatMessage, system: list[str], turns: list[ChatMessage]) -> None:
    """Add a message, joined with one of the same role before it.

    Anything before the first question is left out, with the results of its calls.
    """
    if message.role == "system":
        system.append(message.content)
    elif not turns:
        turns += [message] if message.role == "user" else []
    elif message.role != "tool" and turns[-1].role == message.role:
        turns[-1] = _joined(turns[-1], message)
    else:
        turns.append(message)


def _joined(first: ChatMessage, second: ChatMessage) -> ChatMessage:
    texts = (first.content, second.content)
    return replace(
        first,
        content="\n\n".join(text for text in texts if text.strip()),
        images=first.images + second.images,
        tool_calls=first.tool_calls + second.tool_calls,
    )


def _check_results(turns: Iterable[ChatMessage]) -> None:
    waiting: set[str] = set()
    for turn in turns:
        if turn.role != "tool":
            _check_answered(waiting)
            waiting = {call.id for call in turn.tool_calls}
        elif turn.tool_call_id in waiting:
            waiting.remove(turn.tool_call_id)
        else:
            raise BadRequestError(
                "a result without its call",
                text="A tool message has no matching tool call",
            )
    _check_answered(waiting)


def _check_answered(waiting: set[str]) -> None:
    if waiting:
        raise BadRequestError(
            "a call without its result", text="A tool call has no matching tool message"
        )

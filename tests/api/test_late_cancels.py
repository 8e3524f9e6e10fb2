"""A cancel between the end of an answer and the news of it, on one socket."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from accounts.models import User
from llmchat.answers.events import Cancelled, Started
from llmchat.answers.log import AnswerLog
from llmchat.api.listening import listen
from llmchat.api.namespace import ChatNamespace
from tests.support.api_keys import make_key, make_user
from tests.support.chat_fixtures import until
from tests.support.peers import Wire, joined, serving
from tests.support.wire import content_of, event


def told(wire: Wire, session_id: str) -> list[tuple[str, str | None]]:
    """Return the events of a session, with their codes."""
    frames = [str(frame) for frame in wire.told]
    events = [content_of(frame) for frame in frames if frame.startswith("42")]
    return [
        (name, data.get("code"))
        for name, data, *_ in events
        if data["sessionId"] == session_id
    ]


async def test_it_is_refused_behind_the_end_that_its_socket_waits_for(
    transactional_db: None, upstream: object
) -> None:
    ann: User = await make_user("ann")
    _, key = await make_key(ann, "chat")
    chat = ChatNamespace()
    peer, wire, _ = await joined(serving(chat), {"token": key})
    (socket,) = chat.sockets
    # Another worker has written it, and stored its end.
    answer = AnswerLog(ann.pk, "s-1")
    ids = (uuid4(), uuid4(), uuid4())
    answer.tell_started(Started("s-1", "test", "gpt-test", *ids))
    listen(socket, answer, is_owner=False)

    async def is_handled() -> bool:
        return bool(told(wire, "none"))

    async def is_refused() -> bool:
        return len(told(wire, "s-1")) > 1

    for session_id in ("s-1", "none"):  # one behind the other
        cancel: dict[str, Any] = {"sessionId": session_id}
        peer.receive_frame(wire, event("llm:stream:cancel", cancel))
    await until(is_handled)
    assert told(wire, "s-1") == []

    answer.ended.set()
    answer.close(Cancelled("s-1", *ids, "Hel"))
    await until(is_refused)
    assert told(wire, "s-1") == [
        ("llm:stream:cancelled", None),
        ("llm:stream:error", "stream_not_found"),
    ]

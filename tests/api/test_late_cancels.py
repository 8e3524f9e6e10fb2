"""A cancel on a socket after an answer has ended, but before the end gets there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import User
from llmchat.answers.events import Cancelled, Started
from llmchat.answers.log import AnswerLog
from llmchat.api.listening import listen
from llmchat.api.namespace import ChatNamespace
from llmchat.realtime import Socket
from tests.support.api_keys import make_key, make_user
from tests.support.chat_fixtures import until
from tests.support.peers import Wire, joined, serving
from tests.support.wire import content_of, event

IDS = (uuid4(), uuid4(), uuid4())
ENDED = ("llm:stream:cancelled", None)


def told(wire: Wire, session_id: str) -> list[tuple[str, str | None]]:
    """Return the names of a session's events, with their codes."""
    frames = [str(frame) for frame in wire.told]
    events = [content_of(frame) for frame in frames if frame.startswith("42")]
    return [
        (name, data.get("code"))
        for name, data, *_ in events
        if data["sessionId"] == session_id
    ]


@dataclass
class Client:
    """A client of this process, and the socket that it has here."""

    user_id: int
    peer: Any
    wire: Wire
    socket: Socket

    def hears(self, session_id: str, **options: bool) -> AnswerLog:
        """Begin an answer that another worker writes, and send it to the client."""
        answer = AnswerLog(self.user_id, session_id)
        answer.tell_started(Started(session_id, "test", "gpt-test", *IDS))
        listen(self.socket, answer, is_owner=False, **options)
        return answer


@pytest.fixture
async def client(transactional_db: None, upstream: object) -> Client:
    ann: User = await make_user("ann")
    _, key = await make_key(ann, "chat")
    chat = ChatNamespace()
    peer, wire, _ = await joined(serving(chat), {"token": key})
    (socket,) = chat.sockets
    return Client(ann.pk, peer, wire, socket)


def end(answer: AnswerLog) -> None:
    answer.ended.set()
    answer.close(Cancelled(answer.session_id, *IDS, answer.text))


async def test_who_cancels_what_it_does_not_hear_is_told_of_the_end_alone(
    client: Client,
) -> None:
    """Text of another worker may be on its way, which a client that attaches gets."""
    answers = [client.hears(name, tells_text=False) for name in ("alone", "attached")]
    for answer in answers:
        answer.push(["Hel"])
    listen(client.socket, answers[1], is_owner=False)
    for answer in answers:
        answer.push(["lo"])
        end(answer)

    async def are_ended() -> bool:
        return all(ENDED in told(client.wire, one.session_id) for one in answers)

    await until(are_ended)
    assert told(client.wire, "alone") == [ENDED]
    assert told(client.wire, "attached") == [("llm:stream:token", None), ENDED]


async def test_it_is_refused_behind_the_end_that_its_socket_waits_for(
    client: Client,
) -> None:
    # Another worker has stored its end.
    answer = client.hears("s-1")

    async def is_handled() -> bool:
        return bool(told(client.wire, "none"))

    async def is_refused() -> bool:
        return len(told(client.wire, "s-1")) > 1

    for session_id in ("s-1", "none"):  # one after the other
        cancel: dict[str, Any] = {"sessionId": session_id}
        client.peer.receive_frame(client.wire, event("llm:stream:cancel", cancel))
    await until(is_handled)
    assert told(client.wire, "s-1") == []

    end(answer)
    await until(is_refused)
    refused = ("llm:stream:error", "stream_not_found")
    assert told(client.wire, "s-1") == [ENDED, refused]

"""API keys on Socket.IO: admitted by scope, watched, and at no cost per message."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from accounts import api_keys
from accounts import remembered as memory
from accounts.models import ApiKey, User
from accounts.tokens import user_for_token
from llmchat import conf
from llmchat.api import watch
from llmchat.api.key_uses import store_uses
from llmchat.api.namespace import ChatNamespace
from llmchat.database import in_database, read_database
from llmchat.models import Message
from llmchat.realtime import Peer, Server
from tests.support.api_keys import make_key, make_user
from tests.support.chat_fixtures import until
from tests.support.limits import hold_the_minute
from tests.support.peers import Wire, joined, joined_again, opened, serving
from tests.support.wire import connect_packet, content_of, event

WATCHED_MS = 40
TURN = {"provider": "test", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def ann(transactional_db: None) -> User:
    return await make_user("ann")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember keys and users for longer than a test takes, and watch them often."""
    monkeypatch.setattr(memory, "KEPT_S", 600.0)
    values = dataclasses.replace(conf.get(), ping_interval_ms=WATCHED_MS)
    monkeypatch.setattr(watch.conf, "get", lambda: values)


@pytest.fixture
def chat(upstream: object) -> ChatNamespace:
    return ChatNamespace()


@pytest.fixture
def server(chat: ChatNamespace) -> Server:
    return serving(chat)


async def known(key: str) -> dict[str, Any]:
    """Let a key be remembered, so that a CONNECT with it takes no time."""
    await read_database(user_for_token, key)
    await store_uses()
    return {"token": key}


async def refused(server: Server, token: str) -> dict[str, Any]:
    peer, wire = await opened(server, "websocket")
    peer.receive_frame(wire, connect_packet("/", {"token": token}))
    await until(told(wire))
    assert wire.told[0].startswith("44"), wire.told
    error: dict[str, Any] = json.loads(wire.told[0][2:])
    return error


def told(wire: Wire) -> Any:
    async def is_told() -> bool:
        return bool(wire.told)

    return is_told


def closed(wire: Wire) -> Any:
    async def is_closed() -> bool:
        return wire.is_closed

    return is_closed


def names(wire: Wire) -> list[str]:
    frames = [str(frame) for frame in wire.told if str(frame).startswith("42")]
    return [content_of(frame)[0] for frame in frames]


async def ask(peer: Peer, wire: Wire, session_id: str) -> None:
    """Have a turn answered, up to its end."""
    turn = {
        "sessionId": session_id,
        "provider": "test",
        "messages": [{"role": "user", "content": f"Hi {session_id}"}],
    }
    wire.told.clear()
    peer.receive_frame(wire, event("llm:chat:stream", turn))

    async def has_ended() -> bool:
        return "llm:stream:done" in names(wire)

    await until(has_ended)


async def test_a_key_streams_and_is_not_asked_for_again(
    ann: User, server: Server, provider: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await make_key(ann, "chat")
    patience(monkeypatch)
    peer, wire, _ = await joined(server, await known(key))
    asked: list[str] = []
    execute = CursorWrapper.execute

    def noting(cursor: Any, sql: str, *args: Any) -> Any:
        asked.append(sql)
        return execute(cursor, sql, *args)

    monkeypatch.setattr(CursorWrapper, "execute", noting)
    for number in range(3):
        await ask(peer, wire, f"s-{number}")

    assert any("llmchat_message" in sql for sql in asked)
    assert not [sql for sql in asked if "apikey" in sql]


async def test_a_key_without_the_scope_chat_is_turned_away(
    ann: User, server: Server
) -> None:
    _, key = await make_key(ann, "read usage")
    error = await refused(server, key)
    assert error["data"] == {"code": "scope_missing"}
    assert error["message"] == "The API key lacks the scope chat"


async def test_a_key_that_is_no_good_is_turned_away(ann: User, server: Server) -> None:
    row, key = await make_key(ann)
    assert (await refused(server, f"{key}x"))["data"] == {"code": "token_invalid"}
    row.expires_at = timezone.now()
    await in_database(row.save)
    assert (await refused(server, key))["data"] == {"code": "token_expired"}
    await in_database(api_keys.revoke, row)
    assert (await refused(server, key))["data"] == {"code": "token_invalid"}


@pytest.mark.parametrize(
    "changes",
    [
        {"revoked_at": timezone.now()},
        {"scopes": "read"},
        {"expires_at": timezone.now()},
    ],
    ids=["revoked", "scope", "expired"],
)
async def test_a_socket_is_closed_whose_key_another_process_has_ended(
    ann: User, server: Server, changes: dict[str, Any]
) -> None:
    row, key = await make_key(ann)
    _, other = await make_key(ann)
    _, wire, _ = await joined(server, await known(key))
    _, others, _ = await joined(server, await known(other))
    # No signal reaches this process, as if another one had made the change.
    await in_database(lambda: ApiKey.objects.filter(pk=row.pk).update(**changes))

    await until(closed(wire))
    assert not others.is_closed


async def test_what_changes_of_a_key_is_taken_over(
    ann: User, chat: ChatNamespace, server: Server
) -> None:
    soon = timezone.now() + timedelta(hours=1)
    row, key = await make_key(ann, expires_at=soon)
    await joined(server, await known(key))
    (socket,) = chat.sockets
    changes = {"expires_at": None, "messages_per_minute": 3}
    await in_database(lambda: ApiKey.objects.filter(pk=row.pk).update(**changes))

    async def is_taken_over() -> bool:
        return socket.data.verified.messages_per_minute == 3

    await until(is_taken_over)
    assert socket.data.verified.expires_at == float("inf")


def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watch look so rarely that it is not what closes anything."""
    values = dataclasses.replace(conf.get(), ping_interval_ms=600_000)
    monkeypatch.setattr(watch.conf, "get", lambda: values)


@pytest.mark.parametrize(
    ("name", "elsewhere", "changes", "code"),
    [
        ("chat:stream", False, {"revoked_at": timezone.now()}, "token_invalid"),
        ("chat:stream", True, {"revoked_at": timezone.now()}, "token_invalid"),
        ("chat:stream", True, {"scopes": "read"}, "scope_missing"),
        ("stream:attach", False, {"expires_at": timezone.now()}, "token_expired"),
        ("stream:attach", True, {"revoked_at": timezone.now()}, "token_invalid"),
    ],
)
async def test_an_open_socket_begins_nothing_with_a_key_that_has_ended(
    ann: User,
    server: Server,
    provider: object,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    elsewhere: bool,
    changes: dict[str, Any],
    code: str,
) -> None:
    patience(monkeypatch)
    row, key = await make_key(ann)
    peer, wire, _ = await joined(server, await known(key))
    await ask(peer, wire, "s-1")
    wire.told.clear()
    if elsewhere:
        # What is remembered expires within a second; no signal reaches this process.
        memory.remembered_keys.forget(row.digest)
        await in_database(lambda: ApiKey.objects.filter(pk=row.pk).update(**changes))
    else:
        for field, value in changes.items():
            setattr(row, field, value)
        await in_database(row.save)

    peer.receive_frame(
        wire, event(f"llm:{name}", {**TURN, "sessionId": "s-2"}, ack_id=7)
    )
    await until(closed(wire))

    acks = [str(frame) for frame in wire.told if str(frame).startswith("437")]
    assert json.loads(acks[0][3:])[0]["code"] == code
    assert await in_database(Message.objects.filter(session_id="s-2").count) == 0


async def test_a_revoked_key_does_not_come_back(ann: User, server: Server) -> None:
    row, key = await make_key(ann)
    auth = await known(key)
    peer, wire, answer = await joined(server, auth)
    peer.lose_websocket(wire)
    peer, wire, again = await joined_again(server, answer, auth)
    assert again == answer
    peer.lose_websocket(wire)

    await in_database(api_keys.revoke, row)
    peer, wire = await opened(server, "websocket")
    peer.receive_frame(wire, connect_packet("/", {"token": key, "pid": answer["pid"]}))
    await until(told(wire))
    assert json.loads(wire.told[0][2:])["data"] == {"code": "token_invalid"}


async def test_the_limit_of_a_key_is_told_to_its_socket(
    ann: User, server: Server, provider: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_the_minute(monkeypatch)
    _, key = await make_key(ann, messages_per_minute=1)
    peer, wire, _ = await joined(server, await known(key))
    await ask(peer, wire, "s-1")
    wire.told.clear()
    peer.receive_frame(wire, event("llm:chat:stream", {"sessionId": "s-2"}))
    await until(told(wire))
    refusal = content_of(wire.told[0])[1]
    assert (refusal["code"], refusal["sessionId"]) == ("rate_limited", "s-2")
    assert refusal["retryAfter"] >= 1

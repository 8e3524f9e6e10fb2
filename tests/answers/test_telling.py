"""Notices to all workers: stopped answers, and users whose sockets are checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from django.db import transaction
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, User
from accounts.remembered import remembered
from accounts.tokens import issue_tokens, user_for_token
from llmchat.answers import checkpoints, runtime, stopping
from llmchat.answers.events import Cancelled
from llmchat.answers.notices import LOOK
from llmchat.answers.runtime import CANCEL
from llmchat.api.namespace import ChatNamespace
from llmchat.database import in_database
from llmchat.models import Conversation, Message
from llmchat.workers import Mailbox, address_of
from tests.support.api_keys import make_key
from tests.support.chat_fixtures import until
from tests.support.deletion import delete_users
from tests.support.peers import Wire, joined, serving
from tests.support.streaming import streaming

LIMIT_S = 20.0


class Other:
    """Another worker: the notices that it receives and sends."""

    def __init__(self, layer: InMemoryChannelLayer) -> None:
        self.told: list[tuple[str, Any]] = []
        self.mailbox = Mailbox(layer, address_of("other"))
        for name in (CANCEL, LOOK):

            async def hear(sender: str, body: Any, name: str = name) -> None:
                self.told.append((name, body))

            self.mailbox.on(name, hear)

    async def hears(self, name: str, body: Any) -> None:
        """Wait until it has received this notice."""

        async def check() -> bool:
            return (name, body) in self.told

        await until(check)


@pytest.fixture
async def other(upstream: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Other]:
    layer = InMemoryChannelLayer(capacity=1000)

    def open_mailbox(worker: str, **_: bool) -> Mailbox:
        box = Mailbox(layer, address_of(worker))
        box.start()
        return box

    monkeypatch.setattr(runtime, "open_mailbox", open_mailbox)
    # No checkpoint comes: the test is that nothing waits for one.
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 60.0)
    made = Other(layer)
    made.mailbox.start()
    this = runtime.get().mailbox
    assert this is not None
    for box in (this, made.mailbox):
        async with asyncio.timeout(LIMIT_S):
            while box.address not in str(layer.groups):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    yield made
    await made.mailbox.close()


async def test_an_operator_stops_what_another_worker_writes_at_once(
    user, provider, turn, upstream, other
):
    upstream.steps = ("Hel", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, stream):
        ident = str(stream.begun.message_id)
        # As another worker does on behalf of its operator.
        other.mailbox.tell_everybody(CANCEL, [ident])
        async with asyncio.timeout(LIMIT_S):
            await stream.ended.wait()
    assert isinstance(events[-1], Cancelled)


@pytest.mark.parametrize("how", ["stopped", "deleted"])
async def test_the_other_workers_are_told_what_an_operator_stops(
    user, provider, turn, upstream, other, how
):
    upstream.steps = ("Hel", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, stream):
        ident = str(stream.begun.message_id)
        if how == "stopped":
            await in_database(stopping.stop, Message.objects.all())
        else:
            await in_database(stopping.delete, Conversation.objects.all())
        await other.hears(CANCEL, [ident])
        async with asyncio.timeout(LIMIT_S):
            await stream.ended.wait()
    assert isinstance(events[-1], Cancelled)


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def set_password(user: User) -> None:
    user.set_password("another one")
    user.save()


def delete(user: User) -> None:
    delete_users(User.objects.filter(pk=user.pk))


CHANGES = {"deactivated": deactivate, "password": set_password, "deleted": delete}


@pytest.mark.parametrize("how", CHANGES)
async def test_a_change_of_a_user_is_told_once_it_is_committed(user, other, how):
    def change() -> None:
        with transaction.atomic():
            CHANGES[how](User.objects.get(pk=user.pk))
            runtime.tell_soon(LOOK, -1)

    await in_database(change)
    await other.hears(LOOK, user.pk)
    # The notice that was sent inside the transaction came first.
    assert other.told[0] == (LOOK, -1)


async def test_a_revoked_key_is_told(user, other):
    await make_key(user)
    row = await in_database(ApiKey.objects.get)
    assert other.told == []
    await in_database(api_keys.revoke, row)
    await other.hears(LOOK, user.pk)


async def test_a_log_in_and_a_new_user_are_told_nobody(user, other):
    def log_in() -> None:
        user.last_login = timezone.now()
        user.save(update_fields=["last_login"])
        User.objects.create_user("bob")
        runtime.tell_soon(LOOK, -1)

    await in_database(log_in)
    await other.hears(LOOK, -1)
    assert other.told == [(LOOK, -1)]


async def sockets_of(user: User) -> list[Wire]:
    """Return the wires of two sockets whose user is in the cache."""

    def tokens() -> str:
        token = issue_tokens(user=User.objects.get(pk=user.pk)).access
        user_for_token(token)
        return token

    auth = {"token": await in_database(tokens)}
    server = serving(ChatNamespace())
    wires = [(await joined(server, auth))[1] for _ in range(2)]
    assert remembered.find(user.pk) is not None
    return wires


async def are_closed(wires: list[Wire], user: User) -> None:
    """Wait until they are closed, which takes less than half a ping interval."""

    async def check() -> bool:
        return all(wire.is_closed for wire in wires)

    await until(check)
    assert remembered.find(user.pk) is None


async def test_a_worker_that_is_told_looks_at_the_sockets_of_a_user(user, other):
    wires = await sockets_of(user)
    rows = User.objects.filter(pk=user.pk)
    await in_database(lambda: rows.update(is_active=False))
    other.mailbox.tell_everybody(LOOK, user.pk)
    await are_closed(wires, user)


async def test_a_lone_process_looks_at_the_sockets_of_a_user(user, upstream):
    wires = await sockets_of(user)
    await in_database(lambda: deactivate(User.objects.get(pk=user.pk)))
    await are_closed(wires, user)


async def test_who_is_still_welcome_stays(user, other):
    wires = await sockets_of(user)
    other.mailbox.tell_everybody(LOOK, user.pk)

    async def is_looked_at() -> bool:
        return remembered.find(user.pk) is None

    await until(is_looked_at)
    await asyncio.sleep(0.3)
    assert not any(wire.is_closed for wire in wires)

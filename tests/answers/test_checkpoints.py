"""The loops of a process, which continue whatever the database does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from django.db import InterfaceError, OperationalError

from llmchat.answers import checkpoints, runtime
from llmchat.database import in_database
from llmchat.models import Message
from llmchat.models.workers import texts_of
from tests.support.chat_fixtures import (
    broken_database,
    registered,
    stream_answer,
    until,
)

# `InterfaceError` is not a subclass of Django's `DatabaseError`.
FAILURES = pytest.mark.parametrize("failure", [OperationalError, InterfaceError])


async def stored_text() -> str:
    texts = await in_database(lambda: texts_of(Message.objects.values("pk")))
    return "".join(texts.values())


@FAILURES
async def test_checkpoints_go_on_behind_a_failure(
    user, provider, upstream, turn, monkeypatch, caplog, failure
):
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.01)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo", end := asyncio.Event())

    async def consume() -> None:
        asked = turn("Hi")
        with registered(user, asked) as stream:
            async with aclosing(stream_answer(turn=asked, stream=stream)) as events:
                async for _ in events:
                    pass

    async def is_told() -> bool:
        return "no checkpoint stored, the database does not answer" in caplog.text

    async def is_stored() -> bool:
        return await stored_text() == "Hello"

    task = asyncio.create_task(consume())
    await upstream.received.wait()
    with broken_database("INSERT", failure):
        await until(is_told)
    go.set()
    await until(is_stored)
    end.set()
    await task


@FAILURES
async def test_a_server_starts_without_its_database(user, upstream, caplog, failure):
    with broken_database("SELECT", failure):
        await runtime.startup()
    assert (
        "cannot look for dead processes, the database is not available" in caplog.text
    )

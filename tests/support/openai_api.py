"""Requests to the OpenAI API in this process, as a user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db.models import Model
from django.test import AsyncClient

from accounts.tokens import issue_tokens
from llmchat.answers import runtime
from llmchat.database import in_database
from llmchat.models import Provider

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def ask(async_client: AsyncClient, user: Model, provider: Provider) -> Ask:
    return asking(async_client, await in_database(issue, user))


def issue(user: Any) -> str:
    return issue_tokens(user=user).access


def asking(client: AsyncClient, token: str) -> Ask:
    async def post(path: str, **body: Any) -> Any:
        return await client.post(
            f"/v1/{path}",
            json.dumps({"model": "test"} | body),
            content_type="application/json",
            headers={"authorization": f"Bearer {token}"},
        )

    return post


async def data_of(response: Any) -> list[Any]:
    """Return the data of all events; comments and names are left out."""
    assert response.headers["Content-Type"] == "text/event-stream"
    text = b"".join([part async for part in response.streaming_content]).decode()
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    return [line.removeprefix("data: ") for line in lines]


async def one_with_text(user: Model) -> Any:
    """Return the user's running answer as soon as it has any text."""
    async with asyncio.timeout(10):
        while True:
            for stream in runtime.get().streams.of_user(user.pk):
                if stream.parts:
                    return stream
            await asyncio.sleep(0.01)

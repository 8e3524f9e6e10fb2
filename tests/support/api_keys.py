"""API keys, and programs that use them."""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient
from rest_framework_simplejwt.tokens import AccessToken

from accounts import api_keys
from accounts.models import ApiKey, User
from llmchat.database import in_database

ALL = "chat read usage"


async def make_user(name: str) -> User:
    return await in_database(User.objects.create_user, name)


async def make_key(user: User, scopes: str = ALL, **fields: Any) -> tuple[ApiKey, str]:
    """Return the row of a new key, and the key."""

    def make() -> tuple[ApiKey, str]:
        name = fields.pop("name", "a program")
        return api_keys.create(user_id=user.pk, scopes=scopes, name=name, **fields)

    return await in_database(make)


class Program:
    """A client that sends requests with a bearer token."""

    def __init__(self, bearer: str) -> None:
        self._client = AsyncClient()
        self._headers = {"Authorization": f"Bearer {bearer}"}

    async def __call__(
        self, method: str, path: str, body: object = None
    ) -> tuple[int, Any]:
        """Return status and body of a response."""
        response = await self._client.generic(
            method,
            path,
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers=self._headers,
        )
        # The thread of a synchronous view outlives the test; its connections must not.
        await sync_to_async(connections.close_all)()
        content = b"" if response.streaming else response.content
        return response.status_code, json.loads(content) if content else None


def page_of(user: User) -> Program:
    """Return a client with an access token of the user, as the chat page has it."""
    return Program(str(AccessToken.for_user(user)))

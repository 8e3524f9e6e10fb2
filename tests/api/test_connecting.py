"""CONNECTs read a user at most once a second, and admit no user who is not allowed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework_simplejwt.tokens import AccessToken

from accounts.errors import TokenError
from accounts.models import User
from llmchat.api import visitors
from llmchat.database import in_database, read_database

SOCKET: Any = SimpleNamespace(handshake=SimpleNamespace(headers={}))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the calls that went to the database."""
    calls: list[Any] = []

    async def read(call: Any, *args: Any) -> Any:
        calls.append(call)
        return await read_database(call, *args)

    monkeypatch.setattr(visitors, "read_database", read)
    return calls


@pytest.mark.django_db(transaction=True)
async def test_a_burst_of_connects_reads_the_user_once(reads: list[Any]) -> None:
    user = await in_database(User.objects.create_user, "ada")
    auth = {"token": str(AccessToken.for_user(user))}

    found = [await visitors.authenticate(SOCKET, auth) for _ in range(5)]

    assert {one.user_id for one in found} == {user.pk}
    assert len(reads) == 1

    user.is_active = False
    await in_database(user.save)
    with pytest.raises(TokenError, match="Authentication token invalid"):
        await visitors.authenticate(SOCKET, auth)

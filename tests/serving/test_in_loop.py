"""Django's middleware as the server runs it: in the event loop, and just as strict."""

from __future__ import annotations

import re
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.contrib.sessions.models import Session
from django.test import AsyncClient
from django.test.client import AsyncClientHandler

from accounts.models import User
from serving.in_loop import LoadsInLoop

PASSWORD = "correct horse battery staple"
FORM = {"username": "boss", "password": PASSWORD}
LOGIN = "/admin/login/"


class _ClientHandler(LoadsInLoop, AsyncClientHandler):
    """The test client's handler, with the server's middleware."""


@pytest.fixture
def client() -> AsyncClient:
    client = AsyncClient()
    client.handler = _ClientHandler(enforce_csrf_checks=True)
    return client


@pytest.fixture
def borrowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that have run in a thread."""
    names: list[str] = []
    call = SyncToAsync.__call__

    async def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        names.append(getattr(self.func, "__qualname__", ""))
        return await call(self, *args, **kwargs)

    monkeypatch.setattr(SyncToAsync, "__call__", noted)
    return names


async def test_no_middleware_borrows_a_thread_for_an_api_call(
    client: AsyncClient, borrowed: list[str]
) -> None:
    answer: Any = await client.get("/llm/conversations")

    assert answer.status_code == 401
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert [name for name in borrowed if "Middleware" in name] == []


async def test_a_wrong_host_is_refused(client: AsyncClient) -> None:
    answer: Any = await client.get("/llm/providers", headers={"host": "evil.example"})

    assert answer.status_code == 400


@pytest.mark.django_db(transaction=True)
async def test_a_form_needs_its_token_and_a_log_in_is_stored(
    client: AsyncClient,
) -> None:
    await User.objects.acreate_superuser("boss", password=PASSWORD)
    refused: Any = await client.post(LOGIN, FORM)
    page: Any = await client.get(LOGIN)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)

    assert refused.status_code == 403
    assert token is not None
    entered: Any = await client.post(
        f"{LOGIN}?next=/admin/accounts/user/",
        FORM | {"csrfmiddlewaretoken": token[1]},
    )

    assert entered.status_code == 302
    assert await Session.objects.filter(pk=client.cookies["sessionid"].value).aexists()
    seen: Any = await client.get("/admin/accounts/user/")
    assert seen.status_code == 200


@pytest.mark.django_db(transaction=True)
async def test_what_a_page_says_once_is_said_on_the_next(client: AsyncClient) -> None:
    boss = await User.objects.acreate_superuser("boss", password=PASSWORD)
    await client.aforce_login(boss)
    page: Any = await client.get("/admin/auth/group/add/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)

    assert token is not None
    form = {"name": "readers", "csrfmiddlewaretoken": token[1]}
    added: Any = await client.post("/admin/auth/group/add/", form)
    told: Any = await client.get("/admin/auth/group/")
    again: Any = await client.get("/admin/auth/group/")

    assert added.status_code == 302
    assert "was added successfully" in told.text
    assert "was added successfully" not in again.text

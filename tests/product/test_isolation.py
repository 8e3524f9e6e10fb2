"""What belongs to another user does not exist, on every route that the URLs have.

A user who knows all ids of another one asks for them with every method of every route.
The responses are the same as for ids that do not exist, and nothing changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.apps import apps

from llmchat.description.routes import Route, routes
from llmchat.description.schema import OPERATIONS
from tests.conftest import StartServer
from tests.support.live import Account, LiveServer
from tests.support.upstream import Upstream

SECRET = "nobody else may read this"
USER = {"role": "user", "content": SECRET}

# The parameters of paths, and which ids of the owner they take.
IDS: dict[str, Callable[[Owned], list[str]]] = {
    "conversationId": lambda owned: owned.conversations,
    "messageId": lambda owned: owned.messages,
    "keyId": lambda owned: owned.keys,
}
# Parameters that name nothing that a user owns.
NOBODYS = frozenset({"model"})
# How users authenticate: the headers of an account on a server.
CREDENTIALS: dict[str, Callable[[LiveServer, Account], dict[str, str]]] = {
    "token": lambda _server, account: account.headers,
    "key": lambda server, account: bearer(made_key(server, account)["key"]),
}


def made_key(server: LiveServer, account: Account) -> dict[str, Any]:
    """Make an API key that is allowed to do all that a key can do."""
    body = {"name": SECRET, "scopes": ["chat", "read", "usage"]}
    url = f"{server.url}/auth/keys"
    answer = httpx.post(url, json=body, headers=account.headers, timeout=60)
    return dict(answer.json())


def bearer(key: str) -> dict[str, str]:
    """Return the headers of a request with an API key."""
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Owned:
    """What the owner has: an answer that is complete, and one that is being written."""

    conversations: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def add(self, event: dict[str, Any]) -> None:
        """Note the ids of an answer."""
        self.conversations.append(event["conversationId"])
        self.messages.append(event["messageId"])

    @property
    def traces(self) -> list[str]:
        """Return what must not be in any response to another user."""
        return [SECRET, *self.conversations, *self.messages]


@dataclass(frozen=True)
class Attempt:
    """A request for something that a user owns."""

    method: str
    path: str
    body: Any

    @classmethod
    def on(cls, route: Route, method: str, path: str) -> Attempt:
        """Return a request that the route would accept from the owner."""
        operation = OPERATIONS.get(f"{method} {route.path}")
        return cls(method, path, operation.example if operation else None)


def unknown(found: Iterator[Route]) -> list[str]:
    """Return what to do about routes with parameters that this test does not know."""
    return [
        f"{route.path}: say in IDS of tests/product/test_isolation.py which ids of the "
        f"owner {name} takes, or in NOBODYS that nobody owns what it names"
        for route in found
        for name in route.parameters
        if name not in {*IDS, *NOBODYS}
    ]


def attempts(route: Route, owned: Owned) -> Iterator[tuple[Attempt, Attempt]]:
    """Yield requests for the owner's ids, each with the same one for an unknown id."""
    for name in (name for name in route.parameters if name in IDS):
        for ident in IDS[name](owned):
            hers = route.path.replace(f"{{{name}}}", ident)
            nobodys = route.path.replace(f"{{{name}}}", str(uuid4()))
            for method in route.methods:
                yield (
                    Attempt.on(route, method, hers),
                    Attempt.on(route, method, nobodys),
                )


def in_bodies(owned: Owned) -> Iterator[tuple[Attempt, Attempt]]:
    """Yield requests with the owner's ids in their bodies, each with an unknown one."""
    turn = {"provider": "openai", "messages": [USER]}
    for ident in owned.conversations:
        hers = {**turn, "conversationId": ident}
        yield (
            Attempt("POST", "/llm/chat", hers),
            Attempt("POST", "/llm/chat", {**hers, "conversationId": str(uuid4())}),
        )


def test_a_parameter_that_is_not_known_is_told() -> None:
    new = Route("/llm/things/{thingId}", object())

    [sentence] = unknown(iter([new]))

    assert sentence.startswith("/llm/things/{thingId}: say in IDS of")


def test_every_parameter_of_a_path_is_known() -> None:
    assert unknown(routes()) == []


async def send(client: httpx.AsyncClient, attempt: Attempt) -> httpx.Response:
    """Send the request, with a body if the method has one."""
    return await client.request(attempt.method, attempt.path, json=attempt.body)


def rows(server: LiveServer, owner: Account) -> dict[str, Any]:
    """Return the owner's rows of all tables that name a user."""
    tables = [
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if any(field.column == "user_id" for field in model._meta.local_fields)
    ]
    assert "llmchat_message" in tables
    query = "SELECT * FROM {} WHERE user_id = ? ORDER BY 1"
    return {table: server.rows(query.format(table), owner.user_id) for table in tables}


@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_what_is_anothers_is_not_there(
    start_server: StartServer,
    live_upstream: Upstream,
    upstream_env: dict[str, str],
    credential: str,
) -> None:
    server = start_server(env={**upstream_env, "LLMCHAT_MESSAGES_PER_MINUTE": "0"})
    owner, stranger = server.account(), server.account()
    headers = CREDENTIALS[credential]
    turn = {"provider": "openai", "messages": [USER], "sessionId": "hers"}
    owned = Owned()
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=60) as hers,
        httpx.AsyncClient(base_url=server.url, timeout=60) as his,
    ):
        hers.headers = headers(server, owner)
        his.headers = headers(server, stranger)
        owned.keys.append(str(made_key(server, owner)["id"]))
        owned.add((await hers.post("/llm/chat", json=turn)).json())
        live_upstream.steps = (SECRET, go := asyncio.Event())
        live_upstream.received.clear()
        other = {**turn, "messages": [USER, {**USER, "content": "And more"}]}
        asking = asyncio.create_task(hers.post("/llm/chat", json=other))
        await live_upstream.received.wait()
        [running] = (await hers.get("/llm/streams")).json()["streams"]
        owned.add(running)
        before = rows(server, owner)

        offences = await _offences(his, owned)

        assert offences == []
        assert rows(server, owner) == before
        go.set()
        answer = (await asking).json()
    assert (answer["fullResponse"], answer["messageId"]) == (SECRET, owned.messages[1])


async def _offences(client: httpx.AsyncClient, owned: Owned) -> list[str]:
    """Return the requests whose responses reveal anything of the owner's."""
    found = []
    asked = [pair for route in routes() for pair in attempts(route, owned)]
    for attempt, like in [*asked, *in_bodies(owned)]:
        got, usual = await send(client, attempt), await send(client, like)
        same = (got.status_code, got.text) == (usual.status_code, usual.text)
        # An API key is not even allowed to ask for keys.
        is_kept = got.status_code == httpx.codes.NOT_FOUND or "scope_" in got.text
        if not is_kept or not same:
            found.append(f"{attempt}: {got.status_code} {got.text[:200]}")
    for route in routes():
        if "GET" in route.methods and not route.parameters:
            got = await client.get(route.path)
            found += [f"{route.path}: {t}" for t in owned.traces if t in got.text]
    searched = await client.get("/llm/conversations", params={"search": SECRET})
    return found + [f"search: {t}" for t in owned.traces if t in searched.text]

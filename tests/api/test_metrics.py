"""What a process reports to Prometheus, and who is allowed to ask."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import AsyncClient, Client
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import User
from accounts.verified import Verified
from llmchat import metrics, routing
from llmchat.access.ratelimit import count_message
from llmchat.answers import runtime
from llmchat.answers.answer import cancel_stream
from llmchat.answers.events import Cancelled, Done, Failed
from llmchat.books.turn import Turn
from llmchat.errors import ChatError
from llmchat.models import Provider
from llmchat.realtime import Namespace, Server, SocketIO, SocketIOOptions
from tests.support.chat_fixtures import end_of, events_of
from tests.support.limits import hold_the_minute
from tests.support.peers import joined, opened, turns
from tests.support.upstream import Upstream

TOKEN = "a token for tests"
Sample = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture
def token(settings: Any) -> dict[str, str]:
    settings.LLMCHAT = settings.LLMCHAT | {"metrics_token": TOKEN}
    return {"authorization": f"Bearer {TOKEN}"}


async def read(token: dict[str, str]) -> dict[Sample, float]:
    answer = await AsyncClient().get("/metrics", headers=token)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def more(before: dict[Sample, float], after: dict[Sample, float]) -> Callable[..., Any]:
    """Return a function from a sample's unprefixed name to how much was added to it."""

    def added(name: str, **labels: str) -> float:
        key = f"llmchat_{name}", tuple(sorted(labels.items()))
        return after[key] - before.get(key, 0.0)

    return added


# --- Who is allowed to ask -------------------------------------------------------


def test_it_is_closed_unless_somebody_opens_it(client: Client) -> None:
    answer = client.get("/metrics", headers={"authorization": "Bearer "})

    assert answer.status_code == client.get("/metrics/").status_code == 404
    assert b"llmchat_" not in answer.content


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN[:-1]}", 404),
        ("Bearer tökén", 404),
        (TOKEN, 404),
        ("", 404),
    ],
)
def test_a_token_opens_it(
    client: Client, token: dict[str, str], sent: str, status: int
) -> None:
    # A scraper sends the address as the host.
    headers = {"authorization": sent, "host": "10.0.0.7:3000"}

    assert client.get("/metrics", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("2001:db8::7", 200),
        ("11.1.2.3", 404),
        ("2001:db8::8", 404),
        ("", 404),
    ],
)
def test_an_address_opens_it(
    client: Client, settings: Any, address: str, status: int
) -> None:
    allowed = ("10.0.0.0/8", "2001:db8::7/128")
    settings.LLMCHAT = settings.LLMCHAT | {"metrics_allow": allowed}

    assert client.get("/metrics", REMOTE_ADDR=address).status_code == status


# --- What is counted -------------------------------------------------------------


async def test_answers_are_counted_when_they_have_ended(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: Callable[..., Turn],
    token: dict[str, str],
) -> None:
    before = await read(token)

    assert isinstance(await end_of(user, turn("Hi")), Done)
    upstream.received.clear()
    upstream.steps = ("Hel", asyncio.Event())
    running = asyncio.create_task(end_of(user, turn("Hi", session_id="s-2")))
    await upstream.received.wait()
    assert (await read(token))["llmchat_streams_running", ()] == 1
    cancel_stream(user_id=user.pk, session_id="s-2")
    assert isinstance(await running, Cancelled)
    upstream.status = 401
    assert isinstance(await end_of(user, turn("Hi", session_id="s-3")), Failed)
    with pytest.raises(ChatError):
        await events_of(user, turn("Hi", conversation_id=uuid4()))

    after = await read(token)
    added = more(before, after)
    assert added("streams_ended_total", state="complete", provider="test") == 1
    assert added("streams_ended_total", state="cancelled", provider="test") == 1
    assert added("streams_ended_total", state="error", provider="test") == 1
    assert added("output_tokens_total", provider="test") >= 1
    assert added("first_token_seconds_count", provider="test") in (1, 2)
    assert added("overhead_answer_seconds_count") == 3
    bucket = added("overhead_first_token_seconds_bucket", le="+Inf")
    assert bucket == added("overhead_first_token_seconds_count")
    code = "provider_auth"
    assert added("provider_errors_total", provider="test", code=code) == 1
    assert added("turns_refused_total", code="conversation_not_found") == 1
    assert after["llmchat_streams_running", ()] == 0


async def test_a_turn_without_a_name_or_room_of_its_own_is_counted_as_refused(
    token: dict[str, str], settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"max_streams_per_user": 1}
    streams = runtime.get().streams
    before = await read(token)
    running = streams.register(7, "s-1", None)
    for name in ("s-1", "s-2", "s-2"):
        with pytest.raises(ChatError):
            streams.register(7, name, None)
    streams.release(running)

    added = more(before, await read(token))
    assert added("turns_refused_total", code="session_active") == 1
    assert added("turns_refused_total", code="too_many_streams") == 2


async def test_what_is_above_the_limit_is_counted(
    token: dict[str, str], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_the_minute(monkeypatch)
    settings.LLMCHAT = settings.LLMCHAT | {"messages_per_minute": 1}
    before = await read(token)
    someone = Verified(7, 0)
    await count_message(someone)
    for _ in range(2):
        with pytest.raises(ChatError):
            await count_message(someone)

    assert more(before, await read(token))("rate_limited_total") == 2


async def test_sockets_are_counted_by_their_transport(token: dict[str, str]) -> None:
    real_time = routing.build(lambda scope: None)
    for transport in ("websocket", "websocket", "polling"):
        await opened(real_time.server, transport)

    now = await read(token)

    assert now["llmchat_sockets", (("transport", "websocket"),)] == 2
    assert now["llmchat_sockets", (("transport", "polling"),)] == 1
    real_time.shutdown()


async def test_sockets_whose_clients_are_away_are_counted_with_what_is_kept(
    token: dict[str, str],
) -> None:
    socketio = SocketIO([lobby := Namespace()], SocketIOOptions(recovery_window_s=60))
    real_time = routing.build(lambda scope: None)
    server = Server(socketio)
    metrics.gauges.absent = lambda: socketio.absent
    peers = [(await joined(server))[0] for _ in range(3)]
    assert (await read(token))["llmchat_sockets_absent", ()] == 0

    for peer in peers[:2]:
        peer.close()
        await turns()
    for socket in list(lobby._sockets.values()):
        socket.emit("said", "x" * 1000)

    now = await read(token)
    assert now["llmchat_sockets_absent", ()] == 2
    assert 2000 < now["llmchat_sockets_absent_bytes", ()] < 2200
    socketio.shutdown()
    real_time.shutdown()
    assert (await read(token))["llmchat_sockets_absent_bytes", ()] == 0


async def test_connections_to_providers_are_counted_while_they_last(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: Callable[..., Turn],
    token: dict[str, str],
) -> None:
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    in_use = "llmchat_provider_connections_in_use", ()
    asking = asyncio.create_task(events_of(user, turn("Hi")))
    async with asyncio.timeout(10):
        await upstream.received.wait()
    assert (await read(token))[in_use] == 1

    go.set()
    await asking
    assert (await read(token))[in_use] == 0


@pytest.mark.django_db(transaction=True)
async def test_tasks_are_counted_while_they_last(token: dict[str, str]) -> None:
    runtime.get()
    tasks = "llmchat_asyncio_tasks", ()
    over = asyncio.Event()
    before = (await read(token))[tasks]
    waiting = [asyncio.create_task(over.wait()) for _ in range(20)]
    during = (await read(token))[tasks]
    over.set()
    await asyncio.gather(*waiting)
    after = (await read(token))[tasks]

    # The server's own may begin or end meanwhile.
    assert during - before > 15
    assert during - after > 15
    await runtime.shutdown()


def test_however_many_names_there_are_few_are_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "_names", set())

    labels = [metrics.provider_label(f"p-{number}") for number in range(60)]

    assert labels[metrics.MOST_PROVIDERS - 1 :] == ["p-49", *["other"] * 10]
    assert metrics.provider_label("p-0") == "p-0"


async def test_processes_that_share_a_port_say_which_they_are(
    token: dict[str, str], settings: Any
) -> None:
    settings.WEB_CONCURRENCY = 2

    samples = await read(token)

    assert all(("pid", str(os.getpid())) in labels for _, labels in samples)

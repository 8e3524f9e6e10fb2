"""Connection state recovery: a client back in time finds everything as it was."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.wire import WebSocket, Wire, connected, content_of, event, gone
from tests.support.wire_fixtures import ON_ONE_KIND

pytestmark = ON_ONE_KIND


def lose(client: WebSocket) -> None:
    client.connection.transport.abort()


async def offset_of(client: WebSocket, *args: Any) -> str:
    """Emit an event that is echoed; return the offset of the echo."""
    await client.send(event("echo", *args))
    offset = content_of(await client.receive())[-1]
    assert isinstance(offset, str)
    return offset


async def test_answer_has_a_pid_of_its_own(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        assert list(answer) == ["sid", "pid"]
        other = await client.join("/chat")
        assert len({*answer.values(), *other.values(), client.sid}) == 5


async def test_events_carry_offsets_that_rise(wire: Wire) -> None:
    async with wire.joined() as client:
        offsets = [await offset_of(client, i) for i in range(12)]
        assert len(set(offsets)) == 12
        await client.send(event("ask", "x"))  # an event that wants an answer has none
        assert (await client.receive()).endswith('["question","x"]')


async def test_client_gets_its_state_and_what_it_missed(
    wire: Wire,
) -> None:
    wire.needs_one_worker("rooms are of one worker")
    async with wire.joined() as sender:
        async with wire.websocket() as client:
            answer = await client.join()
            await client.ask("join", "blue")
            await client.ask("set", 42)
            offset = await offset_of(client, "seen")
            lose(client)
        assert await gone(wire, answer["sid"]) == ["transport close"]
        await sender.send(event("room", "blue", 1), event("others", 2))
        await sender.send(event("room", answer["sid"], 3), event("room", "red", 4))
        await sender.ask("echo")
        async with wire.websocket() as client:
            auth = {"pid": answer["pid"], "offset": offset}
            assert await client.join(auth=auth) == answer
            missed = [content_of(await client.receive()) for _ in range(3)]
            assert [m[:2] for m in missed] == [["room", 1], ["others", 2], ["room", 3]]
            [who] = await client.ask("whoami")
            assert who["recovered"] is True
            assert who["data"] == {"v": 42}
            assert who["rooms"] == sorted(["blue", answer["sid"]])
            assert int(await offset_of(client)) > int(missed[-1][-1])


async def test_recovery_without_an_offset_before_the_first_event(
    wire: Wire,
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        lose(client)
    async with wire.websocket() as client:
        assert await client.join(auth={"pid": answer["pid"]}) == answer


async def test_events_in_flight_at_the_loss_are_sent_again(
    wire: Wire,
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        offset = await offset_of(client)
        await client.send(event("burst", 20))
        await wire.catch_up()
        lose(client)
    async with wire.websocket() as client:
        await client.join(auth={"pid": answer["pid"], "offset": offset})
        numbers = [content_of(await client.receive())[1] for _ in range(20)]
        assert numbers == list(range(20))


async def test_recovery_again_and_again(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        offset = await offset_of(client)
        lose(client)
    for number in range(5):
        async with wire.websocket() as client:
            auth = {"pid": answer["pid"], "offset": offset}
            assert await client.join(auth=auth) == answer
            offset = await offset_of(client, number)
            lose(client)


async def test_live_connection_is_taken_over(wire: Wire) -> None:
    """The client is back before the server has noticed its loss."""
    async with wire.websocket() as old, wire.websocket() as new:
        answer = await old.join()
        offset = await offset_of(old)
        assert await new.join(auth={"pid": answer["pid"], "offset": offset}) == answer
        await old.expect_close(2)
        assert await new.ask("echo", 1) == [1]


async def test_recovery_changes_the_transport(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        offset = await offset_of(client)
        lose(client)
    async with wire.polling() as polling:
        auth = {"pid": answer["pid"], "offset": offset}
        assert await polling.join(auth=auth) == answer
        [who] = await polling.ask("whoami")
        assert (who["recovered"], who["transport"]) == (True, "polling")


@pytest.mark.parametrize(
    "auth",
    [
        {"pid": "unknown", "offset": "1"},
        {"pid": 5, "offset": "1"},
        {"offset": "1"},
        {"pid": "@", "offset": "999"},
        {"pid": "@", "offset": "x"},
        {"pid": "@", "offset": "-1"},
        {"pid": "@", "offset": 1},
        {"pid": "@", "offset": "9" * 5000},
        {"pid": "@", "offset": "٣"},
    ],
    ids=lambda auth: str(auth)[:40],
)
async def test_anything_unknown_makes_a_fresh_socket(
    wire: Wire,
    auth: dict[str, Any],
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        await offset_of(client)
        lose(client)
    auth = {k: answer["pid"] if v == "@" else v for k, v in auth.items()}
    async with wire.websocket() as client:
        fresh = await client.join(auth=auth)
        assert not set(fresh.values()) & set(answer.values())
        assert (await client.ask("whoami"))[0]["recovered"] is False


@pytest.mark.parametrize("ending", ["41", event("kick"), event("kill"), "x"])
async def test_no_recovery_after_a_deliberate_end(
    wire: Wire,
    ending: str,
) -> None:
    """It left, was sent away, or was closed because of an illegal packet."""
    async with wire.websocket() as client:
        answer = await client.join()
        offset = await offset_of(client)
        await client.send(ending)
        await gone(wire, answer["sid"])
    async with wire.websocket() as client:
        fresh = await client.join(auth={"pid": answer["pid"], "offset": offset})
        assert fresh["sid"] != answer["sid"]


async def test_window_closes(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        offset = await offset_of(client)
        lose(client)
    await gone(wire, answer["sid"])
    await asyncio.sleep(3.2)  # this test is about the time
    async with wire.websocket() as client:
        fresh = await client.join(auth={"pid": answer["pid"], "offset": offset})
        assert fresh["sid"] != answer["sid"]


async def test_offset_of_a_quiet_connection_does_not_expire(
    wire: Wire,
) -> None:
    """Only the loss starts the clock."""
    async with wire.websocket() as client:
        answer = await client.join()
        offset = await offset_of(client)
        until = time.monotonic() + 4.2  # two heartbeats; the window is 3 s
        while time.monotonic() < until:
            if await client.read() == "2":
                await client.send("3")
            if time.monotonic() > until - 1:
                break
        lose(client)
    async with wire.websocket() as client:
        auth = {"pid": answer["pid"], "offset": offset}
        assert await client.join(auth=auth) == answer


async def test_acks_are_not_recovered(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        offset = await offset_of(client)
        await client.send(event("ask", "x"))
        question = await client.receive()
        ack_id = question.removeprefix("42").partition("[")[0]
        lose(client)
    async with wire.websocket() as client:
        await client.send(f'40{{"pid":"{answer["pid"]}","offset":"{offset}"}}')
        assert connected(await client.receive(), "/") == answer
        await client.send(f'43{ack_id}["late"]')
        await client.expect_silence(0.2)

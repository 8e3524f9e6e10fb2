"""Namespaces: joining, events, acknowledgements, rooms, leaving."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.wire import Wire, content_of, event, gone
from tests.support.wire_fixtures import ON_ONE_KIND

# What does not depend on the server below is tested with one of them.
pytestmark = ON_ONE_KIND


async def test_nothing_is_joined_implicitly(wire: Wire) -> None:
    async with wire.websocket() as client:
        await client.send("40/chat,")
        assert (await client.receive()).startswith("40/chat,{")
        await client.send(event("echo", 1))
        await client.expect_close(2)


@pytest.mark.parametrize("packet", ["40/chat", "40/chat,", "40/chat,{}"])
async def test_comma_behind_a_namespace_is_optional(
    wire: Wire,
    packet: str,
) -> None:
    async with wire.websocket() as client:
        await client.send(packet)
        assert (await client.receive()).startswith("40/chat,{")


async def test_namespaces_of_one_connection_are_apart(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        other = await client.join("/chat", {"a": 1})
        [who] = await client.ask("whoami", namespace="/chat")
        assert (who["id"], who["auth"]) == (other["sid"], {"a": 1})
        [here] = await client.ask("whoami")
        assert here["id"] != who["id"]
        await client.ask("set", 5, namespace="/chat")
        assert (await client.ask("whoami"))[0]["data"] == {}


async def test_refusal_carries_message_and_data_and_may_be_followed(
    wire: Wire,
) -> None:
    async with wire.websocket() as client:
        for auth in ("", '{"token":"wrong"}'):
            await client.send("40/auth," + auth)
            answer = await client.receive()
            assert answer == (
                '44/auth,{"message":"unauthorized","data":{"code":"E_AUTH","n":1}}'
            )
        await client.join("/auth", {"token": "secret"})


@pytest.mark.parametrize("name", ["/x", "/chat?token=1", "/CHAT", "/é"])
async def test_unknown_namespace(wire: Wire, name: str) -> None:
    async with wire.websocket() as client:
        await client.send(f"40{name},")
        assert await client.receive() == f'44{name},{{"message":"Invalid namespace"}}'


async def test_joining_takes_no_longer_than_the_connect_timeout(
    wire: Wire,
) -> None:
    waits = []
    for _ in range(3):
        async with wire.websocket() as client:
            started = time.monotonic()
            await client.send("40/auth,", "40/x,")  # refusals do not count
            await client.expect_close()
            waits.append(time.monotonic() - started)
        assert waits[-1] > 1.2
        if waits[-1] < 2.9:  # because of this timeout, and not of the heartbeat
            return
        # The machine may stall in between.
    pytest.fail(f"it took {waits}")


async def test_connection_that_left_all_namespaces_stays(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        await client.send("41")
        await client.expect_silence(1.8)
        await client.join()


async def test_joining_twice_closes(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        await client.send("40")
        await client.expect_close(2)
        assert await gone(wire, answer["sid"]) == ["forced close"]


@pytest.mark.parametrize("packet", ['42/chat,["echo"]', "43/chat,1[]", "41/chat,"])
async def test_packet_for_a_namespace_not_joined_closes(
    wire: Wire,
    packet: str,
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        await client.send(packet)
        await client.expect_close(2)
        assert await gone(wire, answer["sid"]) == ["forced close"]


async def test_packet_for_a_namespace_that_was_left_closes(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        await client.send("41", event("echo", 1))
        await client.expect_close(2)


async def test_events_behind_the_servers_disconnect_are_ignored(
    wire: Wire,
) -> None:
    """They were sent before the client could know of the disconnect."""
    async with wire.joined() as client:
        await client.join("/chat")
        await client.send(event("kick"), *[event("echo", i) for i in range(20)])
        while (frame := await client.receive()) != "41":
            assert content_of(frame)[0] == "echo"
        await client.send(event("echo", "late"), "430[]")
        assert await client.ask("echo", "there", namespace="/chat") == ["there"]
        await client.join()


# --- Events and acknowledgements ---------------------------------------------------


async def test_two_hundred_acks_come_in_order(wire: Wire) -> None:
    async with wire.joined() as client:
        await client.send(*[event("echo", i, ack_id=i) for i in range(200)])
        for i in range(200):
            assert await client.receive() == f"43{i}[{i}]"


async def test_event_without_a_handler_is_ignored(wire: Wire) -> None:
    async with wire.joined() as client:
        await client.send(event("unknown", 1), event("unknown", ack_id=1))
        await client.send('42[5,"x"]', event("error"), event("__init__"))
        await client.send(event("on_connect"), event("emit", "x"))
        assert await client.ask("echo", "alive") == ["alive"]


@pytest.mark.parametrize(
    "args", [[], [0], [False], [""], [None], [[1, 2]], [1, 2], [{"a": [{}]}], ["é\x00"]]
)
async def test_arguments_survive(wire: Wire, args: list[object]) -> None:
    async with wire.joined() as client:
        assert await client.ask("echo", *args) == args
        await client.send(event("echo", *args))
        name, *received = content_of(await client.receive())
        assert (name, received[:-1]) == ("echo", args)


async def test_ack_id_zero_counts(wire: Wire) -> None:
    async with wire.joined("/chat") as client:
        await client.send(event("echo", namespace="/chat", ack_id=0))
        assert await client.receive() == "43/chat,0[]"


async def test_server_asks_and_is_answered_once(wire: Wire) -> None:
    async with wire.joined() as client:
        await client.send(event("ask", "how", 1))
        question = await client.receive()
        assert question.endswith('["question","how",1]')
        ack_id = question.removeprefix("42").partition("[")[0]
        await client.send("43999[0]", f'43{ack_id}["so",[2]]', f"43{ack_id}[3]")
        assert content_of(await client.receive())[:3] == ["answered", "so", [2]]
        await client.expect_silence(0.2)


async def test_compact_json_and_text_as_it_is(wire: Wire) -> None:
    async with wire.joined() as client:
        await client.send('421["echo",{"a": 1, "b": ["é", "日本"]}]')
        assert await client.receive() == '431[{"a":1,"b":["é","日本"]}]'


# --- Rooms -------------------------------------------------------------------------


async def test_rooms(wire: Wire) -> None:
    wire.needs_one_worker("rooms are of one worker")
    async with wire.joined() as one, wire.joined() as two, wire.joined() as three:
        await one.ask("join", "blue")
        await two.ask("join", "blue")
        await one.send(event("room", "blue", "hi", [1]))
        for client in (one, two):
            assert content_of(await client.receive())[:3] == ["room", "hi", [1]]
        await two.ask("leave", "blue")
        await two.send(event("room", "blue", "again"))
        assert content_of(await one.receive())[:2] == ["room", "again"]
        await two.expect_silence(0.1)
        await three.expect_silence(0.1)


async def test_every_socket_is_a_room(wire: Wire) -> None:
    wire.needs_one_worker("rooms are of one worker")
    async with wire.websocket() as one, wire.joined() as two:
        answer = await one.join()
        assert (await one.ask("whoami"))[0]["rooms"] == [answer["sid"]]
        await two.send(event("room", answer["sid"], "psst"))
        assert content_of(await one.receive())[:2] == ["room", "psst"]


async def test_others_are_all_but_the_sender_of_the_namespace(
    wire: Wire,
) -> None:
    wire.needs_one_worker("rooms are of one worker")
    async with (
        wire.joined() as one,
        wire.polling() as two,
        wire.joined("/chat") as elsewhere,
    ):
        await two.join()
        await one.send(event("others", "x"))
        assert content_of(await two.receive())[:2] == ["others", "x"]
        await one.expect_silence(0.1)
        await elsewhere.expect_silence(0.1)


# --- Leaving -----------------------------------------------------------------------


async def test_client_leaves_one_namespace(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join("/chat")
        await client.join()
        await client.send("41/chat,")
        assert await client.ask("echo", 1) == [1]
        left = await gone(wire, answer["sid"], "/chat")
        assert left == ["client namespace disconnect"]


async def test_server_disconnects_one_namespace(wire: Wire) -> None:
    async with wire.websocket() as client:
        answer = await client.join("/chat")
        await client.join()
        await client.send(event("kick", namespace="/chat"))
        assert await client.receive() == "41/chat,"
        assert await client.ask("echo", 1) == [1]
        left = await gone(wire, answer["sid"], "/chat")
        assert left == ["server namespace disconnect"]


async def test_server_closes_all_namespaces(wire: Wire) -> None:
    async with wire.websocket() as client:
        answers = {name: await client.join(name) for name in ("/", "/chat")}
        await client.send(event("kill"))
        assert {await client.receive(), await client.receive()} == {"41", "41/chat,"}
        await client.expect_close(2)
    for name, answer in answers.items():
        assert await gone(wire, answer["sid"], name) == ["server namespace disconnect"]


async def test_disconnect_is_told_once_whatever_coincides(
    wire: Wire,
) -> None:
    async with wire.websocket() as client:
        answer = await client.join()
        await client.send(event("kick"), "41", "1", "x")
        client.connection.transport.abort()
    await gone(wire, answer["sid"])
    await wire.catch_up()
    assert len(await gone(wire, answer["sid"])) == 1


# --- Binary ------------------------------------------------------------------------

PLACE = {"_placeholder": True}


def binary(kind: str, *args: object) -> str:
    return kind + json.dumps(args, separators=(",", ":"))


@pytest.mark.parametrize(
    ("sent", "attachments", "answer", "returned"),
    [
        (
            binary("452-7", "echo", {**PLACE, "num": 1}, {**PLACE, "num": 0}),
            [b"a", b"b"],
            binary("462-7", {**PLACE, "num": 0}, {**PLACE, "num": 1}),
            [b"b", b"a"],
        ),
        (
            binary("451-7", "echo", {**PLACE, "num": 0}, [{**PLACE, "num": 0}]),
            [b"a"],
            binary("462-7", {**PLACE, "num": 0}, [{**PLACE, "num": 1}]),
            [b"a", b"a"],
        ),
        (binary("450-7", "echo", 1), [], "437[1]", []),
        (
            binary("427", "echo", {**PLACE, "num": 0}),
            [],
            binary("437", {**PLACE, "num": 0}),
            [],
        ),
        (
            binary("451-/chat,7", "echo", {"x": {**PLACE, "num": 0}}),
            [b"\x00" * 3],
            binary("461-/chat,7", {"x": {**PLACE, "num": 0}}),
            [b"\x00" * 3],
        ),
    ],
    ids=["out of order", "repeated", "none", "look-alike", "nested in a namespace"],
)
async def test_binary_round_trip(
    wire: Wire,
    sent: str,
    attachments: list[bytes],
    answer: str,
    returned: list[bytes],
) -> None:
    async with wire.joined() as client:
        await client.join("/chat")
        await client.send(sent, *attachments)
        assert await client.receive() == answer
        assert [await client.receive() for _ in returned] == returned


async def test_packets_of_the_engine_may_stand_between_attachments(
    wire: Wire,
) -> None:
    async with wire.joined() as client:
        header = binary("452-7", "echo", {**PLACE, "num": 0}, {**PLACE, "num": 1})
        await client.send(header, b"a", "3", "6", b"b")
        assert (await client.receive()).startswith("462-7")
        assert [await client.receive(), await client.receive()] == [b"a", b"b"]


async def test_binary_of_many_senders_is_not_mixed_up(
    wire: Wire,
) -> None:
    wire.needs_one_worker("rooms are of one worker")
    async with wire.joined() as reader, wire.joined() as one, wire.joined() as two:
        header = binary("451-", "others", {**PLACE, "num": 0})
        for _ in range(20):
            await one.send(header, b"from one")
            await two.send(header, b"from two")
        for _ in range(40):
            assert (await reader.receive()).startswith("451-")
            assert await reader.receive() in (b"from one", b"from two")

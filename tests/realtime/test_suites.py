"""What the official Engine.IO and Socket.IO suites ask of a server, case by case.

The numbers are those of the project's list of their cases. The application sends no
pings, which might come between on a busy machine, and has longer timeouts than theirs,
so that none of them closes what has to be closed for another reason. Pings are tested
in `test_suites_heartbeat.py`, timeouts in `test_suites_timeouts.py`.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.wire import RS, Wire, http_client
from tests.support.wire_fixtures import ON_WORKERS_TOO

pytestmark = ON_WORKERS_TOO


@pytest.fixture(scope="module")
def profile() -> str:
    return "Q"


# --- Engine.IO: handshake --------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "transport=polling"),
        ("GET", "EIO=abc&transport=polling"),
        ("GET", "EIO=4"),
        ("GET", "EIO=4&transport=abc"),
        ("POST", "EIO=4&transport=polling"),
        ("PUT", "EIO=4&transport=polling"),
    ],
)
async def test_02_invalid_polling_handshake_is_400(
    either: Wire, method: str, query: str
) -> None:
    async with http_client() as http:
        response = await http.request(method, either.url(query))
    assert response.status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "transport=websocket",
        "EIO=abc&transport=websocket",
        "EIO=4",
        "EIO=4&transport=abc",
    ],
)
async def test_04_invalid_websocket_handshake_is_refused(
    either: Wire, query: str
) -> None:
    with pytest.raises((InvalidStatus, ConnectionClosed)):
        async with asyncio.timeout(10), either.websocket(query) as client:
            await client.read()


# --- Engine.IO: messages ---------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    ["4hello", RS.join(["4test1", "4test2", "4test3"]), "4hello" + RS + "bAQIDBA=="],
)
async def test_05_polling_messages_come_back_in_one_answer(
    engine: Wire, body: str
) -> None:
    async with engine.polling() as client:
        response = await client.post(body, headers={"content-type": "text/plain"})
        assert (response.status_code, response.text) == (200, "ok")
        response = await client.get()
        assert (response.status_code, response.text) == (200, body)


async def test_06_illegal_polling_packet_closes_the_session(either: Wire) -> None:
    async with either.polling() as client:
        await client.post("abc")
        assert (await client.get()).status_code == 400


async def test_07_two_polls_at_once_close_the_session(either: Wire) -> None:
    async with either.polling() as client:
        first = await client.hold()
        second = asyncio.create_task(client.get())
        responses = [await first, await second]
        # Each runs on its own connection: the one that arrives first is the first.
        responses.sort(key=lambda response: response.status_code)
        assert (responses[0].status_code, responses[0].text) == (200, "1")
        assert responses[1].status_code == 400
        assert (await client.get()).status_code == 400


async def test_08_aborted_poll_closes_the_session(either: Wire) -> None:
    async with either.polling() as client:
        poll = await client.hold()
        poll.cancel()
        await asyncio.wait([poll])
        # Behind a balancer, the next poll reaches the server before the news of this.
        statuses = [(await client.get()).status_code for _ in either.ports]
        assert statuses[-1] == 400


async def test_09_websocket_messages_come_back(engine: Wire) -> None:
    async with engine.websocket() as client:
        await client.send("4hello")
        assert await client.receive() == "4hello"
        await client.send(b"\x01\x02\x03\x04")
        assert await client.receive() == b"\x01\x02\x03\x04"
        await client.send("abc")
        await client.expect_close()


# --- Engine.IO: closing and upgrade ----------------------------------------------


async def test_12_close_packet_releases_the_poll(either: Wire) -> None:
    async with either.polling() as client:
        poll = await client.hold()
        await client.post("1")
        response = await poll
        assert (response.status_code, response.text) == (200, "6")
        assert (await client.get()).status_code == 400


async def test_12_close_packet_closes_the_websocket(either: Wire) -> None:
    async with either.websocket() as client:
        await client.send("1")
        await client.expect_close()


async def test_13_upgrade_writes_nothing_between_probe_and_echo(engine: Wire) -> None:
    async with (
        engine.polling() as client,
        engine.websocket(client.upgrade_query) as upgraded,
    ):
        await upgraded.send("2probe")
        assert await upgraded.read() == "3probe"
        response = await client.get()
        assert (response.status_code, response.text) == (200, "6")
        await upgraded.send("5", "4hello")
        assert await upgraded.read() == "4hello"


async def test_14_polls_are_refused_after_the_upgrade(engine: Wire) -> None:
    async with (
        engine.polling() as client,
        engine.websocket(client.upgrade_query) as upgraded,
    ):
        await upgraded.send("2probe", "5", "4first")
        assert await upgraded.read() == "3probe"
        # Until then, a session of another worker may still be on its way.
        assert await upgraded.read() == "4first"
        assert (await client.get()).status_code == 400
        await upgraded.send("4hello")
        assert await upgraded.read() == "4hello"


async def test_15_second_websocket_is_accepted_and_closed(engine: Wire) -> None:
    async with (
        engine.polling() as client,
        engine.websocket(client.upgrade_query) as upgraded,
    ):
        await upgraded.send("2probe", "5")
        assert await upgraded.read() == "3probe"
        async with engine.websocket(client.upgrade_query) as second:
            await second.expect_close(within_s=10)
        await upgraded.send("4hello")
        assert await upgraded.read() == "4hello"


# --- Socket.IO -------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["", "/custom,"])
@pytest.mark.parametrize("auth", [None, {"token": "123"}])
async def test_16_joining_answers_with_sid_then_auth(
    sio: Wire, namespace: str, auth: dict[str, str] | None
) -> None:
    sent = "" if auth is None else json.dumps(auth, separators=(",", ":"))
    async with sio.websocket() as client:
        await client.send(f"40{namespace}{sent}")
        answer = await client.read()
        assert answer.startswith(f"40{namespace}")
        content = json.loads(answer.removeprefix(f"40{namespace}"))
        assert list(content) == ["sid"]
        assert await client.read() == f'42{namespace}["auth",{sent or "{}"}]'


async def test_17_unknown_namespace_is_refused(sio: Wire) -> None:
    async with sio.websocket() as client:
        await client.send("40/random")
        assert await client.read() == '44/random,{"message":"Invalid namespace"}'


async def test_18_illegal_first_message_closes(sio: Wire) -> None:
    async with sio.websocket() as client:
        await client.send("4abc")
        await client.expect_close(within_s=10)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            ['42["message",1,"2",{"3":[true]}]'],
            ['42["message-back",1,"2",{"3":[true]}]'],
        ),
        (
            ['42456["message-with-ack",1,"2",{"3":[false]}]'],
            ['43456[1,"2",{"3":[false]}]'],
        ),
        (
            [
                '452-["message",{"_placeholder":true,"num":0},'
                '{"_placeholder":true,"num":1}]',
                b"\x01\x02\x03",
                b"\x04\x05\x06",
            ],
            [
                '452-["message-back",{"_placeholder":true,"num":0},'
                '{"_placeholder":true,"num":1}]',
                b"\x01\x02\x03",
                b"\x04\x05\x06",
            ],
        ),
        (
            [
                '452-789["message-with-ack",{"_placeholder":true,"num":0},'
                '{"_placeholder":true,"num":1}]',
                b"\x01\x02\x03",
                b"\x04\x05\x06",
            ],
            [
                '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
                b"\x01\x02\x03",
                b"\x04\x05\x06",
            ],
        ),
    ],
    ids=["21 event", "21 ack", "22 binary event", "22 binary ack"],
)
async def test_messages(
    sio: Wire, sent: list[str | bytes], expected: list[str | bytes]
) -> None:
    async with sio.websocket() as client:
        await client.send("40")
        await client.receive()
        await client.receive()
        await client.send(*sent)
        assert [await client.receive() for _ in expected] == expected


@pytest.mark.parametrize(
    "illegal", ["4abc", "42{}", '42abc["message-with-ack",1,"2",{"3":[false]}]']
)
async def test_23_illegal_packet_closes(sio: Wire, illegal: str) -> None:
    async with sio.websocket() as client:
        await client.send("40")
        await client.read()
        await client.read()
        await client.send(illegal)
        await client.expect_close(within_s=10)

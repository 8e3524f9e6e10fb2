"""HTTP long-polling: handshake, poll, post, closing."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.wire import (
    LIMIT_S,
    RS,
    Wire,
    content_of,
    dumps,
    event,
    eventually,
    gone,
    http_client,
    raw_exchange,
)

TEXT = "text/plain; charset=utf-8"


async def test_handshake_answer(wire: Wire) -> None:
    async with http_client() as http:
        response = await http.get(wire.url(transport="polling"))
    assert response.status_code == 200
    assert response.headers["content-type"].lower() == TEXT
    assert response.headers["cache-control"] == "no-store"
    assert int(response.headers["content-length"]) == len(response.content)


async def test_poll_answers_with_all_packets_in_order(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        await client.join()
        await client.post(event("burst", 5))
        response = await client.get()
        assert response.headers["content-type"].lower() == TEXT
        assert response.headers["cache-control"] == "no-store"
        assert int(response.headers["content-length"]) == len(response.content)
        contents = [content_of(packet) for packet in response.text.split(RS)]
        assert [content[1] for content in contents] == [0, 1, 2, 3, 4]


async def test_poll_is_held_until_there_is_something(wire: Wire) -> None:
    async with wire.polling() as client:
        await client.join()
        poll = await client.hold()
        assert not poll.done()
        await client.post(event("echo", "now"))
        assert content_of((await poll).text)[:2] == ["echo", "now"]


async def test_long_burst_comes_in_answers_of_sixteen_packets(
    wire: Wire,
) -> None:
    """python-engineio's client loses an answer with more."""
    async with wire.polling() as client:
        await client.join()
        await client.post(event("burst", 40))
        sizes, numbers = [], []
        while len(numbers) < 40:
            packets = (await client.get()).text.split(RS)
            sizes.append(len(packets))
            numbers += [content_of(packet)[1] for packet in packets]
        assert max(sizes) == 16
        assert numbers == list(range(40))


async def test_second_poll_is_400_and_closes_with_transport_error(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        first = await client.hold()
        second = await client.get()
        assert (second.status_code, second.content) == (400, b"")
        assert ((await first).status_code, (await first).text) == (200, "1")
        await client.expect_end()
        assert await gone(wire, answer["sid"]) == ["transport error"]


async def test_aborted_poll_closes_with_transport_error(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        poll = await client.hold()
        poll.cancel()
        await asyncio.wait([poll])
        assert await gone(wire, answer["sid"]) == ["transport error"]
        await client.expect_end()


@pytest.mark.parametrize(
    "content_type", ["text/plain;charset=UTF-8", None, "application/json"]
)
async def test_post_is_taken_as_text(
    wire: Wire,
    content_type: str | None,
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    async with wire.polling() as client:
        response = await client.post("40", headers=headers)
        assert (response.status_code, response.text) == (200, "ok")
        # Not plain text, which some browsers offer as a download.
        assert response.headers["content-type"] == "text/html"
        assert response.headers["content-length"] == "2"
        assert response.headers["cache-control"] == "no-store"
        assert (await client.receive()).startswith("40{")


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "Application/Octet-Stream; x=1"]
)
async def test_binary_post_is_400_and_closes(
    wire: Wire,
    content_type: str,
) -> None:
    async with wire.polling() as client:
        response = await client.post("40", headers={"content-type": content_type})
        assert (response.status_code, response.content) == (400, b"")
        await client.expect_end()


def filled(client_bytes: int, filler: str = "x") -> str:
    """Return an `echo` event of exactly this number of bytes."""
    rest = client_bytes - len(event("echo", "").encode())
    size = len(filler.encode())
    return event("echo", filler * (rest // size) + "x" * (rest % size))


@pytest.mark.parametrize("filler", ["x", "é"])
async def test_post_of_exactly_the_limit_passes(
    wire: Wire,
    filler: str,
) -> None:
    async with wire.polling() as client:
        await client.join()
        body = filled(10_000, filler)
        assert len(body.encode()) == 10_000
        response = await client.post(body.encode())
        assert response.status_code == 200
        assert content_of(await client.receive())[0] == "echo"


@pytest.mark.parametrize("filler", ["x", "é"])
async def test_longer_post_is_413(wire: Wire, filler: str) -> None:
    async with wire.polling() as client:
        await client.join()
        response = await client.post(filled(10_001, filler).encode())
        assert (response.status_code, response.content) == (413, b"")


async def test_longer_chunked_post_is_413(wire: Wire) -> None:
    async def chunks() -> object:
        for _ in range(11):
            yield b"4" + b"x" * 999

    async with wire.polling() as client:
        response = await client.http.post(client.url, content=chunks())
        assert (response.status_code, response.content) == (413, b"")


# daphne hands over a POST when it is complete.
@pytest.mark.parametrize("wire", ["uvicorn"], indirect=True)
async def test_second_post_while_one_is_received_closes(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        _, writer = await client.begin_post()
        await wire.catch_up()
        response = await client.post("3")
        assert (response.status_code, response.content) == (400, b"")
        await client.expect_end()
        assert await gone(wire, answer["sid"]) == ["transport error"]
        writer.close()


# daphne hands over a POST when it is complete.
@pytest.mark.parametrize("wire", ["uvicorn"], indirect=True)
async def test_post_lost_before_its_end_closes(wire: Wire) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        _, writer = await client.begin_post()
        await wire.catch_up()
        writer.close()
        assert await gone(wire, answer["sid"]) == ["transport error"]


async def test_character_split_across_chunks_is_decoded(
    wire: Wire,
) -> None:
    body = event("echo", "日本").encode()
    cut = body.index("日".encode()) + 1
    async with wire.polling() as client:
        await client.join()
        target = wire.target(transport="polling", sid=client.sid)
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        writer.write((head + "Connection: close\r\n\r\n").encode() + body[:cut])
        await writer.drain()
        await wire.catch_up()
        writer.write(body[cut:])
        assert b" 200 " in await reader.read()
        writer.close()
        assert content_of(await client.receive())[:2] == ["echo", "日本"]


@pytest.mark.parametrize(
    "illegal",
    [b"", b"abc", b"7", RS.encode() * 2, b"4\xff\xfe", b"b!!!!", b"bAQIDBA=x"],
    ids=repr,
)
async def test_illegal_payload_closes_with_parse_error(
    wire: Wire,
    illegal: bytes,
) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        response = await client.post(illegal)
        assert response.status_code in (200, 400)
        await client.expect_end()
        assert await gone(wire, answer["sid"]) == ["parse error"]


async def test_packets_before_an_illegal_one_count(wire: Wire) -> None:
    wire.needs_one_worker("rooms are of one worker")
    async with wire.polling() as client, wire.joined() as other:
        await client.join()
        sent = [event("others", "counts"), "x", event("others", "does not")]
        await client.post(RS.join(sent))
        assert content_of(await other.receive())[:2] == ["others", "counts"]
        await other.expect_silence(0.2)


async def test_leaving_and_closing_in_one_body(wire: Wire) -> None:
    """The stock client's way to disconnect: the first packet is the reason."""
    async with wire.polling() as client:
        answer = await client.join()
        poll = await client.hold()
        await client.post("41" + RS + "1")
        assert (await poll).text == "6"
        await client.expect_end()
        assert await gone(wire, answer["sid"]) == ["client namespace disconnect"]


async def test_close_packet_releases_the_poll_with_a_noop(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        poll = await client.hold()
        await client.post("1")
        assert (await poll).text == "6"
        await client.expect_end()
        assert await gone(wire, answer["sid"]) == ["transport close"]


async def test_client_ping_closes_with_transport_error(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        await client.post("2")
        await client.expect_end()
        assert await gone(wire, answer["sid"]) == ["transport error"]


async def test_open_upgrade_and_noop_are_ignored(wire: Wire) -> None:
    async with wire.polling() as client:
        await client.post(RS.join(["0", "5", "6", "3"]))
        await client.join()


async def test_server_close_answers_the_held_poll(wire: Wire) -> None:
    async with wire.polling() as client:
        await client.join()
        poll = await client.hold()
        await client.post(event("kill"))
        assert [(await poll).text, (await client.get()).text] == ["41", "1"]
        await client.expect_end()


async def test_server_close_waits_for_the_next_poll(wire: Wire) -> None:
    async with wire.polling() as client:
        await client.join()
        await client.post(event("kill"))
        await wire.catch_up()
        assert [(await client.get()).text for _ in range(2)] == ["41", "1"]
        await client.expect_end()


async def test_ping_waits_for_the_next_poll(wire: Wire) -> None:
    async with wire.polling() as client:
        await client.join()
        await asyncio.sleep(2.1)
        assert (await client.get()).text == "2"


async def test_heartbeat_timeout_answers_the_held_poll(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        assert (await client.get()).text == "2"
        response = await client.get()
        assert (response.status_code, response.text) == (200, "1")
        await client.expect_end()
        assert await gone(wire, answer["sid"]) == ["ping timeout"]


async def test_many_small_packets_in_one_body(wire: Wire) -> None:
    async with wire.polling() as client:
        await client.join()
        sent = [event("echo", i, ack_id=i) for i in range(300)]
        await client.post(RS.join(sent))
        for i in range(300):
            assert await client.receive() == f"43{i}[{i}]"


async def test_binary_travels_as_base64(wire: Wire) -> None:
    async with wire.polling() as client:
        await client.join()
        header = '451-["echo",{"_placeholder":true,"num":0}]'
        await client.post(header + RS + "bAQIDBA==")
        assert (await client.receive()).startswith('451-["echo",{"_placeholder"')
        assert await client.receive() == "bAQIDBA=="


@pytest.mark.parametrize("unpadded", ["bAQIDBA", "b"])
async def test_base64_without_padding_is_accepted(
    wire: Wire,
    unpadded: str,
) -> None:
    async with wire.polling() as client:
        await client.join()
        header = '451-0["echo",{"_placeholder":true,"num":0}]'
        await client.post(header + RS + unpadded)
        assert (await client.receive()).startswith("461-0[")
        expected = {"bAQIDBA": "bAQIDBA==", "b": "b"}[unpadded]
        assert await client.receive() == expected


async def test_separator_in_data_is_escaped(wire: Wire) -> None:
    async with wire.polling() as client:
        await client.join()
        await client.post('420["echo","a\\u001eb"]')
        packet = await client.receive()
        assert RS not in packet
        assert json.loads(packet[3:]) == ["a\x1eb"]


async def test_content_length_below_the_body_is_no_way_in(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        answer = await client.join()
        target = wire.target(transport="polling", sid=client.sid)
        body = dumps(["x"])
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
        await raw_exchange(wire.port, (head + body).encode())
        # What follows the body is not a request: uvicorn may drop the connection first.
        assert await gone(wire, answer["sid"]) in (["parse error"], ["transport error"])
        await client.expect_end()
        await eventually(lambda: wire.process.poll() is None)


async def test_post_that_never_ends_is_let_go_with_its_session(
    wire: Wire,
) -> None:
    if wire.kind == "daphne":
        pytest.skip("daphne keeps a body to itself until it is whole")
    async with wire.polling() as client:
        reader, writer = await client.begin_post()
        async with asyncio.timeout(LIMIT_S):
            status = await reader.readline()
        writer.close()
        assert b" 400 " in status

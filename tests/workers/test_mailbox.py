"""Letters between workers, on a channel layer that loses and doubles messages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from llmchat.workers import AwayError, GoneError, Mailbox, address_of, mailbox, route
from llmchat.workers.address import channel_of, is_address
from llmchat.workers.letters import PART_BYTES, Unpacker, pack
from llmchat.workers.mailbox import EVERYBODY, FailedError
from tests.support.redis_server import RedisServer

OpenBox = Callable[[str], Awaitable[Mailbox]]
ONE, TWO = address_of("one"), address_of("two")


class Lossy(InMemoryChannelLayer):  # type: ignore[misc]
    """Delivers at most once, as Redis does, and now and then twice."""

    def __init__(self, loss: float = 0.0, doubling: float = 0.0) -> None:
        super().__init__(capacity=100_000)
        self.loss, self.doubling = loss, doubling
        self.dice = random.Random(7)
        self.sent = self.bytes = 0
        self.delay_s = 0.0
        self.is_down = False
        self.refused = 0  # messages to a group, while it was down
        # Channels whose messages are all lost.
        self.deaf: set[str] = set()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if self.is_down:
            raise ConnectionError("down")
        self.sent += 1
        self.bytes += len(message.get("data", b""))
        await asyncio.sleep(self.delay_s)
        if channel in self.deaf or self.dice.random() < self.loss:
            return
        await super().send(channel, message)
        if self.dice.random() < self.doubling:
            await super().send(channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self.is_down:
            self.refused += 1
            raise ConnectionError("down")
        await super().group_send(group, message)


@pytest.fixture
def layer() -> Lossy:
    return Lossy()


@pytest.fixture
async def open_box(layer: Lossy) -> AsyncIterator[OpenBox]:
    boxes: list[Mailbox] = []

    async def open_one(address: str) -> Mailbox:
        box = Mailbox(layer, address)
        boxes.append(box)
        box.start()
        return box

    yield open_one
    for box in boxes:
        await box.close()


async def hears_all(layer: Lossy, box: Mailbox) -> None:
    """Wait until a mailbox receives what is sent to all."""
    async with asyncio.timeout(30):
        while box._channel not in layer.groups.get(EVERYBODY, ()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def echo(sender: str, body: Any) -> Any:
    return [sender, body]


async def test_an_ask_gets_its_reply(open_box: OpenBox) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    two.on("echo", echo)
    body = {"text": "grüß", "bytes": b"\x00\xff", "none": None, "many": [1, 2]}
    assert await one.ask(TWO, "echo", body) == [ONE, body]


async def test_every_ask_is_answered_once_though_messages_are_lost_and_doubled(
    open_box: OpenBox, layer: Lossy
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    layer.loss, layer.doubling = 0.2, 0.2
    seen: list[int] = []

    async def count(sender: str, body: Any) -> Any:
        seen.append(body)
        return body

    two.on("count", count)

    async def ask(number: int) -> Any:
        await asyncio.sleep(number / 500)
        return await one.ask(TWO, "count", number)

    replies = await asyncio.gather(*(ask(number) for number in range(200)))
    assert replies == list(range(200))
    assert sorted(seen) == list(range(200))


async def test_what_waits_at_the_same_time_goes_in_one_message(
    open_box: OpenBox, layer: Lossy
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    two.on("echo", echo)
    await asyncio.gather(*(one.ask(TWO, "echo", at) for at in range(300)))
    assert layer.sent < 20


async def test_a_long_body_goes_in_parts(open_box: OpenBox, layer: Lossy) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    two.on("echo", echo)
    body = random.Random(1).randbytes(10 * PART_BYTES + 1)
    assert (await one.ask(TWO, "echo", body))[1] == body
    assert layer.sent > 20
    layer.loss = 0.03
    assert (await one.ask(TWO, "echo", body))[1] == body


def test_what_misses_a_part_is_forgotten() -> None:
    unpacker = Unpacker()
    letters = [(0, 1, "x", bytes(1_000_000))]
    for number in range(100):
        (first, *_) = pack(letters, number)
        assert unpacker.take("somebody", first) == []
    assert unpacker._bytes <= 16 * 1024 * 1024
    *rest, last = pack(letters, 1_000)
    assert not any(unpacker.take("another", part) for part in rest)
    assert unpacker.take("another", last) == letters


def test_a_message_of_any_length_comes_to_its_end() -> None:
    unpacker = Unpacker()
    long = [(0, 1, "x", bytes(20_000_000))]
    (first, *_) = pack([(0, 2, "y", bytes(1_000_000))], 1)
    assert unpacker.take("another", first) == []
    *rest, last = pack(long, 2)
    assert not any(unpacker.take("somebody", part) for part in rest)
    assert unpacker.take("somebody", last) == long
    assert unpacker._bytes <= len(first["data"])


@pytest.mark.parametrize(
    ("count", "delay_s"), [(20, 0.0), (8, 0.02)], ids=["quick layer", "slow layer"]
)
async def test_many_long_letters_are_sent_once(
    open_box: OpenBox, layer: Lossy, count: int, delay_s: float
) -> None:
    """More than a receiver keeps of incomplete messages, or than a second can send."""
    layer.delay_s = delay_s
    one, two = await open_box(ONE), await open_box(TWO)
    for box in (one, two):
        box.on("length", lambda _, body: asyncio.sleep(0, len(body)))
    long = bytes(1_000_000)
    ways = ((one, TWO), (two, ONE)) * count
    for _ in range(3):
        layer.bytes = 0
        asks = [box.ask(to, "length", long) for box, to in ways]
        asks += [one.ask(TWO, "length", b"short")]
        async with asyncio.timeout(30):
            assert await asyncio.gather(*asks) == [1_000_000] * 2 * count + [5]
        if layer.bytes < 1_050_000 * 2 * count:
            return
        # If the machine stalls, receipts are late, and letters are sent again.
    pytest.fail(f"{layer.bytes:,} bytes were sent, and as many each time")


async def test_so_much_waits_for_receipts_and_no_more(
    open_box: OpenBox, layer: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "MAX_BYTES", 2_500)
    one, two = await open_box(ONE), await open_box(TWO)
    two.on("echo", echo)
    layer.deaf.add(channel_of(TWO))
    asks = [one.ask(TWO, "echo", bytes(1_000)) for _ in range(5)]
    for refused in asks[3:]:
        with pytest.raises(AwayError, match="too much"):
            await refused
    asks[0].cancel()
    await asyncio.sleep(0)
    asks = [*asks[1:3], one.ask(TWO, "echo", bytes(1_000))]
    layer.deaf.clear()
    assert [await ask for ask in asks] == [[ONE, bytes(1_000)]] * 3


async def test_a_reply_may_take_as_long_as_it_wants(open_box: OpenBox) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    release = asyncio.Event()

    async def hold(sender: str, body: Any) -> Any:
        await release.wait()
        return "now"

    two.on("hold", hold)
    held = one.ask(TWO, "hold")
    done, _ = await asyncio.wait([held], timeout=3)
    assert not done
    release.set()
    assert await held == "now"


async def test_a_worker_that_never_was_is_gone_within_two_seconds(
    open_box: OpenBox, layer: Lossy
) -> None:
    one = await open_box(ONE)
    for name in ("two", "three", "four"):
        layer.sent = 0
        with pytest.raises(GoneError):
            await one.ask(address_of(name), "echo")
        # It was sent again until then, so the number of times shows how long that was.
        if layer.sent * route.RESEND_S < 2.5:
            return
        # A worker that stalled itself gives the other one more time.
    pytest.fail(f"it was sent {layer.sent} times")


async def test_nobody_waits_anew_for_a_worker_that_has_just_not_answered(
    open_box: OpenBox, layer: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await open_box(ONE)
    with pytest.raises(GoneError):
        await one.ask(TWO, "echo")
    # An ask that waits now would wait forever.
    monkeypatch.setattr(route, "GONE_S", 3600.0)
    monkeypatch.setattr(mailbox, "SILENT_S", 3600.0)
    async with asyncio.timeout(20):
        for _ in range(100):
            with pytest.raises(GoneError):
                await one.ask(TWO, "echo")

    # It was only slow: it is asked again as soon as a letter from it arrives.
    two = await open_box(TWO)
    two.on("echo", echo)
    await _until_it_answers(one)


async def test_whoever_waits_hears_of_the_end_of_a_worker(open_box: OpenBox) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    cancelled = asyncio.Event()

    async def hold(sender: str, body: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    two.on("hold", hold)
    two.on("echo", echo)
    held = one.ask(TWO, "hold")
    await one.ask(TWO, "echo")  # arrives after the other
    await two.close()
    with pytest.raises(GoneError):
        await held
    assert cancelled.is_set()


@pytest.mark.parametrize("is_replied", [False, True], ids=["at work", "reply lost"])
async def test_who_was_taken_for_gone_hears_that_it_gets_no_reply(
    open_box: OpenBox, layer: Lossy, monkeypatch: pytest.MonkeyPatch, is_replied: bool
) -> None:
    """It was suspended or cut off for a while; in its own view, no worker was gone."""
    one, two = await open_box(ONE), await open_box(TWO)
    began, release = asyncio.Event(), asyncio.Event()

    async def hold(sender: str, body: Any) -> None:
        began.set()
        await release.wait()

    two.on("hold", hold)
    one.on("echo", echo)
    held = one.ask(TWO, "hold")
    await began.wait()
    layer.deaf.add(channel_of(TWO))
    with monkeypatch.context() as lost:
        lost.setattr(one, "_settle", lambda *_: None)
        if is_replied:
            release.set()
        with pytest.raises(GoneError):
            await two.ask(ONE, "echo")
    layer.deaf.clear()
    with pytest.raises(FailedError):
        await asyncio.wait_for(held, 20)


async def test_an_ask_that_is_taken_back_ends_its_handler(open_box: OpenBox) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    began, ended = asyncio.Event(), asyncio.Event()

    async def hold(sender: str, body: Any) -> Any:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    two.on("hold", hold)
    held = one.ask(TWO, "hold")
    await began.wait()
    held.cancel()
    await asyncio.wait_for(ended.wait(), 20)


async def test_a_handler_that_fails_is_told_to_whoever_asked(
    open_box: OpenBox, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)

    async def fail(sender: str, body: Any) -> Any:
        raise ValueError("no")

    two.on("fail", fail)
    with pytest.raises(FailedError):
        await one.ask(TWO, "fail")
    with pytest.raises(FailedError):
        await one.ask(TWO, "what nobody handles")
    assert "a request from another worker failed" in caplog.text


async def test_a_layer_that_is_away_is_told_apart_and_logged_once(
    open_box: OpenBox, layer: Lossy, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    two.on("echo", echo)
    await one.ask(TWO, "echo", 1)
    layer.is_down = True
    asks = [one.ask(TWO, "echo", at) for at in range(20)]
    for asked in asks:
        with pytest.raises(AwayError):
            await asked
    layer.is_down = False
    assert await one.ask(TWO, "echo", 2) == [ONE, 2]
    warnings = [r for r in caplog.records if r.levelname == "WARNING"]
    assert len([r for r in warnings if "layer does not answer" in r.message]) <= 2


async def test_nonsense_on_the_channel_harms_nobody(
    open_box: OpenBox, layer: Lossy, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await open_box(ONE), await open_box(TWO)
    two.on("echo", echo)
    await one.ask(TWO, "echo", 1)
    for message in ({"type": "x"}, {"type": "x", "from": ONE, "part": 7, "data": b""}):
        await layer.send(f"llmchat.worker.{TWO}", message)
    assert await one.ask(TWO, "echo", 2) == [ONE, 2]
    assert "not understood" in caplog.text


async def test_everybody_is_told(open_box: OpenBox) -> None:
    told: list[tuple[str, Any]] = []
    boxes = [await open_box(ONE), await open_box(TWO)]
    for box in boxes:

        async def hear(sender: str, body: Any, name: str = box.address) -> None:
            told.append((name, body))

        box.on("news", hear)
    # Both listen once they have exchanged a letter.
    for box, other in zip(boxes, (TWO, ONE), strict=True):
        with pytest.raises(FailedError):
            await box.ask(other, "are you there?")
    boxes[0].tell_everybody("news", {"user": 7})
    async with asyncio.timeout(20):
        while len(told) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert sorted(told) == sorted((box.address, {"user": 7}) for box in boxes)


def test_an_address_is_short_and_safe() -> None:
    assert is_address(ONE)
    assert is_address(TWO)
    assert ONE != TWO
    for wrong in ("", "a" * 10, "a" * 12, "a/b" * 4, "*" * 11, "ä" * 11):
        assert not is_address(wrong)


# With a real Redis.


async def test_letters_go_through_a_redis_that_hangs_and_dies(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    layers = [RedisPubSubChannelLayer(hosts=[redis_server.url]) for _ in range(2)]
    one, two = Mailbox(layers[0], ONE), Mailbox(layers[1], TWO)
    two.on("echo", echo)
    one.start()
    two.start()
    try:
        assert await one.ask(TWO, "echo", 1) == [ONE, 1]
        with redis_server.stopped(), pytest.raises(AwayError):
            await one.ask(TWO, "echo", 2)
        await _until_it_answers(one)
        with redis_server.down(), pytest.raises(AwayError):
            await one.ask(TWO, "echo", 3)
        await _until_it_answers(one)
    finally:
        await one.close()
        await two.close()
        for layer in layers:
            await layer.flush()


async def _until_it_answers(box: Mailbox) -> None:
    """Wait until the other mailbox can be reached again."""
    async with asyncio.timeout(30):
        while True:
            try:
                assert await box.ask(TWO, "echo", 4) == [ONE, 4]
                return
            except (GoneError, AwayError):
                await asyncio.sleep(0.01)

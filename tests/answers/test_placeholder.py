"""An answer that is kept going for a socket on its way to another worker."""

from __future__ import annotations

import asyncio

import pytest

from llmchat.answers import placeholder
from llmchat.answers.follower import Follower
from llmchat.answers.live_stream import LiveStream
from llmchat.answers.owner import RemoteReader
from llmchat.answers.placeholder import PlaceholderReader

CHECK_S = 0.05
ELSEWHERE = "w2"


def tell_nobody() -> None:
    """Stand in for the call that notifies a mirror of an end that is not to wait."""


def readers_of(stream: LiveStream) -> int:
    return len(stream._readers)


@pytest.fixture
def stream(monkeypatch) -> LiveStream:
    monkeypatch.setattr(placeholder, "CHECK_S", CHECK_S)
    return LiveStream(1, "s-1")


async def test_it_is_kept_for_as_long_as_its_client_may_be_away(stream, settings):
    settings.LLMCHAT = {**settings.LLMCHAT, "recovery_window_s": 5 * CHECK_S}
    began = asyncio.get_running_loop().time()
    PlaceholderReader(stream, ELSEWHERE)
    async with asyncio.timeout(20):
        while not stream.cancelled:  # noqa: ASYNC110
            await asyncio.sleep(CHECK_S / 10)
    assert asyncio.get_running_loop().time() - began >= 5 * CHECK_S


@pytest.mark.parametrize("stays", [False, True], ids=["left", "reads"])
async def test_it_is_kept_no_longer_behind_somebody_who_has_come(stream, stays):
    PlaceholderReader(stream, ELSEWHERE)
    follower = Follower(stream)
    if not stays:
        stream.leave(follower)
    async with asyncio.timeout(20):
        while readers_of(stream) != stays:  # noqa: ASYNC110
            await asyncio.sleep(CHECK_S / 10)
    assert stream.cancelled is not stays


async def test_those_who_read_it_already_are_not_who_it_is_kept_for(stream):
    other = Follower(stream)
    PlaceholderReader(stream, ELSEWHERE)
    await asyncio.sleep(3 * CHECK_S)
    await other.leave()
    assert not stream.cancelled
    Follower(stream)
    async with asyncio.timeout(20):
        while readers_of(stream) > 1:  # noqa: ASYNC110
            await asyncio.sleep(CHECK_S / 10)
    assert not stream.cancelled


async def test_it_is_left_to_the_worker_that_follows_it_already(stream):
    """A client that arrives there joins that worker's mirror, and nothing here."""
    RemoteReader(stream, ELSEWHERE, tell_nobody)
    PlaceholderReader(stream, ELSEWHERE)
    async with asyncio.timeout(20):
        while readers_of(stream) > 1:  # noqa: ASYNC110
            await asyncio.sleep(CHECK_S / 10)
    assert not stream.cancelled


async def test_a_worker_that_its_socket_does_not_go_to_is_another_reader(stream):
    other = RemoteReader(stream, "w3", tell_nobody)
    PlaceholderReader(stream, ELSEWHERE)
    await asyncio.sleep(3 * CHECK_S)
    other.leave_now()
    assert not stream.cancelled

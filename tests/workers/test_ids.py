"""Ids name the worker that issued them, and clients cannot make up a worker."""

from __future__ import annotations

import asyncio

import pytest

from llmchat.realtime import Server, SocketIO
from llmchat.realtime.engineio.errors import Refusal, RequestError
from llmchat.realtime.members import Members, Nowhere
from llmchat.realtime.namespaces import Namespace
from llmchat.realtime.pids import Pids
from llmchat.realtime.relay.claims import Claims
from llmchat.realtime.request import Handshake, Request
from llmchat.realtime.sids import Sids
from llmchat.workers import address_of
from tests.workers.test_mailbox import Lossy, OpenBox, layer, open_box

__all__ = ["layer", "open_box"]
ONE, TWO = map(address_of, ("one", "two"))
SECRET = b"shared"


def sids(address: str, secret: bytes = SECRET) -> Sids:
    made = Sids(secret)
    made.address = address
    return made


def changed(ident: str) -> list[str]:
    """Return ids that no worker issued: each differs in one character."""
    return [
        ident[:at] + ("A" if ident[at] != "A" else "B") + ident[at + 1 :]
        for at in range(len(ident))
    ]


def test_a_session_is_of_the_worker_that_has_given_its_id() -> None:
    sid = sids(ONE).make()
    assert sids(TWO).owner(sid) == ONE
    assert sids(ONE).owner(sid) is None
    assert sids(TWO, b"other").owner(sid) is None
    assert Sids(SECRET).owner(sid) is None
    assert [made for made in changed(sid) if sids(TWO).owner(made)] == []
    for wrong in ("", ONE, ONE + "ä" * 36, ONE + "A" * 24, sid + "A", sid[:-1]):
        assert sids(TWO).owner(wrong) is None


def test_without_a_secret_the_id_alone_tells() -> None:
    assert sids(TWO, b"").owner(sids(ONE, b"").make()) == ONE
    assert not Sids().make().startswith(ONE)


def test_a_pid_that_nobody_has_given_says_nothing() -> None:
    pid = Pids(ONE, SECRET).make("/", "s" * 20, "7")
    pids = Pids(TWO, SECRET)
    assert pids.read(pid) == (ONE, "s" * 20, 0)
    assert pids.is_for(pid, "/", "7")
    assert not pids.is_for(pid, "/", "8")
    assert not pids.is_for(pid, "/other", "7")
    for made in changed(pid):
        assert pids.read(made) is None or not pids.is_for(made, "/", "7")
    beyond = changed(pid)[: len(pid) - 24]
    assert [made for made in beyond if pids.read(made)] == []


@pytest.mark.parametrize("series", [1, 999_999, 1_001_000])
def test_a_pid_says_from_where_its_socket_counts(series: int) -> None:
    made = [Pids(ONE, SECRET).make("/", "s" * 20, "7", series) for _ in range(5)]
    pids = Pids(TWO, SECRET)
    assert {pids.read(pid) for pid in made} == {(ONE, "s" * 20, series)}
    assert all(pids.is_for(pid, "/", "7") for pid in made)
    # Each is different, by which a client knows that something was lost.
    assert len(set(made)) > 1


def test_what_a_client_has_made_up_of_a_pid_counts_from_the_start() -> None:
    pids = Pids(ONE)
    pid = pids.make("/", "s" * 20, "7")
    at = len(ONE) + 20
    made_up = f"{pid[:at]}.!!!!AAA{pid[at + 8 :]}"
    assert pids.read(made_up) == (ONE, "s" * 20, 0)


def request(sid: str) -> Request:
    query = {"EIO": "4", "transport": "polling", "sid": sid}
    return Request("GET", False, Handshake(query, {}, "", False, ""))


async def test_no_worker_is_asked_for_what_a_client_has_made_up(
    open_box: OpenBox, layer: Lossy
) -> None:
    two = await open_box(TWO)
    server, namespace = Server(SocketIO([]), secret=SECRET), Namespace()
    server.join(two)
    claims = Claims(two, Members(10.0, Pids(TWO, SECRET)), {"/": namespace})
    with pytest.raises(RequestError) as refused:
        server.admit(request(ONE + "A" * 36))
    assert refused.value.refusal is Refusal.UNKNOWN_SID
    pid = changed(Pids(ONE, SECRET).make("/", "s" * 20, ""))[0]
    assert await claims.fetch(namespace, {"pid": pid}) is Nowhere.UNKNOWN
    await asyncio.sleep(0.1)
    assert layer.sent == 0
    assert two._routes == {}
    _, endpoint = server.admit(request(sids(ONE).make()))
    assert endpoint is not None

"""How much memory a socket takes while it waits for its client's return."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from llmchat.realtime import Namespace, Options, Server, SocketIO, SocketIOOptions
from tests.support.peers import joined, turns

SOCKETS = 50
KIB = 1024


async def memory_of_one(missed: list[str]) -> float:
    """Return the bytes that one absent socket takes, with the events it has missed."""
    lobby = Namespace()
    socketio = SocketIO([lobby], SocketIOOptions(recovery_window_s=60))
    server = Server(socketio, Options(max_unconfirmed_bytes=10_000_000))
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(SOCKETS):
        peer, _, _ = await joined(server)
        peer.close()
        await turns()
    for socket in list(lobby._sockets.values()):
        for text in missed:
            socket.emit("said", text)
    await turns()
    assert socketio.absent.sockets == SOCKETS
    assert socketio.absent.size >= SOCKETS * sum(map(len, missed))
    del peer
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    socketio.shutdown()
    return taken / SOCKETS


@pytest.mark.parametrize(
    ("missed", "limit_kib"),
    [
        ([], 12),
        (["x" * 100 * KIB], 112 + 12),
        (["x" * KIB] * 100, 120 + 12),
        # Tokens: beside each of a few letters its offset and its place in the queue.
        (["word"] * 2_000, 700),
    ],
    ids=["nothing", "one event of 100 KiB", "100 events of 1 KiB", "2,000 tokens"],
)
async def test_an_absent_socket_takes_little_more_than_what_it_keeps(
    missed: list[str], limit_kib: float
) -> None:
    tracemalloc.start()
    try:
        taken = await memory_of_one(missed)
    finally:
        tracemalloc.stop()

    print(f"an absent socket takes {taken / KIB:.1f} KiB")
    assert taken < limit_kib * KIB

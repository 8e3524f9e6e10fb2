"""The clients that make the load notice what a server does wrong."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks import cluster
from benchmarks.loads import FAULTS, faults

ARGUMENTS = ("1", "websocket", "once", "0", "t3r0", "1", "0")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("load")
    cluster.build(directory)
    (directory / "tokens").write_text("a.b.c\n")
    return directory


async def seen_of(programs: Path, events: Iterable[str]) -> dict[str, Any]:
    """Return what a client saw of a server that answers with these events.

    A number is a token; `close` closes the connection.
    """

    async def handle(connection: ServerConnection) -> None:
        await connection.send('0{"sid":"x"}')
        await connection.recv()
        await connection.send('40{"sid":"y"}')
        turn = str(await connection.recv())
        found = re.search('"sessionId":"([^"]+)"', turn)
        assert found
        for event in events:
            if event == "close":
                await connection.close()
            else:
                await connection.send(_packet(event, found[1]))
        await connection.wait_closed()

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        command = [str(programs / "client"), str(port), str(programs / "tokens")]
        process = await asyncio.create_subprocess_exec(
            *command,
            *ARGUMENTS,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    return seen


def _packet(event: str, session_id: str) -> str:
    fields = {"sessionId": session_id}
    if event.isdigit():
        stamp = time.monotonic_ns() // 1000
        fields["token"] = f"{event}:{stamp} "
        event = "token"
    packet = [f"llm:stream:{event}", fields]
    return "42" + json.dumps(packet, separators=(",", ":"))


async def test_a_whole_answer_is_without_fault(programs: Path) -> None:
    seen = await seen_of(programs, ["start", "0", "1", "2", "done"])

    assert faults(seen) == {}
    assert (seen["done"], seen["tokens"], seen["window_tokens"]) == (1, 3, 3)
    assert 0 < seen["delay_ms"][0] < seen["first_ms"][0] < 1000


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        (["start", "0", "2", "done"], {"lost": 1}),
        (["start", "0", "1", "done"], {"lost": 1}),
        (["start", "0", "1", "1", "2", "done"], {"doubled": 1}),
        (["start", "0", "1", "2", "done", "done"], {"strange": 1}),
        (["start", "0", "1", "2", "done", "2"], {"strange": 1}),
        (["start", "0", "error"], {"errors": 1}),
        (["error"], {"refused": 1}),
        (["start", "0", "close"], {"closed": 1}),
    ],
)
async def test_a_fault_is_counted(
    programs: Path, events: list[str], fault: dict[str, int]
) -> None:
    seen = await seen_of(programs, events)

    assert faults(seen) == fault
    assert set(fault) < set(FAULTS)

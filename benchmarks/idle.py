"""What an idle socket costs: memory for each of 2,000, and how fast they open.

The clients are bare TCP connections that speak just enough WebSocket to join a
namespace, so that the opening measures the server and not them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKETS = 2_000
AT_ONCE = 50
KIB = 1024

REQUEST = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
    b"Host: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
JOIN = b"\x81\x82" + bytes(4) + b"40"


def main(sockets: int = SOCKETS) -> None:
    """Measure each server and print a line."""
    for kind in ("uvicorn", "daphne"):
        with _server(kind) as (process, port):
            each, rate = asyncio.run(_measure(process.pid, port, sockets))
        print(
            f"idle, {kind}: {each / KIB:.1f} KiB for each of {sockets} sockets,"
            f" {rate:.0f} opened a second",
            flush=True,
        )


async def _measure(pid: int, port: int, count: int) -> tuple[float, float]:
    # What a server loads on its first connections does not count.
    warm = [await _open(port) for _ in range(AT_ONCE)]
    await asyncio.sleep(1)
    before = _rss(pid)
    started = time.perf_counter()
    opened: list[asyncio.StreamWriter] = []
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with gate:
            opened.append(await _open(port))

    await asyncio.gather(*[one() for _ in range(count)])
    rate = count / (time.perf_counter() - started)
    await asyncio.sleep(2)
    each = (_rss(pid) - before) / count
    for writer in (*warm, *opened):
        writer.close()
    return each, rate


async def _open(port: int) -> asyncio.StreamWriter:
    """Open a WebSocket and join the main namespace."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head:
        raise RuntimeError(f"the server rejects the handshake: {head[:100]!r}")
    writer.write(JOIN)
    await reader.readuntil(b'"pid":"')
    return writer


def _rss(pid: int) -> int:
    statm = Path(f"/proc/{pid}/statm").read_text()
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _server(kind: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the test application with long timeouts in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = ["-m", "tests.protocol_app", "--profile", "I"]
    process = subprocess.Popen(
        [sys.executable, *command, "--server", kind, "--port", str(port)]
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

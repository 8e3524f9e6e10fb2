"""Clients whose connections break all the time, behind workers without stickiness.

    python -m tests.jitter --clients 100 --seconds 60 --workers 2 --reset-every 15

Each of the stock clients asks one question after another. Their connections are reset
at random, and come back on another worker each time. What each one is told is compared
with what it should be: the whole text, nothing twice, one start and one end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from tests.proxy import Proxy
from tests.support import live
from tests.support.redis_server import RedisServer

SCRIPT = Path(__file__).parent / "js" / "jitter.cjs"
TOKENS, PER_S = 300, 30
GRACE_S = 120.0


class Numbers:
    """An OpenAI-compatible server whose answers are numbers, at a steady pace."""

    url = ""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split()[0]
                await reader.readexactly(int(length))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
                for number in range(TOKENS):
                    writer.write(_chunk({"content": f"{number} "}))
                    await writer.drain()
                    await asyncio.sleep(1 / PER_S)
                writer.write(_chunk({}, finish="stop") + _sized(b"data: [DONE]\n\n"))
                writer.write(b"0\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = json.dumps({"model": "numbers", "choices": [choice]})
    return _sized(f"data: {data}\n\n".encode())


def _sized(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run it, and return what the clients have counted."""
    numbers = Numbers()
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(numbers.serve, "127.0.0.1", 0, backlog=1024)
        await stack.enter_async_context(server)
        numbers.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        redis = RedisServer()
        redis.start()
        stack.callback(redis.kill)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = stack.enter_context(ExitStack())
        seed, ports = await asyncio.to_thread(
            _start_workers, workers, directory, numbers, redis, options
        )
        proxy = Proxy(ports, reset_every_s=options.reset_every, seed=options.seed)
        await stack.enter_async_context(proxy)
        tokens = [account.access for account in seed.accounts[: options.clients]]
        process = await asyncio.create_subprocess_exec(
            *("node", str(SCRIPT), proxy.url, json.dumps(tokens)),
            str(options.seconds),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(options.seconds + GRACE_S):
            output, _ = await process.communicate()
    counted: dict[str, Any] = json.loads(output)
    return counted


def _start_workers(
    stack: ExitStack,
    directory: Path,
    numbers: Numbers,
    redis: RedisServer,
    options: argparse.Namespace,
) -> tuple[live.Seed, list[int]]:
    seed = live.seed_database(directory / "seed", users=options.clients)
    more = {
        "REDIS_URL": redis.url,
        "OPENAI_BASE_URL": f"{numbers.url}/v1",
        "OPENAI_API_KEY": "sk-numbers",
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
    }
    ports: list[int] = []
    for number in range(options.workers):
        place = directory / f"worker{number}"
        place.mkdir()
        worker = live.start_server("uvicorn", seed, place, env=more)
        stack.callback(worker.stop)
        more.setdefault("DATABASE_URL", f"sqlite:///{worker.database}")
        ports.append(int(worker.url.rpartition(":")[2]))
    return seed, ports


def main() -> int:
    """Run it, print what was counted, and fail where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--reset-every", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    counted = asyncio.run(measure(parser.parse_args()))
    print(json.dumps(counted, indent=2))
    return 1 if counted["broken"] or counted["doubled"] or counted["unended"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""An OpenAI-compatible server that answers with numbers and notes when it sent each."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Sent:
    """An answer: when each of its numbers was sent."""

    times: list[float] = field(default_factory=list)

    def lost_s(self, stored: str) -> float:
        """Return how long what is missing of the stored text took to be sent.

        If the connection was lost with the worker, that is how old the oldest of the
        lost text was.
        """
        count = len(stored.split())
        missing = self.times[count:]
        return self.times[-1] - missing[0] if missing else 0.0


class Numbers:
    """Answers each question with numbers at a steady pace.

    `sent` has the latest answer to each question.
    """

    def __init__(self, tokens: int, per_s: float) -> None:
        self._tokens, self._per_s = tokens, per_s
        self.url = ""
        self.sent: dict[str, Sent] = {}

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split()[0]
                body = json.loads(await reader.readexactly(int(length)))
                sent = self.sent[body["messages"][-1]["content"]] = Sent()
                await self._answer(reader, writer, sent)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: Sent
    ) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(self._tokens):
            # What is written to a worker that is dead was not sent.
            if reader.at_eof() or writer.is_closing():
                raise ConnectionResetError
            writer.write(_chunk({"content": f"{number} "}))
            sent.times.append(time.monotonic())
            await writer.drain()
            await asyncio.sleep(1 / self._per_s)
        writer.write(_chunk({}, finish="stop") + _sized(b"data: [DONE]\n\n"))
        writer.write(b"0\r\n\r\n")


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = json.dumps({"model": "numbers", "choices": [choice]})
    return _sized(f"data: {data}\n\n".encode())


def _sized(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)

"""The provider of `relay`: the emulator's server with answers that carry the time.

`python -m benchmarks.relay_upstream PORT`. Each piece of text is the moment at which
it was sent, on the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import cast

import uvloop

from tests.emulator.api import event
from tests.emulator.openai_api import OpenAIApi
from tests.emulator.request import Request
from tests.emulator.response import Pause, Response, Step
from tests.emulator.server import Emulator


class _Stamped:
    """The steps of an answer; each piece is made when it is about to be sent.

    Begins with the moment at which the request came.
    """

    def __init__(self, received_ns: int, pieces: int, every_s: float) -> None:
        self._received_ns = received_ns
        self._pieces = pieces
        self._every_s = every_s

    def __iter__(self) -> Iterator[Step]:
        api = OpenAIApi()
        piece = f"{self._received_ns} "
        for number in range(self._pieces):
            piece += f"{time.monotonic_ns()} "
            yield event(api.chunk({"content": piece}))
            piece = ""
            if self._every_s and number < self._pieces - 1:
                yield Pause(self._every_s)
        yield event(api.chunk({}, "stop"))
        yield event("[DONE]")


def answer(request: Request, number: int) -> Response:
    """Answer as the model's name says: `bench-PIECES-EVERY_MS`."""
    _, pieces, every_ms = str(request.body["model"]).split("-")
    steps = _Stamped(time.monotonic_ns(), int(pieces), int(every_ms) / 1000)
    return Response(cast("Sequence[Step]", steps))


async def _serve(port: int) -> None:
    async with Emulator(answer, port):
        print("up", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))

"""What the emulator answers: a status, headers and a script of steps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

EVENT_STREAM = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for this number of seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Send nothing until the event is set, on the emulator's loop."""

    until: asyncio.Event


@dataclass(frozen=True, slots=True)
class Repeat:
    """Send the same bytes again and again, until the client leaves."""

    data: bytes
    every_s: float


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection, without ending anything properly."""


Step = bytes | Pause | Hold | Repeat | Reset
Framing = Literal["chunked", "close", "length"]


@dataclass(frozen=True, slots=True)
class Response:
    """One answer.

    `whole` is False if the body breaks off before its end, `status` is 0 if not even a
    status line is sent.
    """

    steps: Sequence[Step]
    status: int = 200
    content_type: str = EVENT_STREAM
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: Framing = "chunked"
    whole: bool = True
    delay_s: float = 0.0  # before the status line


def json_response(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer of one JSON value."""
    return Response(
        [json.dumps(body).encode()],
        status,
        "application/json",
        headers or {},
        framing="length",
    )

"""What the four emulated APIs have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .request import Request
from .response import Response, json_response

PREFIX = "scenario-"
Finish = Literal["stop", "length", "filter", "tool", "new", "broken", ""]
Row = tuple[int, object, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Story:
    """What an answer says. `finish` "" leaves the finish reason out.

    `counts` replaces the usage that the API would report.
    """

    pieces: tuple[str, ...] = ("Hel", "lo, ", "wörld", "!")
    reasoning: tuple[str, ...] = ()
    finish: Finish = "stop"
    usage: Literal["usual", "finish", "every", "none"] = "usual"
    terminator: bool = True
    counts: Mapping[str, object] | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Api(ABC):
    """One provider's API: its checks, its streams, its errors.

    `failures` are the rows of its error table by name: status, body, headers.
    """

    name: str
    models: tuple[str, ...]
    failures: dict[str, Row]
    finishes: dict[str, str]

    @abstractmethod
    def model_of(self, request: Request) -> str | None:
        """Return the model that is asked for, None if the request is not this API's."""

    @abstractmethod
    def check(self, request: Request) -> Response | None:
        """Return the refusal that the real API would answer with, None for none."""

    @abstractmethod
    def events(self, story: Story) -> list[bytes]:
        """Return the stream, event by event."""

    @abstractmethod
    def whole(self, story: Story) -> dict[str, object]:
        """Return the same answer in one piece."""

    @abstractmethod
    def error_event(self, row: str) -> bytes:
        """Return a failure as an event inside a stream."""

    def wants_stream(self, request: Request) -> bool:
        return request.body.get("stream") is True

    def fail(self, row: str) -> Response:
        status, body, headers = self.failures[row]
        return json_response(body, status, headers)

    def knows(self, model: str) -> bool:
        return model.startswith(PREFIX) or model in self.models

    def key_failure(self, key: str) -> Response | None:
        """Return the refusal of a key: those with "bad" or "broke" in them fail."""
        if "bad" in key:
            return self.fail("auth")
        if "broke" in key:
            return self.fail("quota")
        return None


def event(data: object, name: str = "", newline: str = "\n") -> bytes:
    """Return one server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    head = f"event: {name}{newline}" if name else ""
    return f"{head}data: {text}{newline}{newline}".encode()

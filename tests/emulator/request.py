"""A request that the emulator received, and what became of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(slots=True)
class Request:
    """One request as received; header names are lower-case.

    `hung_up` says that the client closed the connection before its answer ended,
    `ended` that the emulator is done with the request, in either case. Times are the
    event loop's.
    """

    method: str
    target: str
    headers: dict[str, str]
    raw_body: bytes
    received_at: float
    api: str = ""
    model: str = ""
    status: int = 0
    sent_bytes: int = 0
    hung_up: bool = False
    ended: bool = False
    ended_at: float = 0.0
    body: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            body = json.loads(self.raw_body or b"{}")
        except ValueError:
            body = {}
        self.body = body if isinstance(body, dict) else {}

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    def record(self) -> dict[str, object]:
        """Return what `GET /_requests` reports about it."""
        names = ("api", "model", "method", "target", "headers", "body", "status")
        times = ("received_at", "ended_at", "sent_bytes", "hung_up", "ended")
        return {name: getattr(self, name) for name in names + times}

"""A request or WebSocket handshake, reduced to what it is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl


@dataclass(frozen=True, slots=True)
class Handshake:
    """The request that opened a session, as applications may want to see it.

    Header names are in lower case. If a query parameter is repeated, the last counts.
    """

    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    secure: bool = False
    url: str = ""

    def fields(self) -> list[Any]:
        """Return the fields in order, to be sent to another worker."""
        return [
            *(dict(self.query), dict(self.headers)),
            *(self.address, self.secure, self.url),
        ]


@dataclass(frozen=True, slots=True)
class Request:
    """One request or WebSocket handshake."""

    method: str
    websocket: bool
    handshake: Handshake

    @property
    def sid(self) -> str:
        """Return the id of the session that it names, "" if it names none."""
        return self.handshake.query.get("sid", "")

    @property
    def origin(self) -> str | None:
        """Return the origin of the page that sent it; None: it was no browser."""
        return self.handshake.headers.get("origin")


def read_request(scope: dict[str, Any]) -> Request:
    """Return the request of an ASGI scope."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    query = scope.get("query_string", b"").decode("latin-1")
    client = scope.get("client")
    return Request(
        method=scope.get("method", "GET"),
        websocket=scope["type"] == "websocket",
        handshake=Handshake(
            query=read_query(query),
            headers=headers,
            address=client[0] if client else None,
            secure=scope.get("scheme") in ("https", "wss"),
            url=scope["path"] + (f"?{query}" if query else ""),
        ),
    )


def read_query(query: str) -> dict[str, str]:
    """Return the parameters of a query string."""
    if "%" in query or "+" in query:
        return dict(parse_qsl(query, keep_blank_values=True))
    # Nothing is escaped, as in all that the stock clients send: the same in a fifth of
    # the time.
    parameters: dict[str, str] = {}
    for parameter in query.split("&"):
        if parameter:
            name, _, value = parameter.partition("=")
            parameters[name] = value
    return parameters

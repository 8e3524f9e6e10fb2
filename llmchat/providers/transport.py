"""The way to a server over HTTP, as the rest of the providers see it.

    TransportError              the way failed, whatever the server would have said
    ├── AddressError            the URL is none that HTTP takes
    ├── UnreachableError        no connection came about
    ├── ConnectTimeoutError     none came about in time
    └── ConnectionLostError     it broke after that, or this end was closed

What sends requests is in `http`, and may be replaced.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


class Body(Protocol):
    """The bytes of an answer, as they come; an async generator is one, too."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""

    def __anext__(self) -> Awaitable[bytes]:
        """Return what has come, never empty.

        Raises:
            TransportError: the body broke off.
        """

    def aclose(self) -> Awaitable[None]:
        """Give up what has not been read."""


class TransportError(Exception):
    """The server could not be asked, or its answer not be read to its end."""


class AddressError(TransportError):
    """The URL cannot be read, or is not one for HTTP."""


class UnreachableError(TransportError):
    """There is no such host, nobody listens there, or its certificate is wrong."""


class ConnectTimeoutError(TransportError):
    """Connecting took longer than the request allows."""


class ConnectionLostError(TransportError):
    """The connection was lost while the request was sent or the answer read."""


def _tell_nobody() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, or a GET. The headers hold the key, hence no repr of them.

    `on_sending` is called as the first byte is about to leave, and never where none
    does: from then on the server may bill for it.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    connect_s: float
    method: Literal["POST", "GET"] = "POST"
    on_sending: Callable[[], None] = field(default=_tell_nobody, repr=False)


async def _nothing() -> None:
    pass


def _unknown() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose headers have come. The keys of `headers` are lower-case.

    `body` yields the bytes as they come and raises TransportError where they break off.
    Once `is_over`, the connection has been given back or closed already.
    """

    status: int
    headers: Mapping[str, str]
    body: Body
    release: Callable[[], Awaitable[None]] = _nothing
    is_over: Callable[[], bool] = _unknown

    async def aclose(self) -> None:
        """Close the connection, or give it back where the body was read to its end."""
        try:
            await self.body.aclose()
        finally:
            await self.release()


class Transport(Protocol):
    """What sends requests; any number at once, on one event loop."""

    async def send(self, request: Request) -> Response:
        """Return the response as soon as its headers are there.

        Calls `on_sending` of the request; who cannot tell when it leaves, at once.

        Raises:
            TransportError: there is none.
        """

    async def aclose(self) -> None:
        """Close every connection. Responses still being read fail."""

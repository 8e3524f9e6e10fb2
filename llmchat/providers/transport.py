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
    """The bytes of an answer as they arrive; an async generator will do, too."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""

    def __anext__(self) -> Awaitable[bytes]:
        """Return what has arrived, never empty.

        Raises:
            TransportError: the body broke off.
        """

    def aclose(self) -> Awaitable[None]:
        """Discard what has not been read."""


class TransportError(Exception):
    """The server could not be asked, or its answer could not be read to its end."""


class AddressError(TransportError):
    """The URL cannot be read, or is not one for HTTP."""


class UnreachableError(TransportError):
    """There is no such host, nothing listens there, or its certificate is wrong."""


class ConnectTimeoutError(TransportError):
    """Connecting took longer than the request allows."""


class ConnectionLostError(TransportError):
    """The connection was lost while the request was sent or the answer read."""


def _tell_nobody() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, or a GET. The headers hold the key, so they are not in the repr.

    `on_sending` is called just before the first byte leaves, and never if none does:
    from then on the server may bill the request.
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
    """An answer whose headers have arrived. The keys of `headers` are lower-case.

    `body` yields the bytes as they arrive and raises TransportError if they break off.
    Once `is_over`, the connection has already been given back or closed.
    """

    status: int
    headers: Mapping[str, str]
    body: Body
    release: Callable[[], Awaitable[None]] = _nothing
    is_over: Callable[[], bool] = _unknown

    async def aclose(self) -> None:
        """Close the connection, or give it back if the body was read to its end."""
        try:
            await self.body.aclose()
        finally:
            await self.release()


class Transport(Protocol):
    """Sends requests, any number of them concurrently, on one event loop."""

    @property
    def in_use(self) -> int | None:
        """Return how many connections requests hold, None if that is not known."""

    async def send(self, request: Request) -> Response:
        """Return the response as soon as its headers are there.

        It calls `on_sending` of the request, right away if it cannot know when the
        request leaves.

        Raises:
            TransportError: there is no response.
        """

    async def aclose(self) -> None:
        """Close every connection. Responses still being read fail."""

"""The way to a server over HTTP. httpx and aiohttp are named here and nowhere else.

    TransportError              the way failed, whatever the server would have said
    ├── AddressError            the URL is none that HTTP takes
    ├── UnreachableError        no connection came about
    ├── ConnectTimeoutError     none came about in time
    └── ConnectionLostError     it broke after that, or this end was closed

What the libraries raise is translated here, once, around their own calls alone. So an
exception of ours is never taken for one of the network's: their RuntimeError counts
only where the client has been closed meanwhile, and any other passes as the bug it is.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import aiohttp
import httpx
from httpx_aiohttp import HttpxAiohttpClient

_KEEPALIVE_S = 30.0
# A server on this machine, the embedded model above all, is no proxy's business.
_UNPROXIED = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_FOREIGN = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    aiohttp.ClientError,
    OSError,
)

Body = AsyncGenerator[bytes, None]


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


@dataclass(frozen=True, slots=True)
class Request:
    """One POST. The headers hold the key, hence no repr of them."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    connect_s: float


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose headers have come. The keys of `headers` are lower-case.

    `body` yields the bytes as they come and raises TransportError where they break off.
    """

    status: int
    headers: Mapping[str, str]
    body: Body
    release: Callable[[], Awaitable[None]] = _nothing

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

        Raises:
            TransportError: there is none.
        """

    async def aclose(self) -> None:
        """Close every connection. Responses still being read fail."""


class HttpTransport:
    """A pool of connections; a request beyond `max_connections` waits for a place."""

    def __init__(self, *, max_connections: int) -> None:
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=_KEEPALIVE_S,
        )
        # Redirects are not followed: one would carry the key to another host.
        self._http = HttpxAiohttpClient(
            limits=limits,
            follow_redirects=False,
            trust_env=True,
            verify=_tls_context(),
            mounts=dict.fromkeys(_UNPROXIED),
        )

    async def send(self, request: Request) -> Response:
        """Return the response as soon as its headers are there.

        Raises:
            TransportError: there is none.
        """
        try:
            built = self._http.build_request(
                "POST",
                request.url,
                headers=request.headers,
                content=request.content,
                timeout=httpx.Timeout(None, connect=request.connect_s),
            )
            response = await self._http.send(built, stream=True)
        except _FOREIGN as exc:
            raise _translate(exc) from exc
        except RuntimeError as exc:
            if not self._http.is_closed:
                raise
            raise ConnectionLostError("closed") from exc
        return Response(
            response.status_code,
            response.headers,
            self._read(response),
            response.aclose,
        )

    async def aclose(self) -> None:
        """Close every connection. Responses still being read fail."""
        await self._http.aclose()

    async def _read(self, response: httpx.Response) -> Body:
        # Decoding costs something for each piece, and mostly there is none to do.
        encoding = response.headers.get("content-encoding", "identity")
        raw = encoding == "identity"
        chunks = response.aiter_raw() if raw else response.aiter_bytes()
        async with aclosing(chunks):  # type: ignore[type-var]  # a generator
            while True:
                try:
                    chunk = await anext(chunks, None)
                except _FOREIGN as exc:
                    raise _translate(exc) from exc
                except RuntimeError as exc:
                    if not self._http.is_closed:
                        raise
                    raise ConnectionLostError("closed") from exc
                if chunk is None:
                    break
                yield chunk
        if self._http.is_closed:  # the body looks ended then, not broken off
            raise ConnectionLostError("closed")


def _translate(exc: Exception) -> TransportError:
    # The adapter between the two libraries folds most errors into one class, which
    # may even be called a time-out; the cause tells more.
    cause = exc.__cause__ or exc
    name = type(cause).__name__
    if isinstance(cause, TimeoutError):
        return ConnectTimeoutError(name)
    if isinstance(cause, (aiohttp.InvalidURL, httpx.InvalidURL)):
        return AddressError(name)
    if isinstance(cause, aiohttp.ClientConnectorError):
        return UnreachableError(name)
    return ConnectionLostError(name)


@cache
def _tls_context() -> ssl.SSLContext:
    # Reading the certificates takes longer than all the rest of a client.
    return httpx.create_ssl_context()

"""The transport over httpx and aiohttp, which know proxies; used only in this file.

What the libraries raise is translated here, once, and only around their own calls. So
an exception of ours is never taken for one of the network's: a RuntimeError of theirs
counts only if the client was closed in the meantime, and any other one passes through
as the bug that it is.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from llmchat.providers.transport import (
    AddressError,
    ConnectionLostError,
    ConnectTimeoutError,
    Request,
    Response,
    TransportError,
    UnreachableError,
)

from . import names
from .tls import tls_context

_KEEPALIVE_S = 30.0
# Servers on this machine, above all the embedded model, are reached without a proxy.
_UNPROXIED = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_FOREIGN = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    aiohttp.ClientError,
    OSError,
)


class _Resolver(AbstractResolver):
    """Looks names up as the lean transport does, not in the event loop's threads."""

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses to connect to.

        Raises:
            OSError: there are none; the libraries expect no other error.
        """
        try:
            found = await names.SHARED.find(host, port)
        except UnicodeError as exc:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from exc
        return [
            ResolveResult(
                hostname=host,
                host=_host(address),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """Do nothing: the names are shared with others."""


def _host(address: tuple[Any, ...]) -> str:
    """Return an address as text, a link-local one with its scope."""
    scope = address[3] if len(address) > 3 else 0
    return f"{address[0]}%{scope}" if scope else str(address[0])


class _Transport(AiohttpTransport):
    """Connections that look names up in `names`, which also remembers them."""

    def get_client(self) -> aiohttp.ClientSession:
        """Return a new client of the libraries."""
        connector = aiohttp.TCPConnector(
            limit=self.limits.max_connections or 0,
            keepalive_timeout=self.limits.keepalive_expiry,
            ssl=self.ssl_context,
            resolver=_Resolver(),
            use_dns_cache=False,
        )
        return aiohttp.ClientSession(connector=connector)


class _Client(HttpxAiohttpClient):
    def _init_transport(self, *_: Any, **options: Any) -> httpx.AsyncBaseTransport:
        return _Transport(**options)

    def _init_proxy_transport(
        self, proxy: httpx.Proxy, *_: Any, **options: Any
    ) -> httpx.AsyncBaseTransport:
        return _Transport(proxy=proxy, **options)


class LibraryTransport:
    """A pool of connections; a request beyond `max_connections` waits for a place."""

    # Nothing in the libraries' own interfaces tells.
    in_use: int | None = None

    def __init__(self, *, max_connections: int) -> None:
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=_KEEPALIVE_S,
        )
        # Redirects are not followed: one would carry the key to another host.
        self._http = _Client(
            limits=limits,
            follow_redirects=False,
            trust_env=True,
            verify=tls_context(),
            mounts=dict.fromkeys(_UNPROXIED),
        )

    async def send(self, request: Request) -> Response:
        """Return the response as soon as its headers are there.

        Raises:
            TransportError: there is no response.
        """
        request.on_sending()  # the libraries do not tell when
        try:
            built = self._http.build_request(
                request.method,
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

    async def _read(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        # Decoding costs time for each piece, and mostly there is nothing to decode.
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
        if self._http.is_closed:  # then a broken body looks like one that has ended
            raise ConnectionLostError("closed")


def _translate(exc: Exception) -> TransportError:
    # The adapter between the two libraries folds most errors into one class, which
    # may even be a timeout; the cause tells more.
    cause = exc.__cause__ or exc
    name = type(cause).__name__
    if isinstance(cause, TimeoutError):
        return ConnectTimeoutError(name)
    if isinstance(cause, (aiohttp.InvalidURL, httpx.InvalidURL)):
        return AddressError(name)
    if isinstance(cause, aiohttp.ClientConnectorError):
        return UnreachableError(name)
    return ConnectionLostError(name)

"""What an HTTP answer to a browser needs besides its body: CORS, cookie, compression.

The consumers that speak Engine.IO are routed before Django, so none of its
middleware sees their answers.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Headers = list[tuple[bytes, bytes]]

ALLOWED_METHODS = b"GET,HEAD,PUT,PATCH,POST,DELETE"


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What is added to HTTP answers.

    `cors_origins`: "*" for any, True to echo any, one origin, or a list of origins
    and patterns; None switches CORS off. `compress_from_bytes`: None switches
    compression off. `cookie`: the name of a cookie with the session id, for load
    balancers. `extra_headers` go on every answer.
    """

    cors_origins: (
        Literal["*", True] | str | tuple[str | re.Pattern[str], ...] | None
    ) = None
    cors_credentials: bool = False
    compress_from_bytes: int | None = 1024
    cookie: str | None = None
    extra_headers: tuple[tuple[bytes, bytes], ...] = ()


def origin_is_allowed(origin: str, allowed: tuple[str | re.Pattern[str], ...]) -> bool:
    """Return whether an `Origin` is in the list, or fully matches a pattern in it."""
    return any(
        origin == entry if isinstance(entry, str) else entry.fullmatch(origin)
        for entry in allowed
    )


def cors_headers(origin: str | None, options: HttpOptions) -> Headers:
    """Return the CORS headers that every answer carries, errors included."""
    allowed = options.cors_origins
    if allowed is None:
        return []
    headers: Headers = []
    if allowed == "*":
        headers.append((b"access-control-allow-origin", b"*"))
    elif isinstance(allowed, str):
        headers.append((b"access-control-allow-origin", allowed.encode("latin-1")))
        headers.append((b"vary", b"Origin"))
    else:
        if origin and (allowed is True or origin_is_allowed(origin, allowed)):
            value = origin.encode("latin-1")
            headers.append((b"access-control-allow-origin", value))
        headers.append((b"vary", b"Origin"))
    if options.cors_credentials:
        headers.append((b"access-control-allow-credentials", b"true"))
    return headers


def preflight_headers(request_headers: Mapping[str, str]) -> Headers:
    """Return the headers that a preflight gets in addition to the CORS headers."""
    headers: Headers = [(b"access-control-allow-methods", ALLOWED_METHODS)]
    asked = request_headers.get("access-control-request-headers")
    if asked:
        value = asked.encode("latin-1")
        headers.append((b"access-control-allow-headers", value))
        headers.append((b"vary", b"Access-Control-Request-Headers"))
    return headers


def cookie_header(name: str, sid: str) -> tuple[bytes, bytes]:
    """Return the cookie by which a load balancer can find the session's worker."""
    value = f"{name}={sid}; Path=/; HttpOnly; SameSite=Lax"
    return b"set-cookie", value.encode("latin-1")


def compress(
    body: bytes, accept_encoding: str, options: HttpOptions
) -> tuple[bytes, Headers]:
    """Return the body and its headers, compressed if that pays and is accepted."""
    least = options.compress_from_bytes
    if least is None or len(body) < least:
        return body, []
    headers: Headers = [(b"vary", b"Accept-Encoding")]
    coding = _coding(accept_encoding)
    if coding == "gzip":
        body = gzip.compress(body, compresslevel=1)
    elif coding == "deflate":
        body = zlib.compress(body, level=1)
    else:
        return body, headers
    return body, [*headers, (b"content-encoding", coding.encode())]


def _coding(accept_encoding: str) -> str | None:
    """Return the best coding that both sides know; None: there is none."""
    refused: set[str] = set()
    taken: set[str] = set()
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.partition(";")
        weight = parameters.replace(" ", "").removeprefix("q=").rstrip("0.")
        (taken if weight or not parameters else refused).add(coding.strip())
    for coding in ("gzip", "deflate"):
        if coding in taken or ("*" in taken and coding not in refused):
            return coding
    return None

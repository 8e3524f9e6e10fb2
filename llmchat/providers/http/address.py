"""Where a request goes, and its bytes."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from llmchat.providers.transport import AddressError, Request

_PORTS = {"http": 80, "https": 443}
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_BREAKS_A_HEADER = re.compile(r"[\r\n\0]")
_IN_TARGET = "%/?:@!$&'()*+,;=[]~"


class Origin(NamedTuple):
    """The server that a connection leads to."""

    host: str
    port: int
    is_tls: bool


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL. `head` is how each POST to it begins."""

    origin: Origin
    head: str
    authorization: str


@lru_cache(maxsize=256)
def parse_address(url: str) -> Address:
    """Parse a URL.

    Raises:
        AddressError: it cannot be read, or is not one for HTTP.
    """
    try:
        return _parse(url)
    except ValueError as exc:
        raise AddressError(type(exc).__name__) from exc


def _parse(url: str) -> Address:
    if _UNPRINTABLE.search(url):
        raise ValueError("a blank or a control character")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("not http(s)")
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode()
    default = _PORTS[parts.scheme]
    port = default if parts.port is None else parts.port
    name = f"[{host}]" if ":" in host else host
    if port != default:
        name = f"{name}:{port}"
    target = quote(parts.path or "/", safe=_IN_TARGET)
    if parts.query:
        target = f"{target}?{quote(parts.query, safe=_IN_TARGET)}"
    head = f"POST {target} HTTP/1.1\r\nHost: {name}\r\n"
    origin = Origin(host, port, parts.scheme == "https")
    return Address(origin, head, _authorization(parts))


def _authorization(parts: SplitResult) -> str:
    """Return the header for the name and password in a URL, "" if there are none."""
    if not parts.username and not parts.password:
        return ""
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def encode_request(address: Address, request: Request) -> bytes:
    """Return a request as it is sent."""
    lines = [f"{request.method}{address.head.removeprefix('POST')}"]
    for name, value in request.headers.items():
        if _BREAKS_A_HEADER.search(value):
            raise ValueError(f"the header {name} holds the end of a line")
        lines.append(f"{name}: {value}\r\n")
    if address.authorization and "Authorization" not in request.headers:
        lines.append(f"Authorization: {address.authorization}\r\n")
    lines.append(f"Content-Length: {len(request.content)}\r\n\r\n")
    return "".join(lines).encode("latin-1") + request.content

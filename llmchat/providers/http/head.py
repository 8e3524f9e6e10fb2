"""The head of a response, and how long the body after it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from llmchat.providers.transport import ConnectionLostError

MAX_HEAD_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: |\r?$)")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_TIMEOUT = re.compile(r"timeout=(\d{1,6})", re.ASCII | re.I)
_KEEPALIVE_S = 30.0
_BODILESS = (204, 304)


class MalformedResponseError(ConnectionLostError):
    """The input is not HTTP, so nothing that follows can be read."""


class Framing(Enum):
    """What ends a body."""

    LENGTH = "its length"
    CHUNKED = "a chunk of no length"
    CONNECTION = "the connection"


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers, whose keys are lower-case.

    `length` counts only with `Framing.LENGTH`. `keepalive_s` is how long the connection
    can be used again after the response, 0 if it cannot.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    framing: Framing
    length: int
    keepalive_s: float


def parse_head(raw: bytes) -> Head:
    """Read a head without the blank line at its end.

    Raises:
        MalformedResponseError: it is not a head, or states two different lengths.
    """
    first, _, rest = raw.partition(b"\n")
    status = _STATUS.match(first)
    if status is None:
        raise MalformedResponseError("malformed status line")
    headers = _parse_headers(rest.decode("latin-1"))
    code = int(status[2])
    framing, length = (Framing.LENGTH, 0)
    if code >= 200 and code not in _BODILESS:
        framing, length = _framing(headers)
    keepalive_s = 0.0
    if framing is not Framing.CONNECTION:
        keepalive_s = _keepalive_s(headers, is_new=status[1] == b"1")
    return Head(code, headers, framing, length, keepalive_s)


def _parse_headers(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in text.split("\n") if text else ():
        if line[:1] in (" ", "\t") and name:  # the last header continues
            headers[name] += f" {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise MalformedResponseError("malformed header")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _framing(headers: Mapping[str, str]) -> tuple[Framing, int]:
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise MalformedResponseError("unknown transfer encoding")
        return Framing.CHUNKED, 0
    value = headers.get("content-length")
    if value is None:
        return Framing.CONNECTION, 0
    lengths = {length.strip() for length in value.split(",")}
    length = lengths.pop()
    if lengths or not _LENGTH.fullmatch(length):
        raise MalformedResponseError("malformed length")
    return Framing.LENGTH, int(length)


def _keepalive_s(headers: Mapping[str, str], *, is_new: bool) -> float:
    if "transfer-encoding" in headers and "content-length" in headers:
        return 0.0  # a server that sends both may mean the other one
    values = headers.get("connection", "").lower().split(",")
    options = {option.strip() for option in values}
    if "close" in options or not (is_new or "keep-alive" in options):
        return 0.0
    limit = _TIMEOUT.search(headers.get("keep-alive", ""))
    # A second earlier than the server, so that it closes no connection just in use.
    return _KEEPALIVE_S if limit is None else min(_KEEPALIVE_S, int(limit[1]) - 1.0)

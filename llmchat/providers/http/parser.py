"""One HTTP/1.1 response from its bytes, without I/O.

Lines may end with a bare LF, and a header may continue on a second line, as old servers
write it. Whatever two readers could understand differently is refused: lengths that
disagree, and transfer codings other than `chunked`. A compressed body is accepted
although none is asked for, because some proxies compress regardless.
"""

from __future__ import annotations

import re
import zlib
from typing import Protocol

from .chunks import ChunkReader
from .head import MAX_HEAD_BYTES, Framing, Head, MalformedResponseError, parse_head

_MAX_INFORMATIONAL = 16
_MAX_INFLATED_BYTES = 8 * 1024 * 1024  # of one read
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_EITHER_FORMAT = zlib.MAX_WBITS | 32  # zlib's or gzip's
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class _Inflater(Protocol):
    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class ResponseParser:
    """Takes a response in pieces and returns the bytes of the body in each.

    `head` is None until it has arrived; `is_complete` says whether everything has.
    `keepalive_s` is how long the connection can serve another request after that.

    Raises:
        MalformedResponseError: the input is not HTTP, or exceeds a limit.
    """

    __slots__ = (
        "_chunks",
        "_held",
        "_inflater",
        "_informational",
        "_left",
        "_searched",
        "head",
        "is_complete",
        "keepalive_s",
    )

    def __init__(self) -> None:
        self.head: Head | None = None
        self.is_complete = False
        self.keepalive_s = 0.0
        self._chunks: ChunkReader | None = None
        self._held = b""  # the beginning of the head
        self._searched = 0  # how much of it was searched for its end
        self._inflater: _Inflater | None = None
        self._informational = 0
        self._left = 0

    def receive(self, data: bytes) -> bytes:
        """Return what `data` holds of the body."""
        data = self._receive(data)
        return data if self._inflater is None else self._inflate(data)

    def receive_eof(self) -> bool:
        """Return whether the end of the connection leaves the response whole."""
        if self.head is not None and self.head.framing is Framing.CONNECTION:
            self.is_complete = True
        return self.is_complete

    def _receive(self, data: bytes) -> bytes:
        if self.head is None:
            data = self._receive_head(data)
            if self.head is None:
                return b""
        if self.is_complete:
            self._complete(data)
            return b""
        if self._chunks is not None:
            data = self._chunks.receive(data)
            if self._chunks.is_done:
                self._complete(self._chunks.rest)
        elif self.head.framing is Framing.LENGTH:
            data, rest = data[: self._left], data[self._left :]
            self._left -= len(data)
            if not self._left:
                self._complete(rest)
        return data

    def _complete(self, rest: bytes) -> None:
        self.is_complete = True
        if rest:  # more than was asked for
            self.keepalive_s = 0.0

    def _receive_head(self, data: bytes) -> bytes:
        """Read the head, or keep its beginning; return what follows it."""
        self._held += data
        if b"\n" not in data and len(self._held) <= MAX_HEAD_BYTES:
            return b""
        while self.head is None:
            if not self._searched:
                self._held = self._held.lstrip(b"\r\n")
            end = _HEAD_END.search(self._held, self._searched)
            size = len(self._held) if end is None else end.start()
            if size > MAX_HEAD_BYTES:
                raise MalformedResponseError("head larger than the limit")
            self._searched = 0 if end else max(size - 3, 0)
            if end is None:
                return b""
            raw, self._held = self._held[:size], self._held[end.end() :]
            self._begin(parse_head(raw))
        rest, self._held = self._held, b""
        return rest

    def _begin(self, head: Head) -> None:
        if head.status == 101:
            raise MalformedResponseError("another protocol")
        if head.status < 200:  # not the answer yet
            self._informational += 1
            if self._informational > _MAX_INFORMATIONAL:
                raise MalformedResponseError("too many informational responses")
            return
        self.head = head
        self.keepalive_s = max(head.keepalive_s, 0.0)
        self._left = head.length
        if head.framing is Framing.CHUNKED:
            self._chunks = ChunkReader()
        self.is_complete = head.framing is Framing.LENGTH and not head.length
        coding = head.headers.get("content-encoding", "identity").lower()
        if coding in _COMPRESSED:
            self._inflater = zlib.decompressobj(_EITHER_FORMAT)
        elif coding != "identity":
            raise MalformedResponseError("unknown content encoding")

    def _inflate(self, data: bytes) -> bytes:
        assert self._inflater is not None
        try:
            inflated = self._inflater.decompress(data, _MAX_INFLATED_BYTES)
        except zlib.error as exc:
            raise MalformedResponseError("malformed compression") from exc
        if self._inflater.unconsumed_tail:
            raise MalformedResponseError("body larger than the limit")
        return inflated

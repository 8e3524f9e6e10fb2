"""The bytes of a body that is sent in chunks."""

from __future__ import annotations

import re

from .head import MalformedResponseError

_MAX_LINE_BYTES = 4096
_MAX_TRAILERS = 100
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LINE = re.compile(rb"([^\n]*?)\r?\n")
_BREAK = re.compile(rb"\r?\n")


class ChunkReader:
    """Returns the bytes in the chunks; `is_done` after the last one and all trailers.

    Raises:
        MalformedResponseError: the input is not chunks.
    """

    __slots__ = ("_expected", "_held", "_left", "_trailers", "is_done", "rest")

    def __init__(self) -> None:
        self.is_done = False
        self.rest = b""  # what came after the end
        self._expected = _SIZE  # the line that follows the current chunk
        self._held = b""  # the beginning of that line
        self._left = 0
        self._trailers = 0

    def receive(self, data: bytes) -> bytes:
        """Return what `data` holds of the body."""
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.is_done:
            if self._expected is _SIZE and (whole := _whole_chunk(data, at)):
                piece, at = whole
                pieces.append(piece)
            elif self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            elif line := self._expected.match(data, at):
                at = line.end()
                self._receive_line(line)
            else:
                self._hold(data[at:])
                break
        if self.is_done:
            self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _receive_line(self, line: re.Match[bytes]) -> None:
        if self._expected is _BREAK:
            self._expected = _SIZE
        elif self._expected is _SIZE:
            self._left = int(line[1], 16)
            self._expected = _BREAK if self._left else _LINE
        elif not line[1]:
            self.is_done = True
        else:
            self._trailers += 1
            if self._trailers > _MAX_TRAILERS:
                raise MalformedResponseError("too many trailers")

    def _hold(self, rest: bytes) -> None:
        """Keep the beginning of a line, if it can be one."""
        if b"\n" in rest or len(rest) > _MAX_LINE_BYTES:
            raise MalformedResponseError("malformed chunk")
        if self._expected is _BREAK and rest != b"\r":
            raise MalformedResponseError("chunk longer than its size")
        self._held = rest


def _whole_chunk(data: bytes, at: int) -> tuple[bytes, int] | None:
    """Return the bytes of a complete chunk, and where the next one begins.

    None: the chunk is not complete, or is the last one.
    """
    line = _SIZE.match(data, at)
    if line is None:
        return None
    start = line.end()
    end = start + int(line[1], 16)
    if end == start or data[end : end + 2] != b"\r\n":
        return None
    return data[start:end], end + 2

"""Server-sent events from bytes, however the network has cut them up.

Lines end with LF, CRLF or CR and are split as bytes: `str.splitlines` would also split
at U+2028 and the like inside a JSON string. A CRLF or a character that is split across
two reads counts once. An event that lacks its blank line at the end of the body is
still returned, since some servers send none after a last `data: [DONE]`.

Comments and the `id` and `retry` fields are ignored. A field named `error` becomes an
event of that name, after the event that it is part of: llama.cpp has reported errors
in this way. Lines that are not fields at all are kept in `stray`, up to a limit: that
is how Gemini reports an error in mid-stream.
"""

from __future__ import annotations

from .errors import ProviderError

MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_STRAY_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_IGNORED = frozenset((b"id", b"retry"))
# The values of a field named `error` that mean no error.
_NO_ERROR = frozenset((b"", b"null", b"None", b"false", b"0", b'""', b"{}", b"[]"))


# One dispatched event: its name, and the joined value of its data lines.
ServerSentEvent = tuple[bytes, bytes]


class SSEReader:
    """Takes the body in pieces and returns the events that each piece completes.

    Raises:
        ProviderError: a line or an event is larger than `max_event_bytes`.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail: list[bytes] = []  # the unfinished line, in the pieces it came in
        self._tail_size = 0
        self._size = 0  # bytes of the unfinished line and event
        self._after_cr = False
        self._at_start = True
        self._name = b""
        self._data: list[bytes] = []
        self._errors: list[bytes] = []
        self._stray: list[bytes] = []
        self._stray_size = 0

    @property
    def stray(self) -> bytes:
        """The lines that were not fields, joined."""
        return b"\n".join(self._stray)

    def receive_bytes(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the events that `chunk` completes, in order."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if not chunk:
            return []
        lines = chunk.splitlines()
        last = chunk[-1]
        ended = last == 10 or last == 13
        self._after_cr = last == 13
        if not ended and len(lines) == 1:
            self._hold(chunk)
            return []
        if self._tail:
            lines[0] = b"".join((*self._tail, lines[0]))
            self._release()
        rest = b"" if ended else lines.pop()
        events = self._receive_lines(lines)
        if rest:
            self._hold(rest)
        return events

    def receive_end(self) -> list[ServerSentEvent]:
        """Return the event that the end of the body has cut short, if there is one."""
        lines = [b"".join(self._tail), b""] if self._tail else [b""]
        self._release()
        return self._receive_lines(lines)

    def _hold(self, piece: bytes) -> None:
        self._tail.append(piece)
        self._tail_size += len(piece)
        self._grow(len(piece))

    def _release(self) -> None:
        self._size -= self._tail_size
        self._tail_size = 0
        self._tail.clear()

    def _grow(self, count: int) -> None:
        self._size += count
        if self._size > self._max:
            raise ProviderError("event larger than the limit")

    def _receive_lines(self, lines: list[bytes]) -> list[ServerSentEvent]:
        if self._at_start and lines:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        events: list[ServerSentEvent] = []
        data, errors = self._data, self._errors
        for line in lines:
            if not line:
                if data:
                    joined = data[0] if len(data) == 1 else b"\n".join(data)
                    events.append((self._name, joined))
                    data.clear()
                if errors:
                    events.append((b"error", b"\n".join(errors)))
                    errors.clear()
                self._name = b""
                self._size = 0
            elif line.startswith(b"data: "):
                data.append(line[6:])
                self._grow(len(line))
            else:
                self._receive_field(line)
        return events

    def _receive_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if not name:  # a comment
            return
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._grow(len(line))
        elif name == b"error":
            if value.strip() not in _NO_ERROR:
                self._errors.append(value)
                self._grow(len(line))
        elif name == b"event":
            self._name = value
        elif name not in _IGNORED and self._stray_size < MAX_STRAY_BYTES:
            line = line[: MAX_STRAY_BYTES - self._stray_size]
            self._stray.append(line)
            self._stray_size += len(line)

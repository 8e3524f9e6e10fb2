"""From the body of a successful response to text, without I/O.

Bytes go in, pieces of text come out, and everything else that the provider says goes
into the `Reading`. The pieces are added to the caller's list, so that an error does not
lose those before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from .body import MAX_BLANK_BYTES, MAX_WHOLE_BYTES, BodyKind, kind_of, parse_json
from .classify import error_in, is_error, is_nameless_error
from .errors import ProviderError
from .reading import Reading, as_dict
from .registry import Adapter
from .sse import ServerSentEvent, SSEReader
from .text import SurrogateJoiner, decode_json

_MAX_ANSWER_CHARS = 4_000_000
# How an error of several lines begins among lines of other things, and how many such
# beginnings are tried: each may extend to the end of all lines.
_ERROR_BEGINS = re.compile(
    r'^[ \t]*(?=(\[\s*)?\{\s*"(error"|detail"|(type|object)"\s*:\s*"error"))', re.M
)
_MAX_TRIES = 16


class Decoder:
    """Decodes one body; nothing may be added after `reading.ended`.

    Raises:
        ProviderError: the body is not that of an answer, reports a failure, or exceeds
            a limit.
    """

    def __init__(
        self, adapter: Adapter, reading: Reading, content_type: str = ""
    ) -> None:
        self._adapter = adapter
        self._content_type = content_type
        self._kind = BodyKind.UNKNOWN
        self._held = bytearray()  # a body whose kind is unknown, or in one piece
        self._size = 0  # of `_held`, with the blanks before it
        self._reader = SSEReader()
        self._joiner = SurrogateJoiner()
        self.reading = reading

    def receive(self, chunk: bytes, texts: list[str]) -> None:
        """Add the text that a piece of the body completes."""
        if self._kind is not BodyKind.EVENTS:
            chunk = self._hold(chunk)
        if self._kind is BodyKind.EVENTS:
            self._read_events(self._reader.receive_bytes(chunk), texts)

    def receive_end(self, texts: list[str]) -> None:
        """Add the text that is left at the end of the body."""
        if self._kind is BodyKind.UNKNOWN:
            raise ProviderError("empty body", retryable=True)
        if self._kind is BodyKind.JSON:
            whole = parse_json(bytes(self._held))
            self._note_usage(whole)
            self._take(self._adapter.parse_whole(whole, self.reading), texts)
        else:
            self._read_events(self._reader.receive_end(), texts)
        self.finish(texts)

    def finish(self, texts: list[str]) -> None:
        """Add the text still held back, then raise an error found in stray lines."""
        self._add(self._joiner.end(), texts)
        self._raise_stray()

    def _hold(self, chunk: bytes) -> bytes:
        """Keep a piece until the kind is known; then return what was kept of events."""
        self._size += len(chunk)
        self._held += chunk
        if self._kind is BodyKind.UNKNOWN:
            self._held = self._held.lstrip()
            self._kind = kind_of(self._content_type, bytes(self._held))
        if self._kind is BodyKind.FOREIGN:
            raise ProviderError("body is not an event stream")
        if self._kind is BodyKind.UNKNOWN and self._size > MAX_BLANK_BYTES:
            raise ProviderError("empty body", retryable=True)
        if self._kind is BodyKind.JSON and self._size > MAX_WHOLE_BYTES:
            raise ProviderError("body larger than the limit")
        if self._kind is not BodyKind.EVENTS:
            return b""
        held, self._held = bytes(self._held), bytearray()
        return held

    def _read_events(self, events: list[ServerSentEvent], texts: list[str]) -> None:
        reading, parse = self.reading, self._adapter.parse
        for name, data in events:
            stopped = reading.stop_reason is not None
            if text := parse(name, data, reading):
                if stopped:
                    reading.is_early = True
                self._take(text, texts)
            if reading.ended:
                self.finish(texts)
                return

    def _take(self, text: str, texts: list[str]) -> None:
        self._add(self._joiner.join(text), texts)

    def _add(self, text: str, texts: list[str]) -> None:
        if not text:
            return
        self.reading.add_text(len(text))
        if self.reading.chars > _MAX_ANSWER_CHARS:
            raise ProviderError("answer larger than the limit")
        texts.append(text)

    def _note_usage(self, whole: object) -> None:
        self._adapter.note_usage(as_dict(whole), self.reading)

    def _raise_stray(self) -> None:
        """Raise the error, if there is one, in lines between the events."""
        stray = self._reader.stray
        if stray and (error := _stray_error(stray)) is not None:
            self._note_usage(error)
            raise error_in(error)


def _stray_error(stray: bytes) -> object:
    """Return the error that stray lines hold, None if they hold none."""
    return next(filter(_is_error, _stray_values(stray)), None)


def _stray_values(stray: bytes) -> Iterator[object]:
    """Yield the JSON of all lines together, or else of each line and of some lines."""
    try:
        yield decode_json(stray)
    except ValueError:
        yield from _values_of_lines(stray)
        yield from _values_among_lines(stray.decode("utf-8", "replace"))


def _values_of_lines(stray: bytes) -> Iterator[object]:
    for line in stray.split(b"\n"):
        # Decoding every line takes too long if there are very many.
        may_tell = b'"error"' in line or b'"detail"' in line
        if may_tell and line.lstrip().startswith((b"{", b"[")):
            with suppress(ValueError):
                yield decode_json(line)


def _values_among_lines(text: str) -> Iterator[object]:
    for begin in islice(_ERROR_BEGINS.finditer(text), _MAX_TRIES):
        with suppress(ValueError, RecursionError):
            yield json.JSONDecoder().raw_decode(text, begin.end())[0]


def _is_error(decoded: object) -> bool:
    return is_error(decoded) or is_nameless_error(as_dict(decoded))

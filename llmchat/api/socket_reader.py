"""The last step of a token: to a client that may be slower than the provider."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from uuid import UUID

from llmchat.answers.events import End, Failed, Started, Token
from llmchat.answers.log import AnswerLog
from llmchat.api.wire import NAMES, payload, token_begin, token_rests
from llmchat.errors import ChatError
from llmchat.realtime import Socket

# How much is sent between two checks whether the client lags: little compared with what
# may wait for a client before it counts as lagging.
PIECES_AT_ONCE = 100
CHARS_AT_ONCE = 8 * 1024

WhenStarted = Callable[[ChatError | None], None]


class SocketReader:
    """Sends an answer to one socket; what a lagging client has yet to get is merged.

    Adjacent pieces become one event; order and text never change. With `is_owner` the
    start is sent, too, and a refusal. Without `tells_text` only the end is sent: to a
    client that cancels an answer that it does not receive. `ended` is called after the
    end has been sent.
    """

    __slots__ = (
        "_at",
        "_begin",
        "_chars",
        "_draining",
        "_ended",
        "_log",
        "_socket",
        "_stream",
        "_when_started",
        "is_owner",
        "tells_text",
    )

    def __init__(
        self,
        socket: Socket,
        stream: AnswerLog,
        ended: Callable[[End], None],
        *,
        is_owner: bool,
        tells_text: bool = True,
        behind: str = "",
    ) -> None:
        """Begin after the text so far; `behind` is the part that the client lacks."""
        self._socket = socket
        self._stream = stream
        self._ended = ended
        self.is_owner = is_owner
        self.tells_text = tells_text
        self._at, self._chars = len(stream.parts), stream.chars
        self._begin = socket.prepare(NAMES[Token]) + token_begin(stream.session_id)
        self._draining: asyncio.Task[None] | None = None
        self._when_started: list[WhenStarted] = []
        self._log = ""
        if stream.started is not None:
            self._log = log_name(stream.started.message_id)
            socket.marks.note(self._log, self._chars - len(behind))
        if behind:
            self._send((behind,))

    @property
    def position(self) -> int:
        """Return how many characters of the text have been sent."""
        return self._chars

    @property
    def is_at_rest(self) -> bool:
        """Return whether it waits neither for the start nor for the client."""
        return self._draining is None and not self._when_started

    def hurry(self) -> None:
        """Stop waiting for a client that lags, and send what is outstanding."""
        if self._draining is not None:
            self._draining.cancel()

    def when_started(self, call: WhenStarted) -> None:
        """Run `call(None)` once the answer has begun, or `call(error)` if refused."""
        if self._stream.started is not None:
            call(None)
        else:
            self._when_started.append(call)

    def flush(self) -> None:
        """Send outstanding text as one token; called before anything else is sent."""
        text = "".join(self._stream.parts[self._at :])
        self._at, self._chars = len(self._stream.parts), self._stream.chars
        if text and self.tells_text:
            self._send((text,))

    # For the answer. See `Reader`.

    def start(self, started: Started) -> None:
        """Send the start to a client that owns the answer."""
        self._log = log_name(started.message_id)
        self._socket.marks.note(self._log, 0)
        if self.is_owner:
            emit(self._socket, started)
        self._tell_started(None)

    def more(self) -> None:
        """Send the new text, each piece by itself, unless the client lags."""
        if self._draining is not None:
            return
        if not self.tells_text:
            self.flush()
        parts, socket = self._stream.parts, self._socket
        while self._at < len(parts):
            if not socket.writable:
                self._draining = socket.spawn(socket.drain())
                self._draining.add_done_callback(self._on_drained)
                return
            self._send(self._next(parts))

    def end(self, event: End) -> None:
        """Send the end, after all text."""
        self.flush()
        self._socket.marks.forget(self._log)
        if self.is_owner or self._stream.started is not None:
            emit(self._socket, event)
        self._tell_started(event.error if isinstance(event, Failed) else None)
        self._ended(event)

    @property
    def behind(self) -> int:
        """Return how many characters of the text have not been sent."""
        return self._stream.chars - self._chars

    @property
    def worker(self) -> str | None:
        """Return None: it reads for this worker."""
        return None

    @property
    def is_away(self) -> bool:
        """Return whether the client is disconnected and may come back."""
        return self._socket.is_absent

    def _on_drained(self, task: asyncio.Task[None]) -> None:
        self._draining = None
        self.flush()
        self._stream.look_again()

    def _next(self, parts: list[str]) -> list[str]:
        """Take what can be sent before the next check whether the client lags."""
        texts = parts[self._at : self._at + PIECES_AT_ONCE]
        chars = sum(map(len, texts))
        while chars > CHARS_AT_ONCE and len(texts) > 1:
            chars -= len(texts.pop())
        self._at += len(texts)
        self._chars += chars
        return texts

    def _send(self, texts: Sequence[str]) -> None:
        position = self._chars - sum(map(len, texts))
        positions = [position := position + len(text) for text in texts]
        marks = self._socket.marks.along(self._log, positions)
        self._socket.emit_prepared(self._begin, *token_rests(texts), marks=marks)

    def _tell_started(self, error: ChatError | None) -> None:
        calls, self._when_started = self._when_started, []
        for call in calls:
            call(error)


def log_name(message_id: UUID) -> str:
    """Return the name of an answer in the marks that say how far a client has it.

    It goes with each token, so it is short: unique only among one user's answers.
    """
    return urlsafe_b64encode(message_id.bytes[-6:]).decode()


def emit(socket: Socket, happened: Started | End) -> None:
    """Send an event of an answer."""
    socket.emit(NAMES[type(happened)], payload(happened))

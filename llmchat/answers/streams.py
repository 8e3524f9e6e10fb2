"""The answers of this process, by user and session id, and those that just ended."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from uuid import UUID

from llmchat import conf, metrics
from llmchat.answers.live_stream import LiveStream
from llmchat.errors import ChatError, refusal

# How many ended answers clients can still attach to; the oldest are dropped first.
MAX_ENDED = 1000
MAX_ENDED_BYTES = 16 * 1024 * 1024
_BYTES_PER_PART = 64  # in addition to its text


class Streams:
    """The answers of one process, by user and session id."""

    def __init__(self) -> None:
        self._by_user: dict[int, dict[str, LiveStream]] = {}
        self._ended: OrderedDict[UUID, LiveStream] = OrderedDict()
        self._ended_bytes = 0

    def register(self, user_id: int, session_id: str, key_id: int | None) -> LiveStream:
        """Reserve the name of a stream; `release` gives it back.

        `key_id` is the API key of the request, None if it came with an access token.

        Raises: ChatError `session_active`, `too_many_streams`.
        """
        of_user = self._by_user.get(user_id, {})
        if session_id in of_user:
            raise _refused("session_active")
        if len(of_user) >= conf.get().max_streams_per_user:
            raise _refused("too_many_streams")
        stream = of_user[session_id] = LiveStream(user_id, session_id, key_id)
        self._by_user[user_id] = of_user
        return stream

    def release(self, stream: LiveStream) -> None:
        """Free the name of a stream that has ended."""
        of_user = self._by_user.get(stream.user_id, {})
        if of_user.get(stream.session_id) is stream:
            del of_user[stream.session_id]
            if not of_user:
                del self._by_user[stream.user_id]
            self._remember(stream)
        stream.ended.set()

    def find(self, user_id: int, session_id: str) -> LiveStream | None:
        """Return the user's running stream of that name."""
        return self._by_user.get(user_id, {}).get(session_id)

    def of_user(self, user_id: int) -> list[LiveStream]:
        """Return the running streams of a user."""
        return list(self._by_user.get(user_id, {}).values())

    def running(self) -> list[LiveStream]:
        """Return all streams that are running in this process."""
        users = self._by_user.values()
        return [stream for of_user in users for stream in of_user.values()]

    def followed(
        self, user_id: int, is_meant: Callable[[LiveStream], bool]
    ) -> LiveStream | None:
        """Return the user's newest matching stream that runs or has just ended."""
        for stream in self._newest(user_id):
            if is_meant(stream):
                return stream
        return None

    def _newest(self, user_id: int) -> Iterator[LiveStream]:
        yield from reversed(self.of_user(user_id))
        self._forget_old()
        for stream in reversed(self._ended.values()):
            if stream.user_id == user_id:
                yield stream

    def _remember(self, stream: LiveStream) -> None:
        """Keep an ended stream for the recovery window."""
        window_s = conf.get().recovery_window_s
        if stream.begun is None or not window_s:
            return
        stream.ended_at = time.monotonic()
        self._ended[stream.begun.message_id] = stream
        self._ended_bytes += _size(stream)
        self._forget_old()

    def _forget_old(self) -> None:
        oldest = time.monotonic() - conf.get().recovery_window_s
        while self._ended:
            stream = next(iter(self._ended.values()))
            is_full = len(self._ended) > MAX_ENDED
            is_full = is_full or self._ended_bytes > MAX_ENDED_BYTES
            if not is_full and stream.ended_at > oldest:
                return
            self._ended.popitem(last=False)
            self._ended_bytes -= _size(stream)


def _refused(code: str) -> ChatError:
    """Return the refusal of a turn, and count it."""
    metrics.note_refused(code)
    return refusal(code)


def _size(stream: LiveStream) -> int:
    """Estimate an answer's memory: its pieces, and its end with the text and calls."""
    text = 2 * stream.chars + _BYTES_PER_PART * len(stream.parts)
    return text + stream.call_chars

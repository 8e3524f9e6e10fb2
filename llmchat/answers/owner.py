"""What the worker that writes an answer does for mirrors on other workers.

A mirror is a reader like any other: it sets the pace if it joined first, and if it is
the last reader to leave, the answer is cancelled. It reads by sending one ask after
another. Between two asks its place is kept for as long as its worker is alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from llmchat import conf
from llmchat.answers.events import Done, End
from llmchat.answers.follower import Follower, is_begun
from llmchat.answers.letters import pack_end
from llmchat.answers.live_stream import LiveStream
from llmchat.answers.mirror import FOLLOW, LEAVE, REACH, STOP
from llmchat.answers.mirrors import CUT_SHORT, FOLLOWING
from llmchat.answers.streams import Streams
from llmchat.workers import AwayError, GoneError, Mailbox, UnreachableError

# Text that arrives this soon after a reply waits for more, so as to take few messages.
GATHER_S = 0.05
# A mirror that has sent no ask for this long is asked whether it still follows.
GRACE_S = 5.0
# A reply holds at most this much text.
MAX_CHARS = 256 * 1024

Body = dict[str, Any]
Key = tuple[str, int]


class RemoteReader(Follower):
    """The place of a mirror in an answer of this worker.

    `tell_cut_short` notifies the mirror that the answer has ended when no reply can.
    """

    __slots__ = (
        "_asking",
        "_grace",
        "_loop",
        "_replied_at",
        "_rest",
        "_tell_cut_short",
        "_worker",
    )

    def __init__(
        self, stream: LiveStream, worker: str, tell_cut_short: Callable[[], object]
    ) -> None:
        self._worker = worker
        self._tell_cut_short = tell_cut_short
        self._rest = ""
        self._asking: asyncio.Task[Any] | None = None
        self._loop = asyncio.get_running_loop()
        self._replied_at = 0.0
        self._grace: asyncio.TimerHandle | None = None
        super().__init__(stream, stream.chars)

    @property
    def behind(self) -> int:
        """Return how many characters have not been sent to its mirror."""
        return super().behind + len(self._rest)

    @property
    def worker(self) -> str:
        """Return the worker of its mirror."""
        return self._worker

    @property
    def is_away(self) -> bool:
        """Return whether its mirror has no open ask; if so, it holds no reader up."""
        return self._asking is None

    def end(self, event: End) -> None:
        """Note the end, and have the mirror fetch it if it is waiting for its readers.

        A complete answer is read at their pace, as it is here. Any other end does not
        wait for them.
        """
        super().end(event)
        if self.is_away:
            self._hurry()

    def _hurry(self) -> None:
        if not isinstance(self._end, Done):
            self._tell_cut_short()

    async def reply(self, at: int) -> Body:
        """Wait for text from character `at` on, or for the end, and return it."""
        if self._asking is not None:
            self._asking.cancel()  # its sender no longer waits for it
        self._asking = asyncio.current_task()
        try:
            if at != self.at - len(self._rest):
                self._rest = ""
                self.seek(min(at, self._stream.chars))
            texts = await self._next()
        finally:
            if self._asking is asyncio.current_task():
                self._asking = None
                self._replied_at = self._loop.time()
                self._stream.look_again()
        is_whole = not self._rest and self.at == self._stream.chars
        end = pack_end(self._end) if is_whole and self._end is not None else None
        if self._end is not None and end is None:
            self._hurry()  # the text before it is too long for this reply
        return {"texts": texts, "more": bool(self._rest), "end": end}

    def wait(self, delay_s: float, then: Callable[[], None]) -> None:
        """Call `then` if its mirror sends no ask within `delay_s`."""
        self.wait_no_more()
        self._grace = self._loop.call_later(delay_s, then)

    def wait_no_more(self) -> None:
        """Cancel the call that `wait` scheduled."""
        if self._grace is not None:
            self._grace.cancel()

    def leave_now(self) -> None:
        """Leave the answer, and cancel a reply that is waiting."""
        self.wait_no_more()
        if self._asking is not None:
            self._asking.cancel()
        self._stream.leave(self)

    async def _next(self) -> list[str]:
        if not self._rest:
            # The first reply is sent immediately, with the text so far.
            if self._replied_at:
                await self.ready()
                wait_s = self._replied_at + GATHER_S - self._loop.time()
                if wait_s > 0 and self._end is None:
                    await asyncio.sleep(wait_s)
            elif self.at == self._stream.chars:
                return []
            texts = await self.read()
            if sum(map(len, texts)) <= MAX_CHARS:
                return texts
            self._rest = "".join(texts)
        text, self._rest = self._rest[:MAX_CHARS], self._rest[MAX_CHARS:]
        return [text]


class Owner:
    """Replies to what other workers ask about this worker's answers."""

    def __init__(self, mailbox: Mailbox, streams: Streams) -> None:
        self._mailbox = mailbox
        self._streams = streams
        self._readers: dict[Key, RemoteReader] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        for name, handler in {
            FOLLOW: self._follow,
            LEAVE: self._leave,
            STOP: self._stop,
            REACH: self._reach,
        }.items():
            mailbox.on(name, handler)

    def __len__(self) -> int:
        return len(self._readers)

    async def close(self) -> None:
        """Stop looking after mirrors."""
        for reader in self._readers.values():
            reader.wait_no_more()
        looking = list(self._looking)
        for task in looking:
            task.cancel()
        if looking:
            await asyncio.wait(looking)

    # What mirrors ask.

    async def _follow(self, sender: str, body: Body) -> Body | None:
        key = (sender, body["mirror"])
        names: Body = {}
        if key not in self._readers:
            stream = await self._found(body)
            if stream is None or stream.started is None:
                return None
            # A worker of an earlier version does not send this field.
            is_to_stop = body.get("stops", False)
            if stream.is_full and stream.end is None and not is_to_stop:
                return {"isFull": True}
            started = stream.started
            names = {"provider": started.provider, "model": started.model}
            if key not in self._readers:
                self._readers[key] = self._place_of(key, stream)
        reader = self._readers[key]
        reader.wait_no_more()
        reply: Body = {}
        try:
            reply = await reader.reply(body["at"])
        finally:
            self._keep(key, reader, is_over=reply.get("end") is not None)
        return reply | names

    def _place_of(self, key: Key, stream: LiveStream) -> RemoteReader:
        sender, number = key
        tell = partial(self._mailbox.ask, sender, CUT_SHORT, number)
        return RemoteReader(stream, sender, tell)

    async def _leave(self, sender: str, body: Body) -> None:
        self._take_out((sender, body["mirror"]))

    async def _stop(self, sender: str, body: Body) -> bool:
        stream = await self._found(body)
        is_there = stream is not None and stream.end is None
        return bool(is_there and stream and await stream.stop())

    async def _reach(self, sender: str, body: Body) -> bool:
        stream = await self._found(body)
        chars: int = body["chars"]
        return stream is not None and await stream.reaches(chars)

    async def _found(self, body: Body) -> LiveStream | None:
        """Return the user's answer that is meant, once its start is noted here too."""
        ident = UUID(body["message"])
        session_id: str = body["session"]

        def is_meant(stream: LiveStream) -> bool:
            if stream.begun is None:
                # Others can read its row before this process knows that it is stored.
                return stream.session_id == session_id
            return stream.begun.message_id == ident

        stream = self._streams.followed(body["user"], is_meant)
        if stream is None or stream.begun is not None:
            return stream
        return stream if await is_begun(stream, ident) else None

    # Mirrors that do not ask.

    def _keep(self, key: Key, reader: RemoteReader, *, is_over: bool) -> None:
        """Keep the place of a mirror that has its reply, unless the answer is over."""
        if self._readers.get(key) is not reader:
            return
        if is_over:
            self._take_out(key)
        elif reader.is_away:
            self._look_later(key, reader)

    def _look_later(self, key: Key, reader: RemoteReader) -> None:
        reader.wait(GRACE_S, partial(self._look, key, reader))

    def _look(self, key: Key, reader: RemoteReader) -> None:
        task = self._loop.create_task(self._find_out(key, reader))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _find_out(self, key: Key, reader: RemoteReader) -> None:
        """Take out a mirror if it no longer follows, and never one that does."""
        sender, number = key
        is_there = is_gone = False
        try:
            is_there = bool(await self._mailbox.ask(sender, FOLLOWING, number))
        except AwayError:
            is_there = True
        except GoneError:
            is_gone = True
        except UnreachableError:
            pass
        if self._readers.get(key) is not reader or not reader.is_away:
            return
        if is_there:
            self._look_later(key, reader)
        elif is_gone:
            # Its client is likely to come back through another worker.
            window_s = conf.get().recovery_window_s
            reader.wait(window_s, partial(self._take_out, key))
        else:
            self._take_out(key)

    def _take_out(self, key: Key) -> None:
        reader = self._readers.pop(key, None)
        if reader is not None:
            reader.leave_now()

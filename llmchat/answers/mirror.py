"""A mirror: this worker's copy of an answer that another worker writes.

Readers use it like the answer itself. It gets its content by asking the answer's
worker, the owner: each ask says how much text is here, and the reply holds the text
that was added since, or the end. The next ask is sent when the reader that sets the
pace has caught up. If the owner cannot be asked, the mirror reads the text so far, and
finally the end, from the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.db import DatabaseError, InterfaceError

from llmchat.answers import stored
from llmchat.answers.events import End, Failed, Started
from llmchat.answers.follower import Follower
from llmchat.answers.letters import unpack_end
from llmchat.answers.log import AnswerLog, too_many_readers
from llmchat.books.placed import PlacedAnswer, StoredAnswer, request_stop, stored_answer
from llmchat.database import in_database
from llmchat.errors import ChatError, refusal, unavailable
from llmchat.models import AnswerState
from llmchat.workers import GoneError, Mailbox, UnreachableError, address_of

logger = logging.getLogger(__name__)

FOLLOW, LEAVE, STOP = "answers.follow", "answers.leave", "answers.stop"
REACH = "answers.reach"
# How soon an owner that cannot be reached, or knows no such answer, is asked again.
AGAIN_S = 1.0
# When to give up an answer with nothing new from its owner or in the database. The
# lease of a dead worker runs out long before.
GIVE_UP_S = 180.0
# A mirror that no reader joins within this time is given up.
UNUSED_S = 10.0
_REACH_S = 5.0


class Mirror(AnswerLog):
    """One answer of another worker, for all of its readers on this one.

    `opened` is set when the text that the owner had is here, or when `refused` says why
    it is not. `number` distinguishes it from other mirrors of this worker. With
    `keeps_place`, the owner is not notified when the last reader leaves, since that
    reader may come back on another worker. With `is_to_stop`, the owner admits it even
    if the answer already has its maximum of readers.
    """

    __slots__ = (
        "_mailbox",
        "_on_over",
        "_owner",
        "_placed",
        "_silent_since",
        "_task",
        "_unused",
        "_waits_for_readers",
        "is_to_stop",
        "keeps_place",
        "number",
        "opened",
        "refused",
    )

    def __init__(
        self,
        placed: PlacedAnswer,
        mailbox: Mailbox | None,
        number: int,
        on_over: Callable[[Mirror], None],
    ) -> None:
        super().__init__(placed.user_id, placed.session_id)
        self.number = number
        self.keeps_place = self.is_to_stop = False
        self.opened = asyncio.Event()
        self.refused: ChatError | None = None
        self.started: Started = Started(
            session_id=placed.session_id,
            provider=placed.provider,
            model=placed.model,
            conversation_id=placed.conversation_id,
            message_id=placed.message_id,
            question_id=placed.question_id,
        )
        self._placed = placed
        self._mailbox = mailbox
        self._owner = address_of(placed.worker)
        self._on_over = on_over
        self._silent_since: float | None = None
        self._unused: asyncio.TimerHandle | None = None
        self._waits_for_readers = True
        self._task = asyncio.get_running_loop().create_task(self._follow())

    # What readers do besides reading.

    def claim(self) -> None:
        """Keep the mirror until a reader has had time to join."""
        if self._unused is not None:
            self._unused.cancel()
        loop = asyncio.get_running_loop()
        self._unused = loop.call_later(UNUSED_S, self._give_up_unused)

    def abandon(self) -> None:
        """Called when the last reader has left: leave the owner too."""
        if self.end is None:
            self.close_quietly()
            if not self.keeps_place and self._mailbox is not None:
                self._mailbox.ask(self._owner, LEAVE, self._body)

    def close_quietly(self) -> None:
        """Stop following; the owner keeps the place until it finds that out."""
        self.refused = refusal("stream_not_found")
        self._task.cancel()
        self._is_over()
        # No end will arrive here: release callers that wait for it without reading.
        self.ended.set()

    async def stop(self) -> bool:
        """Have the owner cancel the answer; return False if it is too late."""
        if self.end is not None:
            return False
        try:
            is_stopped = bool(await self._ask(STOP))
        except UnreachableError:
            # The owner, if it is alive, finds the request at its next checkpoint.
            is_stopped = await self._request_stop()
        # Even if it was too late, the end is on its way.
        self.hurry_to_end()
        return is_stopped

    def hurry_to_end(self) -> None:
        """Ask the owner for the rest, however slow the readers are."""
        self._waits_for_readers = False
        self.look_again()

    @property
    def lags(self) -> bool:
        """Return whether to pause asking the owner for more text.

        After `hurry_to_end`, it no longer waits for slow readers.
        """
        return self._waits_for_readers and super().lags

    async def reaches(self, chars: int) -> bool:
        """Return whether the text has this many characters; wait for them to arrive."""
        if chars <= self.chars:
            return True
        if self.end is not None:
            # A worker that died may have sent more than it had stored.
            return isinstance(self.end, Failed) and self.end.error.code == "interrupted"
        # Read while asking: the last other reader may leave in the meantime.
        follower = Follower(self, self.chars)
        try:
            if not await self._ask(REACH, chars=chars):
                return False
            async with asyncio.timeout(_REACH_S):
                while self.chars < chars and await follower.read():
                    pass
        except (UnreachableError, TimeoutError):
            pass
        finally:
            # The caller is about to read.
            self.claim()
            self._let_go(follower)
        return chars <= self.chars

    def _let_go(self, follower: Follower) -> None:
        """Remove a reader whose place another one takes; do not abandon the answer."""
        self._readers = tuple(r for r in self._readers if r is not follower)
        self.look_again()

    async def _request_stop(self) -> bool:
        try:
            await in_database(request_stop, self.started.message_id)
        except (DatabaseError, InterfaceError) as exc:
            raise unavailable() from exc
        return self.end is None

    def _give_up_unused(self) -> None:
        if not self._readers:
            self.abandon()

    # Following.

    async def _ask(self, name: str, **fields: Any) -> Any:
        """Ask the owner something about the answer.

        Raises: UnreachableError.
        """
        if self._mailbox is None:
            raise GoneError("there is no other worker")
        return await self._mailbox.ask(self._owner, name, self._body | fields)

    @property
    def _body(self) -> dict[str, Any]:
        return {
            "user": self.user_id,
            "message": str(self.started.message_id),
            "session": self.session_id,
            "mirror": self.number,
        }

    async def _follow(self) -> None:
        try:
            if self._placed.is_lost:
                await self._look_up()
            while self.end is None and self.refused is None:
                await self.caught_up()
                await self._hear_more()
        except Exception:
            # Whatever it is, the readers get an end.
            logger.exception("an answer of another worker could not be followed")
            self._finish(Failed(self.session_id, refusal("internal_error")))
        finally:
            self.opened.set()
            self._is_over()

    async def _hear_more(self) -> None:
        """Take what is new from the owner, or if it has no reply, from the database."""
        try:
            reply = await self._ask(FOLLOW, at=self.chars, stops=self.is_to_stop)
        except UnreachableError:
            reply = None
        if reply is not None and reply.get("isFull") and self.opened.is_set():
            # The owner lost this mirror's place. Readers that are here already stay.
            reply = None
        if reply is not None:
            self._silent_since = None
            self._take(reply)
        elif await self._look_up():
            self.opened.set()
            await asyncio.sleep(AGAIN_S)

    def _take(self, reply: dict[str, Any]) -> None:
        if reply.get("isFull"):
            self.refused = too_many_readers()
            return
        if "model" in reply:
            names = {"provider": reply["provider"], "model": reply["model"]}
            self.started = replace(self.started, **names)
        if reply["texts"]:
            self.push(reply["texts"])
        if reply["end"] is not None:
            self._finish(unpack_end(reply["end"], self.started, self.text))
        elif not reply["more"]:
            self.opened.set()

    # The database.

    async def _look_up(self) -> bool:
        """Take over what is stored; return whether to ask the owner again."""
        if self._silent_since is None:
            self._silent_since = time.monotonic()
        try:
            row = await in_database(
                stored_answer, self.user_id, self.started.message_id
            )
        except (DatabaseError, InterfaceError):
            pass  # the next look-up tries again
        else:
            self._take_stored(row)
        if self.end is None and time.monotonic() - self._silent_since > GIVE_UP_S:
            self._finish(stored.broken_off(self.started, self.text))
        return self.end is None

    def _take_stored(self, row: StoredAnswer | None) -> None:
        if row is None:
            self._finish(stored.deleted(self.started, self.text))
            return
        # Text only grows, so only what follows the text here is new.
        if len(row.text) > self.chars:
            self.push([row.text[self.chars :]])
            self._silent_since = time.monotonic()
        if row.state != AnswerState.STREAMING:
            self._finish(stored.end_of(replace(row, text=self.text), self.started))

    # The end.

    def _finish(self, end: End) -> None:
        if self.end is None:
            self._is_over()
            self.ended.set()
            self.close(end)

    def _is_over(self) -> None:
        if self._unused is not None:
            self._unused.cancel()
        self._on_over(self)

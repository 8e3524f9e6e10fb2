"""A mirror: this worker's copy of an answer that another worker writes.

It is read as the answer itself is. What it has it asks of the answer's worker, the
owner: each ask says how much is here, and its reply is what has come since, or the end.
The next one goes out when the reader that sets the pace has caught up. Where the owner
cannot be asked, the database tells of the text so far and, in the end, of the end.
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
from llmchat.answers.log import AnswerLog
from llmchat.books.placed import Placed, Standing, request_stop, standing
from llmchat.database import in_database
from llmchat.errors import ChatError, refusal, unavailable
from llmchat.models import AnswerState
from llmchat.workers import GoneError, Mailbox, UnreachableError, address_of

logger = logging.getLogger(__name__)

FOLLOW, LEAVE, STOP = "answers.follow", "answers.leave", "answers.stop"
REACH = "answers.reach"
# How soon an owner that cannot be asked, or knows no such answer, is asked again.
AGAIN_S = 1.0
# How long nothing need be heard of an answer that does not end in the database
# either: the lease of a dead worker runs out long before.
GIVE_UP_S = 180.0
# A mirror that nobody begins to read in so long is given up.
UNUSED_S = 10.0
_REACH_S = 5.0


class Mirror(AnswerLog):
    """One answer of another worker, for all of its readers on this one.

    `opened` is set when what the owner had is here, or `refused` says why it is not.
    `number` tells it from other mirrors of this worker. With `keeps_place` the owner is
    not told that its last reader leaves, since that may come back on another worker.
    One that `is_to_stop` the answer is let in however many read that.
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
        placed: Placed,
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
        """Keep it until somebody has had the time to join."""
        if self._unused is not None:
            self._unused.cancel()
        loop = asyncio.get_running_loop()
        self._unused = loop.call_later(UNUSED_S, self._give_up_unused)

    def abandon(self) -> None:
        """Called when the last reader has left: the owner has one reader less."""
        if self.end is None:
            self.close_quietly()
            if not self.keeps_place and self._mailbox is not None:
                self._mailbox.ask(self._owner, LEAVE, self._body)

    def close_quietly(self) -> None:
        """Follow no more. The owner keeps its place until it finds that out."""
        self.refused = refusal("stream_not_found")
        self._task.cancel()
        self._is_over()
        # Whoever waits for its end without reading hears of none here.
        self.ended.set()

    async def stop(self) -> bool:
        """Have its owner cancel it; return False where it is too late."""
        if self.end is not None:
            return False
        try:
            is_stopped = bool(await self._ask(STOP))
        except UnreachableError:
            # It finds that at its next checkpoint, if it lives.
            is_stopped = await self._request_stop()
        # Where it is too late, the end is on its way all the same.
        self.hurry_to_end()
        return is_stopped

    def hurry_to_end(self) -> None:
        """Ask its owner for the rest, however slow those who read are."""
        self._waits_for_readers = False
        self.look_again()

    @property
    def lags(self) -> bool:
        """Return whether the owner is to be asked for no more text for now.

        An end that is near comes at once, however slow those who read are.
        """
        return self._waits_for_readers and super().lags

    async def reaches(self, chars: int) -> bool:
        """Return whether there is so much text, once that is here."""
        if chars <= self.chars:
            return True
        if self.end is not None:
            # A worker that has died may have told more than it had stored.
            return isinstance(self.end, Failed) and self.end.error.code == "interrupted"
        # It reads while it asks: the last other reader may leave meanwhile.
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
            # Whoever asks is about to read.
            self.claim()
            self._let_go(follower)
        return chars <= self.chars

    def _let_go(self, follower: Follower) -> None:
        """Take out a reader whose place another one takes."""
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
        """Ask the owner something of the answer.

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
        """Take over what the owner has to tell, or the database where it does not."""
        try:
            reply = await self._ask(FOLLOW, at=self.chars, stops=self.is_to_stop)
        except UnreachableError:
            reply = None
        if reply is not None and reply.get("isFull") and self.opened.is_set():
            # Its place was lost. Those who read already are not turned away.
            reply = None
        if reply is not None:
            self._silent_since = None
            self._take(reply)
        elif await self._look_up():
            self.opened.set()
            await asyncio.sleep(AGAIN_S)

    def _take(self, reply: dict[str, Any]) -> None:
        if reply.get("isFull"):
            text = "Too many read this answer at once"
            self.refused = refusal("too_many_streams", text=text)
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
            row = await in_database(standing, self.user_id, self.started.message_id)
        except (DatabaseError, InterfaceError):
            pass  # it is asked again
        else:
            self._take_stored(row)
        if self.end is None and time.monotonic() - self._silent_since > GIVE_UP_S:
            self._finish(stored.broken_off(self.started, self.text))
        return self.end is None

    def _take_stored(self, row: Standing | None) -> None:
        if row is None:
            self._finish(stored.deleted(self.started, self.text))
            return
        # The rest of what is here already is the same: text only grows.
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

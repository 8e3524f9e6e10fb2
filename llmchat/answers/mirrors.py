"""The mirrors of this worker, and how it finds the answers of other workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from llmchat import conf
from llmchat.answers.events import Started
from llmchat.answers.log import AnswerLog
from llmchat.answers.mirror import Mirror
from llmchat.books.placed import LATEST, AnswerIds, PlacedAnswer, find, running_of
from llmchat.books.workers import worker_id
from llmchat.database import read_database
from llmchat.errors import ChatError, unavailable
from llmchat.workers import Mailbox, address_of

FOLLOWING, CUT_SHORT = "answers.following", "answers.cut_short"
# An owner that does not reply is found to be gone sooner than this.
_OPEN_S = 8.0


def _none_begun(placed: PlacedAnswer) -> None:
    """Return None: this worker has begun no answer in the meantime."""


class Mirrors:
    """The answers of other workers that this one follows, with one mirror for each."""

    def __init__(self, mailbox: Mailbox | None) -> None:
        """Without a `mailbox`, any other worker ran before a restart and is dead."""
        self._mailbox = mailbox
        self._address = mailbox.address if mailbox else address_of(worker_id())
        self._mirrors: dict[UUID, Mirror] = {}
        self._numbers = count()
        self._is_closing = False
        if mailbox is not None:
            mailbox.on(FOLLOWING, self._is_following)
            mailbox.on(CUT_SHORT, self._hurry)

    def __len__(self) -> int:
        return len(self._mirrors)

    def heard(self, user_id: int, session_id: str) -> Mirror | None:
        """Return the mirror of a user's running answer, without asking any worker."""
        for mirror in self._mirrors.values():
            if mirror.user_id == user_id and mirror.session_id == session_id:
                return mirror
        return None

    async def find(
        self,
        user_id: int,
        ids: AnswerIds,
        known: AnswerLog | None = None,
        own: Callable[[PlacedAnswer], AnswerLog | None] = _none_begun,
        *,
        is_to_stop: bool = False,
    ) -> AnswerLog | None:
        """Return the user's answer with these ids, whichever worker writes it.

        `known` is an answer of this worker that matches and has ended. Since then
        another worker may have begun a later one, or `known` may have been deleted, so
        the database decides; if it does not respond, `known` is returned. `own` returns
        the stream of an answer that this worker has begun in the meantime.

        Raises: ChatError.
        """
        window = timedelta(seconds=conf.get().recovery_window_s)
        try:
            placed = await self._placed(user_id, ids, window)
        except ChatError:
            if known is None:
                raise
            return known
        if placed is None:
            return None
        if self._is_own(placed):
            if _is_at(known, placed):
                return known
            return own(placed) if placed.is_running else None
        return await self._open(placed, is_to_stop=is_to_stop)

    async def find_ended(self, user_id: int, message_id: UUID) -> Mirror | None:
        """Return one of the user's latest answers as it is stored, with its end.

        It may have ended long before the recovery window.

        Raises: ChatError.
        """
        placed = await self._placed(user_id, AnswerIds(message_id), LATEST)
        if placed is None or placed.is_running:
            return None
        # Mark it as lost, so that its owner is not asked: the end is stored.
        return await self._open(replace(placed, is_lost=True))

    async def find_running(self, user_id: int, session_id: str) -> Mirror | None:
        """Return another worker's running answer of that name, in order to stop it.

        Raises: ChatError.
        """
        ids = AnswerIds(session_id=session_id)
        placed = await self._placed(user_id, ids, None)
        if placed is None or self._is_own(placed):
            return None
        return await self._open(placed, is_to_stop=True)

    async def running_of(self, user_id: int) -> list[Started]:
        """Return the starts of all answers that are being written for a user.

        Raises: ChatError `database_unavailable`.
        """
        try:
            rows = await read_database(running_of, user_id)
        except (DatabaseError, InterfaceError) as exc:
            raise unavailable() from exc
        return [
            Started(
                session_id=row.session_id,
                provider=row.provider,
                model=row.model,
                conversation_id=row.conversation_id,
                message_id=row.message_id,
                question_id=row.question_id,
            )
            for row in rows
        ]

    def begin_to_close(self) -> None:
        """Have owners keep the mirrors' places: their clients may return elsewhere."""
        self._is_closing = True
        for mirror in self._mirrors.values():
            mirror.keeps_place = True

    def close(self) -> None:
        """Stop following all answers."""
        for mirror in list(self._mirrors.values()):
            mirror.close_quietly()

    def _is_own(self, placed: PlacedAnswer) -> bool:
        return address_of(placed.worker) == self._address

    async def _placed(
        self, user_id: int, ids: AnswerIds, window: timedelta | None
    ) -> PlacedAnswer | None:
        since = timezone.now() - window if window else None
        try:
            return await read_database(partial(find, user_id, ids, since))
        except (DatabaseError, InterfaceError) as exc:
            raise unavailable() from exc

    async def _open(self, placed: PlacedAnswer, *, is_to_stop: bool = False) -> Mirror:
        """Return the mirror of an answer, with all of its text so far.

        Raises: ChatError.
        """
        mirror = self._mirrors.get(placed.message_id)
        if mirror is None:
            number = next(self._numbers)
            mirror = Mirror(placed, self._mailbox, number, self._forget)
            mirror.keeps_place = self._is_closing
            self._mirrors[placed.message_id] = mirror
        mirror.is_to_stop |= is_to_stop
        mirror.claim()
        try:
            async with asyncio.timeout(_OPEN_S):
                await mirror.opened.wait()
        except TimeoutError as exc:
            # Neither its owner nor the database has responded.
            raise unavailable() from exc
        if mirror.refused is not None:
            raise mirror.refused
        return mirror

    def _forget(self, mirror: Mirror) -> None:
        ident = mirror.started.message_id
        if self._mirrors.get(ident) is mirror:
            del self._mirrors[ident]

    async def _is_following(self, sender: str, number: Any) -> bool:
        """Reply to an owner that has had no ask from a mirror for a while."""
        return any(mirror.number == number for mirror in self._mirrors.values())

    async def _hurry(self, sender: str, number: Any) -> None:
        """Called by an owner whose answer ended before all of its text was here."""
        for mirror in self._mirrors.values():
            if mirror.number == number:
                mirror.hurry_to_end()


def _is_at(known: AnswerLog | None, placed: PlacedAnswer) -> bool:
    """Return whether a known answer is the one that the database has."""
    started = None if known is None else known.started
    return started is not None and started.message_id == placed.message_id

"""The watch over a worker's sockets: it closes those whose token, key or user is gone.

It checks all of them periodically, and those of one user as soon as it is notified that
something about the user has changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from django.db import DatabaseError, InterfaceError

from accounts.remembered import remembered, remembered_keys
from llmchat import conf
from llmchat.api.visitors import no_longer_welcome, room_of
from llmchat.realtime import Namespace, Socket

logger = logging.getLogger(__name__)

# Changes that are reported within this time are handled together.
_GATHER_S = 0.1


class Watch:
    """Sends away the sockets of a namespace that are no longer welcome."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._users: set[int] = set()

    def ensure_running(self) -> None:
        """Called when a client is let in."""
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._keep_looking())

    def look(self, user_id: Any) -> None:
        """Check a user's sockets, because the account or one of its keys has changed.

        What is remembered of them is dropped first: it would let the sockets in again.
        """
        remembered.forget(user_id)
        remembered_keys.forget_of(user_id)
        self._users.add(user_id)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while self._users:
            await asyncio.sleep(_GATHER_S)
            users, self._users = self._users, set()
            rooms = [self._namespace.sockets_in(room_of(user)) for user in users]
            sockets = [socket for room in rooms for socket in room if socket.connected]
            if sockets:
                await self._send_away(sockets)

    async def _keep_looking(self) -> None:
        namespace = self._namespace
        while namespace.sockets or namespace.absent:
            await asyncio.sleep(conf.get().ping_interval_ms / 2000)
            await self._send_away(namespace.sockets)

    async def _send_away(self, sockets: Iterable[Socket]) -> None:
        try:
            # Sockets that join during this await are not in the result.
            leaving = await no_longer_welcome(sockets)
        except (DatabaseError, InterfaceError) as exc:
            logger.warning("cannot check users, the database is not available: %s", exc)
            return
        for socket in leaving:
            socket.close_transport()

"""When API keys were used last, stored by whoever may wait for the database."""

from __future__ import annotations

import logging

from django.db import DatabaseError, InterfaceError

from accounts.key_uses import uses
from llmchat.database import in_database

logger = logging.getLogger(__name__)


async def store_uses() -> None:
    """Store which keys were used; for each of them something to do once a minute."""
    if not uses.are_due:
        return
    try:
        await in_database(uses.store)
    except (DatabaseError, InterfaceError) as exc:
        # Nobody is refused for it; the next use is stored.
        logger.info("the last use of API keys is not stored: %s", exc)

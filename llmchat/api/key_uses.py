"""When API keys were last used, stored by code that can wait for the database."""

from __future__ import annotations

import logging

from django.db import DatabaseError, InterfaceError

from accounts.key_uses import uses
from llmchat.database import in_database

logger = logging.getLogger(__name__)


async def store_uses() -> None:
    """Store which keys were used; each key is due at most once a minute."""
    if not uses.are_due:
        return
    try:
        await in_database(uses.store)
    except (DatabaseError, InterfaceError) as exc:
        # No request is refused because of it; the next use will be stored.
        logger.info("the last use of API keys could not be stored: %s", exc)

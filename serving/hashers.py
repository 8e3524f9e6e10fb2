"""Password hashing that takes no time from the database."""

from __future__ import annotations

from typing import Any

from accounts.hashers import BoundedPBKDF2PasswordHasher
from llmchat import database


class PasswordHasher(BoundedPBKDF2PasswordHasher):
    """The bounded hasher, with the deadline of the request's queries behind it.

    A log-in may wait for its turn much longer than for a query, and stores its tokens
    afterwards.
    """

    def encode(self, password: str, salt: Any, iterations: int | None = None) -> str:
        """Called by Django to hash or to check a password. Raises: AttemptsError."""
        with database.paused():
            return super().encode(password, salt, iterations)

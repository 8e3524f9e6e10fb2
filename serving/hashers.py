"""Password hashing that does not use up the deadline of database queries."""

from __future__ import annotations

from typing import Any

from accounts.hashers import BoundedPBKDF2PasswordHasher
from llmchat import database


class PasswordHasher(BoundedPBKDF2PasswordHasher):
    """The bounded hasher, which postpones the deadline of the request's queries.

    A log-in may wait for its turn to hash much longer than any query may take, and
    stores its tokens only afterwards.
    """

    def encode(self, password: str, salt: Any, iterations: int | None = None) -> str:
        """Called by Django to hash or to check a password. Raises: AttemptsError."""
        with database.paused():
            return super().encode(password, salt, iterations)

"""The product's password hasher with a tenth of the work."""

from __future__ import annotations

from serving.hashers import PasswordHasher


class LighterHasher(PasswordHasher):
    """Takes some thirty milliseconds of processor time for a password."""

    iterations = PasswordHasher.iterations // 10

"""The project's settings with a tenth of the work for each password.

The hasher is the project's own, with its turns.
"""

from accounts.hashers import BoundedPBKDF2PasswordHasher
from config.settings import *  # noqa: F403


class LighterHasher(BoundedPBKDF2PasswordHasher):
    """Takes some thirty milliseconds of a processor."""

    iterations = BoundedPBKDF2PasswordHasher.iterations // 10


PASSWORD_HASHERS = ["tests.lighter_hashes.LighterHasher"]

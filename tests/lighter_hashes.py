"""The project's settings with a tenth of the work for each password.

The hasher is the project's own, which hashes only a few passwords at a time.
"""

from config.settings import *  # noqa: F403

PASSWORD_HASHERS = ["tests.support.lighter_hasher.LighterHasher"]

"""The project's settings with a tenth of the work for each password.

The hasher is the project's own, with its turns.
"""

from config.settings import *  # noqa: F403

PASSWORD_HASHERS = ["tests.support.lighter_hasher.LighterHasher"]

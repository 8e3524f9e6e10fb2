"""Garbage collection of a server process."""

from __future__ import annotations

import gc

# A full collection stops every stream while it looks at all objects, and by default
# one comes with a few thousand new ones. What is made for a token is freed without any.
_THRESHOLDS = (50_000, 20, 1_000)


def settle() -> None:
    """Called after the start: leave what was loaded alone from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)

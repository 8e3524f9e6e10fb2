"""Garbage collection of a server process."""

from __future__ import annotations

import gc

# A full collection stops every stream while it looks at all objects, and by default it
# runs after a few thousand new ones. What a token, a turn or a session needs is freed
# without the collector; only errors leave cycles, which are collected now and then.
_THRESHOLDS = (20_000, 5, 2)


def settle() -> None:
    """Exempt what is loaded from garbage collection; called after the start."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(*_THRESHOLDS)

"""Garbage collection of a server process."""

from __future__ import annotations

import gc

# A full collection stops every stream while it looks at all objects, and by default one
# comes with a few thousand new ones. What a token, a turn or a session needs is freed
# without any; what an error leaves behind is in cycles, and collected now and then.
_THRESHOLDS = (20_000, 5, 2)


def settle() -> None:
    """Called after the start: leave what was loaded alone from now on."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(*_THRESHOLDS)

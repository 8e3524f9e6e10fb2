"""How the cost of work grows with the length of the text that it is done on."""

from __future__ import annotations

import time
from collections.abc import Callable

# In processor seconds: shorter measurements mean nothing.
_FLOOR = 0.02
_TIMES = 5


def grows_too_fast(
    work: Callable[[str], object], shape: tuple[str, str, str], size: int
) -> bool:
    """Return whether a text with four times as long a middle costs far more.

    It costs four times as much if the cost is linear, sixteen times if it is quadratic.
    """

    def cost(length: int) -> float:
        begin, middle, end = shape
        text = begin + (middle * length)[:length] + end
        began = time.process_time()
        work(text)
        return time.process_time() - began

    if cost(4 * size) < _FLOOR:
        return False
    # What else runs makes some of them slower, so the fastest are compared.
    costs = [(cost(size), cost(4 * size)) for _ in range(_TIMES)]
    short, long = (min(each) for each in zip(*costs, strict=True))
    return long > 9 * short

"""Longer deadlines for the database: a server's are seconds, and a machine may stall.

The tests of these deadlines set their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmchat import database
from llmchat.engines.postgresql import base as postgresql

__all__ = ["patient_database"]

LIMIT_S = 60.0


@pytest.fixture(scope="session", autouse=True)
def patient_database() -> Iterator[None]:
    """Let the calls of a test wait longer than those of a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "DEADLINE_S", LIMIT_S)
        patch.setattr(database, "QUEUE_S", LIMIT_S)
        # Otherwise a server that stalls for a second counts as unavailable.
        patch.setattr(postgresql, "SUSPECT_S", LIMIT_S / 2)
        yield

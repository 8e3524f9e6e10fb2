"""Whether a test runs under `make stress`, which nothing else uses the machine beside.

There, tests assert the figures that are promised. In `make test` other tests use the
processors and the disk, and limits only tell what works from what does not.
"""

from __future__ import annotations

import os

STRESSED = "LLMCHAT_TEST_STRESS_ROUNDS" in os.environ

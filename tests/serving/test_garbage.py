"""What a start imports, and that the garbage collector ignores what it has made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.live import ROOT, Seed, environment

# What each server does before it serves: a lifespan, or none.
STARTS = {
    "uvicorn": """
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    async def receive(): return next(messages)
    async def send(message): states.append(state())
    await application({"type": "lifespan", "asgi": {}}, receive, send)
""",
    "daphne": """
    scope = {"type": "http", "path": "/healthz", "method": "GET", "headers": [],
             "query_string": b""}
    messages = iter([{"type": "http.request"}])
    async def receive(): return next(messages, None) or await asyncio.Event().wait()
    async def send(message): states.append(state())
    await application(scope, receive, send)
    await runtime.shutdown()
""",
}
PROGRAM = """
import asyncio, gc, json, sys
default = gc.get_threshold()
gc.disable()  # as the production server does
from config.asgi import application
from llmchat.answers import runtime
states = []
def state(): return gc.get_freeze_count() > 50_000, gc.isenabled(), gc.get_threshold()
async def main():
{start}
before = state()
asyncio.run(main())
print(json.dumps([default, before, states[0], list(sys.modules)]))
"""
# Large packages that a server rarely needs: those of another server, of Redis and of a
# collector of traces, which this start does not have, and what writes the schema.
SELDOM = {"twisted", "redis", "opentelemetry", "drf_spectacular.generators"}


@pytest.mark.parametrize("kind", STARTS)
def test_a_start_loads_little_and_leaves_it_alone(
    kind: str, seed: Seed, tmp_path: Path
) -> None:
    database = shutil.copy(seed.path, tmp_path / "db.sqlite3")
    env = {**environment(database), "DJANGO_SETTINGS_MODULE": "config.settings"}
    program = PROGRAM.format(start=STARTS[kind])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    default, before, serving, modules = json.loads(done.stdout.splitlines()[-1])
    assert before == [False, False, default]
    assert serving == [True, True, [20_000, 5, 2]]
    assert not SELDOM & set(modules)

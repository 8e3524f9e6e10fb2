"""Two workers that share one database and one Redis."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support import live
from tests.support.redis_server import RedisServer

__all__ = ["pair"]


@dataclass
class Pair:
    """Two workers, and the function that starts a third one beside them."""

    a: live.LiveServer
    b: live.LiveServer
    path: Path
    start: Callable[[], live.LiveServer]
    accounts: Iterator[live.Account]


@pytest.fixture(scope="module")
def pair(
    seed: live.Seed,
    start_server: Callable[..., live.LiveServer],
    upstream_env: dict[str, str],
    server_env: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    path = tmp_path_factory.mktemp("shared") / "db.sqlite3"
    shutil.copy(seed.path, path)
    redis = RedisServer()
    env = {
        **upstream_env,
        "DATABASE_URL": f"sqlite:///{path}",
        "REDIS_URL": redis.url,
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
        **server_env,
    }

    def start() -> live.LiveServer:
        return start_server("uvicorn", env)

    redis.start()
    try:
        a, b = start(), start()
        yield Pair(a, b, path, start, iter(seed.accounts))
        for server in (a, b):
            server.stop()
            assert "Traceback" not in server.log_text(), server.log
    finally:
        redis.kill()


def client_of(server: live.LiveServer, account: live.Account) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, headers=account.headers, timeout=15)

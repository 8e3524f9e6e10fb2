"""A start without a usable Redis: it is logged once, and the server serves."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.live import ROOT, environment, free_port
from tests.support.redis_server import RedisServer

AWAY = "does not answer, each process uses its own memory"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "db.sqlite3"
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(migrate, cwd=ROOT, env=environment(path), check=True)
    return path


@pytest.fixture
def absent_redis() -> Iterator[RedisServer]:
    """A Redis that is not running, on a port where nothing listens."""
    server = RedisServer()
    yield server
    server.kill()


class Started:
    """A server that serves, and what it logs."""

    def __init__(self, log: Path, port: int) -> None:
        self._log = log
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self._url + path, timeout=60)

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.05)


@contextmanager
def started(
    database: Path, log: Path, redis_url: str, workers: int
) -> Iterator[Started]:
    port = free_port()
    variables = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "REDIS_URL": redis_url,
        "WEB_CONCURRENCY": str(workers),
        "PORT": str(port),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"],
            cwd=ROOT,
            env=environment(database) | variables,
            stdout=subprocess.DEVNULL,
            stderr=out,
        )
    try:
        server = Started(log, port)
        server.until(lambda: bool(server.lines()) or process.poll() is not None)
        assert server.get("/healthz").status_code == 200
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_redis_that_is_away_is_logged_once_and_so_is_its_return(
    database: Path, tmp_path: Path, absent_redis: RedisServer, workers: int
) -> None:
    place = f"127.0.0.1:{absent_redis.port}"
    url = f"redis://someone:pass-word@{place}/0"
    with started(database, tmp_path / "log", url, workers) as server:
        # Every worker is asked, and uses its cache.
        missing = [server.get("/readyz").json()["notReady"] for _ in range(10)]
        assert missing == [["redis"]] * 10
        (line,) = server.lines()
        assert f"WARNING llmchat.outages: Redis at {place} {AWAY}: Error 111" in line

        absent_redis.start(acl="someone on >pass-word ~* &* +@all")
        server.until(lambda: len(server.lines()) > 1)
        server.until(lambda: server.get("/readyz").status_code == 200)

    assert len(server.lines()) == 2, server.lines()
    assert f"INFO llmchat.outages: Redis at {place} answers again" in server.lines()[1]
    assert "pass-word" not in "".join(server.lines())


@pytest.mark.parametrize("password", [":wrong-word@", ""])
def test_a_wrong_password_of_redis_is_told_in_words(
    database: Path, tmp_path: Path, absent_redis: RedisServer, password: str
) -> None:
    absent_redis.start(acl="default on >right-word ~* &* +@all")
    place = f"127.0.0.1:{absent_redis.port}"
    url = f"redis://{password}{place}/0"
    with started(database, tmp_path / "log", url, 1) as server:
        assert server.get("/readyz").json()["notReady"] == ["redis"]

    (line,) = server.lines()
    assert f"Redis at {place} {AWAY}: it does not accept the user name and" in line
    assert "password of REDIS_URL" in line
    assert "wrong-word" not in line

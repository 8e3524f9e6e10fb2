"""The PostgreSQL engine: timeouts that PgBouncer accepts, and which setting wins."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import environ
import psycopg
import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler
from pytest_django.plugin import DjangoDbBlocker

from llmchat.engines.postgresql.base import DatabaseWrapper
from tests.support import live

SHOW = """
import django; django.setup()
from django.db import connection
from llmchat import database
database.is_serving = {serving}
with connection.cursor() as cursor:
    for name in ("lock_timeout", "statement_timeout"):
        cursor.execute("SHOW " + name)
        print(cursor.fetchone()[0])
"""
# Requests for encryption come first, and have these codes in place of a version.
_ENCRYPTION = (80877103, 80877104)


async def timeouts(url: str, *, serving: bool = True) -> tuple[int, list[str], str]:
    """Return a process's exit status, the server's timeouts in it, and its errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SHOW.format(serving=serving),
        cwd=live.ROOT,
        env={**live.environment(live.ROOT), "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode().split(), errors.decode()


@asynccontextmanager
async def bouncer(url: str) -> AsyncIterator[str]:
    """Stand in for PgBouncer in front of the server: refuse `options`."""
    directory = url.partition("host=")[2]
    pipes: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = await _start_of(reader, writer)
        if b"\0options\0" in start:
            said = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
            writer.write(b"E" + struct.pack("!i", len(said) + 4) + said)
            writer.close()
            return
        path = os.path.join(directory, ".s.PGSQL.5432")
        inner_reader, inner_writer = await asyncio.open_unix_connection(path)
        inner_writer.write(start)
        for pair in ((reader, inner_writer), (inner_reader, writer)):
            pipes.add(asyncio.create_task(_pipe(*pair)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"postgres://postgres@127.0.0.1:{port}/postgres"
    finally:
        server.close()
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def _start_of(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!ii", head)
        if code not in _ENCRYPTION:
            return head + await reader.readexactly(length - 8)
        writer.write(b"N")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def test_pgbouncer_lets_it_in_and_the_timeouts_are_set(postgres: str) -> None:
    async with bouncer(postgres) as url:
        assert (await timeouts(url))[:2] == (0, ["4s", "20s"])
        assert (await timeouts(f"{url}?pool=0"))[:2] == (0, ["4s", "20s"])


async def test_pgbouncer_says_what_it_refuses(postgres: str) -> None:
    """The stand-in is as strict as the real one."""
    async with bouncer(postgres) as url:
        status, _, errors = await timeouts(f"{url}?pool=0&options=-c%20geqo=off")
        assert status == 1
        assert "unsupported startup parameter: options" in errors


def engine_for(url: str, name: str) -> DatabaseWrapper:
    config = {"default": environ.Env.db_url_config(url) | {"NAME": name}}
    wrapper = ConnectionHandler(config).create_connection("default")
    return DatabaseWrapper(wrapper.settings_dict)


def test_a_server_that_lets_nobody_else_in_is_not_away(postgres: str) -> None:
    engine_for(postgres, "postgres").probe()
    engine_for(postgres, "no-such-database").probe()


def test_a_server_that_is_not_there_is_away() -> None:
    nowhere = f"postgres://postgres@127.0.0.1:{live.free_port()}/postgres"
    with pytest.raises(psycopg.OperationalError):
        engine_for(nowhere, "postgres").probe()


async def test_commands_may_take_their_time(postgres: str) -> None:
    assert (await timeouts(postgres, serving=False))[:2] == (0, ["10s", "0"])


async def test_what_the_address_says_wins(postgres: str) -> None:
    url = f"{postgres}&options=-c%20lock_timeout%3D3s"
    assert (await timeouts(url))[:2] == (0, ["3s", "20s"])


@pytest.fixture
def engine(
    postgres: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[DatabaseWrapper]:
    with django_db_blocker.unblock():
        engine = engine_for(postgres, "postgres")
        yield engine
        engine.close()


def test_a_server_that_takes_no_writes_any_more_is_left(
    engine: DatabaseWrapper,
) -> None:
    """It was the primary and is now a standby: the next connection leads elsewhere."""
    with engine.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    with pytest.raises(OperationalError), engine.cursor() as cursor:
        cursor.execute("CREATE TABLE written (id int)")
    engine.close_if_unusable_or_obsolete()
    with engine.cursor() as cursor:
        cursor.execute("CREATE TABLE written (id int)")
        cursor.execute("DROP TABLE written")


def test_a_transaction_in_which_the_process_was_suspended_may_be_repeated(
    engine: DatabaseWrapper, postgres: str
) -> None:
    engine.set_autocommit(False)
    with engine.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '10ms'")
        cursor.execute("SELECT 1")
    pid = engine.connection.info.backend_pid
    with psycopg.connect(postgres, autocommit=True) as other:
        while other.execute(
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]
        ).fetchone():
            pass  # the server has not ended it yet
    with pytest.raises(OperationalError), engine.cursor() as cursor:
        cursor.execute("SELECT 1")

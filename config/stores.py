"""Check that clients can use every part of the addresses of databases and Redis.

The clients themselves either ignore a mistake or report it only when they connect, when
it is taken for an outage. None of these checks connects to a server.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any
from urllib.parse import urlsplit

# Options that Django, its engine and psycopg remove before libpq sees the rest.
_NOT_OF_LIBPQ = {
    *("assume_role", "isolation_level", "pool", "prepare_threshold"),
    "server_side_binding",
}
# Options that Django removes before SQLite sees the rest.
_NOT_OF_SQLITE = {"init_command", "transaction_mode"}


class OptionError(ValueError):
    """An option of an address is wrong; says which one and why, but not its value."""


def check_libpq(raw: str, options: dict[str, Any]) -> None:
    """Check that libpq knows each option of an address.

    Raises: OptionError.
    """
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import make_conninfo
    except ImportError:  # Django reports what is missing
        return
    for option in sorted(options.keys() - _NOT_OF_LIBPQ):
        try:
            make_conninfo(**{option: "1"})
        except ProgrammingError as exc:
            raise OptionError(
                f"has an option that libpq does not know{_named(option, raw)}"
            ) from exc


def check_sqlite(raw: str, options: dict[str, Any]) -> None:
    """Check that SQLite can use each option of an address.

    Raises: OptionError.
    """
    for option in sorted(options.keys() - _NOT_OF_SQLITE):
        try:
            sqlite3.connect(":memory:", **{option: options[option]}).close()
        except (ArithmeticError, TypeError, ValueError, sqlite3.Error) as exc:
            raise OptionError(
                f"has an option that SQLite cannot use{_named(option, raw)}"
            ) from exc


def check_redis(raw: str) -> None:
    """Check an address of Redis, and each of its options.

    Raises: OptionError; ValueError, if the address itself is wrong.
    """
    address, _, query = raw.partition("?")
    _check_redis_address(address)
    for part in filter(None, query.split("&")):
        option, is_given, _ = part.partition("=")
        try:
            if not is_given:  # the client would ignore it
                raise ValueError(part)
            _make_connections(f"{address}?{part}")
        except ValueError as exc:
            raise OptionError(
                f"has an option that Redis's client cannot use{_named(option, raw)}"
            ) from exc


def _named(option: str, raw: str) -> str:
    """Return ": " and the name of an option, "" if it could be a piece of a password.

    It could be one if the address has a password with characters that were not escaped.
    """
    is_name = re.fullmatch(r"[A-Za-z_]+", option)
    may_be_secret = _SECRET.search(raw.partition("?")[2])
    return f": {option}" if is_name and not may_be_secret else ""


_SECRET = re.compile(r"@|password=", re.IGNORECASE)


def _check_redis_address(address: str) -> None:
    """Check an address without its options, even for mistakes that the client ignores.

    Raises: ValueError.
    """
    parts = urlsplit(address)
    if not _REDIS.match(address) or parts.port == 0:
        raise ValueError(address)
    if parts.scheme == "unix":
        # Any other host is really a part of the path, which the client would ignore.
        is_whole = bool(parts.path) and parts.hostname in {None, "localhost"}
    else:
        (parts.hostname or "localhost").encode("idna")
        is_whole = _REDIS_NUMBER.fullmatch(parts.path) is not None
    if not is_whole:
        raise ValueError(address)
    _make_connections(address)


_REDIS = re.compile(r"(redis|rediss|unix)://", re.IGNORECASE)
_REDIS_NUMBER = re.compile(r"(/[0-9]*)?/?")


def _make_connections(url: str) -> None:
    """Create a connection of each kind that will be used, without connecting it.

    Raises: ValueError.
    """
    import redis.asyncio

    for kind in (redis.ConnectionPool, redis.asyncio.ConnectionPool):
        try:
            kind.from_url(url).make_connection()
        except Exception as exc:  # the client raises many kinds
            raise ValueError(url) from exc

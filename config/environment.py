"""Reading of the environment: a value that cannot be read stops the start.

Every getter treats an empty variable as one that is not set, because that is what
a line `NAME=` copied from `.env.example` means. What cannot be read ends the
process with one line on stderr that names the variable, never with a traceback and
never with the value, which may be a secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet

T = TypeVar("T")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def refuse(name: str, problem: str) -> NoReturn:
    """End the start with one line that names the variable.

    Raises: SystemExit, which Python prints and no server catches.
    """
    raise SystemExit(f"llmchat: {name} {problem}")


def read_dotenv(default: Path) -> None:
    """Add the variables of the `.env` file; those already set win.

    `LLMCHAT_ENV_FILE` names another file; empty, it switches the file off.
    """
    named = os.environ.get("LLMCHAT_ENV_FILE")
    path = default if named is None else Path(named)
    if named == "" or (named is None and not path.is_file()):
        return
    if not path.is_file():
        refuse("LLMCHAT_ENV_FILE", "names a file that does not exist")
    environ.Env.read_env(str(path))


def _read(name: str, parse: Callable[[str], T], default: T, must_be: str) -> T:
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    try:
        return parse(raw)
    except ValueError:
        refuse(name, f"must be {must_be}")


def text(name: str, default: str = "") -> str:
    """Return the variable as it stands, without the white space around it."""
    return _read(name, str, default, "text")


def boolean(name: str, default: bool) -> bool:
    """Return the variable as a switch: 1/true/yes/on or 0/false/no/off."""

    def parse(raw: str) -> bool:
        word = raw.lower()
        if word not in _TRUE | _FALSE:
            raise ValueError(word)
        return word in _TRUE

    return _read(name, parse, default, "1 or 0 (also true/false, yes/no, on/off)")


def integer(name: str, default: int, *, least: int, most: int = 2**31 - 1) -> int:
    """Return the variable as a whole number within its limits."""

    def parse(raw: str) -> int:
        value = int(raw)
        if not least <= value <= most:
            raise ValueError(value)
        return value

    return _read(name, parse, default, f"a whole number between {least} and {most}")


def seconds(name: str, default: float, *, most: float = 86_400.0) -> float:
    """Return the variable as a positive number of seconds, at most a day."""

    def parse(raw: str) -> float:
        value = float(raw)
        if not 0 < value <= most:
            raise ValueError(value)
        return value

    return _read(name, parse, default, f"seconds, above 0 and at most {most:g}")


def names(name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the variable's values, separated by commas, without empty ones."""

    def parse(raw: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in raw.split(",") if part.strip())

    return _read(name, parse, default, "names separated by commas")


def fernet_keys(name: str) -> tuple[str, ...]:
    """Return the variable's Fernet keys, separated by commas."""

    def parse(raw: str) -> tuple[str, ...]:
        keys = tuple(part.strip() for part in raw.split(",") if part.strip())
        for key in keys:
            Fernet(key)
        return keys

    return _read(
        name, parse, (), "Fernet keys (44 characters each), separated by commas"
    )


def _is_http_url(value: str) -> bool:
    parts = urlsplit(value)
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and (parts.port is None or parts.port > 0)
        and not any(character.isspace() for character in value)
    )


def http_url(name: str, default: str) -> str:
    """Return the variable as an http(s) address without a slash at its end."""

    def parse(raw: str) -> str:
        if not _is_http_url(raw):
            raise ValueError(raw)
        return raw.rstrip("/")

    return _read(
        name, parse, default, "an address that begins with http:// or https://"
    )


def origins(name: str) -> tuple[str, ...]:
    """Return the variable as browser origins: scheme, host, port and no path."""

    def parse(raw: str) -> tuple[str, ...]:
        values = tuple(part.strip() for part in raw.split(",") if part.strip())
        for value in values:
            parts = urlsplit(value)
            if not _is_http_url(value) or parts.path or parts.query or parts.fragment:
                raise ValueError(value)
        return tuple(value.lower() for value in values)

    return _read(
        name, parse, (), "origins such as https://app.example.com, separated by commas"
    )


def database(name: str, default: str) -> dict[str, Any]:
    """Return the variable's database address as Django's settings for it."""

    def parse(raw: str) -> dict[str, Any]:
        if urlsplit(raw).scheme not in {"sqlite", "postgres", "postgresql"}:
            raise ValueError(raw)
        settings = dict(environ.Env.db_url_config(raw))
        if not settings.get("NAME"):
            raise ValueError(raw)
        options = settings.get("OPTIONS", {})
        if "pool" in options:
            if str(options["pool"]).lower() not in _FALSE:
                raise ValueError(raw)
            options["pool"] = False
        elif settings.get("CONN_MAX_AGE"):
            raise ValueError(raw)  # Django's pool keeps the connections
        return settings

    return _read(
        name,
        parse,
        parse(default),
        "an address that begins with sqlite:// or postgres://",
    )


def redis_url(name: str) -> str:
    """Return the variable as the address of a Redis, empty where there is none."""

    def parse(raw: str) -> str:
        if urlsplit(raw).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError(raw)
        return raw

    return _read(name, parse, "", "an address that begins with redis://")

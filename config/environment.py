"""Getters for environment variables; an invalid value stops the start.

Every getter treats an empty variable as not set, because that is what a line `NAME=`
copied from `.env.example` means. An invalid value ends the process with one line on
stderr that names the variable, without a traceback and without the value, which may be
a secret.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet

from config import dotenv, stores
from config.stores import OptionError

T = TypeVar("T")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def refuse(name: str, problem: str) -> NoReturn:
    """Exit with one line that names the variable.

    Raises: SystemExit, which Python prints and no server catches.
    """
    raise SystemExit(f"llmchat: {name} {problem}")


def read_dotenv(default: Path) -> None:
    """Add the variables of the `.env` file; those that are already set win.

    A blank variable counts as not set.

    `LLMCHAT_ENV_FILE` names another file; if it is empty, no file is read.
    """
    named = os.environ.get("LLMCHAT_ENV_FILE")
    path = default if named is None else Path(named)
    if named == "" or (named is None and not path.is_file()):
        return
    if not path.is_file():
        refuse("LLMCHAT_ENV_FILE", "names a file that does not exist")
    try:
        variables = dotenv.parse(path.read_bytes())
    except OSError as exc:
        refuse(str(path), f"cannot be read: {exc.strerror}")
    except dotenv.LineError as exc:
        refuse(f"line {exc.number} of {path}", "cannot be read: write NAME=value")
    for name, value in variables.items():
        if not os.environ.get(name, "").strip():
            os.environ[name] = value


def report_misspelt(*known: str) -> None:
    """Print each `LLMCHAT_` variable that nothing reads, and the nearest known name.

    Called when all settings were read. `known` are the names, without the prefix, of
    variables that are read elsewhere.
    """
    names = _names_read.union(f"LLMCHAT_{name}" for name in known)
    for name in sorted(os.environ):
        is_ours = name.startswith("LLMCHAT_") and not _FOREIGN.match(name)
        if not is_ours or name in names:
            continue
        near = difflib.get_close_matches(name, names, 1)
        hint = f": did you mean {near[0]}?" if near else ""
        print(f"llmchat: {name} is not a setting{hint}", file=sys.stderr)


# Variables of the tests, and those that Kubernetes sets for a service named llmchat.
_FOREIGN = re.compile(r"LLMCHAT_(TEST_|SERVICE_(HOST|PORT)|PORT(_\d|$))")
_names_read: set[str] = set()


def _read(name: str, parse: Callable[[str], T], default: T, must_be: str) -> T:
    _names_read.add(name)
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    try:
        return parse(raw)
    except OptionError as exc:
        refuse(name, str(exc))
    except (ValueError, OSError):
        refuse(name, f"must be {must_be}")


def text(name: str, default: str = "") -> str:
    """Return the variable without surrounding white space."""
    return _read(name, str, default, "text")


def boolean(name: str, default: bool) -> bool:
    """Return the variable as a boolean: 1/true/yes/on or 0/false/no/off."""

    def parse(raw: str) -> bool:
        word = raw.lower()
        if word not in _TRUE | _FALSE:
            raise ValueError(word)
        return word in _TRUE

    return _read(name, parse, default, "1 or 0 (also true/false, yes/no, on/off)")


def integer(name: str, default: int, *, least: int, most: int = 2**31 - 1) -> int:
    """Return the variable as an integer within limits."""

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
    """Return the comma-separated values of the variable, without empty ones."""

    def parse(raw: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in raw.split(",") if part.strip())

    return _read(name, parse, default, "names separated by commas")


def networks(name: str, *, anybody: bool = False) -> tuple[str, ...]:
    """Return the variable as networks in CIDR notation; a single address is also one.

    `anybody` also allows a single `*`, which means all addresses.
    """

    def parse(raw: str) -> tuple[str, ...]:
        if anybody and raw == "*":
            return ("*",)
        parts = (part.strip() for part in raw.split(","))
        return tuple(str(ip_network(part, strict=False)) for part in parts if part)

    must_be = "addresses or networks such as 10.0.0.0/8, separated by commas"
    return _read(name, parse, (), must_be + (", or just *" if anybody else ""))


def tidy(name: str) -> None:
    """Strip white space from a variable that other code reads from the environment.

    A blank variable is removed, because other code would take it for set.
    """
    value = os.environ.get(name)
    if value is None:
        return
    if value.strip():
        os.environ[name] = value.strip()
    else:
        del os.environ[name]


def file(name: str) -> str:
    """Return the variable as the path of a readable file, "" if it is not set."""

    def parse(raw: str) -> str:
        with open(raw, "rb"):
            return raw

    return _read(name, parse, "", "a file that can be read")


def folders(name: str) -> str:
    """Return the variable as paths of folders, at least one of which exists."""

    def parse(raw: str) -> str:
        if not any(Path(part).is_dir() for part in raw.split(os.pathsep)):
            raise ValueError(raw)
        return raw

    return _read(name, parse, "", "a folder")


def fernet_keys(name: str) -> tuple[str, ...]:
    """Return the comma-separated Fernet keys of the variable."""

    def parse(raw: str) -> tuple[str, ...]:
        keys = tuple(part.strip() for part in raw.split(",") if part.strip())
        for key in keys:
            Fernet(key)
        return keys

    return _read(
        name, parse, (), "Fernet keys (44 characters each), separated by commas"
    )


def _check_http_url(value: str) -> None:
    """Check an address to which paths are added, as the admin checks a provider's.

    Raises: ValueError; OptionError, if a part of the address must be left out.
    """
    parts = urlsplit(value)
    if "@" in parts.netloc:
        raise OptionError("has a user name or password: leave it out, and set a key")
    if parts.query or parts.fragment or value.endswith(("?", "#")):
        raise OptionError("has a query: leave out everything from ? or # on")
    if (
        parts.scheme not in {"http", "https"}
        or not _is_host(parts.hostname or "")
        or parts.port == 0
        or any(character.isspace() for character in value)
    ):
        raise ValueError(value)


def _is_host(host: str) -> bool:
    if ":" in host:  # IPv6, whose form urlsplit has checked
        return True
    name = host.encode("idna").decode()
    return bool(_HOST.fullmatch(name)) and ".." not in name


_HOST = re.compile(r"[A-Za-z0-9_.-]+")


def http_url(name: str, default: str) -> str:
    """Return the variable as an HTTP(S) URL without a trailing slash.

    It has no user name, password, query or fragment.
    """

    def parse(raw: str) -> str:
        _check_http_url(raw)
        return raw.rstrip("/")

    return _read(
        name, parse, default, "an address that begins with http:// or https://"
    )


def url_prefix(name: str) -> str:
    """Return the variable as the beginning of a path, without a trailing slash."""

    def parse(raw: str) -> str:
        if not _PREFIX.fullmatch(raw):
            raise ValueError(raw)
        return raw.rstrip("/")

    return _read(name, parse, "", "a path that begins with a slash, such as /team/chat")


_PREFIX = re.compile(r"(/[A-Za-z0-9_.~-]+)*/?")


def origins(name: str, *, apps: bool = False) -> tuple[str, ...]:
    """Return the variable as origins of browsers: scheme, host and port, no path.

    A host can begin with `*.`, which means all its subdomains. `apps` also allows other
    schemes, such as `capacitor://localhost`.
    """

    def parse(raw: str) -> tuple[str, ...]:
        values = (part.strip() for part in raw.split(","))
        return tuple(_origin(value, apps=apps) for value in values if value)

    return _read(
        name,
        parse,
        (),
        "origins such as https://app.example.com or https://*.example.com,"
        " separated by commas",
    )


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _origin(value: str, *, apps: bool) -> str:
    """Return an origin in the form in which browsers send it.

    Raises: ValueError, if it is not an origin.
    """
    scheme, separator, rest = value.lower().partition("://")
    parts = urlsplit(f"//{rest}")
    host = (parts.hostname or "").encode("idna").decode() if rest else ""
    is_web = scheme in _DEFAULT_PORTS
    if not separator or not (is_web or (apps and _SCHEME.fullmatch(scheme))):
        raise ValueError(value)
    if not host or "@" in rest or any(sign in rest for sign in "/?# \t\\"):
        raise ValueError(value)
    if "*" in host and (not is_web or not _WILDCARD.fullmatch(host)):
        raise ValueError(value)
    if ":" in host:
        host = f"[{host}]"
    port = parts.port
    if port == 0:
        raise ValueError(value)
    if port is None or port == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{port}"


_WILDCARD = re.compile(r"\*(\.[^*.]+){2,}")


def database(name: str, default: str) -> dict[str, Any]:
    """Return the variable, a database URL, as Django's settings."""

    def parse(raw: str) -> dict[str, Any]:
        if urlsplit(raw).scheme not in {"sqlite", "postgres", "postgresql"}:
            raise ValueError(raw)
        settings = dict(environ.Env.db_url_config(raw))
        if not settings.get("NAME"):
            raise ValueError(raw)
        options = settings.get("OPTIONS", {})
        _make_booleans(settings, _DJANGO_BOOLEANS)
        _make_booleans(options, _ENGINE_BOOLEANS)
        _check_connections(settings, options)
        is_sqlite = "sqlite" in settings["ENGINE"]
        (stores.check_sqlite if is_sqlite else stores.check_libpq)(raw, options)
        return settings

    return _read(
        name,
        parse,
        parse(default),
        "an address that begins with sqlite:// or postgres://",
    )


def _check_connections(settings: dict[str, Any], options: dict[str, Any]) -> None:
    """Check the options of an address that say how long connections are kept.

    Raises: OptionError.
    """
    age = settings.get("CONN_MAX_AGE", 0)
    if age is not None and (type(age) is not int or age < 0):
        raise OptionError("has a CONN_MAX_AGE that is not a number of seconds")
    if "sqlite" in settings["ENGINE"]:
        if "pool" in options:
            raise OptionError(
                "has a pool option, which only PostgreSQL supports: leave it out"
            )
        return
    if options.get("pool"):
        raise OptionError(
            "has a pool option that is on: leave it out and set DATABASE_POOL_SIZE"
        )
    if age != 0 and "pool" not in options:
        raise OptionError("has a CONN_MAX_AGE, which works only with pool=0: add it")


_DJANGO_BOOLEANS = (
    "ATOMIC_REQUESTS",
    "AUTOCOMMIT",
    "CONN_HEALTH_CHECKS",
    "DISABLE_SERVER_SIDE_CURSORS",
)
_ENGINE_BOOLEANS = ("pool", "server_side_binding", "check_same_thread", "uri")


def _make_booleans(options: dict[str, Any], names: tuple[str, ...]) -> None:
    """Turn words in an address into booleans; to Django, any word would be true.

    Raises: OptionError.
    """
    for name in names:
        if name not in options:
            continue
        word = str(options[name]).lower()
        if word not in _TRUE | _FALSE:
            raise OptionError(f"has an option {name} that is neither true nor false")
        options[name] = word in _TRUE


def redis_url(name: str) -> str:
    """Return the variable as the URL of a Redis, "" if it is not set."""

    def parse(raw: str) -> str:
        stores.check_redis(raw)
        return raw

    return _read(
        name, parse, "", "an address such as redis://localhost:6379/0 or unix:///path"
    )

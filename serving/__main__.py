"""Start the production server with the project's settings: `python -m serving`.

It is uvicorn, with the options that measured best.
"""

from __future__ import annotations

import atexit
import ipaddress
import logging
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

import django
from django.conf import settings
from django.db import DatabaseError, connection
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from serving.listen import ListenError, listen

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

logger = logging.getLogger("serving")

# Files and connections of a process beside those of its clients.
_SPARE_FILES = 512


def options() -> dict[str, Any]:
    """Return uvicorn's options for the settings as they are."""
    return {
        "app": "config.asgi:application",
        "workers": settings.WEB_CONCURRENCY,
        "loop": "uvloop",
        "http": "serving.protocols:HttpProtocol",
        "ws": "serving.protocols:WebSocketProtocol",
        "ws_per_message_deflate": False,
        # Engine.IO has a heartbeat and a limit of its own, the same for polling.
        "ws_max_size": settings.LLMCHAT["max_payload_bytes"],
        "ws_ping_interval": None,
        "timeout_keep_alive": settings.LLMCHAT["keep_alive_s"],
        "timeout_graceful_shutdown": 10,
        "access_log": False,
        "server_header": False,
        # Logging is Django's.
        "log_config": None,
        "log_level": "warning",
        "proxy_headers": bool(settings.FORWARDED_ALLOW_IPS),
        "forwarded_allow_ips": trusted_proxies(settings.FORWARDED_ALLOW_IPS),
    }


def trusted_proxies(listed: str) -> list[str]:
    """Return the proxies that are believed, also as a server on `::` sees them."""
    proxies = [part.strip() for part in listed.split(",") if part.strip()]
    mapped = []
    for proxy in proxies:
        with suppress(ValueError):
            network = ipaddress.IPv4Network(proxy)
            bits = 96 + network.prefixlen
            mapped.append(f"::ffff:{network.network_address}/{bits}")
    return [*proxies, *mapped]


def main() -> None:
    """Listen, say where, and serve until a signal comes."""
    # What comes before the server takes the signals, and again when it has stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    django.setup()
    try:
        sockets = listen(settings.HOST, settings.PORT)
    except ListenError as exc:
        sys.exit(f"llmchat: {exc}")
    print(f"Serving on http://localhost:{settings.PORT}", flush=True)
    logger.debug("uvicorn with %s", options())
    _tell_of_missing_accounts()
    _allow_open_files(settings.LLMCHAT["max_connections"] + _SPARE_FILES)
    config = Config(**options())
    if config.workers == 1:
        _serve_alone(config, sockets)
    else:
        _serve_with_workers(config, sockets)


def _leave(*_: Any) -> None:
    """Called when all is done. End at once.

    The interpreter's own end waits for every thread, and one may hang in a database.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


def _serve_alone(config: Config, sockets: list[Any]) -> None:
    server = Server(config)
    server.run(sockets)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _serve_with_workers(config: Config, sockets: list[Any]) -> None:
    supervisor = Multiprocess(config, sockets)
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def _tell_of_missing_accounts() -> None:
    from accounts.models import User

    try:
        if not User.objects.exists():
            print(
                "There is no account yet: `python manage.py createsuperuser` makes one",
                flush=True,
            )
    except DatabaseError:
        logger.warning("the database does not answer, or has not been migrated")
    finally:
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count or soft == resource.RLIM_INFINITY:
        return
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < count:
        logger.warning(
            "LLMCHAT_MAX_CONNECTIONS is more than the %d files that a process may open",
            hard,
        )


if __name__ == "__main__":
    main()

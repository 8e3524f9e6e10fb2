"""Start the production server: `python -m serving`.

It is uvicorn, with the options that were fastest in measurements.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    # Imported modules are never freed: searching them for garbage takes a tenth of the
    # start. `serving/garbage.py` turns the collector on again.
    gc.disable()

import atexit
import ipaddress
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import django
from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, connection
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE

from llmchat import cache
from serving.listen import ListenError, listen
from serving.supervisor import Supervisor

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

logger = logging.getLogger("serving")

# Open files that a process needs besides the connections of its clients.
_SPARE_FILES = 512


def options() -> dict[str, Any]:
    """Return uvicorn's options from the settings."""
    return {
        "app": "config.asgi:application",
        "workers": settings.WEB_CONCURRENCY,
        "loop": "uvloop",
        # If the lifespan's startup fails, the process ends: it could not drain.
        "lifespan": "on",
        "http": "serving.http_protocol:HttpProtocol",
        "ws": "serving.websocket_protocol:WebSocketProtocol",
        "ws_per_message_deflate": False,
        # Engine.IO has its own heartbeat and size limit, for polling as well.
        "ws_max_size": settings.LLMCHAT["max_payload_bytes"],
        "ws_ping_interval": None,
        "timeout_keep_alive": settings.LLMCHAT["keep_alive_s"],
        "timeout_graceful_shutdown": 10,
        "access_log": False,
        "server_header": False,
        # Django configures logging.
        "log_config": None,
        "log_level": "warning",
        "proxy_headers": bool(settings.FORWARDED_ALLOW_IPS),
        "forwarded_allow_ips": trusted_proxies(settings.FORWARDED_ALLOW_IPS),
    }


def trusted_proxies(proxies: Sequence[str]) -> list[str]:
    """Return the trusted proxies, and each IPv4 one as a server on `::` sees it."""
    mapped = []
    for proxy in proxies:
        with suppress(ValueError):  # an IPv6 network, or `*`
            network = ipaddress.IPv4Network(proxy)
            bits = 96 + network.prefixlen
            mapped.append(f"::ffff:{network.network_address}/{bits}")
    return [*proxies, *mapped]


def main() -> None:
    """Listen, print the address, and serve until a signal."""
    # These handlers apply until the server handles the signals itself
    # (serving/draining.py), and again after it has stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    django.setup()
    try:
        sockets = listen(settings.HOST, settings.PORT)
    except ListenError as exc:
        sys.exit(f"llmchat: {exc}")
    base = settings.FORCE_SCRIPT_NAME or ""
    print(f"Serving on http://localhost:{settings.PORT}{base}", flush=True)
    logger.debug("uvicorn with %s", options())
    _mention_missing_account()
    _mention_missing_redis()
    _allow_open_files(settings.LLMCHAT["max_connections"] + _SPARE_FILES)
    config = Config(**options())
    if config.workers == 1:
        _serve_alone(config, sockets)
    else:
        _serve_with_workers(config, sockets)


def _leave(*_: Any) -> None:
    """Exit immediately; called on a signal while there is nothing to drain.

    A normal exit waits for every thread, and one may hang in a database call.
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
    gc.enable()
    cache.tell_workers()
    supervisor = Supervisor(config, sockets)
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def _mention_missing_account() -> None:
    from accounts.models import User

    try:
        if not User.objects.exists():
            print(
                "There is no account yet: `python manage.py createsuperuser` creates"
                " one",
                flush=True,
            )
    except DatabaseError:
        logger.warning("the database does not answer, or has not been migrated")
    finally:
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def _mention_missing_redis() -> None:
    """Log that Redis cannot be reached, once for all workers.

    The probes of this process log its return.
    """
    shared = caches["default"]
    if isinstance(shared, cache.SharedCache):
        shared.is_shared()


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count or soft == resource.RLIM_INFINITY:
        return
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < count:
        logger.warning(
            "LLMCHAT_MAX_CONNECTIONS exceeds the %d files that a process may open",
            hard,
        )


if __name__ == "__main__":
    main()

"""The ASGI application: sockets go to the consumers, everything else to Django."""

from __future__ import annotations

import os
from typing import Any

import django
from channels.routing import URLRouter
from django.conf import settings
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

# These import Django applications, which are loaded only now.
from llmchat import conf, database, routing  # noqa: E402
from llmchat.urls import ANSWERS  # noqa: E402
from serving.body_limit import BodyLimit, Receive, Scope, Send  # noqa: E402
from serving.draining import Draining  # noqa: E402
from serving.heartbeat import Heartbeat  # noqa: E402
from serving.in_loop import Handler  # noqa: E402
from serving.lifespan import Lifespan  # noqa: E402
from serving.mount import Mounted, unmounted  # noqa: E402
from serving.send_limit import SendLimit  # noqa: E402

database.is_serving = True
prefix: str = settings.FORCE_SCRIPT_NAME or ""
django_application: Any = Handler()
mounted: Any = Mounted(django_application, prefix)

# Django holds a thread for each request, and a chat request lasts as long as its
# answer. `handle` is Django without that thread.
chat: Any = SendLimit(
    Heartbeat(Mounted(django_application.handle, prefix)),
    lambda: conf.get().idle_timeout_s,
)
http = URLRouter(
    [
        *(re_path(rf"^{pattern}$", chat) for pattern in ANSWERS),
        re_path(r"", mounted),
    ]
)
real_time = routing.build(BodyLimit(http, lambda: conf.get().max_payload_bytes))

draining = Draining(real_time)
lifespan: Any = Lifespan(real_time, draining)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    # Sockets below no prefix need neither a new path nor, for that, another scope.
    if prefix or scope["path"] != routing.PATH:
        scope = unmounted(scope, prefix)
    # daphne has no lifespan, so the first request marks the start of serving.
    draining.watch()
    if scope["type"] == "websocket":
        # Whatever wraps this call is kept in memory for as long as the socket lives.
        await real_time.websocket(scope, receive, send)
        return
    with draining.serving(scope, send):
        await real_time.http(scope, receive, send)

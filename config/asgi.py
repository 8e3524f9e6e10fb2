"""The ASGI application: sockets to the consumers, everything else to Django."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()

# Only now are the applications loaded that these import.
from config.body_limit import BodyLimit  # noqa: E402
from config.lifespan import Lifespan  # noqa: E402
from llmchat import conf, routing  # noqa: E402

real_time = routing.build(
    BodyLimit(django_application, lambda: conf.get().max_payload_bytes)
)

application = ProtocolTypeRouter(
    {
        "http": real_time.http,
        "websocket": real_time.websocket,
        "lifespan": Lifespan(real_time),
    }
)

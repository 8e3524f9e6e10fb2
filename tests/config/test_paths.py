"""Which application a path leads to: the sockets, or what is beside them."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from channels.routing import URLRouter
from django.urls import re_path
from hypothesis import given
from hypothesis import strategies as st

from config import asgi
from llmchat import routing
from serving.mount import unmounted

PREFIXES = ("", "/team/chat", "/socket.io")
PATHS = (
    "/socket.io/",
    "/socket.io",
    "//socket.io/",
    "socket.io/",
    "/socket.io/\n",
    "/socket.io/\r\n",
    "/socket.io//",
    "/socket.io/x",
    "/socket.io/socket.io/",
    "/Socket.io/",
    "/socketxio/",
    "/socket%2Eio/",
    "/team/chat/socket.io/",
    "/team/chat//socket.io/",
    "/team/chats/socket.io/",
    "/team/chat",
    "/",
    "",
)
Seen = list[tuple[str, str]]


def noting(seen: Seen, name: str) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append((name, scope["path"]))

    return application


def led_to(scope: dict[str, Any], prefix: str) -> Seen:
    """Return where the application leads, and the path that is seen there."""
    seen: Seen = []
    routed = {
        kind: routing.route(noting(seen, "sockets"), noting(seen, "others"))
        for kind in ("http", "websocket")
    }
    draining = SimpleNamespace(
        watch=lambda: None, serving=lambda scope, send: nullcontext()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asgi, "prefix", prefix)
        patch.setattr(asgi, "real_time", SimpleNamespace(**routed))
        patch.setattr(asgi, "draining", draining)
        asyncio.run(asgi.application(scope, None, None))
    return seen


def routed_to(scope: dict[str, Any], prefix: str) -> Seen:
    """Return the same of a router that has every path."""
    seen: Seen = []
    router = URLRouter(
        [
            re_path(r"^socket\.io/$", noting(seen, "sockets")),
            re_path(r"", noting(seen, "others")),
        ]
    )
    asyncio.run(router(unmounted(scope, prefix), None, None))
    return seen


def scope_of(path: str, kind: str = "http", root_path: str = "") -> dict[str, Any]:
    return {"type": kind, "path": path, "root_path": root_path}


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("root_path", ["", "/team/chat", "/socket.io"])
def test_each_spelling_leads_where_the_router_would_lead(
    root_path: str, prefix: str, kind: str
) -> None:
    scopes = {path: scope_of(path, kind, root_path) for path in PATHS}

    led = {path: led_to(scope, prefix) for path, scope in scopes.items()}

    assert led == {path: routed_to(scope, prefix) for path, scope in scopes.items()}


@given(
    st.lists(st.sampled_from(["/", "socket.io", "team", "chat", "\n", "\r", ".", "x"])),
    st.sampled_from(PREFIXES),
)
def test_any_path_leads_where_the_router_would_lead(
    parts: list[str], prefix: str
) -> None:
    scope = scope_of("".join(parts))

    assert led_to(scope, prefix) == routed_to(scope, prefix)


def test_the_scope_is_left_as_it_was() -> None:
    for path in ("/socket.io/", "/team/chat/socket.io/", "/llm"):
        scope = scope_of(path, root_path="/root")
        led_to(scope, "/team/chat")
        assert scope == scope_of(path, root_path="/root")

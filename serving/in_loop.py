"""Django's own middleware without a thread for each of its steps.

Django runs what a middleware does before and after a view in a thread, in case it
waits: a dozen thread switches for each request. The middleware here are quick, except
when a session is stored or a form is read, and only then do they borrow a thread.

The settings name the stock classes, because Django's checks look for them; `Handler`
replaces them with these.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware

from serving.middleware import HostMiddleware
from serving.requests import TakesRequests

_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")


class _InLoop:
    """Calls the steps of a middleware, in place of `MiddlewareMixin`."""

    get_response: Any

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Called with every request."""
        step: Any = getattr(self, "process_request", None)
        response: HttpResponseBase | None = step(request) if step else None
        if response is None:
            response = await self.get_response(request)
            assert response is not None
        step = getattr(self, "process_response", None)
        if step is None:
            return response
        if self.waits(request):
            step = sync_to_async(step, thread_sensitive=True)
            found: HttpResponseBase = await step(request, response)
        else:
            found = step(request, response)
        return found

    def waits(self, request: HttpRequest) -> bool:
        """Return whether `process_response` may have to wait, and so needs a thread."""
        return False


class Security(_InLoop, SecurityMiddleware):
    """The redirects to HTTPS, and headers."""


class Session(_InLoop, SessionMiddleware):
    """The session, which is loaded only when it is used."""

    def waits(self, request: HttpRequest) -> bool:
        """Return whether the session will be stored."""
        session = getattr(request, "session", None)
        is_changed = session is not None and session.modified
        return is_changed or settings.SESSION_SAVE_EVERY_REQUEST


class Host(_InLoop, HostMiddleware):
    """The check of the host."""


class Csrf(_InLoop, CsrfViewMiddleware):
    """The check of forms."""

    async def process_view(  # type: ignore[override]
        self, request: HttpRequest, callback: Any, *args: Any
    ) -> HttpResponseBase | None:
        """Called before the view; checking a form may have to read its body."""
        check: Any = super().process_view
        is_form = request.method not in _SAFE
        if is_form and not getattr(callback, "csrf_exempt", False):
            check = sync_to_async(check, thread_sensitive=True)
            refused: HttpResponseBase | None = await check(request, callback, *args)
        else:
            refused = check(request, callback, *args)
        return refused


class Authentication(_InLoop, AuthenticationMiddleware):
    """The user of a session, who is loaded only when needed."""


class Messages(_InLoop, MessageMiddleware):
    """The admin's messages."""

    def waits(self, request: HttpRequest) -> bool:
        """Return whether messages will be stored, perhaps in the session."""
        messages = getattr(request, "_messages", None)
        return messages is not None and (messages.used or messages.added_new)


class XFrameOptions(_InLoop, XFrameOptionsMiddleware):
    """The header `X-Frame-Options`."""


_PLACES: dict[str, type[_InLoop]] = {
    f"{stock.__module__}.{stock.__name__}": ours
    for ours in _InLoop.__subclasses__()
    for stock in ours.__bases__[1:]
}


class LoadsInLoop(BaseHandler):
    """A handler that loads these middleware in place of the stock ones."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Called once, before the first request."""
        named = settings.MIDDLEWARE
        settings.MIDDLEWARE = [_in_loop(name) for name in named]
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = named


def _in_loop(name: str) -> str:
    ours = _PLACES.get(name)
    return f"{ours.__module__}.{ours.__name__}" if ours else name


class Handler(LoadsInLoop, TakesRequests):
    """Django's ASGI handler, with these middleware."""

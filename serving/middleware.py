"""Middleware that runs in the event loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from asgiref.sync import markcoroutinefunction
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponsePermanentRedirect,
)
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.utils.cache import patch_vary_headers
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

from serving import cors

# What vite.config.ts names by its content.
_BUILT = re.compile(r"/llmchat/build/[\w.-]+-[\w-]{8}\.(?:js|css|woff2)$")

Respond = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        # The admin sets widths and colours in attributes.
        "style-src 'self' 'unsafe-inline'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
# The admin's theme (Alpine.js) evaluates expressions in attributes. Inline scripts and
# scripts of other hosts stay forbidden there, too.
_ADMIN_POLICY = f"{_POLICY}; script-src 'self' 'unsafe-eval'"


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise without a thread for each request.

    Written for WSGI, it would block a thread while a request waits for its view, so
    that a few hundred slow answers would need as many threads.
    """

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Respond) -> None:
        super().__init__(get_response)
        markcoroutinefunction(self)

    def add_files(self, root: str, prefix: str | None = None) -> None:
        """Called by WhiteNoise for the folder of collected files.

        It warns if the folder is missing; here that only means no `collectstatic` yet.
        """
        if Path(root).is_dir():
            super().add_files(root, prefix)

    def immutable_file_test(self, path: str, url: str) -> bool:
        """Return whether a file never changes; the page's own modules have hashes, too.

        WhiteNoise knows only those that `collectstatic` adds.
        """
        return bool(_BUILT.search(url)) or super().immutable_file_test(path, url)

    async def __call__(  # type: ignore[override]
        self, request: HttpRequest
    ) -> HttpResponseBase:
        """Serve the static file, or pass the request on."""
        path = request.path_info
        if not path.startswith(self.static_prefix):
            return await self._next(request)
        if self.autorefresh:
            static_file = await asyncio.to_thread(self.find_file, path)
        else:
            static_file = self.files.get(path)
        if static_file is None:
            return await self._next(request)
        return await asyncio.to_thread(_read_file, static_file, request)

    async def _next(self, request: HttpRequest) -> HttpResponseBase:
        respond: Respond = self.get_response
        return await respond(request)


def _read_file(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
    found = static_file.get_response(request.method, request.META)
    content = b""
    if found.file is not None:
        with found.file as opened:
            content = opened.read()
    response = HttpResponse(content, status=int(found.status))
    del response["Content-Type"]
    for name, value in found.headers:
        response[name] = value
    return response


class ContentSecurityMiddleware:
    """Tell browsers to run only scripts of this server on its pages.

    So markup in a model's answer cannot run, even if an escape was missed.
    """

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Add the policy, unless the view has set its own."""
        response = await self.get_response(request)
        is_admin = request.path_info.startswith("/admin/")
        policy = _ADMIN_POLICY if is_admin else _POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        return response


class CorsMiddleware:
    """Let pages of the allowed origins use the REST API, and nothing else."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a preflight request; add headers to any other response."""
        if not cors.is_open(request.path_info):
            return await self.get_response(request)
        headers = cors.headers(request.headers.get("origin"))
        preflight = (
            request.method == "OPTIONS"
            and "access-control-request-method" in request.headers
        )
        response: HttpResponseBase
        if preflight:
            response = HttpResponse(status=204)
        else:
            response = await self.get_response(request)
        for name, value in headers:
            if name == "vary":
                patch_vary_headers(response, (value,))
            else:
                response[name] = value
        if preflight and "access-control-allow-origin" in response.headers:
            for name, value in cors.preflight():
                response[name] = value
        return response


class HostMiddleware(CommonMiddleware):
    """Django's own, which rejects a wrong `Host`, except for probes.

    A load balancer probes an address, not a host name.
    """

    def process_request(
        self, request: HttpRequest
    ) -> HttpResponsePermanentRedirect | None:
        """Check the `Host`; called before the view."""
        if is_probe(request.path_info):
            return None
        return super().process_request(request)


def is_probe(path: str) -> bool:
    """Return whether a path is one that machines ask for by an address."""
    return PROBES.fullmatch(path) is not None


PROBES = re.compile(r"/(healthz|readyz|metrics)/?")

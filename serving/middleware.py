"""Middleware that runs in the event loop."""

from __future__ import annotations

import asyncio
import os
import re
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
from serving.async_middleware import AsyncMiddleware, Respond

# The folder where Vite names all files by their content, except those that a template
# names (frontend/vite.config.ts).
_BUILT = "llmchat/build/"
_NAMED_BY_TEMPLATES = frozenset({"chat.js", "chat.css"})


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise without a thread for each request.

    WhiteNoise is written for WSGI: it would block a thread while a request waits for
    its view, so that a few hundred slow answers would need as many threads.
    """

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Respond) -> None:
        super().__init__(get_response)
        markcoroutinefunction(self)

    def add_files(self, root: str, prefix: str | None = None) -> None:
        """Called by WhiteNoise for the folder of collected files.

        WhiteNoise warns if the folder is missing; here that only means that
        `collectstatic` has not run yet.
        """
        if Path(root).is_dir():
            super().add_files(root, prefix)

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

    def add_file_to_dictionary(
        self, url: str, path: str, stat_cache: dict[str, os.stat_result] | None = None
    ) -> None:
        """Called by WhiteNoise for each file, beginning with the collected ones.

        A collected file is kept when its source, at the same address, follows: only
        collected files are compressed, and the page's script loads some of them without
        Django's hash.
        """
        if url not in self.files:
            super().add_file_to_dictionary(url, path, stat_cache)

    def immutable_file_test(self, path: str, url: str) -> bool:
        """Return whether a file can be cached forever, because its name has its hash.

        Names that templates write have Django's hash; names that the page's script
        loads have Vite's.
        """
        folder, _, name = url.rpartition("/")
        is_built = f"{folder}/" == f"{self.static_prefix}{_BUILT}"
        if is_built and name not in _NAMED_BY_TEMPLATES:
            return True
        return bool(super().immutable_file_test(path, url))

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


class CorsMiddleware(AsyncMiddleware):
    """Let pages of the allowed origins use the REST API, but nothing else."""

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
    """Django's check, which rejects a wrong `Host`, except for probes.

    A load balancer probes an IP address, not a host name.
    """

    def process_request(
        self, request: HttpRequest
    ) -> HttpResponsePermanentRedirect | None:
        """Check the `Host`; called before the view."""
        if is_probe(request.path_info):
            return None
        return super().process_request(request)


def is_probe(path: str) -> bool:
    """Return whether a path is for probes, which machines send to an IP address."""
    return PROBES.fullmatch(path) is not None


PROBES = re.compile(r"/(healthz|readyz|metrics)/?")

"""Headers of every response that limit what browsers load and run on the pages.

They keep markup in a model's answer from running, even if an escape was missed.
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from serving.async_middleware import AsyncMiddleware

_POLICY = {
    "default-src": "'self'",
    "img-src": "'self' data: blob:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "style-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
# The admin's theme (Alpine.js) evaluates expressions in attributes, and sets widths and
# colours in them. Inline scripts and scripts of other hosts stay forbidden there, too.
_ADMIN = {
    "script-src": "'self' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
}
# Django's debug page of an error has inline styles.
_DEBUG = {"style-src": "'self' 'unsafe-inline'"}
_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class Nonce:
    """The nonce with which a page's own script may add styles; new for each response.

    It is added to the policy only if a template writes it.
    """

    value = ""

    def __str__(self) -> str:
        """Return the nonce, which is generated on first use and then stays the same."""
        self.value = self.value or secrets.token_urlsafe(16)
        return self.value


class ContentSecurityMiddleware(AsyncMiddleware):
    """Add the policy to each response, unless its view has set one."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Hand a nonce to the view, and add the headers to its response."""
        nonce = Nonce()
        request.csp_nonce = nonce  # type: ignore[attr-defined]
        response = await self.get_response(request)
        rules = _POLICY | _exceptions(request, response)
        if nonce.value:
            rules |= _of_page(request, nonce)
            response.headers["Cache-Control"] = "private, no-cache"
        policy = "; ".join(f"{name} {value}" for name, value in rules.items())
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("Permissions-Policy", _PERMISSIONS)
        return response


def _exceptions(request: HttpRequest, response: HttpResponseBase) -> dict[str, str]:
    if request.path_info.startswith("/admin/"):
        return _ADMIN
    return _DEBUG if settings.DEBUG and response.status_code >= 400 else {}


def _of_page(request: HttpRequest, nonce: Nonce) -> dict[str, str]:
    # In older Safaris, 'self' does not cover WebSockets.
    host = request.get_host()
    return {
        "connect-src": f"'self' ws://{host} wss://{host}",
        "style-src": f"'self' 'nonce-{nonce}'",
    }

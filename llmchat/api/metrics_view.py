"""`GET /metrics`: what the process counts about itself, for allowed clients."""

from __future__ import annotations

import hmac
from ipaddress import ip_network

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST

from accounts.attempts import address_of
from llmchat import conf
from llmchat.api.reading import reading
from llmchat.metrics import exposition


@reading
async def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics; to all other clients, 404."""
    if not (_may_by_address(request) or _may_by_token(request)):
        raise Http404
    body = exposition(with_pid=settings.WEB_CONCURRENCY > 1)
    return HttpResponse(
        body, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"}
    )


def _may_by_address(request: HttpRequest) -> bool:
    address = address_of(request)
    allowed = conf.get().metrics_allow
    return address is not None and any(
        address in ip_network(network) for network in allowed
    )


def _may_by_token(request: HttpRequest) -> bool:
    wanted = conf.get().metrics_token
    if not wanted:
        return False
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    is_same = hmac.compare_digest(sent.strip().encode(), wanted.encode())
    return is_same and scheme.lower() == "bearer"

"""JSON with an `ETag`, so that a client downloads only what has changed."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from rest_framework.request import Request


def json_with_etag(request: Request, data: Any) -> HttpResponseBase:
    """Return `data` as JSON, or 304 if the client has it (`If-None-Match`)."""
    body = orjson.dumps(data)
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    response = HttpResponse(body, content_type="application/json")
    response["ETag"] = etag
    # The client may store it, but must check with the server before each use.
    response["Cache-Control"] = "private, no-cache"
    answer = get_conditional_response(request._request, etag=etag, response=response)
    return response if answer is None else answer

"""From a request to its answer: which API it is for, its checks, and its scenario."""

from __future__ import annotations

import ssl

from . import counts, dialects, failures, listing  # noqa: F401  # three register scenarios
from .api import Api
from .claude_api import ClaudeApi
from .gemini_api import GeminiApi
from .openai_api import DeepSeekApi, OpenAIApi
from .request import Request
from .response import Response, json_response
from .scenarios import SHORT, find
from .server import Emulator

APIS: dict[str, Api] = {
    api.name: api for api in (OpenAIApi(), DeepSeekApi(), ClaudeApi(), GeminiApi())
}


def answer(request: Request, number: int) -> Response:
    """Return what the API would answer; `number` of the same came before."""
    if (listed := listing.answer(request, APIS)) is not None:
        return listed
    for api in APIS.values():
        model = api.model_of(request)
        if model is None:
            continue
        request.api, request.model = api.name, model
        if request.method != "POST":
            return json_response({"error": {"message": "Method"}}, 405)
        if (refusal := api.check(request)) is not None:
            return refusal
        if not api.wants_stream(request):
            played = find(api, model, number)
            return json_response(api.whole(SHORT)) if played.status == 200 else played
        if api.name == "gemini" and request.query.get("alt") != ["sse"]:
            return json_response([api.whole(SHORT), api.whole(SHORT)])
        return find(api, model, number)
    return json_response({"error": {"message": "No such path"}}, 404)


def answer_anybody(request: Request, number: int) -> Response:
    """Return the answer of a server that needs no key."""
    request.headers.setdefault("authorization", "Bearer none")
    return answer(request, number)


def emulator(
    port: int = 0, tls: ssl.SSLContext | None = None, *, keyless: bool = False
) -> Emulator:
    """Return a server of all four APIs; enter it to start it.

    `keyless`: the APIs that take the key as a bearer token need none.
    """
    return Emulator(answer_anybody if keyless else answer, port, tls)

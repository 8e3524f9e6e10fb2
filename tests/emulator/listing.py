"""The lists of models of the four APIs, in pages if the real one has pages."""

from __future__ import annotations

from collections.abc import Mapping

from .api import Api
from .request import Request
from .response import Response, json_response

_KEY_HEADERS = {"claude": "x-api-key", "gemini": "x-goog-api-key"}
_PAGE = 2

OPENAI = [
    {"id": "gpt-6-luna", "object": "model", "created": 1, "owned_by": "openai"},
    {"id": "gpt-7", "object": "model", "shutdown_date": "2027-03-01"},
    {"id": "text-embedding-3", "object": "model"},
]
DEEPSEEK = [{"id": "deepseek-flash", "object": "model", "owned_by": "deepseek"}]
CLAUDE = [
    {"type": "model", "id": f"claude-{name}", "display_name": f"Claude {name}"}
    for name in ("one", "two", "three")
]
GEMINI = [
    {
        "name": f"models/gemini-{name}",
        "displayName": f"Gemini {name}",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": [method],
        "thinking": True,
    }
    for name, method in (
        ("one", "generateContent"),
        ("two", "embedContent"),
        ("three", "generateContent"),
    )
]


def answer(request: Request, apis: Mapping[str, Api]) -> Response | None:
    """Return the answer to a request for a list, None for any other."""
    name = _api_of(request)
    if name is None or request.method != "GET":
        return None
    request.api = name
    header = request.headers.get(_KEY_HEADERS.get(name, "authorization"), "")
    if not (key := header.removeprefix("Bearer ")):
        return apis[name].fail("no-key")
    if (failure := apis[name].key_failure(key)) is not None:
        return failure
    return json_response(_body(name, request))


def _api_of(request: Request) -> str | None:
    if request.path == "/v1beta/models":
        return "gemini"
    if request.path == "/models":
        return "deepseek"
    if request.path != "/v1/models":
        return None
    return "claude" if "anthropic-version" in request.headers else "openai"


def _body(name: str, request: Request) -> object:
    if name in ("openai", "deepseek"):
        return {"object": "list", "data": OPENAI if name == "openai" else DEEPSEEK}
    if name == "claude":
        after = request.query.get("after_id", [""])[0]
        idents = [row["id"] for row in CLAUDE]
        at = idents.index(after) + 1 if after else 0
        rows = CLAUDE[at : at + _PAGE]
        has_more = at + _PAGE < len(CLAUDE)
        return {"data": rows, "has_more": has_more, "last_id": rows[-1]["id"]}
    at = int(request.query.get("pageToken", ["0"])[0])
    page: dict[str, object] = {"models": GEMINI[at : at + _PAGE]}
    if at + _PAGE < len(GEMINI):
        page["nextPageToken"] = str(at + _PAGE)
    return page

"""`GET /v1/models` and `/v1/models/{id}`: the models that can answer."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.verified import Scope
from llmchat.api.async_view import verified_of
from llmchat.api.openai.models import model_named, model_names
from llmchat.api.openai.view import OpenAIView
from llmchat.database import read_database

# Clients expect a time, but when a provider created its model is not known here.
_CREATED = 0


class ModelsView(OpenAIView):
    """`GET /v1/models`: the models that the user may use, known by name."""

    scopes = {"GET": Scope.READ}

    async def get(self, request: Request) -> Response:
        """List them by the names that `model` of a request takes."""
        asking = verified_of(request)
        names = await read_database(model_names, asking.user_id, asking.key_id)
        return Response({"object": "list", "data": [_fields(name) for name in names]})


class ModelView(OpenAIView):
    """`GET /v1/models/{id}`: one of them."""

    scopes = {"GET": Scope.READ}

    async def get(self, request: Request, model: str) -> Response:
        """Return it; the path takes any of the names that requests may call it by."""
        asking = verified_of(request)
        name = await read_database(model_named, asking.user_id, model, asking.key_id)
        return Response(_fields(name))


def _fields(name: str) -> dict[str, Any]:
    owner = name.partition("/")[0]
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": owner}

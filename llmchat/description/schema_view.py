"""The schema as REST framework and drf-spectacular show it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rest_view import RestView
from llmchat.description.schema import api_schema


class SchemaView(SpectacularAPIView):
    """`GET /schema`: YAML, or JSON where `Accept` asks for it."""

    schema = None  # it does not describe itself
    http_method_names = RestView.http_method_names

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the schema, which is the same for everybody."""
        return Response(api_schema())

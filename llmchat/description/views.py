"""`/schema`, for programs, and `/docs`, the same for people."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from llmchat.description.page import context
from llmchat.description.schema import api_schema


class SchemaView(SpectacularAPIView):
    """`GET /schema`: YAML, or JSON where `Accept` asks for it."""

    schema = None  # it does not describe itself

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the schema, which is the same for everybody."""
        return Response(api_schema())


def docs(request: HttpRequest) -> HttpResponse:
    """Show the schema as a page that needs no script."""
    return render(request, "docs.html", context(api_schema()))

"""`/schema`, for programs, and `/docs`, the same for people.

The code behind them is imported on the first request: few servers ever get one.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def schema(request: HttpRequest) -> HttpResponseBase:
    """`/schema`: YAML, or JSON if `Accept` asks for it."""
    from llmchat.description.schema_view import SchemaView

    view: Any = SchemaView.as_view()
    response: HttpResponseBase = view(request)
    return response


def docs(request: HttpRequest) -> HttpResponse:
    """Show the schema as a page that needs no script."""
    from llmchat.description.page import context
    from llmchat.description.schema import api_schema

    return render(request, "docs.html", context(api_schema()))

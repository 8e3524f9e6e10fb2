"""What the views of the OpenAI API share: their errors, and an id for each response."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

from rest_framework.request import Request
from rest_framework.response import Response

from llmchat.api.async_view import AsyncAPIView
from llmchat.api.openai.errors import error_object, headers_of
from llmchat.errors import ChatError

Handler = Callable[[Exception, dict[str, Any]], Response]


class OpenAIView(AsyncAPIView):
    """A view whose errors have OpenAI's shape."""

    def get_exception_handler(self) -> Handler:
        """Return the project's own handler, with its responses in OpenAI's shape."""
        return partial(_reshaped, super().get_exception_handler())

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Add an id by which a client can refer to the response."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("x-request-id", f"req_{uuid4().hex}")
        return response


def _reshaped(handler: Handler, exc: Exception, context: dict[str, Any]) -> Response:
    response = handler(exc, context)
    body, param = response.data, getattr(exc, "param", None)
    response.data = error_object(
        response.status_code, body["error"], body["code"], param
    )
    if isinstance(exc, ChatError):
        for name, value in headers_of(exc).items():
            response[name] = value
    return response

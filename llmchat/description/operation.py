"""What the description of a route says, and how OpenAPI says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

from rest_framework.serializers import Serializer

from llmchat.description import errors
from llmchat.description.routes import parameters_of

JSON = "application/json"
EVENTS = "text/event-stream"

Schema: TypeAlias = dict[str, Any]
# A schema, or the serializer that a view checks a body with.
Body: TypeAlias = Schema | type[Serializer[Any]]
# Returns the schema of a serializer.
Resolve: TypeAlias = Callable[[type[Serializer[Any]]], Schema]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its content by media type, empty for a response without a body."""

    description: str
    content: Mapping[str, Schema]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or a header."""

    name: str
    description: str
    schema: Schema
    place: str = "query"

    def rendered(self) -> Schema:
        """Return it in the form of OpenAPI."""
        return {
            "name": self.name,
            "in": self.place,
            "description": self.description,
            "schema": self.schema,
        }


@dataclass(frozen=True, slots=True)
class Operation:
    """What a method of a route does.

    `answers` are the responses by status; what `codes` would say about such a status is
    left out. `codes` are the error codes besides those that every route of its kind has
    (with a token, with a body, with an id in its path). With `is_open` it needs no
    token. With `is_plain` it is not a view of REST framework, and of the common errors
    has only the server's own. `error` names the shape of the errors.
    """

    summary: str
    tag: str
    answers: Mapping[int, Answer]
    details: str = ""
    body: Body | None = None
    needs_body: bool = True
    example: Any = None
    parameters: tuple[Parameter, ...] = ()
    codes: tuple[str, ...] = ()
    is_open: bool = False
    is_plain: bool = False
    error: str = "Error"

    def rendered(self, method: str, path: str, resolve: Resolve) -> Schema:
        """Return the operation in the form of OpenAPI."""
        found: Schema = {
            "operationId": _operation_id(method, path),
            "summary": self.summary,
            "tags": [self.tag],
            "responses": self._responses(path),
        }
        if self.details:
            found["description"] = self.details
        if parameters := [*map(_in_path, parameters_of(path)), *self._parameters()]:
            found["parameters"] = parameters
        if self.body is not None:
            found["requestBody"] = self._request(self.body, resolve)
        return found

    def all_codes(self, path: str) -> tuple[str, ...]:
        """Return the error codes that a client may see."""
        if self.is_plain:
            return (*self.codes, "server_busy")
        return (
            *errors.ANY_ROUTE,
            *(() if self.is_open else errors.WITH_TOKEN),
            *(errors.WITH_BODY if self.body is not None else ()),
            *(errors.WITH_PATH if parameters_of(path) else ()),
            *self.codes,
        )

    def _parameters(self) -> list[Schema]:
        return [parameter.rendered() for parameter in self.parameters]

    def _request(self, body: Body, resolve: Resolve) -> Schema:
        content: Schema = {"schema": _schema(body, resolve)}
        if self.example is not None:
            content["example"] = self.example
        return {"required": self.needs_body, "content": {JSON: content}}

    def _responses(self, path: str) -> Schema:
        codes = errors.by_status(self.all_codes(path))
        failures = {
            str(s): _failure(s, names, self.error) for s, names in codes.items()
        }
        # An entry of `answers` replaces what the codes say about the same status.
        answers = {str(s): _answer(a) for s, a in self.answers.items()}
        return dict(sorted((failures | answers).items()))


def _answer(answer: Answer) -> Schema:
    found: Schema = {"description": answer.description}
    if answer.content:
        found["content"] = {
            kind: {"schema": schema} for kind, schema in answer.content.items()
        }
    if answer.headers:
        found["headers"] = {
            name: _header(text, {"type": "string"})
            for name, text in answer.headers.items()
        }
    return found


def _failure(status: int, codes: list[str], error: str) -> Schema:
    names = ", ".join(f"`{code}`" for code in codes)
    found: Schema = {
        "description": f"{HTTPStatus(status).phrase}: {names}",
        "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{error}"}}},
    }
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        text = "Seconds to wait, if it helps to try again"
        found["headers"] = {"Retry-After": _header(text, {"type": "integer"})}
    return found


def _header(description: str, schema: Schema) -> Schema:
    return {"description": description, "schema": schema}


def _schema(body: Body, resolve: Resolve) -> Schema:
    return body if isinstance(body, dict) else resolve(body)


def _in_path(name: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }


def _operation_id(method: str, path: str) -> str:
    words = path.replace("{", "").replace("}", "").replace(".", "/").split("/")
    parts = [part for word in words for part in word.split("-") if part]
    return method.lower() + "".join(part[0].upper() + part[1:] for part in parts)

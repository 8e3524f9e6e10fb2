"""What drf-spectacular calls to write the schema: the entries, route by route."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from drf_spectacular.drainage import warn
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry

from accounts.verified import TOKEN_ONLY
from llmchat.description import (
    accounts,
    chat,
    conversations,
    keys,
    openai,
    probes,
    streams,
    usage,
)
from llmchat.description.operation import Operation, Schema
from llmchat.description.routes import Route, readable, routes
from llmchat.description.shapes import SHAPES

OPERATIONS: dict[str, Operation] = {
    **accounts.OPERATIONS,
    **keys.OPERATIONS,
    **chat.OPERATIONS,
    **conversations.OPERATIONS,
    **streams.OPERATIONS,
    **usage.OPERATIONS,
    **probes.OPERATIONS,
    **openai.OPERATIONS,
}
_TOKEN, _KEY = "accessToken", "apiKey"
_SECURITY_SCHEMES = {
    _TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token from `POST /auth/token`",
    },
    _KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`llmc_…`) from `POST /auth/keys` with this scope",
    },
}


class DescribedSchema(AutoSchema):
    """The schema of a view: what the tables of this package say of its routes."""

    def get_operation(
        self,
        path: str,
        path_regex: str,
        path_prefix: str,
        method: str,
        registry: ComponentRegistry,
    ) -> Schema | None:
        """Called by drf-spectacular for each method of each route."""
        self.registry, self.method, self.path = registry, method.upper(), path
        operation = OPERATIONS.get(f"{self.method} {path}")
        if operation is None:
            warn(missing(self.method, path))
            return None
        found = operation.rendered(self.method, path, self._resolved)
        if not operation.is_open:
            found["security"] = list(self._security())
        return found

    def _security(self) -> Iterator[dict[str, list[str]]]:
        yield {_TOKEN: []}
        scope = getattr(self.view, "scopes", {}).get(self.method, TOKEN_ONLY)
        if scope is not TOKEN_ONLY:
            yield {_KEY: [scope.value]}

    def _resolved(self, serializer: Any) -> Schema:
        found: Schema = self.resolve_serializer(serializer, "request").ref
        return found


def missing(method: str, path: str) -> str:
    """Return what to do about a route without an entry."""
    return (
        f'{method} {path} has no description: add "{method} {path}": Operation(...) '
        "to OPERATIONS in a module of llmchat/description/, with its body, its "
        "answers and its error codes"
    )


def undescribed() -> list[str]:
    """Return what to write for the routes that have no entry."""
    return [
        missing(method, route.path)
        for route in routes()
        for method in route.methods
        if f"{method} {route.path}" not in OPERATIONS
    ]


def unrouted() -> list[str]:
    """Return the entries whose route does not exist."""
    routed = {f"{m} {route.path}" for route in routes() for m in route.methods}
    return [
        f"{name} is described in llmchat/description/, but no view handles it"
        for name in OPERATIONS
        if name not in routed
    ]


def with_readable_paths(endpoints: Any) -> Any:
    """Called by drf-spectacular before it describes the routes of views."""
    return [
        (readable(regex), regex, method, callback)
        for _, regex, method, callback in endpoints
    ]


def completed(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """Called by drf-spectacular after its own work: add plain views and shapes."""
    for route in filter(_is_plain, routes()):
        _add_plain(result["paths"], route)
    for sentence in unrouted():
        warn(sentence)
    components = result.setdefault("components", {})
    components["schemas"] = (
        SHAPES | keys.SHAPES | openai.SHAPES | components.get("schemas", {})
    )
    components["securitySchemes"] = _SECURITY_SCHEMES
    return result


@cache
def api_schema() -> Schema:
    """Return the schema of this process's routes."""
    generator: Any = SchemaGenerator  # it has no annotations
    found: Schema = generator().get_schema(request=None, public=True)
    return found


def _is_plain(route: Route) -> bool:
    return route.is_plain


def _add_plain(paths: Schema, route: Route) -> None:
    operation = OPERATIONS.get(f"GET {route.path}")
    if operation is None:
        warn(missing("GET", route.path))
        return
    paths[route.path] = {"get": operation.rendered("GET", route.path, _unresolvable)}


def _unresolvable(serializer: Any) -> Schema:
    raise TypeError(f"a plain view has no serializer: {serializer}")

"""The schema as the page shows it: rows instead of references."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from llmchat.description.operation import JSON, Schema

# The keywords for the least and the most, and the unit that they count.
_LIMITS = (
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
    ("minimum", "maximum", ""),
)


def context(schema: Schema) -> dict[str, Any]:
    """Return what the template needs."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in _operations(schema):
        row = _operation(path, method, operation, schema)
        groups.setdefault(operation["tags"][0], []).append(row)
    shapes = schema["components"]["schemas"]
    objects = [(name, list(_fields(shape))) for name, shape in shapes.items()]
    return {
        "title": schema["info"]["title"],
        "about": _marked(schema["info"]["description"]),
        "groups": groups.items(),
        "shapes": [(name, fields) for name, fields in objects if fields],
    }


def _operations(schema: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _operation(
    path: str, method: str, operation: Schema, schema: Schema
) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
    shape = _name(body.get("schema", {}))
    whole = schema["components"]["schemas"].get(shape) or body.get("schema", {})
    example = body.get("example")
    return {
        "path": path,
        "method": method,
        "id": operation["operationId"],
        "summary": operation["summary"],
        "details": _marked(operation.get("description", "")),
        "needs_token": "security" in operation,
        "body": body,
        "shape": shape,
        "fields": list(_fields(whole)),
        "example": example and json.dumps(example, indent=2, ensure_ascii=False),
        "parameters": [_parameter(row) for row in operation.get("parameters", [])],
        "responses": [_response(*row) for row in operation["responses"].items()],
    }


def _parameter(parameter: Schema) -> dict[str, Any]:
    return _field(parameter["name"], parameter["schema"]) | {
        "place": parameter["in"],
        "description": _marked(parameter.get("description", "")),
        "required": parameter.get("required", False),
    }


def _response(status: str, response: Schema) -> dict[str, Any]:
    kinds = [
        (kind, _kind(content["schema"]))
        for kind, content in response.get("content", {}).items()
    ]
    return {
        "status": status,
        "description": _marked(response["description"]),
        "kinds": kinds,
        "is_error": status[0] in "45",
    }


def _fields(schema: Schema) -> Iterator[dict[str, Any]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield _field(name, field) | {"required": name in required}


def _field(name: str, schema: Schema) -> dict[str, Any]:
    return {
        "name": name,
        "kind": _kind(schema),
        "limits": _limits(schema),
        "description": _marked(schema.get("description", "")),
    }


def _limits(schema: Schema) -> str:
    texts = [_limit(schema.get(a), schema.get(b), of) for a, b, of in _LIMITS]
    if "default" in schema:
        texts.append(f"default {schema['default']}")
    return ", ".join(filter(None, texts))


def _limit(least: int | None, most: int | None, of: str) -> str:
    if most is None:
        return f"at least {least:,}{of}" if least else ""
    return f"at most {most:,}{of}" if least is None else f"{least:,} to {most:,}{of}"


def _marked(text: str) -> SafeString:
    """Return a text whose words in backticks are marked as code."""
    return mark_safe(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))


def _name(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _kind(schema: Schema) -> str:
    if "$ref" in schema:
        return _name(schema)
    if "oneOf" in schema:
        return " or ".join(map(_kind, schema["oneOf"]))
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    kinds = schema.get("type", "object")
    return str(kinds) if isinstance(kinds, str) else " or ".join(kinds)

"""The options of a request, for providers that support them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmchat.api.openai.errors import wrong
from llmchat.providers.types import Options

_MAX_STOPS = 4
_MAX_TOOLS = 128
_SEEDS = range(-(2**63), 2**63)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHOICES = ("auto", "none", "required")


def options_from(data: Mapping[str, Any]) -> Options:
    """Return the options of a request. Raises: ParameterError."""
    tools = _tools(data.get("tools"))
    return Options(
        stop=_stop(data.get("stop")),
        seed=_seed(data.get("seed")),
        response_format=response_format(data.get("response_format")),
        tools=tools,
        tool_choice=_tool_choice(data.get("tool_choice"), tools),
    )


def _stop(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else _or_none(value)
    is_list = isinstance(stops, list) and len(stops) <= _MAX_STOPS
    if not is_list or not all(isinstance(stop, str) and stop for stop in stops):
        raise wrong("stop", f"must be a string or a list of up to {_MAX_STOPS} strings")
    return tuple(stops)


def _or_none(value: Any) -> Any:
    """Return a value, [] if it is None; 0 and false stay, and are no lists."""
    return [] if value is None else value


def _seed(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value not in _SEEDS:
        raise wrong("seed", "must be a whole number")
    return value


def response_format(
    value: Any, param: str = "response_format"
) -> Mapping[str, object] | None:
    """Return the format that is asked for, None for text. Raises: ParameterError."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if value is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    if kind != "json_schema":
        raise wrong(f"{param}.type", "must be text, json_object or json_schema")
    schema = value.get("json_schema")
    if not isinstance(schema, Mapping) or not _is_name(schema.get("name")):
        raise wrong(f"{param}.json_schema", "must be an object with a name")
    if not isinstance(schema.get("schema", {}), Mapping):
        raise wrong(f"{param}.json_schema.schema", "must be an object")
    return {"type": kind, "json_schema": schema}


def _tools(value: Any) -> tuple[Mapping[str, object], ...]:
    tools = _or_none(value)
    if not isinstance(tools, list) or len(tools) > _MAX_TOOLS:
        raise wrong("tools", f"must be a list of at most {_MAX_TOOLS} functions")
    return tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(tools))


def _tool(tool: Any, param: str) -> Mapping[str, object]:
    if not isinstance(tool, Mapping) or tool.get("type") != "function":
        raise wrong(f"{param}.type", "must be function; no other type is supported")
    function = tool.get("function")
    if not isinstance(function, Mapping) or not _is_name(function.get("name")):
        text = "must be up to 64 letters, digits, underscores and hyphens"
        raise wrong(f"{param}.function.name", text)
    if not isinstance(function.get("parameters", {}), Mapping):
        raise wrong(f"{param}.function.parameters", "must be a JSON schema")
    if not isinstance(function.get("description"), str | None):
        raise wrong(f"{param}.function.description", "must be a string")
    return {"type": "function", "function": function}


def _tool_choice(
    value: Any, tools: tuple[Mapping[str, object], ...]
) -> str | Mapping[str, object] | None:
    if value is None:
        return None
    if isinstance(value, str) and value in _CHOICES:
        return _taken(value, tools)
    function = value.get("function") if isinstance(value, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    names = [_name_of(tool) for tool in tools]
    if name is None or name not in names:
        raise wrong("tool_choice", "must be auto, none, required or one of the tools")
    return {"type": "function", "function": {"name": name}}


def _taken(choice: str, tools: tuple[Mapping[str, object], ...]) -> str | None:
    """Return a choice of tools, None if there are no tools to choose from."""
    if not tools and choice == "required":
        raise wrong("tool_choice", "requires tools")
    return choice if tools else None


def _name_of(tool: Mapping[str, object]) -> object:
    function = tool["function"]
    assert isinstance(function, Mapping)
    return function["name"]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None

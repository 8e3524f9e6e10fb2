"""The options of a chat, read from OpenAI's shapes for providers that have others.

What a provider cannot take is refused here or in its adapter, with a sentence for a
person, before the provider is called: to drop an option silently would be a lie.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .errors import BadRequestError
from .reading import as_dict
from .types import Chat, Options, Provider, ToolCall

Mode = Literal["auto", "none", "required"]


@dataclass(frozen=True, slots=True)
class Function:
    """A tool that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, object]
    strict: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether tools are to be called; if there is a `name`, only that one may be."""

    mode: Mode
    name: str = ""


def not_taken(provider: Provider, why: str) -> BadRequestError:
    """Return the refusal of a request; `why` follows the provider's name."""
    return BadRequestError(why, text=f"{provider.label} {why}")


def too_deep() -> BadRequestError:
    """Return the refusal of a request that no JSON encoder takes."""
    return BadRequestError("too deep", text="The request is nested too deeply")


def refuse_images(provider: Provider, chat: Chat) -> None:
    """Raise BadRequestError if the chat has images."""
    if any(message.images for message in chat.messages):
        raise not_taken(provider, "does not support images")


def functions(options: Options) -> list[Function]:
    """Return the tools.

    Raises:
        BadRequestError: one of them is not a function, or has no name.
    """
    return [_function(tool) for tool in options.tools]


def _function(tool: Mapping[str, object]) -> Function:
    function = as_dict(tool.get("function"))
    name, description = function.get("name"), function.get("description")
    if tool.get("type", "function") != "function" or not isinstance(name, str):
        raise BadRequestError("unknown kind of tool", text="tools must be functions")
    return Function(
        name,
        description if isinstance(description, str) else "",
        as_dict(function.get("parameters")) or {"type": "object", "properties": {}},
        function.get("strict") is True,
    )


def choice(options: Options) -> Choice | None:
    """Return the choice of tools, None if none is made.

    Raises:
        BadRequestError: it is of a kind that only OpenAI has.
    """
    chosen = options.tool_choice
    if chosen is None:
        return None
    if chosen in ("auto", "none", "required"):
        return Choice(chosen)  # type: ignore[arg-type]
    name = as_dict(as_dict(chosen).get("function")).get("name")
    if not isinstance(name, str):
        raise BadRequestError(
            "unknown kind of tool_choice",
            text="tool_choice must be auto, none, required or a named function",
        )
    return Choice("required", name)


def kind_of_format(options: Options) -> str:
    """Return "text", "json_object", "json_schema", or what else is asked for."""
    return str((options.response_format or {}).get("type", "text"))


def schema_of(options: Options) -> Mapping[str, object]:
    """Return the JSON schema that the answer is to follow.

    Raises:
        BadRequestError: there is none.
    """
    described = as_dict((options.response_format or {}).get("json_schema"))
    schema = described.get("schema")
    if not isinstance(schema, dict):
        raise BadRequestError(
            "no schema", text="response_format.json_schema.schema must be an object"
        )
    return schema


def arguments_of(call: ToolCall) -> Mapping[str, object]:
    """Return a call's arguments as an object, whatever the model once wrote."""
    try:
        value = json.loads(call.arguments.strip() or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"arguments": call.arguments}

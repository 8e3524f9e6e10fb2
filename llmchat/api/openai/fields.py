"""Fields that requests of both kinds have; errors say which field is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from llmchat.api.openai.errors import ParameterError, wrong
from llmchat.api.validation import CHAT_FIELDS, UNSTORABLE, Fields, validated
from llmchat.errors import ChatError, refusal

MODEL_LENGTH = 128
_NAME_LENGTH = 64 + 1 + MODEL_LENGTH
MAX_TOKENS = CHAT_FIELDS["max_tokens"]
SAMPLING: Fields = {"temperature": CHAT_FIELDS["temperature"]}
SWITCHES: Fields = {"stream": CHAT_FIELDS["stream"]}

# By the name of a field, a test for neutral values: those that mean the same as leaving
# the field out.
Neutral = Mapping[str, Callable[[Any], bool]]


def is_one_of(*values: Any) -> Callable[[Any], bool]:
    """Return a test for these values; to it, a boolean does not equal a number."""
    return lambda value: any(
        value == neutral and isinstance(value, bool) == isinstance(neutral, bool)
        for neutral in values
    )


def is_empty(value: Any) -> bool:
    """Return whether a value is an empty list or object."""
    return value in ([], {})


def object_from(data: Any) -> dict[str, Any]:
    """Return the body of a request, without the fields that are null.

    Raises: ChatError `bad_request`.
    """
    if not isinstance(data, dict):
        raise refusal("bad_request", text="The request must be an object")
    return {name: value for name, value in data.items() if value is not None}


def checked(fields: Fields, data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that `data` holds. Raises: ParameterError."""
    found: dict[str, Any] = {}
    for name, field in fields.items():
        try:
            found |= validated({name: field}, data)
        except ChatError as exc:
            raise ParameterError(exc, name) from exc
    return found


def refuse(neutral: Neutral, data: dict[str, Any], hints: Mapping[str, str]) -> None:
    """Refuse fields that are not supported, unless their values are neutral.

    Raises: ParameterError.
    """
    for name, is_neutral in neutral.items():
        if name in data and not is_neutral(data[name]):
            raise unsupported(name, hints.get(name, ""))


def unsupported(name: str, hint: str = "") -> ParameterError:
    """Return the refusal of a field that is not supported."""
    return wrong(name, f"is not supported{hint}")


def model_name(data: dict[str, Any]) -> str:
    """Return the name of the model in a request. Raises: ParameterError."""
    name = data.get("model")
    if not isinstance(name, str):
        _refuse_name("must be a string")
    if not 1 <= len(name) <= _NAME_LENGTH or UNSTORABLE.search(name):
        _refuse_name("must be the name of a model; GET /v1/models lists them")
    return name


def _refuse_name(text: str) -> NoReturn:
    raise wrong("model", text)

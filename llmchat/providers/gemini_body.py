"""The request for Google's Gemini, `streamGenerateContent`.

The results of tools are a content of their own directly after the calls, and name the
function. Newer models want their own signature on a call. A call that came by way of
another format has none, and is marked accordingly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from urllib.parse import quote

from .history import History, build_history
from .options import (
    Choice,
    Function,
    arguments_of,
    choice,
    functions,
    kind_of_format,
    not_taken,
    schema_of,
)
from .request import ProviderRequest, endpoint, max_tokens, temperature
from .types import Chat, ChatMessage, Key, Options, Provider

Part = dict[str, object]
VERSIONS = ("v1beta", "v1", "v1alpha")
_MAX_STOPS = 5
_SEEDS = range(-(2**31), 2**31)
_FORMATS = ("text", "json_object", "json_schema")
# Google's own word for a call whose signature is not known.
_UNSIGNED = "skip_thought_signature_validator"
_KIND = "models"
_TUNED = "tunedModels"
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def build_request(provider: Provider, key: Key | None, chat: Chat) -> ProviderRequest:
    """Return the request for a streamed answer.

    Raises:
        ProviderError: the chat or the provider's address cannot be sent.
    """
    check(provider, chat)
    kind, name = _named(chat.model)
    body = _body(provider, chat, name)
    # In a header, never in the query: addresses end up in logs.
    headers = {"x-goog-api-key": key.value} if key else {}
    path = f"/{kind}/{quote(name, safe='')}:streamGenerateContent"
    url = endpoint(provider.base_url, path, versions=VERSIONS)
    return ProviderRequest(f"{url}?alt=sse", headers, body)


def check(provider: Provider, chat: Chat) -> None:
    """Refuse what Gemini cannot take.

    Raises:
        BadRequestError: the chat has any of that.
    """
    options = chat.options
    if any(image.url for message in chat.messages for image in message.images):
        raise not_taken(provider, "supports images only as data, not as URLs")
    if options.seed is not None and options.seed not in _SEEDS:
        raise not_taken(provider, "supports seeds of at most 32 bits")
    if len(options.stop) > _MAX_STOPS:
        raise not_taken(provider, f"supports at most {_MAX_STOPS} stop sequences")
    kind = kind_of_format(options)
    if kind not in _FORMATS:
        raise not_taken(provider, "does not support this response_format")
    if kind == "json_schema":
        schema_of(options)
    functions(options)
    choice(options)


def plain_name(model: str) -> str:
    """Return the name of a model without the prefix that Gemini allows before it."""
    return model.removeprefix(f"{_KIND}/") or model


def _named(model: str) -> tuple[str, str]:
    """Return the kind of a model and its name; a tuned model's name holds both."""
    model = plain_name(model)
    kind, _, name = model.partition("/")
    return (kind, name) if kind == _TUNED and name else (_KIND, model)


def _body(provider: Provider, chat: Chat, name: str) -> dict[str, object]:
    history = build_history(chat)
    # Without this, the requests of projects made since October 2026 are stored.
    body: dict[str, object] = {"store": False}
    if history.system and name.startswith("gemma-"):
        history = _system_in_first_turn(history)
    if history.system:
        body["systemInstruction"] = {"parts": [{"text": history.system}]}
    body["contents"] = list(_contents(history))
    if config := dict(_config(provider, chat)):
        body["generationConfig"] = config
    return body | dict(_tools(chat.options))


def _config(provider: Provider, chat: Chat) -> Iterator[tuple[str, object]]:
    options = chat.options
    if (limit := max_tokens(provider, chat)) is not None:
        yield "maxOutputTokens", limit
    if (degree := temperature(provider, chat)) is not None:
        yield "temperature", degree
    if options.stop:
        yield "stopSequences", list(options.stop)
    if options.seed is not None:
        yield "seed", options.seed
    kind = kind_of_format(options)
    if kind != "text":
        yield "responseMimeType", "application/json"
    if kind == "json_schema":
        yield "responseJsonSchema", schema_of(options)


def _tools(options: Options) -> Iterator[tuple[str, object]]:
    if options.tools:
        declared = [_declaration(function) for function in functions(options)]
        yield "tools", [{"functionDeclarations": declared}]
        if chosen := choice(options):
            yield "toolConfig", {"functionCallingConfig": _choice(chosen)}


def _declaration(function: Function) -> dict[str, object]:
    # Gemini has no `strict`. It is left out, not refused: some SDKs set it always.
    return {
        "name": function.name,
        "description": function.description,
        "parametersJsonSchema": function.parameters,
    }


def _choice(chosen: Choice) -> dict[str, object]:
    mode: dict[str, object] = {"mode": _MODES[chosen.mode]}
    return mode | ({"allowedFunctionNames": [chosen.name]} if chosen.name else {})


def _system_in_first_turn(history: History) -> History:
    first, *others = history.turns
    content = "\n\n".join(filter(None, (history.system, first.content)))
    return History("", (type(first)(first.role, content, first.images), *others))


def _contents(history: History) -> Iterator[dict[str, object]]:
    names: dict[str, str] = {}
    for role, turns in groupby(history.turns, key=lambda turn: turn.role):
        parts = [part for turn in turns for part in _parts(turn, names)]
        yield {"role": "model" if role == "assistant" else "user", "parts": parts}


def _parts(turn: ChatMessage, names: dict[str, str]) -> Iterator[Part]:
    """Yield the parts of a turn; `names` are those of the calls so far, by id."""
    if turn.role == "tool":
        yield {"functionResponse": _response(turn, names)}
        return
    for image in turn.images:
        yield {"inlineData": {"mimeType": image.media_type, "data": image.data}}
    if turn.content.strip():
        yield {"text": turn.content}
    for number, call in enumerate(turn.tool_calls):
        names[call.id] = call.name
        made = {"id": call.id, "name": call.name, "args": arguments_of(call)}
        # Of parallel calls only the first one is signed.
        signature = {} if number else {"thoughtSignature": _UNSIGNED}
        yield {"functionCall": made, **signature}


def _response(turn: ChatMessage, names: Mapping[str, str]) -> dict[str, object]:
    ident = turn.tool_call_id
    return {"id": ident, "name": names[ident], "response": {"result": turn.content}}

"""How servers that speak OpenAI's format describe a failure, each in its own words."""

from __future__ import annotations

import json
from contextlib import aclosing

import pytest

from llmchat.providers.classify import error_from_response, error_in
from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import ForbiddenError, KeyRefusedError
from llmchat.providers.types import Delta, Key
from tests.emulator.driver import PATIENT, chat
from tests.support.provider_script import Script, ScriptedTransport, play, provider, sse


def judged(status: int, body: object) -> str:
    """Return the code of the error that a response means."""
    return error_from_response(status, {}, json.dumps(body).encode()).code


def nested(message: str, **fields: object) -> dict[str, object]:
    return {"error": {"message": message, **fields}}


UNKNOWN_MODELS = {
    "OpenRouter": (400, nested("acme/gone is not a valid model ID", code=400)),
    "OpenRouter, without a host": (
        404,
        nested("No endpoints found for acme/gone:free.", code=404),
    ),
    "Groq": (
        400,
        nested(
            "The model `gone` has been decommissioned and is no longer supported.",
            type="invalid_request_error",
            code="model_decommissioned",
        ),
    ),
    "Mistral": (
        400,
        {
            "object": "error",
            "message": "Invalid model: gone",
            "type": "invalid_model",
            "param": None,
            "code": "1500",
        },
    ),
    "Azure": (
        404,
        nested(
            "The API deployment for this resource does not exist. If you created the "
            "deployment within the last 5 minutes, please wait a moment and try again.",
            code="DeploymentNotFound",
        ),
    ),
    "Kimi": (
        404,
        nested(
            "Not found the model gone or Permission denied",
            type="resource_not_found_error",
        ),
    ),
    "LiteLLM": (400, nested("400: {'error': 'Invalid model name passed in model=x'}")),
}


@pytest.mark.parametrize("server", UNKNOWN_MODELS)
def test_a_model_that_is_not_there_is_told(server: str) -> None:
    status, body = UNKNOWN_MODELS[server]
    assert judged(status, body) == "model_not_found"


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (404, "No endpoints found that support tool use.", "provider_error"),
        (404, "The requested resource was not found", "provider_error"),
        (400, "Invalid model parameter: top_k", "bad_request"),
    ],
)
def test_not_all_that_names_a_model_is_about_its_name(
    status: int, message: str, code: str
) -> None:
    assert judged(status, nested(message)) == code


@pytest.mark.parametrize(
    "model",
    [
        "Insufficient balance",
        "You exceeded your current quota",
        "Your API key is invalid",
        "Your prepayment credits are depleted",
        "This organization has been disabled",
        "Incorrect API key provided: x",
    ],
)
@pytest.mark.parametrize("status", [400, 403])
def test_a_model_s_name_at_the_beginning_blames_no_key(status: int, model: str) -> None:
    """Any user can ask for a model of any name, and a key that is blamed rests."""
    body = nested(f"{model} is not a valid model ID", code=status)
    assert judged(status, body) == "model_not_found"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("whose", ["key", "team", "user", "org"])
def test_a_model_that_a_gateway_s_key_may_not_use_blames_no_key(
    status: int, whose: str
) -> None:
    body = nested(
        "key not allowed to access model", type=f"{whose}_model_access_denied"
    )
    error = error_from_response(status, {}, json.dumps(body).encode())
    assert isinstance(error, ForbiddenError)
    assert not error.blames_key


_TEAM = (
    "Your team 16f2151a-40f4-4a80-8ad0-cae00c27e8dd has either used all available "
    "credits or reached its monthly spending limit. To continue making API requests, "
    "please purchase more credits or raise your spending limit."
)
NO_MONEY = {
    "OpenAI": (
        429,
        nested(
            "Your account is not active, please check your billing details.",
            type="billing_not_active",
            code="billing_not_active",
        ),
    ),
    "OpenAI, at its limit": (
        400,
        nested(
            "Billing hard limit has been reached", code="billing_hard_limit_reached"
        ),
    ),
    "Kimi": (
        429,
        nested(
            "Your account org-1 <ak-1> is suspended due to insufficient balance, "
            "please recharge your account or check your plan and billing details",
            type="exceeded_current_quota_error",
        ),
    ),
    "xAI": (429, {"code": "Some resource has been exhausted", "error": _TEAM}),
    "xAI, since 2026": (403, {"code": "permission-denied", "error": _TEAM}),
    "xAI, a new team": (
        403,
        {
            "code": "The caller does not have permission to execute the specified "
            "operation",
            "error": "Your newly created team doesn't have any credits or licenses "
            "yet. You can purchase those on https://console.x.ai.",
        },
    ),
    "Gemini, prepaid": (
        429,
        nested(
            "Your prepayment credits are depleted. Please go to AI Studio to manage "
            "your project and billing.",
            code=429,
            status="RESOURCE_EXHAUSTED",
        ),
    ),
    "Gemini, at its limit": (
        429,
        nested(
            "Your project has exceeded its monthly spending cap. Please go to AI "
            "Studio to raise it.",
            code=429,
            status="RESOURCE_EXHAUSTED",
        ),
    ),
    "Kimi, from the beginning": (
        403,
        nested(
            "Your account org-1 <ak-1> is not active, organization <org-1> exceeded "
            "current quota, please check your plan and billing details",
            type="exceeded_current_quota_error",
        ),
    ),
}


@pytest.mark.parametrize("server", NO_MONEY)
def test_an_account_without_money_is_told(server: str) -> None:
    status, body = NO_MONEY[server]
    error = error_from_response(status, {}, json.dumps(body).encode())
    assert (error.code, error.retryable) == ("provider_quota", False)
    assert isinstance(error, KeyRefusedError)
    assert error.blames_key


@pytest.mark.parametrize("status", [400, 403])
def test_an_organization_that_is_disabled_lets_its_key_rest(status: int) -> None:
    error = error_from_response(
        status,
        {},
        json.dumps(
            nested("This organization has been disabled.", type="invalid_request_error")
        ).encode(),
    )
    assert error.code == "provider_auth"
    assert isinstance(error, KeyRefusedError)
    assert error.blames_key


async def test_the_next_key_is_asked_where_xai_refuses_one_with_400() -> None:
    """xAI's error body is flat, and its status is that of a bad request."""
    refusal = {
        "code": "Client specified an invalid argument",
        "error": "Incorrect API key provided: sk***GA. You can obtain an API key from "
        "https://console.x.ai.",
    }
    keys = (Key("first", "xai-first"), Key("second", "xai-second"))
    bodies = [Script([json.dumps(refusal).encode()], "application/json", 400)]
    chunk = {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    transport = ScriptedTransport([*bodies, Script([sse(chunk, "[DONE]")])])
    refused: list[tuple[str, bool]] = []
    stream = ProviderClient(PATIENT, transport=transport).stream_chat(
        provider("openai"),
        keys,
        chat("m"),
        on_key_refused=lambda key, exc: refused.append((key.ident, exc.blames_key)),
    )
    async with aclosing(stream) as events:
        texts = [event.text async for event in events if isinstance(event, Delta)]
    assert texts == ["Hi"]
    assert refused == [("first", True)]


_LM_STUDIO = (
    "Input does not fit in context length. The input has 31430 tokens, but the context "
    "length only supports 30000 tokens."
)
TOO_LONG = {
    "Claude": "input length and `max_tokens` exceed context limit: 178959 + 64000 > "
    "200000, decrease input length or `max_tokens` and try again",
    "xAI": "This model's maximum prompt length is 131072 but the request contains "
    "136973 tokens.",
    "LM Studio": _LM_STUDIO,
    "LM Studio, with llama.cpp": "The number of tokens to keep from the initial prompt "
    "is greater than the context length. Try to load the model with a larger context "
    "length, or provide a shorter input",
    "LM Studio, as llama.cpp says it": "Cannot truncate prompt with n_keep (15028) >= "
    "n_ctx (7424)",
    "LM Studio, with MLX": "Context size has been exceeded",
}


@pytest.mark.parametrize("server", TOO_LONG)
@pytest.mark.parametrize("status", [200, 400])
def test_a_conversation_that_is_too_long_is_told(server: str, status: int) -> None:
    body = nested(TOO_LONG[server])
    told = error_in(body).code if status == 200 else judged(status, body)
    assert told == "context_too_long"


async def test_what_is_too_long_for_lm_studio_is_sent_once() -> None:
    """LM Studio reports it in the stream, under status 200."""
    body = {**nested(_LM_STUDIO), "message": _LM_STUDIO}
    played = await play("openai", b"event: error\n" + sse(body))
    assert (played.code, played.requests) == ("context_too_long", 1)


async def test_mistral_says_that_the_context_was_full() -> None:
    chunk = {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "model_length"}]}
    played = await play("openai", sse(chunk, "[DONE]"))
    assert (played.text, played.end.reason) == ("Hi", "length")

"""From a provider's error bodies to this project's errors."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from llmchat.providers import errors
from llmchat.providers.answerer import answerer_of
from llmchat.providers.classify import error_from_response, error_in, retry_after
from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import ProviderError
from llmchat.providers.reading import Reading
from llmchat.providers.registry import DEFAULT_PROVIDERS
from llmchat.providers.text import without_key
from llmchat.providers.types import Answerer, Key
from tests.emulator.application import APIS
from tests.emulator.driver import HASTY, KEY, Lab, chat
from tests.emulator.request import Request
from tests.emulator.response import Response, json_response
from tests.emulator.server import Emulator

# Each row of the emulator's error tables: the code it becomes, whether it is retried.
ROWS = {
    "auth": ("provider_auth", False),
    "bad-request": ("bad_request", False),
    "billing-off": ("provider_quota", False),
    "cap": ("provider_quota", False),
    "conflict": ("provider_error", True),
    "context": ("context_too_long", False),
    "context-and-limit": ("context_too_long", False),
    "credit": ("provider_quota", False),
    "eaten": ("empty_answer", False),
    "empty-text": ("bad_request", False),
    "model": ("model_not_found", False),
    "no-key": ("provider_auth", False),
    "no-max-tokens": ("bad_request", False),
    "parameter": ("bad_request", False),
    "permission": ("provider_auth", False),
    "prefill": ("bad_request", False),
    "quota": ("provider_quota", False),
    "rate": ("provider_rate_limited", True),
    "rate-absurd": ("provider_rate_limited", True),
    "rate-date": ("provider_rate_limited", True),
    "rate-long": ("provider_rate_limited", True),
    "rate-ms": ("provider_rate_limited", True),
    "rate-negative": ("provider_rate_limited", True),
    "rate-silent": ("provider_rate_limited", True),
    "server": ("provider_error", True),
    "slow": ("provider_timeout", True),
    "spend": ("provider_quota", False),
    "system-role": ("bad_request", False),
    "temperature": ("bad_request", False),
    "thoughtless": ("bad_request", False),
    "token": ("provider_auth", False),
    "too-large": ("context_too_long", False),
    "tools": ("bad_request", False),
    "unavailable": ("provider_unavailable", True),
    "unprocessable": ("bad_request", False),
    "unverified": ("bad_request", False),
    "version": ("bad_request", False),
}


@pytest.mark.parametrize("api", APIS)
def test_a_failure_before_the_stream_becomes_our_error(api: str) -> None:
    failures = APIS[api].failures
    assert failures
    made = {
        row: error_from_response(status, headers, json.dumps(body).encode())
        for row, (status, body, headers) in failures.items()
    }
    codes = {row: (error.code, error.retryable) for row, error in made.items()}
    assert codes == {row: ROWS[row] for row in failures}
    told = {
        row: f"{error} {error!r} {error.text} {error.log_detail}"
        for row, error in made.items()
    }
    assert {row: text for row, text in told.items() if "SECRET" in text} == {}


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (502, b"<html>", "provider_error", True),
        (520, b"", "provider_error", True),
        (522, b"", "provider_timeout", True),
        (529, b"busy", "provider_unavailable", True),
        (503, b"[]", "provider_unavailable", True),
        (500, b"\xff\xfe", "provider_error", True),
        (501, b"", "provider_error", False),
        (408, b"", "provider_timeout", True),
        (404, b"<html>", "provider_error", False),
        (404, b'{"detail":"Not Found"}', "provider_error", False),
        (404, b'{"error":"model \'x\' not found"}', "model_not_found", False),
        (400, b'{"object":"error","message":"bad","code":400}', "bad_request", False),
        (401, b"null", "provider_auth", False),
        (301, b"<html>", "provider_error", False),
        (204, b"", "provider_error", False),
        (429, b'{"error":{"code":429}}', "provider_rate_limited", True),
        (429, b'{"error":{"message":"Insufficient balance"}}', "provider_quota", False),
        (403, b'{"error":{"code":"model_not_found"}}', "model_not_found", False),
        (
            403,
            b'{"error":{"code":403,"message":"Your input was flagged",'
            b'"metadata":{"reasons":["violence"],"flagged_input":"..."}}}',
            "content_filtered",
            False,
        ),
        (400, b'{"error":{"code":"content_filter"}}', "content_filtered", False),
        (
            400,
            b'{"error":{"type":"exceed_context_size_error","code":400}}',
            "context_too_long",
            False,
        ),
        (500, b'{"error":{"message":"prompt is too long"}}', "provider_error", True),
        (
            429,
            b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]',
            "provider_rate_limited",
            True,
        ),
    ],
)
def test_a_body_of_a_compatible_server_is_understood(
    status: int, body: bytes, code: str, retryable: bool
) -> None:
    error = error_from_response(status, {}, body)
    assert (error.code, error.retryable) == (code, retryable)


_FORBIDDEN = {"type": "permission_error", "message": "No."}


@pytest.mark.parametrize(
    ("status", "error", "blamed"),
    [
        (401, {}, True),
        (403, {"type": "authentication_error"}, True),
        (403, {"message": "Method doesn't allow unregistered callers (…)."}, True),
        (403, {"message": "Your API key was reported as leaked."}, True),
        (403, {}, False),
        (403, _FORBIDDEN, False),
        (200, _FORBIDDEN, False),
        (403, {"message": "No model 'your api key was reported as leaked'"}, False),
        (407, {}, False),
    ],
)
def test_a_key_is_blamed_for_no_more_than_is_its_fault(
    status: int, error: dict[str, str], blamed: bool
) -> None:
    body = {"error": {"message": "", **error}}
    judged = error_from_response(status, {}, json.dumps(body).encode())
    assert isinstance(judged, errors.ProviderAuthError)
    assert judged.blames_key is blamed


def test_the_name_of_a_model_is_no_lack_of_money() -> None:
    body = {"error": {"message": "The model `insufficient quota` does not exist"}}
    error = error_from_response(404, {}, json.dumps(body).encode())
    assert error.code == "model_not_found"


def test_the_log_names_the_parameter_that_a_provider_refuses() -> None:
    body = {"error": {"type": "invalid_request_error", "param": "temperature"}}
    error = error_from_response(400, {}, json.dumps(body).encode())
    assert error.log_detail == "400 invalid_request_error param temperature"


def test_a_provider_may_forbid_the_retry() -> None:
    error = error_from_response(500, {"x-should-retry": "false"}, b"")
    assert not error.retryable


def test_an_error_inside_a_success_is_judged_by_the_status_in_it() -> None:
    assert error_in({"error": {"message": "bad", "code": 400}}).code == "bad_request"
    assert error_in({"error": {"code": 503}}).code == "provider_unavailable"


def test_an_error_of_no_known_kind_inside_a_success_may_pass() -> None:
    assert error_in({"error": "runner gone"}).retryable


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "120000"}, 120.0),
        ({"retry-after-ms": "86400001", "retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "99999999"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_read_and_not_believed_blindly(
    headers: dict[str, str], delay: float | None
) -> None:
    assert retry_after(headers) == delay


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    delay = retry_after({"retry-after": date})
    assert delay is not None
    assert 28 < delay <= 30


def test_the_delay_may_be_in_the_body() -> None:
    status, body, headers = APIS["gemini"].failures["rate-long"]
    error = error_from_response(status, headers, json.dumps(body).encode())
    assert error.retry_after == pytest.approx(34.4)


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    assert errors.__doc__ is not None
    names = [name for name in vars(errors) if name.endswith("Error")]
    assert len(names) == 14
    for name in names:
        kind = getattr(errors, name)
        assert issubclass(kind, ProviderError)
        assert name in errors.__doc__
        assert kind.code in errors.__doc__ or kind is errors.KeyRefusedError
        assert kind.status in (400, 404, 502, 503, 504)
        assert kind.text
        assert not kind.text.endswith(".")


@pytest.mark.parametrize("scenario", ["short", "fail-auth", "html-502", "late-error"])
async def test_no_key_and_no_body_reaches_the_log(
    setting: Lab, scenario: str, caplog: pytest.LogCaptureFixture
) -> None:
    for logger in ("", "httpx", "aiohttp", "llmchat"):
        caplog.set_level(logging.DEBUG, logger)
    for api in APIS:
        outcome = await setting.ask(api, scenario, timeouts=HASTY)
        assert "SECRET" not in repr(outcome.error)
        assert caplog.records or not outcome.error
    assert "SECRET" not in caplog.text
    assert "SECRET" not in repr(KEY)


def _echo(request: Request, number: int) -> Response:
    """Repeat the key, also in another case or in part, wherever a name is accepted."""
    key = request.headers["authorization"].removeprefix("Bearer ")
    error = {"type": key.upper(), "code": f"no.{key[3:11]}", "param": key}
    return json_response({"error": error}, 400, {"x-request-id": f"r.{key[-9:]}"})


@asynccontextmanager
async def _client() -> AsyncIterator[ProviderClient]:
    client = ProviderClient(HASTY)
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_key_that_a_provider_repeats_is_blotted_out() -> None:
    key = Key("k", "sk-Canary0123456789-abcdefghij")
    async with Emulator(_echo) as server, _client() as client:
        provider = replace(DEFAULT_PROVIDERS["openai"].provider, base_url=server.url)
        with pytest.raises(ProviderError) as told:
            async with aclosing(
                client.stream_chat(provider, [key], chat("m"))
            ) as events:
                await anext(events)
    assert told.value.log_detail == "400 *** *** param *** request ***"
    assert (
        repr(told.value) == f"BadRequestError('bad_request', '{told.value.log_detail}')"
    )


def test_a_key_is_blotted_out_word_by_word() -> None:
    assert without_key("400 invalid_api_key", "") == "400 invalid_api_key"
    assert without_key("400 no-AbCdEfGh", "aBcDefgh ") == "400 ***"
    assert without_key("a invalid_key", "sk-invalid0") == "a invalid_key"
    assert without_key("a invalid0_key", "sk-invalid0") == "a ***"


@pytest.mark.parametrize("key", ["test", "ollama", "a", "sk-1234"])
def test_a_key_that_is_no_secret_hides_nothing(key: str) -> None:
    """Servers that take any key are given a word, which other words contain, too."""
    text = f"404 {key}:latest"
    assert without_key(text, key) == text
    reading = Reading(model=f"{key}:latest", fingerprint=f"fp_{key}")
    who = Answerer(f"{key}:latest", f"fp_{key}")
    assert answerer_of(reading, Key("k", key)) == who


def test_a_key_in_the_name_of_the_answerer_is_blotted_out() -> None:
    reading = Reading(model="x-SK-Canary012", fingerprint="fp")
    assert answerer_of(reading, Key("k", "sk-canary012 ")) == Answerer("", "fp")

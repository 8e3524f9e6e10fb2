"""Responses below `/v1` outside of turns: their statuses, shapes and headers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client

from accounts.tokens import issue_tokens
from llmchat.urls import ANSWERS
from serving.body_limit import BodyLimit
from tests.support.limits import hold_the_minute

CHAT = "/v1/chat/completions"


@pytest.fixture
def bearer(django_user_model: Any) -> dict[str, str]:
    user = django_user_model.objects.create_user("ann")
    return {"authorization": f"Bearer {issue_tokens(user=user).access}"}


def error_of(response: Any) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "code"),
    [
        ("get", "/v1/models", 401, "authentication_error", "token_missing"),
        ("post", CHAT, 401, "authentication_error", "token_missing"),
        ("get", CHAT, 405, "invalid_request_error", "method_not_allowed"),
        ("get", "/v1", 404, "invalid_request_error", "not_found"),
        ("post", "/v1/embeddings", 404, "invalid_request_error", "not_found"),
        ("get", "/v1/\0", 404, "invalid_request_error", "not_found"),
    ],
)
def test_a_stranger_is_told_in_openais_shape(
    client: Client, method: str, path: str, status: int, kind: str, code: str
) -> None:
    response = getattr(client, method)(path)
    error = error_of(response)

    assert response.status_code == status
    assert (error["type"], error["code"]) == (kind, code)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        ('{"model": "m", "messages": []}', 400, "bad_request"),
        (
            '{"model": "x/y", "messages": [{"role": "user", "content": "Hi"}]}',
            404,
            "model_not_found",
        ),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_body_that_will_not_do_is_told_in_openais_shape(
    client: Client,
    bearer: dict[str, str],
    body: str,
    status: int,
    code: str,
    slash: str,
) -> None:
    response = client.post(
        CHAT + slash, body, content_type="application/json", headers=bearer
    )

    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert response.headers["x-request-id"]


@pytest.mark.django_db(transaction=True)
def test_whoever_asks_too_often_is_told_when_to_go_on(
    client: Client,
    bearer: dict[str, str],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold_the_minute(monkeypatch)
    settings.LLMCHAT = settings.LLMCHAT | {"messages_per_minute": 1}
    for _ in range(2):
        response = client.post(
            CHAT, "{}", content_type="application/json", headers=bearer
        )

    assert response.status_code == 429
    assert error_of(response)["type"] == "rate_limit_error"
    assert int(response.headers["Retry-After"]) > 0
    assert "x-should-retry" not in response.headers


async def test_a_body_that_is_too_long_is_told_in_openais_shape() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", b"11")]
    scope = {"type": "http", "path": CHAT, "headers": headers}
    await BodyLimit(None, lambda: 10)(scope, None, send)  # type: ignore[arg-type]

    assert sent[0]["status"] == 413
    assert dict(sent[0]["headers"])[b"x-request-id"]
    assert json.loads(sent[1]["body"])["error"]["code"] == "payload_too_large"


@pytest.mark.parametrize(
    ("path", "lasts"),
    [(CHAT, True), (f"{CHAT}/", True), ("/v1/responses", True), ("/v1/models", False)],
)
def test_an_answer_that_comes_late_is_waited_for(path: str, lasts: bool) -> None:
    assert any(re.fullmatch(answers, path[1:]) for answers in ANSWERS) == lasts


def test_the_sdk_may_be_used_in_a_page_of_another_origin(
    client: Client, settings: Any
) -> None:
    origin = "https://app.example.com"
    settings.LLMCHAT = settings.LLMCHAT | {"cors_allowed_origins": (origin,)}
    wanted = {"access-control-request-method": "POST", "origin": origin}

    preflight = client.options(CHAT, headers=wanted)
    response = client.post(CHAT, headers={"origin": origin})

    assert "X-Stainless-Retry-Count" in preflight["Access-Control-Allow-Headers"]
    assert response["Access-Control-Allow-Origin"] == origin
    assert "X-LLMChat-Cost" in response["Access-Control-Expose-Headers"]

"""Requests from pages of other origins."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from llmchat.description.routes import routes

ALLOWED = "https://app.example.com"


@pytest.fixture
def _one_origin(settings: Any) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"cors_allowed_origins": (ALLOWED,)}


@pytest.mark.usefixtures("_one_origin")
def test_an_allowed_origin_may_read_the_answer(client: Client) -> None:
    answer = client.get("/auth/me", headers={"origin": ALLOWED})

    assert answer.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.usefixtures("_one_origin")
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "https://app.example.com.evil.tld"]
)
def test_another_origin_may_not(client: Client, origin: str) -> None:
    answer = client.get("/auth/me", headers={"origin": origin})

    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.usefixtures("_one_origin")
def test_a_preflight_is_answered_for_an_allowed_origin(client: Client) -> None:
    answer = client.options(
        "/auth/token",
        headers={
            "origin": ALLOWED,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )

    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.usefixtures("_one_origin")
def test_a_preflight_is_answered_on_every_route_of_the_api(client: Client) -> None:
    headers = {"origin": ALLOWED, "access-control-request-method": "GET"}
    paths = [route.path for route in routes() if not route.is_plain]
    answers = {path: client.options(path, headers=headers) for path in paths}

    assert {path.split("/")[1] for path in answers} == {"auth", "llm", "v1"}
    for path, answer in answers.items():
        assert answer.status_code == 204, path
        assert answer.headers["Access-Control-Allow-Origin"] == ALLOWED, path


@pytest.mark.usefixtures("_one_origin")
def test_the_admin_is_closed_to_every_other_origin(client: Client) -> None:
    answer = client.get("/admin", headers={"origin": ALLOWED})

    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "debug", "allowed"),
    [
        ("http://localhost:5173", True, True),
        ("http://127.0.0.1:1", True, True),
        ("http://[::1]:5173", True, True),
        ("http://localhost:5173", False, False),
        ("http://localhost.evil.tld", True, False),
        ("http://localhost@evil.tld", True, False),
        ("http://evil.tld:5173", True, False),
        ("null", True, False),
    ],
)
def test_in_debug_every_port_of_this_machine_is_allowed(
    client: Client, settings: Any, origin: str, debug: bool, allowed: bool
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"debug_origins": debug}

    answer = client.get("/auth/me", headers={"origin": origin})

    assert ("Access-Control-Allow-Origin" in answer.headers) is allowed

"""HTTP as Django answers it: content security, content types, CSRF, hosts, JSON."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import resolve

from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat.description.routes import routes
from serving import errors
from serving.parsers import BoundedJSONParser


@pytest.mark.parametrize("path", ["/", "/auth/me", "/no-such-page"])
def test_no_page_runs_scripts_of_others(client: Client, path: str) -> None:
    policy = client.get(path).headers["Content-Security-Policy"]

    assert "default-src 'self'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_adds_styles_by_a_nonce_of_its_own(client: Client) -> None:
    pages = [client.get(path) for path in ("/", f"/c/{uuid4()}")]

    for page in pages:
        policy = page.headers["Content-Security-Policy"].split("; ")
        nonce = page.context["request"].csp_nonce
        assert f'<meta name="csp-nonce" content="{nonce}">' in page.content.decode()
        assert f"style-src 'self' 'nonce-{nonce}'" in policy
        assert "connect-src 'self' ws://testserver wss://testserver" in policy
        assert page.headers["Cache-Control"] == "private, no-cache"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "camera=()" in page.headers["Permissions-Policy"]
        assert "http-equiv" not in page.content.decode()
    assert len({str(page.context["request"].csp_nonce) for page in pages}) == 2


@pytest.mark.parametrize("is_on", [True, False])
def test_the_page_knows_whether_people_may_register(
    client: Client, settings: Any, is_on: bool
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"registration": is_on}

    page = client.get("/").content.decode()

    word = "on" if is_on else "off"
    assert f'<meta name="llmchat-registration" content="{word}">' in page


@pytest.mark.parametrize("path", ["/c", "/c/", "/c/42", f"/c/{UUID(int=1)}/more"])
def test_nothing_else_is_a_conversation(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert "There is nothing at this address" in answer.content.decode()


def test_the_admin_may_evaluate_but_runs_no_scripts_of_others(client: Client) -> None:
    policy = client.get("/admin/login/").headers["Content-Security-Policy"]

    assert "default-src 'self'" in policy
    assert "script-src 'self' 'unsafe-eval'" in policy.split("; ")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("accept", "is_accepted"),
    [
        (None, True),
        ("text/event-stream", True),
        ("text/event-stream;q=0.5, text/html", True),
        ("text/*", True),
        ("application/json", True),
        ("*/*", True),
        ("image/png", False),
    ],
)
def test_every_route_takes_the_types_that_clients_accept(
    client: Client, accept: str | None, is_accepted: bool
) -> None:
    headers = {"accept": accept} if accept else {}
    refused = []
    for route in (route for route in routes() if not route.is_plain):
        for method in route.methods:
            answer = client.generic(method, route.path, headers=headers)
            assert answer.headers["Content-Type"] == "application/json"
            if (answer.status_code == 406) == is_accepted:
                refused.append(f"{method} {route.path}: {answer.status_code}")

    assert refused == []


def test_every_route_is_there_with_and_without_a_slash_at_its_end() -> None:
    for route in routes():
        path = route.path.rstrip("/")
        assert resolve(path).func is resolve(f"{path}/").func, path


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("method", ["ARGS", "SETUP", "REQUEST", "HEADERS", "TRACE"])
def test_a_method_that_nobody_knows_is_not_allowed(client: Client, method: str) -> None:
    token = issue_tokens(user=User.objects.create_user("ann")).access
    headers = {"authorization": f"Bearer {token}"}
    for route in (route for route in routes() if not route.is_plain):
        answer = client.generic(method, route.path, headers=headers)
        assert answer.status_code == 405, route.path


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_token", [False, True], ids=["no token", "token"])
def test_no_view_of_the_api_describes_its_code(client: Client, has_token: bool) -> None:
    headers = {"accept": "application/json"}
    if has_token:
        token = issue_tokens(user=User.objects.create_user("ann")).access
        headers["authorization"] = f"Bearer {token}"

    answers = {
        path: client.options(path, headers=headers)
        for path in (*(route.path for route in routes()), "/schema")
    }

    assert "/v1/models" in answers
    for path, answer in answers.items():
        error = answer.json()
        error = error["error"] if path.startswith("/v1/") else error
        assert (answer.status_code, error["code"]) == (405, "method_not_allowed"), path


@pytest.mark.django_db
def test_a_view_allows_the_methods_that_it_has(client: Client) -> None:
    for route in routes():
        head = {"HEAD"} if "GET" in route.methods else set()
        allowed = client.options(route.path).headers["Allow"]
        assert set(allowed.split(", ")) == {*route.methods, *head}, route.path


@pytest.mark.parametrize("path", ["/llm", "/llm/nothing", "/auth/", "/auth/x/y/"])
@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_no_address_of_the_api_asks_for_a_csrf_token(path: str, method: str) -> None:
    client = Client(enforce_csrf_checks=True)

    answer = getattr(client, method)(path)

    assert answer.status_code == 404
    assert answer.json() == errors.NOT_FOUND


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("host", ["10.0.0.7:3000", "evil.example", "[fe80::1]", "a_b"])
def test_a_probe_may_name_the_address(client: Client, settings: Any, host: str) -> None:
    settings.SECURE_SSL_REDIRECT = True

    for path in ("/healthz", "/healthz/", "/readyz", "/readyz/"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 200
    settings.SECURE_SSL_REDIRECT = False
    assert client.get("/auth/me", headers={"host": host}).status_code == 400
    assert client.get("/healthzz", headers={"host": host}).status_code == 400
    assert client.get("/readyzz", headers={"host": host}).status_code == 400


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "x\\ud800y"}', {"a": "x\ufffdy"}),
        (b'{"a": ["\\udc00\\ud83d\\ude00"]}', {"a": ["\ufffd\U0001f600"]}),
        (b'{"\\udfff": 1}', {"\ufffd": 1}),
        (b'{"a": "\\\\ud800"}', {"a": "\\ud800"}),
    ],
)
def test_json_is_read_as_the_sockets_read_it(body: bytes, value: Any) -> None:
    assert BoundedJSONParser().parse(BytesIO(body)) == value

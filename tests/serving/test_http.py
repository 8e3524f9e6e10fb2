"""HTTP as Django answers it: content security, content types, CSRF, hosts, JSON."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from django.test import Client

from serving import errors
from serving.parsers import BoundedJSONParser


@pytest.mark.parametrize("path", ["/", "/auth/me", "/no-such-page"])
def test_no_page_runs_scripts_of_others(client: Client, path: str) -> None:
    policy = client.get(path).headers["Content-Security-Policy"]

    assert "default-src 'self'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy


def test_the_admin_may_evaluate_but_runs_no_scripts_of_others(client: Client) -> None:
    policy = client.get("/admin/login/").headers["Content-Security-Policy"]

    assert "default-src 'self'" in policy
    assert "script-src 'self' 'unsafe-eval'" in policy.split("; ")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/event-stream", 401),
        ("text/event-stream;q=0.5, text/html", 401),
        ("text/*", 401),
        ("application/json", 401),
        ("*/*", 401),
        ("image/png", 406),
    ],
)
@pytest.mark.parametrize("path", ["/llm/chat", "/auth/me"])
def test_server_sent_events_may_be_accepted(
    client: Client, path: str, accept: str, status: int
) -> None:
    method = client.post if path == "/llm/chat" else client.get

    answer = method(path, headers={"accept": accept})

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"


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

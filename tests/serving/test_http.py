"""What goes for every request: errors, other origins, long bodies, static files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import OperationalError
from django.http import Http404
from django.test import AsyncClient, Client, RequestFactory
from redis.exceptions import RedisError
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.errors import AttemptsError
from llmchat.errors import refusal
from serving import errors as exceptions
from serving.body_limit import BodyLimit
from serving.parsers import BoundedJSONParser
from serving.static import CollectedStorage


class AnyView(APIView):
    """A view that knows GET alone."""

    def get(self, request: Request) -> None:
        """Never called."""


def answer_to(exc: Exception, method: str = "GET") -> Any:
    request = AnyView().initialize_request(RequestFactory().generic(method, "/llm/x"))
    return exceptions.api_exception_handler(
        exc, {"view": AnyView(), "request": request}
    )


@pytest.mark.parametrize(
    ("exc", "status", "code"),
    [
        (drf.ParseError(), 400, "bad_request"),
        (drf.ValidationError({"model": ["too long"]}), 400, "bad_request"),
        (drf.NotAuthenticated(), 401, "token_missing"),
        (drf.PermissionDenied(), 403, "permission_denied"),
        (PermissionDenied(), 403, "permission_denied"),
        (drf.NotFound(), 404, "not_found"),
        (Http404(), 404, "not_found"),
        (drf.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (drf.UnsupportedMediaType("text/x"), 415, "unsupported_media_type"),
        (drf.Throttled(wait=7.2), 429, "rate_limited"),
        (OperationalError("gone"), 503, "database_unavailable"),
        (RedisError("gone"), 503, "database_unavailable"),
        (refusal("session_active"), 409, "session_active"),
        (ZeroDivisionError(), 500, "internal_error"),
    ],
)
def test_an_error_has_one_shape(exc: Exception, status: int, code: str) -> None:
    answer = answer_to(exc)

    assert answer.status_code == status
    assert answer.data["code"] == code
    assert answer.data.keys() - {"retryAfter"} == {"error", "code"}
    assert answer.data["error"]


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ({"model": ["too long", "too odd"]}, "model: too long"),
        ({"messages": [{}, {"role": ["unknown"]}]}, "role: unknown"),
        ({"non_field_errors": ["no object"]}, "no object"),
        (["wrong"], "wrong"),
        ([], "invalid"),
    ],
)
def test_the_first_complaint_is_the_sentence(detail: Any, text: str) -> None:
    assert answer_to(drf.ValidationError(detail)).data["error"] == text


def test_waiting_is_told_in_whole_seconds() -> None:
    for exc, seconds in (
        (drf.Throttled(wait=7.2), 8),
        (refusal("rate_limited", retry_after=30), 30),
        (AttemptsError(3), 3),
        (OperationalError("gone"), 5),
    ):
        answer = answer_to(exc)
        assert answer.headers["Retry-After"] == str(seconds)
        assert answer.data["retryAfter"] == seconds
    assert "retryAfter" not in answer_to(drf.Throttled()).data


def test_a_wrong_method_counts_before_a_missing_token() -> None:
    assert answer_to(drf.NotAuthenticated(), "PUT").status_code == 405


def test_a_fault_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    answer = answer_to(ValueError("sk-secret"))

    assert "sk-secret" not in json.dumps(answer.data)
    assert "a view failed" in caplog.text


def test_a_page_that_does_not_exist_is_html(client: Client) -> None:
    answer = client.get("/no-such-page")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("path", "kind"), [("/llm/x", "application/json"), ("/x", "text/html")]
)
def test_a_fault_outside_the_framework_answers_in_kind(path: str, kind: str) -> None:
    answer = exceptions.handler500(RequestFactory().get(path))

    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith(kind)


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


# --- Other origins ---------------------------------------------------------------

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


# --- Long bodies -----------------------------------------------------------------


class Exchange:
    """One request as a server would bring it: its messages, and what came back."""

    def __init__(self, *chunks: bytes, announced: str | None = None) -> None:
        self.scope: dict[str, Any] = {"type": "http", "path": "/llm/x", "headers": []}
        if announced is not None:
            self.scope["headers"] = [(b"content-length", announced.encode())]
        self._chunks = list(chunks)
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        chunk = self._chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body and answer with its length, as Django would."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


@pytest.mark.parametrize(
    ("exchange", "status"),
    [
        (Exchange(b"12345", b"67890"), 200),
        (Exchange(b"12345", b"678901"), 413),
        (Exchange(b"", announced="11"), 413),
        (Exchange(b"", announced="9" * 5000), 413),
        (Exchange(b"", announced="-1"), 200),
        (Exchange(b"12345678901", announced="1"), 413),
    ],
)
async def test_a_body_is_read_up_to_the_limit(exchange: Exchange, status: int) -> None:
    await BodyLimit(_echo, lambda: 10)(exchange.scope, exchange.receive, exchange.send)

    assert exchange.sent[0]["status"] == status
    if status == 413:
        assert json.loads(exchange.sent[1]["body"])["code"] == "payload_too_large"


@pytest.mark.usefixtures("_one_origin")
@pytest.mark.parametrize(
    ("path", "origin", "allowed"),
    [
        ("/llm/chat", ALLOWED, True),
        ("/auth/token", ALLOWED, True),
        ("/auth/token", "https://evil.example", False),
        ("/admin/login/", ALLOWED, False),
    ],
)
async def test_a_page_elsewhere_can_read_that_its_body_is_too_long(
    path: str, origin: str, allowed: bool
) -> None:
    exchange = Exchange(b"", announced="11")
    exchange.scope["path"] = path
    exchange.scope["headers"].append((b"origin", origin.encode()))

    await BodyLimit(_echo, lambda: 10)(exchange.scope, exchange.receive, exchange.send)

    headers = dict(exchange.sent[0]["headers"])
    assert (b"access-control-allow-origin" in headers) is allowed
    assert (b"vary" in headers) is not path.startswith("/admin")


async def test_a_websocket_passes_the_body_limit_by() -> None:
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    exchange = Exchange()
    await BodyLimit(application, lambda: 0)(
        {"type": "websocket"}, exchange.receive, exchange.send
    )

    assert seen == ["websocket"]


# --- Static files ----------------------------------------------------------------


@pytest.fixture
def collected(tmp_path: Path, settings: Any) -> Iterator[Path]:
    settings.STATIC_ROOT = tmp_path
    settings.WHITENOISE_USE_FINDERS = False
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def test_static_files_are_served_before_anybody_collected_them(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    settings.STATIC_ROOT = tmp_path / "nothing"

    answer = client.get("/static/admin/css/base.css")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/css")
    assert CollectedStorage().url("admin/css/base.css") == "/static/admin/css/base.css"


async def test_static_files_are_served_by_the_loop(async_client: AsyncClient) -> None:
    answer = await async_client.get("/static/admin/css/base.css")

    assert answer.status_code == 200
    assert not answer.streaming
    assert b"--primary" in answer.content


def test_collected_files_have_hashed_names_for_ever(
    client: Client, collected: Path
) -> None:
    url = CollectedStorage().url("admin/css/base.css")

    answer = client.get(url, headers={"accept-encoding": "gzip"})

    assert url != "/static/admin/css/base.css"
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Encoding"] == "gzip"


def test_every_page_has_an_icon(client: Client) -> None:
    answer = client.get("/favicon.ico", follow=True)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/svg+xml"


def test_a_static_file_that_does_not_exist_is_not_found(client: Client) -> None:
    assert client.get("/static/nothing.css").status_code == 404


# --- What is asked for, and where -------------------------------------------------


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
    assert answer.json() == exceptions.NOT_FOUND


@pytest.mark.parametrize("host", ["10.0.0.7:3000", "evil.example", "[fe80::1]", "a_b"])
def test_a_probe_may_name_the_address(client: Client, settings: Any, host: str) -> None:
    settings.SECURE_SSL_REDIRECT = True

    for path in ("/healthz", "/healthz/"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 200
    settings.SECURE_SSL_REDIRECT = False
    assert client.get("/auth/me", headers={"host": host}).status_code == 400
    assert client.get("/healthzz", headers={"host": host}).status_code == 400


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

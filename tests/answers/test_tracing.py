"""What a trace records of a turn, and where it is sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from accounts.models import User
from llmchat import log_fields, tracing
from llmchat.answers import runtime
from llmchat.answers.answer import cancel_stream
from llmchat.answers.events import Cancelled, Done, Failed
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.models import Provider
from tests.support.access import add_fallback
from tests.support.chat_fixtures import end_of
from tests.support.live import ROOT, environment
from tests.support.upstream import Upstream, running_upstream

CANARY = "a canary"


@pytest.fixture
def switched_on(settings: Any) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"otel": True}


@pytest.fixture
def exported(switched_on: None) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    tracing.start(exporter)
    return exporter


async def spans_of(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    """Return the spans that were exported by the end, in the order of their starts."""
    await runtime.shutdown()
    found = exporter.get_finished_spans()
    assert not [span for span in found if CANARY in span.to_json()]
    return sorted(found, key=lambda span: span.start_time or 0)


async def test_a_start_that_fails_begins_no_trace(
    switched_on: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096")

    for _ in range(2):  # twice, as the first attempt must leave nothing half begun
        with pytest.raises(ValueError, match="batch_size"):
            tracing.start(InMemorySpanExporter())

    assert tracing.begin("it", {}) is tracing.NOTHING


async def test_a_turn_is_a_span_and_its_call_a_child(
    user: User,
    provider: Provider,
    turn: Callable[..., Turn],
    exported: InMemorySpanExporter,
) -> None:
    done = await end_of(user, turn(CANARY, max_tokens=50, temperature=0.5))
    assert isinstance(done, Done)

    whole, call = await spans_of(exported)

    assert whole.parent is None
    assert call.parent is not None
    assert call.parent.span_id == whole.context.span_id
    told = dict(whole.attributes or {})
    assert told.pop("llmchat.first_token_s")
    assert whole.name == "llmchat.turn"
    assert told == {
        "user.id": str(user.pk),
        "session.id": "s-1",
        "gen_ai.conversation.id": str(done.conversation_id),
        "llmchat.message.id": str(done.message_id),
        "llmchat.state": "done",
    }
    assert (call.name, call.kind.name) == ("chat model-1", "CLIENT")
    assert dict(call.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "test",
        "gen_ai.request.model": "model-1",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "server.address": "127.0.0.1",
        "gen_ai.response.model": done.model,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": done.usage.input_tokens,
        "gen_ai.usage.output_tokens": done.usage.output_tokens,
    }
    assert call.resource.attributes["service.name"] == "llmchat"


async def test_a_fallback_is_a_call_of_its_own(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: Callable[..., Turn],
    exported: InMemorySpanExporter,
) -> None:
    upstream.status = 401
    async with running_upstream() as other:
        await in_database(add_fallback, provider, other.base_url)
        assert isinstance(await end_of(user, turn(CANARY)), Done)

    _, first, second = await spans_of(exported)

    told = [dict(span.attributes or {}) for span in (first, second)]
    assert [one["gen_ai.provider.name"] for one in told] == ["test", "other"]
    assert told[0]["error.type"] == "provider_auth"
    assert "error.type" not in told[1]
    assert first.status.is_ok is False


async def test_what_ends_badly_says_why(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: Callable[..., Turn],
    exported: InMemorySpanExporter,
) -> None:
    upstream.steps = ("Hel", asyncio.Event())
    running = asyncio.create_task(end_of(user, turn(CANARY)))
    await upstream.received.wait()
    cancel_stream(user_id=user.pk, session_id="s-1")
    assert isinstance(await running, Cancelled)
    upstream.status = 401
    assert isinstance(await end_of(user, turn(CANARY, session_id="s-2")), Failed)

    spans = await spans_of(exported)

    told = [dict(span.attributes or {}) for span in spans]
    assert [one.get("error.type") for one in told] == [
        *(None, "cancelled"),
        *("provider_auth", "provider_auth"),
    ]
    assert [told[0]["llmchat.state"], told[2]["llmchat.state"]] == [
        "cancelled",
        "failed",
    ]


async def test_a_collector_that_is_away_does_not_hold_up_the_stop(
    user: User,
    provider: Provider,
    turn: Callable[..., Turn],
    switched_on: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "_STOP_S", 0.05)
    go = threading.Event()

    class Away(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            go.wait(60)
            return super().export(spans)

    exporter = Away()
    tracing.start(exporter)
    assert isinstance(await end_of(user, turn(CANARY)), Done)

    await runtime.shutdown()

    assert not exporter.get_finished_spans()
    go.set()


async def test_a_line_of_the_log_names_the_trace(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: Callable[..., Turn],
    exported: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []
    note = log_fields.add
    monkeypatch.setattr(log_fields, "add", lambda **f: (told.append(f), note(**f)))

    await end_of(user, turn(CANARY))

    whole, _ = await spans_of(exported)
    [named] = [one["traceId"] for one in told if "traceId" in one]  # type: ignore[operator,index]
    assert int(named, 16) == whole.context.trace_id


class _Collector(BaseHTTPRequestHandler):
    """Collects what is sent by OTLP over HTTP."""

    taken: list[tuple[str, ExportTraceServiceRequest]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    _Collector.taken = []
    with HTTPServer(("127.0.0.1", 0), _Collector) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield server
        server.shutdown()
        serving.join()


async def test_the_usual_variables_say_where_it_goes(
    user: User,
    provider: Provider,
    turn: Callable[..., Turn],
    switched_on: None,
    collector: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat-of-tests")

    assert isinstance(await end_of(user, turn(CANARY)), Done)
    await runtime.shutdown()

    [(path, sent)] = _Collector.taken
    assert path == "/v1/traces"
    [resource] = sent.resource_spans
    names = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert sorted(names) == ["chat model-1", "llmchat.turn"]
    assert b"chat-of-tests" in sent.SerializeToString()


def test_while_it_is_off_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from config import asgi; from llmchat import tracing;"
        "tracing.start();"
        "print([name for name in sys.modules if name.startswith("
        "('opentelemetry.sdk.trace', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(ROOT / "none.sqlite3"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr

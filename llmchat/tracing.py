"""Traces for OpenTelemetry, if `LLMCHAT_OTEL` switches them on.

OpenTelemetry's packages are imported only in that case. The exporter sends OTLP over
HTTP, and is configured by OpenTelemetry's own variables, such as
`OTEL_EXPORTER_OTLP_ENDPOINT`. A span holds names, ids and numbers, never the text of a
message.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llmchat import conf

# How long the server, when it stops, waits for the last spans to be exported.
_STOP_S = 3.0

Attributes = Mapping[str, Any]

_provider: Any = None


class Span:
    """A piece of work and its time; it records nothing while tracing is off."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Any = None, span: Any = None) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def log_fields(self) -> dict[str, str]:
        """The field that lets log lines be found by trace, under its usual name."""
        if self._span is None:
            return {}
        return {"traceId": format(self._span.get_span_context().trace_id, "032x")}

    def child(self, name: str, attributes: Attributes) -> Span:
        """Begin the span of a call to another service that belongs to this work."""
        if self._span is None:
            return self
        from opentelemetry import trace

        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(self._span),
            kind=trace.SpanKind.CLIENT,
            attributes=_known(attributes),
        )
        return Span(self._tracer, span)

    def note(self, attributes: Attributes) -> None:
        """Add attributes, except those that are None."""
        if self._span is not None:
            self._span.set_attributes(_known(attributes))

    def end(self, error: str = "") -> None:
        """End the span; `error` is a code, "" for success."""
        if self._span is None:
            return
        if error:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


NOTHING = Span()


def begin(name: str, attributes: Attributes) -> Span:
    """Begin a span that has no parent."""
    if _provider is None:
        return NOTHING
    tracer = _provider.get_tracer("llmchat")
    return Span(tracer, tracer.start_span(name, attributes=_known(attributes)))


def _known(attributes: Attributes) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def start(exporter: Any = None) -> None:
    """Start tracing, if it is switched on; `exporter` replaces the one for OTLP."""
    global _provider
    if _provider is not None or not conf.get().otel:
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )

        exporter = OTLPSpanExporter()
    resource = Resource.create()
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "llmchat"}))
    # No shutdown at the exit of the process: it would wait for a missing collector.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # This raises an error if OpenTelemetry's own variables are wrong.
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _provider = provider


async def stop() -> None:
    """Export the remaining spans, unless that takes too long."""
    global _provider
    provider, _provider = _provider, None
    if provider is None:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=shut_down, name="end of tracing", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOP_S):
            await done.wait()

"""OpenAI's Chat Completions and DeepSeek's dialect of it."""

from __future__ import annotations

from email.utils import formatdate

from .api import Api, Row, Story, event
from .request import Request
from .response import Response

_ROLES = {"developer", "system", "user", "assistant", "tool"}


def _error(
    status: int,
    kind: str | None,
    code: str | None,
    message: str,
    param: str | None = None,
    **headers: str,
) -> Row:
    body = {"message": message, "type": kind, "param": param, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"error": body}, {"x-request-id": "req_1", **named}


_INVALID = "invalid_request_error"


class OpenAIApi(Api):
    """`POST /v1/chat/completions`."""

    name = "openai"
    paths: tuple[str, ...] = ("/v1/chat/completions",)
    models: tuple[str, ...] = ("gpt-6-luna", "gpt-4.1")
    reasoning: tuple[str, ...] = ("gpt-6-luna",)
    finishes = {
        "stop": "stop",
        "length": "length",
        "filter": "content_filter",
        "tool": "tool_calls",
        "new": "brand_new_reason",
        "broken": "insufficient_system_resource",
    }
    failures = {
        "bad-request": _error(400, _INVALID, None, "Wrong."),
        "context": _error(
            400, _INVALID, "context_length_exceeded", "Too long.", "messages"
        ),
        "parameter": _error(
            400, _INVALID, "unsupported_parameter", "Unsupported parameter"
        ),
        "tools": _error(
            400,
            _INVALID,
            None,
            "Function tools with reasoning_effort are not supported for this model in"
            " /v1/chat/completions.",
            "reasoning_effort",
        ),
        "unverified": _error(
            400, _INVALID, "unsupported_value", "Not verified to stream", "stream"
        ),
        "eaten": _error(
            400,
            _INVALID,
            None,
            "Could not finish the message because max_tokens or model output limit was"
            " reached. Please try again with higher max_tokens.",
        ),
        "auth": _error(
            401,
            _INVALID,
            "invalid_api_key",
            "Incorrect API key provided: sk-bad-SECRET",
        ),
        "no-key": _error(401, _INVALID, None, "You didn't provide an API key."),
        "permission": _error(403, _INVALID, None, "Country not supported"),
        "model": _error(404, _INVALID, "model_not_found", "The model does not exist"),
        "conflict": _error(409, "conflict", None, "Conflict"),
        "too-large": _error(413, _INVALID, None, "Too large"),
        "unprocessable": _error(422, _INVALID, None, "Unprocessable"),
        "rate": _error(
            429, "rate_limit_error", "rate_limit_exceeded", "Slow", retry_after="0.05"
        ),
        "rate-ms": _error(429, "requests", "slow_down", "Slow", retry_after_ms="50"),
        "rate-date": _error(429, "requests", None, "Slow", retry_after=formatdate()),
        "rate-negative": _error(429, "requests", None, "Slow", retry_after="-5"),
        "rate-absurd": _error(429, "requests", None, "Slow", retry_after="1e400"),
        "rate-long": _error(429, "requests", None, "Slow", retry_after="60"),
        "rate-silent": _error(429, "requests", "rate_limit_exceeded", "Slow"),
        "quota": _error(
            429, "insufficient_quota", "insufficient_quota", "You exceeded your quota"
        ),
        "credit": _error(429, None, "credit_balance_exhausted", "No credit"),
        "spend": _error(429, None, "project_spend_limit_exceeded", "Spent"),
        "server": _error(500, "server_error", None, "The worker went away."),
        "unavailable": _error(503, "server_error", "server_is_overloaded", "Busy"),
        "slow": _error(504, "server_error", None, "Late"),
    }

    def model_of(self, request: Request) -> str | None:
        if request.path not in self.paths:
            return None
        return str(request.body.get("model", ""))

    def check(self, request: Request) -> Response | None:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not key:
            return self.fail("no-key")
        if (refusal := self.key_failure(key)) is not None:
            return refusal
        if not self.knows(request.model):
            return self.fail("model")
        return self._check_body(request.body, request.model)

    def _check_body(self, body: dict[str, object], model: str) -> Response | None:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            return self.fail("bad-request")
        if any(message.get("role") not in _ROLES for message in messages):
            return self.fail("bad-request")
        if "stream_options" in body and not body.get("stream"):
            return self.fail("bad-request")
        old = "max_tokens" in body or body.get("temperature", 1) != 1
        if model in self.reasoning and body.get("tools"):
            return self.fail("tools")
        return self.fail("parameter") if old and model in self.reasoning else None

    def chunk(self, delta: object, finish: str | None = None) -> dict[str, object]:
        """Return one chunk as a JSON value."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": f"{self.name}-snapshot",
            "service_tier": "default",
            "system_fingerprint": "fp_1",
            "choices": [choice],
            "usage": None,
            "obfuscation": "aZ3",
        }

    def usage(self, story: Story) -> dict[str, object]:
        if story.counts is not None:
            return dict(story.counts)
        thoughts = len(story.reasoning)
        tokens = len(story.pieces) + thoughts
        return {
            "prompt_tokens": 21,
            "completion_tokens": tokens,
            "total_tokens": 21 + tokens,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": thoughts},
        }

    def first_delta(self, story: Story) -> dict[str, object]:
        return {"role": "assistant", "content": "", "refusal": None}

    def events(self, story: Story) -> list[bytes]:
        chunks = [self.chunk(self.first_delta(story))]
        chunks += (
            self.chunk({"content": None, "reasoning_content": thought})
            for thought in story.reasoning
        )
        chunks += (self.chunk(self.text_delta(piece)) for piece in story.pieces)
        if story.finish:
            chunks.append(self.chunk(self.last_delta(), self.finishes[story.finish]))
        if story.usage == "usual":
            self.add_usual_usage(chunks, story)
        elif story.usage == "finish":
            chunks[-1]["usage"] = self.usage(story)
        elif story.usage == "every":
            for chunk in chunks:
                chunk["usage"] = self.usage(story)
        events = [event(chunk) for chunk in chunks]
        return [*events, event("[DONE]")] if story.terminator else events

    def text_delta(self, piece: str) -> dict[str, object]:
        return {"content": piece}

    def last_delta(self) -> dict[str, object]:
        return {}

    def add_usual_usage(self, chunks: list[dict[str, object]], story: Story) -> None:
        last = self.chunk({})
        chunks.append({**last, "choices": [], "usage": self.usage(story)})

    def whole(self, story: Story) -> dict[str, object]:
        message = {"role": "assistant", "content": story.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self.finishes[story.finish],
        }
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": f"{self.name}-snapshot",
            "choices": [choice],
            "usage": self.usage(story),
        }

    def error_event(self, row: str) -> bytes:
        return event(self.failures[row][1])


class DeepSeekApi(OpenAIApi):
    """`POST /chat/completions`: reasoning, comments, usage on the finish chunk."""

    name = "deepseek"
    paths = ("/chat/completions",)
    models = ("deepseek-flash",)
    reasoning = ()
    failures = {
        **OpenAIApi.failures,
        "auth": _error(
            401, "authentication_error", _INVALID, "Authentication Fails, key SECRET"
        ),
        "no-key": _error(401, "authentication_error", None, "Authentication Fails"),
        "quota": _error(402, "unknown_error", _INVALID, "Insufficient Balance"),
        "model": _error(400, _INVALID, _INVALID, "Model Not Exist"),
        "thoughtless": _error(
            400,
            _INVALID,
            _INVALID,
            "Missing `reasoning_content` field in the assistant message at index 1.",
        ),
        "rate": _error(429, "unknown_error", None, "Rate limit", retry_after="0.05"),
        "server": _error(500, "unknown_error", None, "Server error"),
        "unavailable": _error(503, "unknown_error", None, "Overloaded"),
    }

    def _check_body(self, body: dict[str, object], model: str) -> Response | None:
        messages = body.get("messages")
        is_thinking = body.get("thinking") != {"type": "disabled"}
        if body.get("tools") and is_thinking and isinstance(messages, list):
            answers = [m for m in messages if m.get("role") == "assistant"]
            if any("reasoning_content" not in answer for answer in answers):
                return self.fail("thoughtless")
        return super()._check_body(body, model)

    def first_delta(self, story: Story) -> dict[str, object]:
        if story.reasoning:
            return {"role": "assistant", "content": None, "reasoning_content": ""}
        return {"role": "assistant", "content": ""}

    def text_delta(self, piece: str) -> dict[str, object]:
        return {"content": piece, "reasoning_content": None}

    def last_delta(self) -> dict[str, object]:
        return {"content": "", "reasoning_content": None}

    def add_usual_usage(self, chunks: list[dict[str, object]], story: Story) -> None:
        chunks[-1]["usage"] = self.usage(story)

    def events(self, story: Story) -> list[bytes]:
        first, *others = super().events(story)
        return [b": keep-alive\n\n" + first, *others]

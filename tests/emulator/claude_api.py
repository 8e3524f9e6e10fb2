"""Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from .api import Api, Row, Story, event
from .request import Request
from .response import Response

_VERSIONS = ("2023-06-01", "2026-10-21")
_NO_SAMPLING_VERSION = "2026-10-21"


def _error(status: int, kind: str, message: str, **headers: str) -> Row:
    error = {"type": kind, "message": message, "details": None}
    body = {"type": "error", "error": error, "request_id": "req_2"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, body, {"request-id": "req_2", **named}


_INVALID = "invalid_request_error"


class ClaudeApi(Api):
    """`POST /v1/messages`."""

    name = "claude"
    models = ("claude-sonnet-5-5",)
    finishes = {
        "stop": "end_turn",
        "length": "max_tokens",
        "filter": "refusal",
        "tool": "tool_use",
        "new": "brand_new_reason",
    }
    failures = {
        "bad-request": _error(400, _INVALID, "Wrong."),
        "version": _error(400, _INVALID, "anthropic-version: header is required"),
        "no-max-tokens": _error(400, _INVALID, "max_tokens: Field required"),
        "system-role": _error(400, _INVALID, 'messages: Unexpected role "system".'),
        "empty-text": _error(400, _INVALID, "text content blocks must be non-empty"),
        "prefill": _error(400, _INVALID, "Prefilling is not supported"),
        "temperature": _error(400, _INVALID, "temperature is not supported"),
        "context": _error(400, _INVALID, "prompt is too long: 9 tokens > 8 maximum"),
        "context-and-limit": _error(
            400,
            _INVALID,
            "input length and `max_tokens` exceed context limit: 5 + 4 > 8, decrease"
            " input length or `max_tokens` and try again",
        ),
        "spend": _error(
            400, _INVALID, "You have reached your specified API usage limits."
        ),
        "credit": _error(400, _INVALID, "Your credit balance is too low to use it."),
        "auth": _error(401, "authentication_error", "invalid x-api-key SECRET"),
        "no-key": _error(401, "authentication_error", "x-api-key header is required"),
        "quota": _error(402, "billing_error", "Billing."),
        "permission": _error(403, "permission_error", "No."),
        "model": _error(404, "not_found_error", "model: NAME"),
        "conflict": _error(409, "conflict_error", "Conflict"),
        "too-large": _error(413, "request_too_large", "Large"),
        "rate": _error(429, "rate_limit_error", "Slow", retry_after="0.05"),
        "rate-long": _error(429, "rate_limit_error", "Slow", retry_after="60"),
        "server": _error(500, "api_error", "Internal"),
        "slow": _error(504, "timeout_error", "Late"),
        "unavailable": _error(529, "overloaded_error", "Overloaded"),
    }
    _cap = {
        "type": "rate_limit_error",
        "message": "Cap",
        "details": {"error_code": "enforced_spend_limit_reached"},
    }
    failures["cap"] = (429, {"type": "error", "error": _cap}, {})

    def model_of(self, request: Request) -> str | None:
        if request.path != "/v1/messages":
            return None
        return str(request.body.get("model", ""))

    def check(self, request: Request) -> Response | None:
        headers = request.headers
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        key = headers.get("x-api-key") or bearer
        if not key:
            return self.fail("no-key")
        if (refusal := self.key_failure(key)) is not None:
            return refusal
        if headers.get("anthropic-version") not in _VERSIONS:
            return self.fail("version")
        if not self.knows(request.model):
            return self.fail("model")
        sampling = headers["anthropic-version"] != _NO_SAMPLING_VERSION
        row = self._check_body(request.body, sampling, request.model)
        return self.fail(row) if row else None

    def _check_body(self, body: dict[str, object], sampling: bool, model: str) -> str:
        if not isinstance(body.get("max_tokens"), int):
            return "no-max-tokens"
        degree = body.get("temperature")
        if degree is not None and (
            not sampling or model in self.models or float(str(degree)) > 1
        ):
            return "temperature"
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            return "bad-request"
        return self._check_messages(messages, body.get("system"))

    def _check_messages(self, messages: list[dict[str, object]], system: object) -> str:
        roles = [message.get("role") for message in messages]
        if "system" in roles:
            return "system-role"
        if any(first == second for first, second in pairwise(roles)):
            return "bad-request"
        contents = [message.get("content") for message in messages]
        if any(isinstance(text, str) and not text.strip() for text in contents):
            return "empty-text"
        if system == "" or roles[0] != "user":
            return "bad-request"
        return "prefill" if roles[-1] == "assistant" else ""

    def events(self, story: Story) -> list[bytes]:
        events = [
            self.message_start(counts=story.counts),
            event('{"type": "ping"}', "ping"),
        ]
        index = 0
        if story.reasoning:
            events += self._block(0, "thinking", story.reasoning)
            index = 1
        if story.pieces:
            events += self._block(index, "text", story.pieces)
        if story.finish:
            events += self._endings(story)
        if story.terminator:
            events.append(event({"type": "message_stop"}, "message_stop"))
        return events

    def message_start(
        self, ident: str = "msg_1", counts: Mapping[str, object] | None = None
    ) -> bytes:
        """Return the first event; its output count is a placeholder."""
        usual = {
            "input_tokens": 15,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 3,
        }
        counted = {n: v for n, v in (counts or {}).items() if "output" not in n}
        sent = usual if counts is None else counted
        message: dict[str, object] = {
            "id": ident,
            "type": "message",
            "role": "assistant",
            "model": "claude-snapshot",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**sent, "output_tokens": 1},
        }
        return event({"type": "message_start", "message": message}, "message_start")

    def _block(self, index: int, kind: str, pieces: tuple[str, ...]) -> list[bytes]:
        block = {"type": kind, kind: ""}
        start = {"type": "content_block_start", "index": index, "content_block": block}
        events = [event(start, "content_block_start")]
        for piece in pieces:
            delta = {"type": f"{kind}_delta", kind: piece}
            data = {"type": "content_block_delta", "index": index, "delta": delta}
            events.append(event(data, "content_block_delta"))
        if kind == "thinking":
            delta = {"type": "signature_delta", "signature": "c2ln"}
            data = {"type": "content_block_delta", "index": index, "delta": delta}
            events.append(event(data, "content_block_delta"))
        stop = f'{{"type":"content_block_stop","index":{index}   }}'
        return [*events, event(stop, "content_block_stop")]

    def _endings(self, story: Story) -> list[bytes]:
        usage: dict[str, object] = {}
        if story.usage != "none":
            usage = self._usage(story)
        delta = {"stop_reason": self.finishes[story.finish], "stop_sequence": None}
        last = {"type": "message_delta", "delta": delta, "usage": usage}
        events = [event(last, "message_delta")]
        if story.usage == "every":  # cumulative: the first of two is not to be added
            early = {"stop_reason": None, "stop_sequence": None}
            first = {"type": "message_delta", "delta": early, "usage": usage}
            events.insert(0, event(first, "message_delta"))
        return events

    def _usage(self, story: Story) -> dict[str, object]:
        if story.counts is not None:
            return dict(story.counts)
        thoughts = len(story.reasoning)
        return {
            "input_tokens": 16,
            "output_tokens": len(story.pieces) + thoughts,
            "output_tokens_details": {"thinking_tokens": thoughts},
        }

    def whole(self, story: Story) -> dict[str, object]:
        usage = self._usage(story)
        if story.counts is None:
            usage["cache_read_input_tokens"] = 5
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-snapshot",
            "content": [{"type": "text", "text": story.text}] if story.text else [],
            "stop_reason": self.finishes[story.finish],
            "stop_sequence": None,
            "usage": usage,
        }

    def error_event(self, row: str) -> bytes:
        return event(self.failures[row][1], "error")

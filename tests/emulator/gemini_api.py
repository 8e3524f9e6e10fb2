"""Google's Gemini: `POST /v1beta/models/{model}:streamGenerateContent?alt=sse`."""

from __future__ import annotations

import json
import re

from .api import Api, Row, Story, event
from .request import Request
from .response import Response

_PATH = re.compile(
    r"/v1(?:beta)?/models/([^/]+):(streamGenerateContent|generateContent)"
)
_QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
_RETRY = "type.googleapis.com/google.rpc.RetryInfo"


def _error(
    code: int, status: str, message: str, details: list[object] | None = None
) -> Row:
    error: dict[str, object] = {"code": code, "message": message, "status": status}
    if details:
        error["details"] = details
    return code, {"error": error}, {}


def _exhausted(period: str, delay: str) -> Row:
    violation = {"quotaId": f"GenerateRequests{period}PerProjectPerModel-FreeTier"}
    details: list[object] = [{"@type": _QUOTA, "violations": [violation]}]
    if delay:
        details.append({"@type": _RETRY, "retryDelay": delay})
    message = "You exceeded your current quota, please check your plan and billing."
    return _error(429, "RESOURCE_EXHAUSTED", message, details)


class GeminiApi(Api):
    """CRLF, no terminator, usage on every event."""

    name = "gemini"
    models = ("gemini-3.8-flash", "gemma-4")
    finishes = {
        "stop": "STOP",
        "length": "MAX_TOKENS",
        "filter": "SAFETY",
        "tool": "MALFORMED_FUNCTION_CALL",
        "new": "BRAND_NEW_REASON",
        "broken": "MALFORMED_RESPONSE",
    }
    failures = {
        "bad-request": _error(400, "INVALID_ARGUMENT", "Wrong."),
        "auth": _error(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. SECRET",
            [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}],
        ),
        "context": _error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (9) exceeds the maximum number of tokens (8).",
        ),
        "billing-off": _error(400, "FAILED_PRECONDITION", "Enable billing."),
        "token": _error(401, "UNAUTHENTICATED", "Bad token."),
        "no-key": _error(403, "PERMISSION_DENIED", "Unregistered callers."),
        "permission": _error(403, "PERMISSION_DENIED", "No."),
        "model": _error(404, "NOT_FOUND", "models/NAME is not found for API v1beta"),
        "rate": _exhausted("PerMinute", "0.05s"),
        "rate-long": _exhausted("PerMinute", "34.4s"),
        "quota": _exhausted("PerDay", "12s"),
        "server": _error(500, "INTERNAL", "Internal."),
        "unavailable": _error(503, "UNAVAILABLE", "The model is overloaded."),
        "slow": _error(504, "DEADLINE_EXCEEDED", "Late."),
    }

    def model_of(self, request: Request) -> str | None:
        match = _PATH.fullmatch(request.path)
        return match[1] if match else None

    def wants_stream(self, request: Request) -> bool:
        return request.path.endswith(":streamGenerateContent")

    def check(self, request: Request) -> Response | None:
        key = request.headers.get("x-goog-api-key", "")
        if not key:
            return self.fail("no-key")
        if (refusal := self.key_failure(key)) is not None:
            return refusal
        if not self.knows(request.model):
            return self.fail("model")
        contents = request.body.get("contents")
        if not isinstance(contents, list) or not contents:
            return self.fail("bad-request")
        if not all(map(_is_content, contents)):
            return self.fail("bad-request")
        if request.model.startswith("gemma") and "systemInstruction" in request.body:
            return self.fail("bad-request")
        return None

    def response(
        self, parts: list[object] | None, usage: dict[str, object] | None
    ) -> dict[str, object]:
        """Return one event as a JSON value."""
        candidate: dict[str, object] = {"index": 0}
        if parts is not None:
            candidate["content"] = {"parts": parts, "role": "model"}
        body: dict[str, object] = {"candidates": [candidate]}
        if usage is not None:
            body["usageMetadata"] = usage
        return {**body, "modelVersion": "gemini-snapshot", "responseId": "r1"}

    def events(self, story: Story) -> list[bytes]:
        return [event(item, newline="\r\n") for item in self.responses(story)]

    def responses(self, story: Story) -> list[dict[str, object]]:
        """Return the stream's responses; the last one has the finish reason."""
        responses = [
            self.response([{"text": thought, "thought": True}], self.usage(story, 0))
            for thought in story.reasoning
        ]
        responses += (
            self.response([{"text": piece}], self.usage(story, number))
            for number, piece in enumerate(story.pieces, 1)
        )
        if story.finish:
            parts: list[object] = [{"text": "", "thoughtSignature": "QUJD"}]
            last = self.response(parts, self.usage(story, len(story.pieces)))
            candidates = last["candidates"]
            assert isinstance(candidates, list)
            candidates[0]["finishReason"] = self.finishes[story.finish]
            responses.append(last)
        return responses

    def usage(self, story: Story, tokens: int) -> dict[str, object] | None:
        """Return the cumulative usage after `tokens` pieces."""
        if story.usage == "none":
            return None
        if story.counts is not None:
            return dict(story.counts)
        thoughts = len(story.reasoning)
        usage: dict[str, object] = {
            "promptTokenCount": 11,
            "candidatesTokenCount": tokens,
            "totalTokenCount": 11 + tokens + thoughts,
            "cachedContentTokenCount": 4,
        }
        return {**usage, "thoughtsTokenCount": thoughts} if thoughts else usage

    def whole(self, story: Story) -> dict[str, object]:
        usage = self.usage(story, len(story.pieces))
        body = self.response([{"text": story.text}], usage)
        candidates = body["candidates"]
        assert isinstance(candidates, list)
        candidates[0]["finishReason"] = self.finishes[story.finish]
        return body

    def error_event(self, row: str) -> bytes:
        return event(self.failures[row][1], newline="\r\n")

    def bare_error(self, row: str) -> bytes:
        """Return a failure as Google sends it in mid-stream, which is not an event."""
        text = json.dumps(self.failures[row][1], indent=2).replace("\n", "\r\n")
        return f"{text}\r\n".encode()


def _is_content(content: object) -> bool:
    if not isinstance(content, dict) or content.get("role") not in (
        "user",
        "model",
        None,
    ):
        return False
    parts = content.get("parts") or []
    return bool(parts) and all(part.get("text") for part in parts)

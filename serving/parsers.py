"""A parser for JSON request bodies, with limits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from llmchat import conf

# Only lone surrogates are left: `json.loads` has combined the pairs.
_SURROGATE = re.compile("[\ud800-\udfff]")


class PayloadTooLarge(APIException):
    """The body is longer than `LLMCHAT_MAX_PAYLOAD_BYTES`."""

    status_code = 413
    default_detail = "The request is too large"
    default_code = "payload_too_large"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_surrogates(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    cleaned = _SURROGATE.sub("\ufffd", text)
    return value if cleaned == text else json.loads(cleaned)


class BoundedJSONParser(BaseParser):
    """A parser of JSON that can be sent on and stored.

    Unlike REST framework's own parser, it stops at the payload limit, reports deep
    nesting as the client's error, skips a byte order mark, and replaces a lone
    surrogate with U+FFFD, as the sockets do.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the decoded body. Raises: ParseError, PayloadTooLarge."""
        limit = conf.get().max_payload_bytes
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge
        try:
            text = body.decode("utf-8-sig")
            value = json.loads(text, parse_constant=_refuse_constant)
            if "\\u" in text:
                value = _without_surrogates(value)
        except (ValueError, RecursionError) as exc:
            raise ParseError("The request's body is not valid JSON") from exc
        return value

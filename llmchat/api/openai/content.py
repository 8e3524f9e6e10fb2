"""The content of a message: a text, or a list of parts that hold texts and images."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from llmchat.api.openai.errors import wrong
from llmchat.api.validation import UNSTORABLE
from llmchat.providers.types import Image

_TEXTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
_IMAGES = ("image_url", "input_image")
_DATA_URL = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,(.*)", re.DOTALL)
_DETAILS = ("auto", "low", "high")
_MAX_URL = 2048


def content_from(data: Any, param: str) -> tuple[str, tuple[Image, ...]]:
    """Return the text and the images of a content, text parts joined by newlines.

    Raises: ParameterError.
    """
    if data is None:
        return "", ()
    if isinstance(data, str):
        return storable(data), ()
    if not isinstance(data, list):
        raise wrong(param, "must be a string or a list of parts")
    parts = [_part(part, f"{param}[{at}]") for at, part in enumerate(data)]
    texts = [part for part in parts if isinstance(part, str)]
    images = [part for part in parts if isinstance(part, Image)]
    return "\n".join(texts), tuple(images)


def storable(text: str) -> str:
    """Return a text in which the characters that cannot be stored are replaced."""
    return UNSTORABLE.sub("\ufffd", text)


def _part(part: Any, param: str) -> str | Image:
    if not isinstance(part, Mapping):
        raise wrong(param, "must be an object")
    kind = part.get("type")
    if kind in _IMAGES:
        return _image(part, param)
    if not isinstance(kind, str) or kind not in _TEXTS:
        raise wrong(
            f"{param}.type", "must be text or image_url; no other type is supported"
        )
    text = part.get(_TEXTS[kind])
    if not isinstance(text, str):
        raise wrong(f"{param}.{_TEXTS[kind]}", "must be a string")
    return storable(text)


def _image(part: Mapping[str, Any], param: str) -> Image:
    """Return an image, as either API writes it. Raises: ParameterError."""
    given, detail = part.get("image_url"), part.get("detail")
    where = f"{param}.image_url"
    if isinstance(given, Mapping):
        detail, given = given.get("detail"), given.get("url")
        where = f"{where}.url"
    if not isinstance(given, str):
        raise wrong(where, "must be the URL of an image, or a data URL")
    if detail is not None and detail not in _DETAILS:
        raise wrong(f"{param}.detail", f"must be one of {', '.join(_DETAILS)}")
    return _addressed(given, where, detail or "")


def _addressed(url: str, param: str, detail: str) -> Image:
    if url.startswith(("https://", "http://")) and len(url) <= _MAX_URL:
        return Image(url=storable(url), detail=detail)
    match = _DATA_URL.fullmatch(url)
    if match is None or not _is_base64(match[2]):
        text = "must be an http(s) URL, or a data URL of a PNG, JPEG, GIF or WebP image"
        raise wrong(param, text)
    return Image(media_type=match[1], data=match[2], detail=detail)


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False

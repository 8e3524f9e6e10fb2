"""The usage that servers report for one answer, in the shapes seen from real ones.

Each shape is played to its end (`counted-<name>`), broken off after its text
(`broken-<name>`), and silent from there on (`silent-<name>`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .api import Api
from .response import Pause, Response, Step
from .scenarios import COUNTED, SHORT


@dataclass(frozen=True, slots=True)
class Shape:
    """A `usage` as it is sent, and what it means.

    `cached` holds three counts: the tokens read from a cache, those written to one, and
    those of the latter that are kept for long. `is_whole` is False if the provider
    reports only a total, whose parts are estimated.
    """

    api: str
    usage: Mapping[str, object]
    inputs: int = 21
    cached: tuple[int, int, int] = (0, 0, 0)
    outputs: int = 4
    thoughts: int = 0
    is_whole: bool = True


def _openai(
    inputs: object = 21, outputs: object = 4, **others: object
) -> dict[str, object]:
    return {"prompt_tokens": inputs, "completion_tokens": outputs, **others}


def _claude(
    inputs: object = 21, outputs: object = 4, **others: object
) -> dict[str, object]:
    return {"input_tokens": inputs, "output_tokens": outputs, **others}


def _gemini(
    inputs: object = 21, outputs: object = 4, **others: object
) -> dict[str, object]:
    return {"promptTokenCount": inputs, "candidatesTokenCount": outputs, **others}


_CACHED = {"cached_tokens": 16, "cache_write_tokens": 3}
_THOUGHT = {"reasoning_tokens": 60}
_CREATED = {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}

SHAPES = {
    "openai": Shape("openai", _openai(total_tokens=25)),
    "openai-cached": Shape(
        "openai",
        _openai(prompt_tokens_details={"cached_tokens": 16, "audio_tokens": 0}),
        cached=(16, 0, 0),
    ),
    "openai-written": Shape(
        "openai",
        _openai(
            prompt_tokens_details={**_CACHED, "text_tokens": 21, "image_tokens": 0}
        ),
        cached=(16, 3, 0),
    ),
    "openai-reasoning": Shape(
        "openai",
        _openai(outputs=64, total_tokens=85, completion_tokens_details=_THOUGHT),
        outputs=64,
        thoughts=60,
    ),
    "responses": Shape(
        "openai",
        {
            "input_tokens": 21,
            "input_tokens_details": _CACHED,
            "output_tokens": 64,
            "output_tokens_details": _THOUGHT,
            "total_tokens": 85,
        },
        cached=(16, 3, 0),
        outputs=64,
        thoughts=60,
    ),
    "xai": Shape(
        "openai",
        _openai(total_tokens=85, completion_tokens_details=_THOUGHT),
        outputs=64,
        thoughts=60,
    ),
    # Thoughts are only in the total, as a gateway reports them for Gemini.
    "hidden-thoughts": Shape(
        "openai", _openai(total_tokens=85), outputs=64, thoughts=60
    ),
    "hidden-thoughts-cached": Shape(
        "openai",
        _openai(total_tokens=85, prompt_tokens_details={"cached_tokens": 16}),
        cached=(16, 0, 0),
        outputs=64,
        thoughts=60,
    ),
    "kimi": Shape("openai", _openai(cached_tokens=16), cached=(16, 0, 0)),
    "litellm": Shape(
        "openai",
        _openai(
            cache_read_input_tokens=16,
            cache_creation_input_tokens=3,
            prompt_tokens_details={
                "cached_tokens": 16,
                "cache_creation_tokens": 3,
                "cache_creation_token_details": _CREATED,
            },
        ),
        cached=(16, 3, 2),
    ),
    "anthropics-names": Shape(
        "openai",
        _claude(2, cache_read_input_tokens=16, cache_creation_input_tokens=3),
        cached=(16, 3, 0),
    ),
    "floats": Shape(
        "openai",
        _openai(20.6, 4.4, prompt_tokens_details={"cached_tokens": 15.5}),
        cached=(16, 0, 0),
    ),
    "nulls": Shape(
        "openai",
        _openai(prompt_tokens_details=None, completion_tokens_details=None),
    ),
    "nulls-inside": Shape(
        "openai",
        _openai(
            prompt_tokens_details={"cached_tokens": None, "cache_write_tokens": None},
            completion_tokens_details={"reasoning_tokens": None},
        ),
    ),
    "more-cached-than-sent": Shape(
        "openai",
        _openai(prompt_tokens_details={"cached_tokens": 50}),
        cached=(21, 0, 0),
    ),
    "more-written-than-sent": Shape(
        "openai",
        _openai(prompt_tokens_details={**_CACHED, "cache_write_tokens": 50}),
        cached=(16, 5, 0),
    ),
    "more-thought-than-said": Shape(
        "openai", _openai(completion_tokens_details=_THOUGHT), thoughts=4
    ),
    "below-zero": Shape("openai", _openai(prompt_tokens_details={"cached_tokens": -3})),
    "total": Shape("openai", {"total_tokens": 25}, is_whole=False),
    "total-and-input": Shape("openai", _openai(outputs=None, total_tokens=25)),
    "total-and-output": Shape("openai", _openai(inputs=None, total_tokens=25)),
    "deepseek": Shape(
        "deepseek",
        _openai(
            outputs=64,
            total_tokens=85,
            prompt_tokens_details={"cached_tokens": 16},
            completion_tokens_details=_THOUGHT,
            prompt_cache_hit_tokens=16,
            prompt_cache_miss_tokens=5,
        ),
        cached=(16, 0, 0),
        outputs=64,
        thoughts=60,
    ),
    "deepseek-hits": Shape(
        "deepseek", _openai(prompt_cache_hit_tokens=16), cached=(16, 0, 0)
    ),
    "deepseek-hits-and-misses": Shape(
        "deepseek",
        {
            "prompt_cache_hit_tokens": 16,
            "prompt_cache_miss_tokens": 5,
            "completion_tokens": 4,
        },
        cached=(16, 0, 0),
    ),
    "claude": Shape("claude", _claude(service_tier="standard", server_tool_use=None)),
    "claude-cached": Shape(
        "claude",
        _claude(
            2,
            cache_read_input_tokens=16,
            cache_creation_input_tokens=3,
            cache_creation=_CREATED,
            inference_geo="eu",
        ),
        cached=(16, 3, 2),
    ),
    "claude-created": Shape(
        "claude",
        _claude(18, cache_creation_input_tokens=None, cache_creation=_CREATED),
        cached=(0, 3, 2),
    ),
    "claude-nulls": Shape(
        "claude",
        _claude(
            cache_read_input_tokens=None,
            cache_creation_input_tokens=None,
            cache_creation=None,
        ),
    ),
    "claude-all-cached": Shape(
        "claude",
        _claude(None, cache_read_input_tokens=21),
        cached=(21, 0, 0),
    ),
    "claude-thinking": Shape(
        "claude",
        _claude(outputs=64, output_tokens_details={"thinking_tokens": 60}),
        outputs=64,
        thoughts=60,
    ),
    "claude-floats": Shape(
        "claude",
        _claude(1.6, 4.4, cache_read_input_tokens=19.4),
        cached=(19, 0, 0),
    ),
    "gemini": Shape("gemini", _gemini(totalTokenCount=25)),
    "gemini-cached": Shape(
        "gemini", _gemini(cachedContentTokenCount=16), cached=(16, 0, 0)
    ),
    "gemini-thinking": Shape(
        "gemini",
        _gemini(thoughtsTokenCount=60, totalTokenCount=85),
        outputs=64,
        thoughts=60,
    ),
    "gemini-tools": Shape(
        "gemini", _gemini(18, toolUsePromptTokenCount=3, totalTokenCount=25)
    ),
    "gemini-floats": Shape(
        "gemini", _gemini(20.6, 4.4, cachedContentTokenCount=15.5), cached=(16, 0, 0)
    ),
    "gemini-nulls": Shape(
        "gemini", _gemini(cachedContentTokenCount=None, thoughtsTokenCount=None)
    ),
    "gemini-more-cached-than-sent": Shape(
        "gemini", _gemini(cachedContentTokenCount=50), cached=(21, 0, 0)
    ),
    "gemini-total": Shape("gemini", {"totalTokenCount": 25}, is_whole=False),
    "gemini-total-and-input": Shape(
        "gemini", {"promptTokenCount": 21, "totalTokenCount": 25}
    ),
}


def events(api: Api, shape: Shape, *, is_cut: bool = False) -> list[bytes]:
    """Return the stream of an answer with this usage; if cut, only up to its text."""
    if not is_cut:
        return api.events(replace(SHORT, counts=shape.usage))
    cut = replace(SHORT, finish="", terminator=False, usage="every")
    return api.events(replace(cut, counts=shape.usage))


def _register(name: str, shape: Shape) -> None:
    def whole(api: Api) -> Response:
        return Response(events(api, shape))

    def broken(api: Api) -> Response:
        return Response(events(api, shape, is_cut=True), whole=False)

    def silent(api: Api) -> Response:
        steps: list[Step] = [*events(api, shape, is_cut=True), Pause(3600)]
        return Response(steps)

    ends = {"counted": whole, "broken": broken, "silent": silent}
    COUNTED.update({f"{end}-{name}": play for end, play in ends.items()})


for _name, _shape in SHAPES.items():
    _register(_name, _shape)

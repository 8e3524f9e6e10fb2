"""The emulator is faithful: the providers' own clients understand it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.emulator.application import emulator
from tests.emulator.scenarios import HUGE, SHORT, THOUGHTFUL, UNICODE
from tests.emulator.server import Emulator

# The clients are imported where they are used: otherwise collecting any other part of
# the suite would take seconds longer.
QUESTION = "Hello?"
STORIES = {
    "short": SHORT,
    "unicode": UNICODE,
    "bytewise": UNICODE,
    "huge-line": HUGE,
    "reasoning": THOUGHTFUL,
}


@pytest.fixture
async def server() -> AsyncIterator[Emulator]:
    async with emulator() as running:
        yield running


@pytest.mark.parametrize("path", ["/v1", ""], ids=["openai", "deepseek"])
@pytest.mark.parametrize("name", STORIES)
async def test_openais_client_understands_its_streams(
    server: Emulator, path: str, name: str
) -> None:
    import openai

    story = STORIES[name]
    async with openai.AsyncOpenAI(api_key="key", base_url=server.url + path) as client:
        stream = await client.chat.completions.create(
            model=f"scenario-{name}",
            messages=[{"role": "user", "content": QUESTION}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    texts = (choice.delta.content for chunk in chunks for choice in chunk.choices)
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert "".join(filter(None, texts)) == story.text
    assert reasons[-1] == "stop"
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == len(story.pieces) + len(story.reasoning)


async def test_openais_client_understands_a_whole_answer(server: Emulator) -> None:
    import openai

    async with openai.AsyncOpenAI(api_key="k", base_url=server.url + "/v1") as client:
        answer = await client.chat.completions.create(
            model="scenario-short", messages=[{"role": "user", "content": QUESTION}]
        )
    assert answer.choices[0].message.content == SHORT.text


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("auth", "AuthenticationError"),
        ("model", "NotFoundError"),
        ("quota", "RateLimitError"),
        ("server", "InternalServerError"),
    ],
)
async def test_openais_client_understands_its_errors(
    server: Emulator, row: str, error: str
) -> None:
    import openai

    async with openai.AsyncOpenAI(
        api_key="key", base_url=server.url + "/v1", max_retries=0
    ) as client:
        with pytest.raises(getattr(openai, error)):
            await client.chat.completions.create(
                model=f"scenario-fail-{row}",
                messages=[{"role": "user", "content": QUESTION}],
            )


@pytest.mark.parametrize("name", STORIES)
async def test_anthropics_client_understands_its_streams(
    server: Emulator, name: str
) -> None:
    import anthropic

    story = STORIES[name]
    async with (
        anthropic.AsyncAnthropic(api_key="key", base_url=server.url) as client,
        client.messages.stream(
            model=f"scenario-{name}",
            max_tokens=100,
            messages=[{"role": "user", "content": QUESTION}],
        ) as stream,
    ):
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    assert text == story.text
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == len(story.pieces) + len(story.reasoning)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("auth", "AuthenticationError"),
        ("model", "NotFoundError"),
        ("rate", "RateLimitError"),
        ("unavailable", "APIStatusError"),
    ],
)
async def test_anthropics_client_understands_its_errors(
    server: Emulator, row: str, error: str
) -> None:
    import anthropic

    async with anthropic.AsyncAnthropic(
        api_key="key", base_url=server.url, max_retries=0
    ) as client:
        with pytest.raises(getattr(anthropic, error)):
            await client.messages.create(
                model=f"scenario-fail-{row}",
                max_tokens=100,
                messages=[{"role": "user", "content": QUESTION}],
            )


# Google's client subclasses one of aiohttp's classes, which aiohttp discourages.
@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
@pytest.mark.parametrize("name", STORIES)
async def test_googles_client_understands_its_streams(
    server: Emulator, name: str
) -> None:
    from google import genai
    from google.genai import types as genai_types

    story = STORIES[name]
    options = genai_types.HttpOptions(base_url=server.url)
    async with genai.Client(api_key="key", http_options=options).aio as client:
        stream = await client.models.generate_content_stream(
            model=f"scenario-{name}", contents=QUESTION
        )
        responses = [response async for response in stream]
    assert "".join(response.text or "" for response in responses) == story.text
    candidates = responses[-1].candidates
    assert candidates is not None
    assert candidates[0].finish_reason == genai_types.FinishReason.STOP
    usage = responses[-1].usage_metadata
    assert usage is not None
    assert usage.candidates_token_count == len(story.pieces)

"""What is sent to each provider."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from llmchat import conf
from llmchat.providers.errors import BadRequestError, ProviderUnavailableError
from llmchat.providers.history import build_history
from llmchat.providers.registry import ADAPTERS, DEFAULT_PROVIDERS
from llmchat.providers.request import ProviderRequest, endpoint
from llmchat.providers.types import Chat, ChatMessage, Key, Provider, Role

KEY = Key("k", "sk-1")


def talk(*messages: tuple[Role, str], **options: object) -> Chat:
    turns = tuple(ChatMessage(role, content) for role, content in messages)
    return replace(Chat("some-model", turns), **options)  # type: ignore[arg-type]


BRIEF = talk(
    ("system", "Be brief."),
    ("user", "Hi"),
    ("assistant", "Hello."),
    ("user", "Name a colour."),
)


def build(name: str, chat: Chat = BRIEF, **changes: object) -> ProviderRequest:
    provider = replace(DEFAULT_PROVIDERS[name].provider, **changes)  # type: ignore[arg-type]
    return ADAPTERS[provider.protocol].build_request(provider, KEY, chat)


def test_openai_is_sent_a_chat_completion() -> None:
    request = build("openai")
    assert request.url == "https://api.openai.com/v1/chat/completions"
    assert request.headers == {"Authorization": "Bearer sk-1"}
    assert request.body == {
        "model": "some-model",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Name a colour."},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_compatible_server_is_sent_what_every_one_knows() -> None:
    provider = Provider("mine", "openai", "Mine", "http://127.0.0.1:1/v1", False)
    chat = replace(BRIEF, max_output_tokens=9, temperature=1.5)
    request = ADAPTERS["openai"].build_request(provider, None, chat)
    assert request.headers == {}
    assert request.body["max_tokens"] == 9
    assert request.body["temperature"] == 1.5
    assert request.body["messages"][0]["role"] == "system"  # type: ignore[index]


def test_usage_need_not_be_asked_for() -> None:
    assert "stream_options" not in build("openai", include_usage=False).body


def test_claude_is_sent_a_message() -> None:
    request = build("claude")
    assert request.url == "https://api.anthropic.com/v1/messages"
    assert request.headers == {
        "x-api-key": "sk-1",
        "anthropic-version": "2023-06-01",
    }
    assert request.body == {
        "model": "some-model",
        "max_tokens": 32_000,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Name a colour."},
        ],
        "stream": True,
    }


def test_gemini_is_sent_contents() -> None:
    request = build("gemini", replace(BRIEF, max_output_tokens=9, temperature=0.5))
    assert request.url == (
        "https://generativelanguage.googleapis.com/v1beta/models/some-model"
        ":streamGenerateContent?alt=sse"
    )
    assert request.headers == {"x-goog-api-key": "sk-1"}
    assert request.body == {
        "store": False,
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello."}]},
            {"role": "user", "parts": [{"text": "Name a colour."}]},
        ],
        "generationConfig": {"maxOutputTokens": 9, "temperature": 0.5},
    }


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("tunedModels/mine-1", "tunedModels/mine-1"),
        ("tunedModels/a/b", "tunedModels/a%2Fb"),
        ("tunedModels/", "models/tunedModels%2F"),
        # As Gemini's list of models names them.
        ("models/gemini-x", "models/gemini-x"),
        ("models/tunedModels/mine-1", "tunedModels/mine-1"),
        ("models/", "models/models%2F"),
    ],
)
def test_a_gemini_model_is_asked_where_it_is(model: str, path: str) -> None:
    request = build("gemini", replace(BRIEF, model=model))
    assert f"/v1beta/{path}:stream" in request.url


def test_a_models_name_cannot_leave_its_place_in_the_path() -> None:
    request = build("gemini", replace(BRIEF, model="../../x?key=1#"))
    assert "/models/..%2F..%2Fx%3Fkey%3D1%23:streamGenerateContent?" in request.url


@pytest.mark.parametrize("model", ["gemma-4", "models/gemma-4"])
def test_gemma_is_sent_the_system_message_in_the_first_turn(model: str) -> None:
    request = build("gemini", replace(BRIEF, model=model))
    assert "systemInstruction" not in request.body
    contents = request.body["contents"]
    assert contents[0]["parts"] == [{"text": "Be brief.\n\nHi"}]  # type: ignore[index]


def test_deepseek_is_told_not_to_think_and_has_no_version_in_its_path() -> None:
    request = build("deepseek", replace(BRIEF, max_output_tokens=9))
    assert request.url == "https://api.deepseek.com/chat/completions"
    assert request.body["thinking"] == {"type": "disabled"}
    assert request.body["max_tokens"] == 9


def test_thinking_is_left_out_where_the_row_says_so() -> None:
    assert "thinking" not in build("deepseek", thinking="omit").body


def test_the_clients_limit_is_kept_within_the_providers() -> None:
    body = build("claude", replace(BRIEF, max_output_tokens=10**6)).body
    assert body["max_tokens"] == 32_000
    body = build("claude", replace(BRIEF, max_output_tokens=5)).body
    assert body["max_tokens"] == 5
    assert build("claude", max_output_tokens=None).body["max_tokens"] == 8192


@pytest.mark.parametrize("asked", [None, 100, 9000])
@pytest.mark.parametrize("allowed", [None, 50, 9000])
def test_no_more_is_asked_for_than_the_model_writes(
    asked: int | None, allowed: int | None
) -> None:
    chat = replace(BRIEF, max_output_tokens=asked)
    body = build("openai", chat, max_output_tokens=allowed).body
    limit = body.get("max_completion_tokens")
    low = build("openai", chat, max_output_tokens=allowed, model_output_tokens=70).body
    assert low.get("max_completion_tokens") == (limit and min(limit, 70))


def test_a_limit_that_a_protocol_needs_is_within_what_the_model_writes() -> None:
    brief = replace(BRIEF, max_output_tokens=None)
    body = build("claude", brief, max_output_tokens=None, model_output_tokens=4096).body
    assert body["max_tokens"] == 4096


def test_a_temperature_is_kept_within_what_the_model_takes() -> None:
    hot = replace(BRIEF, temperature=1.8)
    assert build("claude", hot, accepts_sampling=True).body["temperature"] == 1.0
    assert "temperature" not in build("claude", hot).body
    assert build("deepseek", hot, temperature_max=1.5).body["temperature"] == 1.5
    cold = replace(BRIEF, temperature=-1.0)
    assert build("deepseek", cold).body["temperature"] == 0.0


def test_a_request_does_not_show_its_key_or_its_text() -> None:
    assert "sk-1" not in repr(build("openai"))
    assert "colour" not in repr(build("openai"))


@pytest.mark.parametrize(
    ("name", "base", "path"),
    [
        ("openai", "http://h/v1", "/v1/chat/completions"),
        ("openai", "http://h/v1/", "/v1/chat/completions"),
        ("openai", "http://h", "/v1/chat/completions"),
        ("openai", " http://h/ ", "/v1/chat/completions"),
        ("openai", "http://h/api/v3", "/api/v3/chat/completions"),
        ("openai", "http://h/team/openai", "/team/openai/chat/completions"),
        ("openai", "http://h/v1/chat/completions", "/v1/chat/completions"),
        ("deepseek", "http://h", "/chat/completions"),
        ("deepseek", "http://h/v1", "/v1/chat/completions"),
        ("deepseek", "http://h/beta/", "/beta/chat/completions"),
        ("claude", "http://h", "/v1/messages"),
        ("claude", "http://h/", "/v1/messages"),
        ("claude", "http://h/v1", "/v1/messages"),
        ("claude", "http://h/v1/", "/v1/messages"),
        ("claude", "http://h/team/anthropic", "/team/anthropic/v1/messages"),
        ("claude", "http://h/anthropic/v1/", "/anthropic/v1/messages"),
        ("claude", "http://h/v1/proxy", "/v1/proxy/v1/messages"),
        ("claude", "http://h/v1/messages", "/v1/messages"),
        ("claude", "http://h/x/v1/messages/", "/x/v1/messages"),
        ("gemini", "http://h", "/v1beta/models/some-model"),
        ("gemini", "http://h/team/google/", "/team/google/v1beta/models/some-model"),
        ("gemini", "http://h/v1beta", "/v1beta/models/some-model"),
        ("gemini", "http://h/google/v1beta/", "/google/v1beta/models/some-model"),
        ("gemini", "http://h/v1alpha", "/v1alpha/models/some-model"),
        ("gemini", "http://h/google/v1", "/google/v1/models/some-model"),
    ],
)
def test_a_base_url_is_joined_as_the_official_clients_do(
    name: str, base: str, path: str
) -> None:
    url = build(name, base_url=base).url
    assert url.removesuffix(":streamGenerateContent?alt=sse") == f"http://h{path}"


@pytest.mark.parametrize("base", ["", "h/v1", "ftp://h", "http://", "http://[::1"])
def test_a_base_url_that_is_none_is_refused(base: str) -> None:
    with pytest.raises(ProviderUnavailableError) as caught:
        endpoint(base, "/chat")
    assert not caught.value.retryable


def test_neighbours_of_one_role_are_merged_and_blank_messages_dropped() -> None:
    history = build_history(
        talk(
            ("assistant", "leading"),
            ("system", "One."),
            ("user", "a"),
            ("assistant", "   "),
            ("user", "b"),
            ("system", "Two."),
            ("assistant", "c"),
            ("user", "d"),
        )
    )
    assert history.system == "One.\n\nTwo."
    assert [(turn.role, turn.content) for turn in history.turns] == [
        ("user", "a\n\nb"),
        ("assistant", "c"),
        ("user", "d"),
    ]


@pytest.mark.parametrize(
    "chat",
    [
        talk(),
        talk(("system", "only")),
        talk(("user", " \n")),
        talk(("user", "a"), ("assistant", "b")),
    ],
)
def test_a_chat_without_a_question_is_refused(chat: Chat) -> None:
    with pytest.raises(BadRequestError):
        build_history(chat)


def test_lone_surrogates_of_the_client_are_replaced() -> None:
    history = build_history(talk(("user", "a\ud800b")))
    assert history.turns[0].content == "a\ufffdb"


def test_the_guides_providers_are_there_under_their_labels() -> None:
    labels = {name: preset.provider.label for name, preset in DEFAULT_PROVIDERS.items()}
    assert labels == {
        "openai": "OpenAI",
        "claude": "Claude",
        "gemini": "Gemini",
        "deepseek": "DeepSeek",
        "local": "Local model",
    }
    assert all(preset.default_model for preset in DEFAULT_PROVIDERS.values())


def test_every_setting_that_the_table_names_is_one() -> None:
    settings = {field.name for field in fields(conf.Conf)}
    named = {preset.key_setting for preset in DEFAULT_PROVIDERS.values()}
    assert named - {""} <= settings

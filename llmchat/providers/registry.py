"""The adapters by protocol, and the providers that the project ships with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from . import claude, deepseek, gemini, openai
from .answer import Answer
from .request import ProviderRequest
from .types import Chat, Key, Protocol, Provider

LOCAL = "local"  # the name of the provider whose address `LocalModel` gives


@dataclass(frozen=True, slots=True)
class Adapter:
    """What turns a chat into a provider's request and its events into text.

    `finish_is_last` is False where a finish reason may come before more text.
    """

    build_request: Callable[[Provider, Key | None, Chat], ProviderRequest]
    parse: Callable[[bytes, bytes, Answer], str]
    parse_whole: Callable[[object, Answer], str]
    finish_is_last: bool = True


ADAPTERS: dict[Protocol, Adapter] = {
    "openai": Adapter(openai.build_request, openai.parse, openai.parse_whole),
    "deepseek": Adapter(deepseek.build_request, deepseek.parse, deepseek.parse_whole),
    "claude": Adapter(claude.build_request, claude.parse, claude.parse_whole),
    "gemini": Adapter(
        gemini.build_request, gemini.parse, gemini.parse_whole, finish_is_last=False
    ),
}


@dataclass(frozen=True, slots=True)
class ProviderPreset:
    """A provider as the project ships it; an operator edits the row made of it.

    `key_env` and `base_url_env` name environment variables, "" where there is none.
    Prices are US dollars for a million tokens, None where they are not known.
    """

    provider: Provider
    default_model: str
    key_env: str = ""
    base_url_env: str = ""
    input_price: Decimal | None = None
    output_price: Decimal | None = None


_PRESETS = (
    ProviderPreset(
        Provider(
            name="openai",
            protocol="openai",
            label="OpenAI",
            base_url="https://api.openai.com/v1",
            max_tokens_field="max_completion_tokens",
            accepts_sampling=False,
            system_role="developer",
        ),
        default_model="gpt-6-luna",
        key_env="OPENAI_API_KEY",
        base_url_env="OPENAI_BASE_URL",
    ),
    ProviderPreset(
        Provider(
            name="claude",
            protocol="claude",
            label="Claude",
            base_url="https://api.anthropic.com",
            max_output_tokens=32_000,
            accepts_sampling=False,
            temperature_max=1.0,
        ),
        default_model="claude-sonnet-5-5",
        key_env="ANTHROPIC_API_KEY",
        base_url_env="ANTHROPIC_BASE_URL",
    ),
    ProviderPreset(
        Provider(
            name="gemini",
            protocol="gemini",
            label="Gemini",
            base_url="https://generativelanguage.googleapis.com",
        ),
        default_model="gemini-3.8-flash",
        key_env="GEMINI_API_KEY",
        base_url_env="GEMINI_BASE_URL",
    ),
    ProviderPreset(
        Provider(
            name="deepseek",
            protocol="deepseek",
            label="DeepSeek",
            base_url="https://api.deepseek.com",
            thinking="disabled",
        ),
        default_model="deepseek-flash",
        key_env="DEEPSEEK_API_KEY",
        base_url_env="DEEPSEEK_BASE_URL",
    ),
    ProviderPreset(
        Provider(
            name=LOCAL,
            protocol="openai",
            label="Local model",
            base_url="",
            needs_key=False,
            max_output_tokens=512,
        ),
        default_model="SmolLM2-135M-Instruct",
        input_price=Decimal(0),
        output_price=Decimal(0),
    ),
)

DEFAULT_PROVIDERS: dict[str, ProviderPreset] = {
    preset.provider.name: preset for preset in _PRESETS
}

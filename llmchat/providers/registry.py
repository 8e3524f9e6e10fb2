"""The adapters by protocol, and the providers that the project ships with."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from . import claude, deepseek, gemini, local_server, openai
from .reading import Reading
from .request import ProviderRequest
from .types import Chat, Key, Protocol, Provider

# llama.cpp answers with the one model that it has, whatever name it is asked for.
LOCAL_MODELS = (local_server.MODEL,)


class Adapter(typing.Protocol):
    """What turns a chat into a provider's request and its events into text.

    `note_usage` reads only the counts, from any object that the provider sends.
    """

    def build_request(
        self, provider: Provider, key: Key | None, chat: Chat
    ) -> ProviderRequest:
        """Return the request for a streamed answer."""

    def check(self, provider: Provider, chat: Chat) -> None:
        """Raise BadRequestError if the provider cannot take what is asked."""

    def parse(self, name: bytes, data: bytes, reading: Reading) -> str:
        """Return the text of one event and note in `reading` what else it says."""

    def parse_whole(self, body: object, reading: Reading) -> str:
        """Return the text of an answer that came in one piece, unstreamed."""

    def note_usage(self, event: Mapping[str, object], reading: Reading) -> None:
        """Note what an event, or an error's body, counts."""


ADAPTERS: dict[Protocol, Adapter] = {
    "openai": openai,
    "deepseek": deepseek,
    "claude": claude,
    "gemini": gemini,
}


@dataclass(frozen=True, slots=True)
class ProviderPreset:
    """A provider as the project ships it; an operator edits the row made of it.

    `key_setting` names the setting of its key, "" if there is none. Prices are US
    dollars per million tokens, None if they are not known.
    """

    provider: Provider
    default_model: str
    key_setting: str = ""
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
        key_setting="openai_api_key",
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
        key_setting="anthropic_api_key",
    ),
    ProviderPreset(
        Provider(
            name="gemini",
            protocol="gemini",
            label="Gemini",
            base_url="https://generativelanguage.googleapis.com",
        ),
        default_model="gemini-3.8-flash",
        key_setting="gemini_api_key",
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
        key_setting="deepseek_api_key",
    ),
    ProviderPreset(
        Provider(
            name="local",
            protocol="openai",
            label="Local model",
            base_url="",
            needs_key=False,
            max_output_tokens=512,
            takes_images=False,
            takes_tools=False,  # its prompt template drops them
            models=LOCAL_MODELS,
        ),
        default_model=local_server.MODEL,
        input_price=Decimal(0),
        output_price=Decimal(0),
    ),
)

DEFAULT_PROVIDERS: dict[str, ProviderPreset] = {
    preset.provider.name: preset for preset in _PRESETS
}

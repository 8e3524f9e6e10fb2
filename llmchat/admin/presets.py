"""Presets for the form of a new provider, chosen by `?preset=` in its address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict

from llmchat.models import Provider

PARAMETER = "preset"
_MAX_TOKENS = Provider.MaxTokensField.MAX_TOKENS
_MAX_COMPLETION_TOKENS = Provider.MaxTokensField.MAX_COMPLETION_TOKENS


@dataclass(frozen=True, slots=True)
class Preset:
    """A kind of provider; `hint` says what is left to do, `fields` fills the form."""

    slug: str
    label: str
    base_url: str
    hint: str
    default_model: str = ""
    needs_key: bool = True
    max_tokens_field: str = _MAX_TOKENS
    fields: dict[str, Any] = field(default_factory=dict)

    def initial(self) -> dict[str, Any]:
        """Return the values of the form, with a name that is free."""
        return {
            "protocol": Provider.Protocol.OPENAI,
            "name": _free_name(self.slug),
            "label": self.label if self.slug != OTHER else "",
            "base_url": self.base_url,
            "default_model": self.default_model,
            "needs_key": self.needs_key,
            "max_tokens_field": self.max_tokens_field,
            **self.fields,
        }


OTHER = "other"
_CONTAINER = (
    "If llmchat runs in a container, replace localhost with host.docker.internal or "
    "the name of the other container."
)
_PRESETS = (
    Preset(
        "ollama",
        "Ollama",
        "http://localhost:11434/v1",
        f"Pull the model first: ollama pull llama3.2. {_CONTAINER}",
        default_model="llama3.2",
        needs_key=False,
    ),
    Preset(
        "vllm",
        "vLLM",
        "http://localhost:8000/v1",
        "Enter the model that vLLM serves (--served-model-name). If vLLM was started "
        f"with --api-key, turn on “Needs a key”. {_CONTAINER}",
        needs_key=False,
    ),
    Preset(
        "lm-studio",
        "LM Studio",
        "http://localhost:1234/v1",
        "Start the server in LM Studio, and enter the identifier of the model that it "
        f"shows. {_CONTAINER}",
        needs_key=False,
    ),
    Preset(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "openrouter/auto chooses a model for each question. The names of other models "
        "have the form vendor/model.",
        default_model="openrouter/auto",
    ),
    Preset(
        "azure",
        "Azure OpenAI",
        "",
        "As the base URL, enter your resource’s endpoint followed by /openai/v1, such "
        "as https://my-resource.openai.azure.com/openai/v1. As the default model, "
        "enter the name of your deployment. Gateways that copy this API work the same "
        "way.",
        max_tokens_field=_MAX_COMPLETION_TOKENS,
    ),
    Preset(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        "Enter a model from Groq’s console.",
        max_tokens_field=_MAX_COMPLETION_TOKENS,
    ),
    Preset(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        "mistral-small-latest is always the latest version of Mistral’s small model.",
        default_model="mistral-small-latest",
        # It reports token counts without being asked, and refuses unknown parameters.
        fields={"include_usage": False, "temperature_max": 1.5},
    ),
    Preset(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        "Enter a model from xAI’s console.",
        max_tokens_field=_MAX_COMPLETION_TOKENS,
    ),
    Preset(
        OTHER,
        "Another OpenAI-compatible server",
        "",
        "Enter the address up to and including /v1. Turn off “Needs a key” if the "
        "server works without one.",
    ),
)
PRESETS = {preset.slug: preset for preset in _PRESETS}


def chosen(query: QueryDict) -> Preset | None:
    """Return the preset that a query string names, None if none or an unknown one."""
    return PRESETS.get(query.get(PARAMETER, ""))


def links(query: QueryDict) -> Iterator[dict[str, Any]]:
    """Yield a link to each preset; other parameters of the query string are kept."""
    present = chosen(query)
    for preset in PRESETS.values():
        target = query.copy()
        target[PARAMETER] = preset.slug
        yield {
            "label": preset.label,
            "url": f"?{target.urlencode()}",
            "is_chosen": preset is present,
        }


def _free_name(slug: str) -> str:
    """Return a name that no provider has; clients send it."""
    if slug == OTHER:
        return ""
    taken = set(
        Provider.objects.filter(name__startswith=slug).values_list("name", flat=True)
    )
    name, number = slug, 1
    while name in taken:
        number += 1
        name = f"{slug}-{number}"
    return name

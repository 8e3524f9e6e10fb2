"""The models that the shipped providers had in November 2026, and their list prices.

Only what the providers' own pages said by then. A model whose price was not known has
none: its answers are not priced, which is not the same as free. Written out here, and
not imported, so that the migration does what it did when it was written.
"""

import datetime
from decimal import Decimal

from django.db import migrations

_READ = datetime.date(2026, 11, 22)

# Provider: its protocol, and its models in the order that they are listed in. Those
# without `reasons` do not think unless they are asked to.
MODELS = {
    "openai": (
        "openai",
        {
            "gpt-6-luna": {"reasons": True},
            "gpt-6.2-sol": {
                "reasons": True,
                "context_tokens": 1_050_000,
                "max_output_tokens": 128_000,
            },
            "gpt-6.1-sol": {"reasons": True},
            "gpt-6.1-terra": {"reasons": True},
            "gpt-6-astra": {"reasons": True},
            "gpt-5.6-sol": {"reasons": True},
            "gpt-5.6-terra": {"reasons": True},
            "gpt-5.6-luna": {"reasons": True},
            "gpt-5.5": {"reasons": True},
            "gpt-4.1": {"retires_on": datetime.date(2027, 1, 14)},
            "gpt-4.1-mini": {"retires_on": datetime.date(2027, 1, 14)},
            "gpt-4o": {"retires_on": datetime.date(2027, 1, 14)},
            "gpt-4o-mini": {"retires_on": datetime.date(2027, 1, 14)},
        },
    ),
    "claude": (
        "claude",
        {
            "claude-sonnet-5-5": {"reasons": True},
            "claude-fable-5-2": {
                "reasons": True,
                "context_tokens": 1_000_000,
                "max_output_tokens": 128_000,
            },
            "claude-fable-5-1": {"reasons": True, "max_output_tokens": 128_000},
            "claude-opus-5-5": {"reasons": True, "max_output_tokens": 128_000},
            "claude-haiku-5-5": {"reasons": True},
            "claude-opus-5": {"reasons": True, "max_output_tokens": 128_000},
            "claude-sonnet-5": {"reasons": True, "max_output_tokens": 128_000},
            "claude-opus-4-8": {"max_output_tokens": 128_000},
            "claude-opus-4-7": {"max_output_tokens": 128_000},
            "claude-opus-4-6": {"max_output_tokens": 128_000},
            "claude-sonnet-4-6": {"max_output_tokens": 128_000},
            "claude-opus-4-5": {"max_output_tokens": 64_000},
            "claude-sonnet-4-5-20250929": {"max_output_tokens": 64_000},
            "claude-haiku-4-5-20251001": {"max_output_tokens": 64_000},
        },
    ),
    "gemini": (
        "gemini",
        {
            "gemini-3.8-flash": {"reasons": True},
            "gemini-4-argon": {"reasons": True, "context_tokens": 1_048_576},
            "gemini-3.5-flash-lite": {"reasons": True},
            "gemini-3.1-flash-lite": {"reasons": True},
            "gemini-2.5-pro": {
                "reasons": True,
                "retires_on": datetime.date(2026, 12, 1),
            },
            "gemini-2.5-flash": {
                "reasons": True,
                "retires_on": datetime.date(2026, 12, 1),
            },
        },
    ),
    "deepseek": (
        "deepseek",
        {
            "deepseek-flash": {"reasons": True, "max_output_tokens": 384_000},
            # Another name of the same.
            "deepseek-v4-flash": {"reasons": True, "max_output_tokens": 384_000},
        },
    ),
    "local": (
        "openai",
        {
            "SmolLM2-135M-Instruct": {
                "takes_images": False,
                "takes_tools": False,
            },
        },
    ),
}

_DEEPSEEK = {
    "valid_from": datetime.date(2026, 10, 17),
    "input": Decimal("0.15"),
    "cache_read": Decimal("0.003"),
    "output": Decimal("0.60"),
    "peak_hours": "01:00-04:00 06:00-10:00",
    "peak_factor": Decimal(2),
    "source": "DeepSeek's list price as others report it, read on 2026-11-22",
}
# US dollars per million tokens.
PRICES = {
    "gpt-6.2-sol": {
        "valid_from": _READ,
        "input": Decimal(2),
        "cache_read": Decimal("0.10"),
        "cache_write": Decimal("2.50"),
        "long_cache_write": Decimal(5),
        "output": Decimal(10),
        "above_tokens": 272_000,
        "input_factor": Decimal(2),
        "output_factor": Decimal("1.5"),
        "source": "OpenAI's page of the model, read on 2026-11-22",
    },
    "claude-fable-5-2": {
        "valid_from": datetime.date(2026, 11, 9),
        "input": Decimal(8),
        "output": Decimal(40),
        "bills_refusals": False,
        "source": "Anthropic's release notes of 2026-11-09",
    },
    "claude-fable-5-1": {
        "valid_from": datetime.date(2026, 11, 9),
        "input": Decimal(10),
        "output": Decimal(50),
        "bills_refusals": False,
        "source": "Anthropic's release notes of 2026-11-09",
    },
    "gemini-4-argon": {
        "valid_from": datetime.date(2026, 10, 13),
        "valid_until": datetime.date(2026, 12, 1),
        "input": Decimal(2),
        "output": Decimal(10),
        "source": "Google's price of the first weeks, read on 2026-11-22",
    },
    "deepseek-flash": _DEEPSEEK,
    "deepseek-v4-flash": _DEEPSEEK,
    "SmolLM2-135M-Instruct": {
        "valid_from": datetime.date(2026, 1, 1),
        "input": Decimal(0),
        "output": Decimal(0),
        "source": "Runs on this server",
    },
}


def add_models(apps, schema_editor):
    Provider = apps.get_model("llmchat", "Provider")
    ProviderModel = apps.get_model("llmchat", "ProviderModel")
    Price = apps.get_model("llmchat", "Price")
    for name, (protocol, found) in MODELS.items():
        provider = Provider.objects.filter(name=name, protocol=protocol).first()
        if provider is None:  # deleted, or made another one
            continue
        for position, (model, fields) in enumerate(found.items(), 1):
            defaults = {"position": position, **fields}
            row, is_new = ProviderModel.objects.get_or_create(
                provider=provider, name=model, defaults=defaults
            )
            price = PRICES.get(model)
            if is_new and price is not None and not _has_own(provider, model, price):
                Price.objects.create(model=row, **price)


def _has_own(provider, model, price):
    """Return whether an operator has entered another price of this model."""
    own = (provider.input_price, provider.output_price)
    if model != provider.default_model or None in own:
        return False
    return bool(any(own) or price["input"] or price["output"])


class Migration(migrations.Migration):
    dependencies = [("llmchat", "0031_prices")]

    operations = [migrations.RunPython(add_models, migrations.RunPython.noop)]

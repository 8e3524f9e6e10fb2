"""The five providers that the project ships with, for operators to edit.

Written out here, and not imported, so that the migration does what it did when it
was written, whatever the code says later.
"""

from django.db import migrations

PROVIDERS = [
    {
        "name": "openai",
        "protocol": "openai",
        "label": "OpenAI",
        "default_model": "gpt-6-luna",
        "max_tokens_field": "max_completion_tokens",
        "accepts_sampling": False,
        "system_role": "developer",
    },
    {
        "name": "claude",
        "protocol": "claude",
        "label": "Claude",
        "default_model": "claude-sonnet-5-5",
        "max_output_tokens": 32_000,
        "accepts_sampling": False,
        "temperature_max": 1.0,
    },
    {
        "name": "gemini",
        "protocol": "gemini",
        "label": "Gemini",
        "default_model": "gemini-3.8-flash",
    },
    {
        "name": "deepseek",
        "protocol": "deepseek",
        "label": "DeepSeek",
        "default_model": "deepseek-flash",
        "thinking": "disabled",
    },
    {
        "name": "local",
        "protocol": "openai",
        "label": "Local model",
        "default_model": "SmolLM2-135M-Instruct",
        "embedded": True,
        "needs_key": False,
        "max_output_tokens": 512,
        "input_price": 0,
        "output_price": 0,
    },
]


def add_providers(apps, schema_editor):
    Provider = apps.get_model("llmchat", "Provider")
    for fields in PROVIDERS:
        name = fields["name"]
        defaults = {key: value for key, value in fields.items() if key != "name"}
        Provider.objects.get_or_create(name=name, defaults=defaults)


class Migration(migrations.Migration):
    dependencies = [("llmchat", "0001_initial")]

    operations = [migrations.RunPython(add_providers, migrations.RunPython.noop)]

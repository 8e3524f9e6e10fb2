"""The form of a provider, in plain words; it accepts none that cannot work."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from llmchat.access import rules
from llmchat.admin.base import PlainForm
from llmchat.models import Provider

# The result of a test is no longer valid once one of these is changed.
_TESTED = frozenset(
    {
        *("protocol", "base_url", "embedded", "needs_key", "default_model"),
        *("max_tokens_field", "max_output_tokens", "system_role", "thinking"),
        "include_usage",
    }
)
# The API's own names, unchanged: the labels of the model's choices are made from them.
_CHOICES: dict[str, list[tuple[str, Any]]] = {
    "max_tokens_field": [(name, name) for name in Provider.MaxTokensField.values],
    "system_role": [(name, name) for name in Provider.SystemRole.values],
    "thinking": [
        (Provider.Thinking.OMIT.value, _("up to the provider")),
        (Provider.Thinking.DISABLED.value, _("off")),
    ],
}
_CHECKED = _TESTED | {"enabled", "fallback", "temperature_max"}


class ProviderForm(PlainForm):
    """The form of a provider, with each fault shown beside the field it is about."""

    class Meta:
        model = Provider
        fields = "__all__"
        labels = {
            "label": _("Label"),
            "name": _("Name"),
            "enabled": _("Enabled"),
            "default_model": _("Default model"),
            "fallback": _("Fallback"),
            "protocol": _("Protocol"),
            "base_url": _("Base URL"),
            "needs_key": _("Needs a key"),
            "restricted": _("Only for groups"),
            "input_price": _("Input price"),
            "output_price": _("Output price"),
            "embedded": _("Built-in model"),
            "max_tokens_field": _("Token limit parameter"),
            "max_output_tokens": _("Maximum output tokens"),
            "accepts_sampling": _("Accepts a temperature"),
            "temperature_max": _("Maximum temperature"),
            "system_role": _("System prompt role"),
            "thinking": _("Thinking"),
            "include_usage": _("Ask for token counts"),
        }
        help_texts = {
            "label": _("The name that people see in the chat."),
            "name": _(
                "The name that programs send as “provider”: letters, digits, hyphens "
                "and underscores. Do not change it once it is in use."
            ),
            "enabled": _("Turn this off to hide the provider from everybody."),
            "default_model": _(
                "The model’s name at the provider. Used when a request names none."
            ),
            "fallback": _("Another provider, which answers when this one cannot."),
            "protocol": _("The API that the server speaks."),
            "base_url": _(
                "The address up to and including the version, such as "
                "https://host/v1. Leave blank for OpenAI, Claude, Gemini and DeepSeek "
                "to use their own address."
            ),
            "needs_key": _(
                "Turn this off for a server that accepts requests without a key."
            ),
            "restricted": _(
                "Only superusers and members of the groups below may use it."
            ),
            "embedded": _("Use the small model that llmchat runs itself."),
            "max_tokens_field": _(
                "OpenAI’s newer models require max_completion_tokens. Most other "
                "servers accept only max_tokens."
            ),
            "max_output_tokens": _(
                "The longest answer that is allowed. Leave blank for the model’s own "
                "limit."
            ),
            "accepts_sampling": _(
                "Turn this off for models that reject a temperature, as most reasoning "
                "models do."
            ),
            "temperature_max": _(
                "Requests with a higher temperature are sent with this one."
            ),
            "system_role": _(
                "Choose developer for OpenAI’s newer models, and system for everything "
                "else."
            ),
            "thinking": _("Can be turned off only with the DeepSeek protocol."),
            "include_usage": _(
                "Turn this off if the server rejects stream_options. Tokens are then "
                "estimated, unless the server reports them anyway."
            ),
        }
        error_messages = {
            "name": {
                "required": _("Enter the name that programs send."),
                "unique": _("Another provider has this name."),
                "invalid": _("Use only letters, digits, hyphens and underscores."),
            },
            "label": {"required": _("Enter the name that people see.")},
            "default_model": {"required": _("Enter the name of a model.")},
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, choices in _CHOICES.items():
            if isinstance(found := self.fields.get(name), forms.TypedChoiceField):
                found.choices = choices

    def _post_clean(self) -> None:
        """Check the provider as a whole (called by Django after the fields)."""
        super()._post_clean()  # type: ignore[misc]
        changed = set(self.changed_data)
        if self.instance.pk is None or changed & _CHECKED:
            self._add_faults(changed)
        if changed & _TESTED:
            self.instance.tested_at, self.instance.test_problem = None, ""

    def _add_faults(self, changed: set[str]) -> None:
        for name, text in rules.faults(self.instance):
            if name == "fallback" and name not in changed:
                continue  # a fallback stored earlier works all the same
            if name == "base_url":
                self.errors.pop(name, None)  # this sentence says more
            if name not in self.errors:
                self.add_error(name if name in self.fields else None, text)

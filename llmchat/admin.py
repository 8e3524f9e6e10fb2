"""The admin of providers, their keys, and what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from llmchat import models
from llmchat.encryption import EncryptionError

if TYPE_CHECKING:
    _KeyForm = forms.ModelForm[models.ProviderKey]
    _KeyInline = admin.TabularInline[models.ProviderKey, models.Provider]
    _MessageInline = admin.StackedInline[models.Message, models.Conversation]
    _ProviderAdmin = admin.ModelAdmin[models.Provider]
    _ConversationAdmin = admin.ModelAdmin[models.Conversation]
    _MessageAdmin = admin.ModelAdmin[models.Message]
else:  # Django's own classes take no parameters
    _KeyForm = forms.ModelForm
    _KeyInline = admin.TabularInline
    _MessageInline = admin.StackedInline
    _ProviderAdmin = _ConversationAdmin = _MessageAdmin = admin.ModelAdmin


class ProviderKeyForm(_KeyForm):
    """Takes a key in and never gives one out."""

    value = forms.CharField(
        label=_("Key"),
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "size": 40}),
        help_text=_("Stored encrypted and never shown again. Blank: as it is."),
    )

    class Meta:
        model = models.ProviderKey
        fields = ["provider", "name", "enabled", "resting_until"]

    def clean_value(self) -> str:
        """Take in the key, unless it is blank and there is one already."""
        value: str = self.cleaned_data["value"]
        if not value and not self.instance.encrypted_value:
            raise forms.ValidationError(_("A key is needed."))
        if not value:
            return ""
        # It is sent in a header.
        if not value.isascii() or not value.isprintable() or " " in value:
            raise forms.ValidationError(_("This does not look like a key."))
        try:
            self.instance.set_value(value)
        except EncryptionError as exc:
            raise forms.ValidationError(str(exc)) from exc
        self.instance.last_error = ""
        return value


class ProviderKeyInline(_KeyInline):
    """The keys of a provider, on its page."""

    model = models.ProviderKey
    form = ProviderKeyForm
    extra = 0
    fields = [
        "name",
        "shown",
        "value",
        "enabled",
        "resting_until",
        "last_used_at",
        "last_error",
    ]
    readonly_fields = ["shown", "last_used_at", "last_error"]

    @admin.display(description=_("stored"))
    def shown(self, key: models.ProviderKey) -> str:
        """Show as much of the key as anybody sees."""
        return f"…{key.last4}" if key.encrypted_value else "–"


@admin.register(models.Provider)
class ProviderAdmin(_ProviderAdmin):
    """Providers: addresses, models, prices and keys."""

    inlines = [ProviderKeyInline]
    list_display = ["label", "name", "default_model", "enabled", "needs_key", "keys"]
    list_editable = ["enabled"]
    list_filter = ["enabled", "protocol"]
    search_fields = ["name", "label", "default_model"]
    fieldsets = [
        (None, {"fields": ["name", "label", "enabled", "default_model", "fallback"]}),
        (
            _("Connection"),
            {"fields": ["protocol", "base_url", "needs_key", "embedded"]},
        ),
        (
            _("What the model takes"),
            {
                "fields": [
                    "max_tokens_field",
                    "max_output_tokens",
                    "accepts_sampling",
                    "temperature_max",
                    "system_role",
                    "thinking",
                    "include_usage",
                ]
            },
        ),
        (_("Prices"), {"fields": ["input_price", "output_price"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Provider]:
        """Count the keys in the same query."""
        enabled = Count("keys", filter=Q(keys__enabled=True))
        return super().get_queryset(request).annotate(enabled_keys=enabled)

    @admin.display(description=_("stored keys"))
    def keys(self, provider: Any) -> int:
        """Show how many keys are stored and enabled."""
        return int(provider.enabled_keys)


class ReadOnly:
    """Shown as it is and never edited; deleting is left to Django's permissions."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say that nothing is added by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say that nothing is changed by hand."""
        return False


class MessageInline(ReadOnly, _MessageInline):
    """What was said, on the conversation's page."""

    model = models.Message
    fields = [
        ("role", "state", "created_at"),
        "content",
        ("model", "input_tokens", "output_tokens", "cost"),
        ("first_token_at", "finished_at", "finish_reason", "error_code"),
    ]
    extra = 0
    can_delete = False
    ordering = ["position"]
    verbose_name_plural = _("messages")


@admin.register(models.Conversation)
class ConversationAdmin(ReadOnly, _ConversationAdmin):
    """Conversations, the latest first."""

    inlines = [MessageInline]
    list_display = ["title", "user", "provider", "message_count", "updated_at"]
    list_filter = ["provider", "updated_at"]
    list_select_related = ["user"]
    search_fields = ["title", "user__username"]
    date_hierarchy = "updated_at"
    fields = ["user", "title", "provider", "message_count", "created_at", "updated_at"]


@admin.register(models.Message)
class MessageAdmin(ReadOnly, _MessageAdmin):
    """Answers and prompts over all conversations, the latest first."""

    list_display = [
        "created_at",
        "user",
        "role",
        "state",
        "provider",
        "model",
        "output_tokens",
        "cost",
        "error_code",
    ]
    list_filter = ["role", "state", "provider", "created_at"]
    list_select_related = ["user"]
    ordering = ["-created_at"]
    search_fields = ["content", "user__username", "session_id"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say that a message goes only with its conversation."""
        return False

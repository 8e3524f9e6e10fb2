"""Provider keys in the admin, which can be entered and tested, never read."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminPasswordWidget

from llmchat.access.keytest import try_key
from llmchat.admin.base import ChangesForm, SavesChanges, log
from llmchat.admin.look import ModelAdmin, TabularInline, action, display
from llmchat.models import ProviderKey
from llmchat.models.encryption import EncryptionError

# Each is a request to a provider while the operator waits.
_MAX_TESTS = 5
_OF_THE_VALUE = (
    *("encrypted_value", "prefix", "last4"),
    *("last_error", "resting_until", "last_used_at"),
)
_TO_TEST = "llmchat.key_to_test"
_LEVELS = {True: messages.SUCCESS, False: messages.ERROR, None: messages.WARNING}


class ProviderKeyForm(ChangesForm):
    """A form that accepts a new key and never shows a stored one."""

    value = forms.CharField(
        label=_("Key"),
        required=False,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_("Stored encrypted and never shown again. Leave blank to keep it."),
    )

    class Meta:
        model = ProviderKey
        fields = ["provider", "name", "enabled", "resting_until"]

    def clean_value(self) -> str:
        """Encrypt a new key; keep the stored one if the field is blank."""
        value: str = self.cleaned_data["value"]
        if not value and not self.instance.encrypted_value:
            raise forms.ValidationError(_("Enter a key."))
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

    def clean(self) -> dict[str, Any]:
        """Let a new key be used at once, unless a time was entered."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("value") and "resting_until" not in self.changed_data:
            cleaned["resting_until"] = None
        return cleaned

    def written_fields(self) -> list[str]:
        """Save the key only if it is new: the stored one may be rotated meanwhile."""
        written = super().written_fields()
        return [*written, *_OF_THE_VALUE] if self.cleaned_data["value"] else written


class ProviderKeyInline(TabularInline):
    """The keys on a provider's page."""

    model = ProviderKey
    form = ProviderKeyForm
    extra = 0
    fields = ["name", "shown", "value", "enabled", "last_used_at", "last_error"]
    readonly_fields = ["shown", "last_used_at", "last_error"]
    show_change_link = True

    @admin.display(description=_("stored"))
    def shown(self, key: ProviderKey) -> str:
        """Show the masked key."""
        return key.masked or "–"


@admin.register(ProviderKey)
class ProviderKeyAdmin(ModelAdmin, SavesChanges):
    """All keys, with their health and a test."""

    form = ProviderKeyForm
    list_display = [
        "label",
        "provider",
        "shown",
        "health",
        "enabled",
        "last_used_at",
        "resting_until",
    ]
    list_display_links = ["label"]
    list_filter = ["provider", "enabled"]
    list_select_related = ["provider"]
    search_fields = ["name", "last4", "provider__name"]
    fields = ["provider", "name", "shown", "value", "enabled", "resting_until"]
    actions = ["test_keys"]
    actions_submit_line = ["save_and_test"]

    def get_readonly_fields(
        self, request: HttpRequest, obj: ProviderKey | None = None
    ) -> list[str]:
        """Fix the provider of a key, so that it is sent to no other."""
        return ["shown"] if obj is None else ["shown", "provider"]

    @admin.display(description=_("name"), ordering="name")
    def label(self, key: ProviderKey) -> str:
        """Show the name, or the number of a key without one."""
        return key.name or f"Key {key.pk}"

    @admin.display(description=_("stored key"))
    def shown(self, key: ProviderKey) -> str:
        """Show the masked key."""
        return key.masked or "–"

    @display(
        description=_("health"),
        label={"refused": "danger", "resting": "warning", "works": "success"},
    )
    def health(self, key: ProviderKey) -> tuple[str, str]:
        """Show the result of the last request with the key."""
        if key.last_error:
            return "refused", key.last_error
        if key.resting_until is not None and key.resting_until > timezone.now():
            return "resting", "resting"
        if key.last_used_at is not None:
            return "works", "works"
        return "unused", "not used yet"

    @action(description=_("Test key"), permissions=["change"])
    def test_keys(self, request: HttpRequest, queryset: QuerySet[ProviderKey]) -> None:
        """Test the selected keys."""
        keys = list(queryset.select_related("provider")[: _MAX_TESTS + 1])
        if len(keys) > _MAX_TESTS:
            self.message_user(
                request, _("Select at most five keys."), level=messages.ERROR
            )
            return
        for key in keys:
            self._test(request, key)

    @action(description=_("Save and test key"), permissions=["change"])
    def save_and_test(self, request: HttpRequest, key: ProviderKey) -> None:
        """Mark the key for a test after the transaction that saves it."""
        request.META[_TO_TEST] = key.pk

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Offer to test a new key too, outside the transaction that saves it."""
        buttons = self.get_actions_submit_line(request, object_id)
        response: HttpResponse = super().changeform_view(
            request,
            object_id,
            form_url,
            {"actions_submit_line": buttons, **(extra_context or {})},
        )
        if (pk := request.META.pop(_TO_TEST, None)) is not None:
            keys = ProviderKey.objects.select_related("provider")
            self._test(request, keys.get(pk=pk))
        return response

    def _test(self, request: HttpRequest, key: ProviderKey) -> None:
        trial = try_key(key)
        self.message_user(request, f"{key}: {trial.text}", level=_LEVELS[trial.works])
        log(request, key, f"Tested. {trial.text}")

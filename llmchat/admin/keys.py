"""Provider keys in the admin, which can be entered and tested, but never read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminPasswordWidget

from llmchat.access import rotation
from llmchat.access.keytest import try_key
from llmchat.admin.base import ChangesForm, SavesChanges, log_all
from llmchat.admin.look import ModelAdmin, TabularInline, action, display
from llmchat.admin.status import HEALTH, shown_health
from llmchat.admin.testing import MAX_TESTS, SavesAndTests
from llmchat.models import Provider, ProviderKey
from llmchat.models.encryption import EncryptionError

_OF_THE_VALUE = (
    *("encrypted_value", "prefix", "last4"),
    *("last_error", "resting_until", "last_used_at"),
)
_KEEP = _("Leave blank to keep the current key.")


class ProviderKeyForm(ChangesForm):
    """A form that accepts a new key and never shows a stored one."""

    value = forms.CharField(
        label=_("Key"),
        required=False,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "Stored encrypted and never shown again. Leave blank to keep the current "
            "key."
        ),
    )

    class Meta:
        model = ProviderKey
        fields = ["provider", "name", "enabled", "resting_until"]
        labels = {
            "provider": _("Provider"),
            "name": _("Name"),
            "enabled": _("Enabled"),
            "resting_until": _("Not used before"),
        }
        help_texts = {
            "name": _("What the key is for, or whose it is."),
            "resting_until": _(
                "Set by the server when the provider refuses the key, in UTC. Clear it "
                "to use the key again right away."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # On a provider's page, only the head of the table shows the help text.
        if self.instance.encrypted_value and "value" in self.fields:
            self.fields["value"].widget.attrs["placeholder"] = _KEEP

    def has_changed(self) -> bool:
        """Return whether anything was entered: an empty row of a page is no new key."""
        if self.empty_permitted and self.instance.pk is None:
            return not {"name", "value"}.isdisjoint(self.changed_data)
        return super().has_changed()

    def clean_value(self) -> str:
        """Encrypt a new key; keep the stored one if the field is blank."""
        value: str = self.cleaned_data["value"]
        if not value and not self.instance.encrypted_value:
            raise forms.ValidationError(_("Enter a key."))
        if not value:
            return ""
        # The key is sent in a header.
        if not value.isascii() or not value.isprintable() or " " in value:
            raise forms.ValidationError(
                _(
                    "This is not a key: keys have no spaces and no special characters. "
                    "Check what you pasted."
                )
            )
        try:
            self.instance.set_value(value)
        except EncryptionError as exc:
            raise forms.ValidationError(str(exc)) from exc
        self.instance.last_error = ""
        return value

    def clean(self) -> dict[str, Any]:
        """Let a new key be used immediately, unless a time was entered."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("value") and "resting_until" not in self.changed_data:
            cleaned["resting_until"] = None
        return cleaned

    def written_fields(self) -> list[str]:
        """Save the key only if it is new: the stored one might have been rotated."""
        written = super().written_fields()
        return [*written, *_OF_THE_VALUE] if self.cleaned_data["value"] else written


def _entered(fields: Iterable[Any], *, may_enter: bool) -> list[Any]:
    return [name for name in fields if may_enter or name != "value"]


class ProviderKeyInline(TabularInline):
    """The keys on a provider's page."""

    model = ProviderKey
    form = ProviderKeyForm
    extra = 0
    fields = ["name", "shown", "value", "enabled", "health", "last_used_at"]
    readonly_fields = ["shown", "health", "last_used_at"]
    show_change_link = True
    verbose_name = _("key")
    verbose_name_plural = _("keys")

    def get_fields(
        self, request: HttpRequest, obj: Provider | None = None
    ) -> list[Any]:
        """Leave out the field of the key for operators who may not enter one."""
        may_enter = self.has_change_permission(request, obj) or (
            self.has_add_permission(request, obj)
        )
        return _entered(super().get_fields(request, obj), may_enter=may_enter)

    def get_extra(
        self, request: HttpRequest, obj: Provider | None = None, **kwargs: Any
    ) -> int:
        """Offer an empty row if the provider has no key yet."""
        return int(obj is None or (obj.needs_key and not obj.keys.exists()))

    @admin.display(description=_("stored"))
    def shown(self, key: ProviderKey) -> str:
        """Show the masked key."""
        return key.masked or "–"

    @admin.display(description=_("health"))
    def health(self, key: ProviderKey) -> str:
        """Show the outcome of the last request with the key."""
        return shown_health(key)[1]


@admin.register(ProviderKey)
class ProviderKeyAdmin(SavesAndTests, ModelAdmin, SavesChanges):
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
    list_before_template = "admin/llmchat/providerkey/encryption.html"

    def get_fields(
        self, request: HttpRequest, obj: ProviderKey | None = None
    ) -> list[Any]:
        """Leave out the field of the key for operators who may not enter one."""
        may_enter = (
            self.has_add_permission(request)
            if obj is None
            else self.has_change_permission(request, obj)
        )
        return _entered(super().get_fields(request, obj), may_enter=may_enter)

    def get_readonly_fields(
        self, request: HttpRequest, obj: ProviderKey | None = None
    ) -> list[str]:
        """Fix the provider of an existing key, so that it is sent to no other one."""
        return ["shown"] if obj is None else ["shown", "provider"]

    @admin.display(description=_("name"), ordering="name")
    def label(self, key: ProviderKey) -> str:
        """Show the name, or the number of a key without one."""
        return key.name or f"Key {key.pk}"

    @admin.display(description=_("stored key"))
    def shown(self, key: ProviderKey) -> str:
        """Show the masked key."""
        return key.masked or "–"

    @display(description=_("health"), label=HEALTH)
    def health(self, key: ProviderKey) -> tuple[str, str]:
        """Show the outcome of the last request with the key."""
        return shown_health(key)

    @action(description=_("Test selected keys"), permissions=["change"])
    def test_keys(self, request: HttpRequest, queryset: QuerySet[ProviderKey]) -> None:
        """Test the selected keys."""
        keys = list(queryset.select_related("provider")[: MAX_TESTS + 1])
        if self.may_test(request, len(keys)):
            for key in keys:
                self._test(request, key)

    def test(self, request: HttpRequest, pk: Any) -> None:
        """Test the key, and show the outcome."""
        keys = ProviderKey.objects.select_related("provider")
        self._test(request, keys.get(pk=pk))

    def _test(self, request: HttpRequest, key: ProviderKey) -> None:
        self.tell(request, key, str(key), try_key(key))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show how many keys are encrypted with an old encryption key."""
        context = {
            "encryption": rotation.count(),
            "may_encrypt": self.has_change_permission(request),
            **(extra_context or {}),
        }
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def get_urls(self) -> list[URLPattern]:
        """Add the address that re-encrypts the keys."""
        view = self.admin_site.admin_view(require_POST(self.encrypt_view))
        name = "llmchat_providerkey_encrypt"
        return [path("encrypt/", view, name=name), *super().get_urls()]

    def encrypt_view(self, request: HttpRequest) -> HttpResponse:
        """Re-encrypt the keys with the current encryption key."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        with transaction.atomic():
            rotated = rotation.rotate()
            named = ((key.pk, str(key)) for key in rotated.keys)
            said = "Encrypted with the current encryption key."
            log_all(request, ProviderKey, named, said)
        if rotated.keys:
            count = len(rotated.keys)
            text = ngettext(
                "Encrypted %d key with the current encryption key.",
                "Encrypted %d keys with the current encryption key.",
                count,
            )
            self.message_user(request, text % count, level=messages.SUCCESS)
        if rotated.unread:
            count = len(rotated.unread)
            text = ngettext(
                "%d key cannot be decrypted with LLMCHAT_ENCRYPTION_KEYS.",
                "%d keys cannot be decrypted with LLMCHAT_ENCRYPTION_KEYS.",
                count,
            )
            self.message_user(request, text % count, level=messages.ERROR)
        return HttpResponseRedirect(reverse("admin:llmchat_providerkey_changelist"))

"""API keys in the admin: make one, find the owner of a leaked one, revoke it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts import api_keys
from accounts.errors import KeysError, TokenError
from accounts.key_text import has_controls, prefixes_in
from accounts.models import ApiKey, User
from accounts.verified import Scope
from llmchat.admin.base import ChangesForm, SavesChanges, log
from llmchat.admin.filters import UserFilter
from llmchat.admin.look import ModelAdmin, action, display

_ISSUED = "_issued_key"
_ENTERED = ("user", "name", "scopes", "messages_per_minute", "expires_at")
_SHOWN = ("prefix", "state", "created_at", "last_used_at", "revoked_at")


class ApiKeyForm(ChangesForm):
    """A form that makes a key; its scopes cannot be changed later."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=[Scope.CHAT, Scope.READ],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = ApiKey
        fields = _ENTERED

    def clean_name(self) -> str:
        """Return the name, as one line. Raises: ValidationError."""
        name = " ".join(self.cleaned_data["name"].split())
        if not name or has_controls(name):
            raise ValidationError(_("Enter a name without control characters."))
        return name

    def clean_scopes(self) -> str:
        """Return the scopes as they are stored."""
        chosen = self.cleaned_data["scopes"]
        return " ".join(scope for scope in Scope.values if scope in chosen)

    def clean(self) -> dict[str, Any]:
        """Check that the user may have one more key in use. Raises: ValidationError.

        It is checked here, not when the key is stored, so that the page can show the
        error: Django does both in one transaction.
        """
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and self._is_one_more(cleaned):
            user = cleaned.get("user") or self.instance.user
            try:
                api_keys.ensure_room(user.pk)
            except KeysError as exc:
                raise ValidationError(
                    _("%(user)s has %(most)d API keys in use. Revoke one first."),
                    params={"user": user, "most": api_keys.MOST},
                ) from exc
            except TokenError as exc:
                raise ValidationError(_("This account is not active.")) from exc
        return cleaned

    def _is_one_more(self, cleaned: dict[str, Any]) -> bool:
        """Return whether the key is new, or has expired and is extended."""
        if self.instance.pk is None:
            return True
        ends_at = cleaned.get("expires_at")
        is_valid = ends_at is None or ends_at > timezone.now()
        is_expired: bool = self.instance.state == ApiKey.State.EXPIRED
        return is_valid and is_expired


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin, SavesChanges):
    """All API keys, found by their beginning or by a text that holds one."""

    form = ApiKeyForm
    list_display = [
        "name",
        "user",
        "prefix",
        "scopes",
        "shown_state",
        "last_used_at",
        "expires_at",
    ]
    list_filter = [("user", UserFilter), ("revoked_at", admin.EmptyFieldListFilter)]
    list_select_related = ["user"]
    # `get_search_results` searches by more than these.
    search_fields = ["name", "user__username"]
    search_help_text = _(
        "Search by name, user or key (its beginning, llmc_…, is enough)"
    )
    autocomplete_fields = ["user"]
    actions = ["revoke_keys"]

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        """Show more fields of an existing key."""
        return [*_ENTERED] if obj is None else [*_ENTERED, *_SHOWN]

    def get_readonly_fields(
        self, request: HttpRequest, obj: ApiKey | None = None
    ) -> list[str]:
        """Fix the user and the scopes of an existing key."""
        return [] if obj is None else ["user", "scopes", *_SHOWN]

    def has_change_permission(
        self, request: HttpRequest, obj: ApiKey | None = None
    ) -> bool:
        """Let only superusers change superusers' keys; others can only revoke them."""
        allowed = super().has_change_permission(request, obj)
        is_beyond = obj is not None and obj.user.is_superuser
        return allowed and (request.user.is_superuser or not is_beyond)

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> ModelChoiceField[Any] | None:
        """Let only superusers make keys of superusers."""
        if db_field.name == "user" and not request.user.is_superuser:
            kwargs["queryset"] = User.objects.filter(is_superuser=False)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ApiKey], search_term: str
    ) -> tuple[QuerySet[ApiKey], bool]:
        """Find the keys whose beginnings are in the text, such as a line of a log."""
        prefixes = prefixes_in(search_term)
        if not prefixes:
            return super().get_search_results(request, queryset, search_term)
        wanted = Q()
        for prefix in prefixes:
            wanted |= Q(prefix__startswith=prefix)
        return queryset.filter(wanted), False

    @display(
        description=_("state"),
        label={"active": "success", "expired": "warning", "revoked": "danger"},
    )
    def shown_state(self, key: ApiKey) -> tuple[str, str]:
        """Show whether the key can be used."""
        return key.state.value, str(key.state.label)

    @admin.display(description=_("state"))
    def state(self, key: ApiKey) -> str:
        """Show the same on the key's own page, which has no colored labels."""
        return str(key.state.label)

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        """Make the key of a new row (called by Django with a valid form)."""
        if change:
            super().save_model(request, obj, form, change)
        else:
            setattr(request, _ISSUED, api_keys.issue(obj))

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the new key, this one time: it is in no message and no cookie."""
        context = self.admin_site.each_context(request) | {
            "opts": self.opts,
            "title": _("API key"),
            "key": getattr(request, _ISSUED),
            "original": obj,
        }
        return TemplateResponse(request, "admin/accounts/apikey/made.html", context)

    def _revoke(self, request: HttpRequest, key: ApiKey) -> bool:
        with transaction.atomic():
            is_done = api_keys.revoke(key)
            if is_done:
                log(request, key, "Revoked.")
        return is_done

    @action(description=_("Revoke selected keys"), permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke the selected keys, for good."""
        keys = [key for key in queryset if key.revoked_at is None]
        keys = [key for key in keys if self._revoke(request, key)]
        if keys:
            text = ngettext("Revoked %d API key.", "Revoked %d API keys.", len(keys))
            self.message_user(request, text % len(keys), level=messages.SUCCESS)
        else:
            none = _("Nothing to revoke: the selected keys were already revoked.")
            self.message_user(request, none, level=messages.WARNING)

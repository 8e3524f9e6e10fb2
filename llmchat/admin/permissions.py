"""The groups that may use a provider, on the provider's page in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from llmchat.admin.look import TabularInline
from llmchat.models import Provider, ProviderAccess

if TYPE_CHECKING:
    _FormSet = BaseInlineFormSet[Any, Any, Any]
else:
    _FormSet = BaseInlineFormSet


class ProviderAccessFormSet(_FormSet):
    """Reject groups of a provider that everyone may use."""

    def clean(self) -> None:
        """Check that a provider with groups is restricted to them."""
        super().clean()
        if self.instance.restricted:
            return
        deleted = self.deleted_forms
        if any(f.has_changed() and f not in deleted for f in self.forms):
            raise ValidationError(
                _("Everyone may use this provider. Turn on “Only for groups” first.")
            )


class ProviderAccessInline(TabularInline):
    """The groups with access to a restricted provider."""

    model = ProviderAccess
    formset = ProviderAccessFormSet
    extra = 0
    fields = ["group", "allowed_models"]
    verbose_name = _("group with access")
    verbose_name_plural = _("groups with access (empty: everyone)")

    def get_formset(
        self, request: HttpRequest, obj: Provider | None = None, **kwargs: Any
    ) -> Any:
        """Say who has access where no group is named (each request has its inline)."""
        if obj is not None and obj.restricted:
            self.verbose_name_plural = _("groups with access (empty: superusers only)")
        return super().get_formset(request, obj, **kwargs)

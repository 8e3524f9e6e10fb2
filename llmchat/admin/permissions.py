"""The groups that may use a provider, on the provider's page in the admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from llmchat.admin.look import TabularInline
from llmchat.models import Provider, ProviderAccess
from llmchat.models.revision import revise

if TYPE_CHECKING:
    _FormSet = BaseInlineFormSet[Any, Any, Any]
else:
    _FormSet = BaseInlineFormSet


_OPEN = _(
    "Everyone may use this provider, so its groups have no effect. Turn on “Only for "
    "groups”, or select “Delete” for each group."
)


class ProviderAccessFormSet(_FormSet):
    """Reject groups of a provider that everyone may use."""

    may_delete = True

    def clean(self) -> None:
        """Check that a provider with groups is restricted to them."""
        super().clean()
        if self.instance.restricted:
            return
        deleted = self.deleted_forms
        is_added = any(f.has_changed() and f not in deleted for f in self.extra_forms)
        if is_added or self._leaves_others([form.instance.pk for form in deleted]):
            raise ValidationError(_OPEN)

    def _leaves_others(self, deleted: Sequence[int | None]) -> bool:
        """Return whether other groups remain, even ones that this form does not know.

        If the provider was open before despite its groups, as a restored dump can leave
        it, they do not keep an operator who cannot delete them from saving the page.
        """
        if self.instance.pk is None:
            return False
        revise()  # from here on, other transactions that add a group wait
        stored = Provider.objects.filter(pk=self.instance.pk)
        if not self.may_delete and not stored.filter(restricted=True).exists():
            return False
        known = [pk for pk in deleted if pk is not None]
        rows = ProviderAccess.objects.filter(provider=self.instance.pk)
        return bool(rows.exclude(pk__in=known).exists())


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
        """Say who has access if no group is named (each request has its own inline)."""
        if obj is not None and obj.restricted:
            self.verbose_name_plural = _("groups with access (empty: superusers only)")
        formset = super().get_formset(request, obj, **kwargs)
        may_see = self.has_view_or_change_permission(request, obj)
        formset.may_delete = may_see and self.has_delete_permission(request, obj)
        return formset

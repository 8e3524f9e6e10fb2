"""Providers in the admin: addresses, models, prices."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from llmchat.access.keytest import try_providers
from llmchat.access.rules import warnings
from llmchat.admin import presets
from llmchat.admin.fetching import FetchesModels
from llmchat.admin.keys import ProviderKeyInline
from llmchat.admin.look import action, display
from llmchat.admin.models import ProviderModelInline, default_price
from llmchat.admin.noted import NumbersRows
from llmchat.admin.permissions import ProviderAccessInline
from llmchat.admin.provider_form import ProviderForm
from llmchat.admin.status import COLOURS, shown_source, shown_state, shown_status
from llmchat.admin.testing import MAX_TESTS, SavesAndTests
from llmchat.models import Provider

_DESTINATION = ("name", "base_url", "protocol", "embedded")


@admin.register(Provider)
class ProviderAdmin(NumbersRows, SavesAndTests, FetchesModels):
    """Providers: addresses, models, prices and keys."""

    form = ProviderForm
    inlines = [ProviderKeyInline, ProviderModelInline, ProviderAccessInline]
    list_display = [
        "label",
        "name",
        "status",
        "key_source",
        "default_model",
        "enabled",
        "users",
    ]
    list_editable = ["enabled"]
    list_filter = ["enabled", "restricted", "protocol"]
    search_fields = ["name", "label", "default_model"]
    fieldsets = [
        (None, {"fields": ["label", "name", "enabled", "default_model"]}),
        (
            _("Connection"),
            {"fields": ["protocol", "base_url", "needs_key", "fallback"]},
        ),
        (_("Access"), {"fields": ["restricted"]}),
        (
            _("Prices"),
            {
                "fields": ["input_price", "output_price"],
                "description": _("For models that have no price of their own."),
            },
        ),
        (
            _("Expert settings"),
            {
                "classes": ["collapse"],
                "fields": [
                    "max_tokens_field",
                    "max_output_tokens",
                    "accepts_sampling",
                    "temperature_max",
                    "system_role",
                    "thinking",
                    "include_usage",
                    "embedded",
                ],
            },
        ),
    ]
    actions = ["test_providers", "fetch_models"]
    actions_submit_line = ["save_and_test", "save_and_fetch"]
    change_form_outer_before_template = "admin/llmchat/provider/top.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        """Read keys and groups in one query each."""
        rows: QuerySet[Provider] = super().get_queryset(request)
        return rows.prefetch_related("keys", "access__group")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Hide the columns about keys and groups from those who may not view them."""
        hidden = []
        if not request.user.has_perm("llmchat.view_providerkey"):
            hidden.append("key_source")
        if not request.user.has_perm("llmchat.view_provideraccess"):
            hidden.append("users")
        return [name for name in self.list_display if name not in hidden]

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Check as much in the list as on a provider's page."""
        return super().get_changelist_form(request, form=self.form, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Fill the form of a new provider with the preset that was chosen."""
        preset = presets.chosen(request.GET)
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return initial | (preset.initial() if preset else {})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show presets above a new provider, and the status above an existing one."""
        row: Provider | None = context["original"]
        if row is None:
            context["presets"] = list(presets.links(request.GET))
            context["preset"] = presets.chosen(request.GET)
        else:
            may_see_keys = request.user.has_perm("llmchat.view_providerkey")
            context["status"] = shown_status(row, may_see_keys=may_see_keys)
            price, url = default_price(row)
            may_see_models = request.user.has_perm("llmchat.view_providermodel")
            context["default_price"] = price
            context["default_price_url"] = url if may_see_models else ""
        response: HttpResponse = super().render_change_form(
            request, context, *args, **kwargs
        )
        return response

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        """Warn of settings that are hardly intended, once the keys are saved, too."""
        super().save_related(request, form, formsets, change)
        for text in warnings(Provider.objects.get(pk=form.instance.pk)):
            self.message_user(request, text, level=messages.WARNING)

    def test(self, request: HttpRequest, pk: Any) -> None:
        """Test the provider, and show the outcome."""
        self._test(request, list(Provider.objects.filter(pk=pk)))

    @action(description=_("Test selected providers"), permissions=["change"])
    def test_providers(
        self, request: HttpRequest, queryset: QuerySet[Provider]
    ) -> None:
        """Test the selected providers, all at once."""
        rows = list(queryset[: MAX_TESTS + 1])
        if self.may_test(request, len(rows)):
            self._test(request, rows)

    def _test(self, request: HttpRequest, rows: list[Provider]) -> None:
        for row, trial in zip(rows, try_providers(rows), strict=True):
            self.tell(request, row, row.label, trial)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Provider | None = None
    ) -> list[str]:
        """Let only superusers change where keys are sent, which the name decides, too.

        Opening a provider to everyone requires the permission to change its groups.
        """
        fixed = [] if _is_superuser(request) else [*_DESTINATION]
        may_open = request.user.has_perm("llmchat.change_provideraccess")
        return fixed if may_open else [*fixed, "restricted"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Let only superusers add providers, since keys are sent to them."""
        return _is_superuser(request)

    @admin.display(description=_("who may use it"), ordering="restricted")
    def users(self, provider: Provider) -> str:
        """Show the groups with access, or that it is open to everyone."""
        if not provider.restricted:
            return "everyone"
        groups = ", ".join(str(access.group) for access in provider.access.all())
        return groups or "superusers only"

    @display(description=_("status"), label=COLOURS)
    def status(self, provider: Provider) -> tuple[str, str]:
        """Show whether the provider can answer and, if not, why."""
        return shown_state(provider)

    @admin.display(description=_("key"))
    def key_source(self, provider: Provider) -> str:
        """Show where the provider's keys come from."""
        return shown_source(provider)


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_superuser

"""The models of providers in the admin, and what they cost."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import flatten
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from llmchat.access.price_uses import is_billed, is_in_use, running
from llmchat.access.prices import price_at
from llmchat.admin.base import ChangesForm, PlainForm, SavesChanges
from llmchat.admin.look import (
    ModelAdmin,
    PagedFormSet,
    StackedInline,
    TabularInline,
    display,
)
from llmchat.models import Price, Provider, ProviderModel
from llmchat.models.revision import revise
from llmchat.reports.money import NOT_PRICED

_SUPERSEDE = _(
    "Answers were billed with this price, so it cannot be changed or deleted. Add a "
    "price with a later date instead."
)
_CHANGED = _("Someone else has changed this price. Reload the page and try again.")
# Fields that have no influence on a bill.
_NOT_OF_THE_BILL = frozenset({"valid_until", "source"})


def price_text(model: ProviderModel) -> str:
    """Return the current price in words, for input and output, or "not priced"."""
    price = price_at(model.prices.all(), timezone.now())
    if price is not None:
        return f"${_plain(price.input)} in, ${_plain(price.output)} out"
    return _price_of_provider(model.provider)


def _price_of_provider(provider: Provider) -> str:
    if provider.input_price is not None and provider.output_price is not None:
        rates = (provider.input_price, provider.output_price)
        return f"${_plain(rates[0])} in, ${_plain(rates[1])} out (the provider's)"
    return NOT_PRICED


def default_price(provider: Provider) -> tuple[str, str]:
    """Return the price of a provider's default model, and the page to enter it on."""
    default = provider.canonical(provider.default_model)
    known = provider.known_models.all()
    model = next(
        (row for row in known if provider.canonical(row.name) == default), None
    )
    if model is None:
        return _price_of_provider(provider), ""
    url = reverse("admin:llmchat_providermodel_change", args=[model.pk])
    return price_text(model), url


def _plain(rate: Any) -> str:
    """Return a rate with at least two decimal places."""
    shown = f"{rate.normalize():f}"
    whole, _dot, rest = shown.partition(".")
    return f"{whole}.{rest.ljust(2, '0')}"


def _limits(model: ProviderModel) -> str:
    context, output = model.context_tokens, model.max_output_tokens
    parts = [f"{context:,} context"] if context else []
    parts += [f"{output:,} output"] if output else []
    return ", ".join(parts) or "–"


def _abilities(model: ProviderModel) -> str:
    named = {
        "images": model.takes_images,
        "tools": model.takes_tools,
        "reasoning": model.reasons,
    }
    return ", ".join(name for name, is_able in named.items() if is_able) or "–"


class _ShowsModels:
    """What the lists of models show of each."""

    @admin.display(description=_("tokens"))
    def limits(self, model: ProviderModel) -> str:
        """Show how many tokens the model accepts and generates."""
        return _limits(model)

    @admin.display(description=_("abilities"))
    def abilities(self, model: ProviderModel) -> str:
        """Show what the model can do."""
        return _abilities(model)

    @admin.display(description=_("price per million tokens"))
    def price(self, model: ProviderModel) -> str:
        """Show the current price."""
        return price_text(model)


class ProviderModelForm(ChangesForm):
    """A form that lets no two models of a provider have the same name."""

    def _get_validation_exclusions(self) -> set[str]:
        """Compare the names, even if the page does not allow changing the provider."""
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded - {"provider"}

    def _post_clean(self) -> None:
        """Let a formset compare its forms by the names that will be stored."""
        super()._post_clean()  # type: ignore[misc]
        if "name" in self.cleaned_data:
            self.cleaned_data["name"] = self.instance.name


class ProviderModelInline(_ShowsModels, TabularInline):
    """The models on a provider's page, a few at a time: some providers have hundreds.

    A post of the page without these forms, as by a script, changes no model.
    """

    model = ProviderModel
    form = ProviderModelForm
    formset = PagedFormSet
    per_page = 25
    extra = 0
    can_delete = False
    fields = ["name", "label", "enabled", "limits", "abilities", "price"]
    readonly_fields = ["limits", "abilities", "price"]
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderModel]:
        """Read the prices with the models."""
        rows: QuerySet[ProviderModel] = super().get_queryset(request)
        return rows.select_related("provider").prefetch_related("prices")


class PriceForm(PlainForm):
    """A form that does not change the rates that answers are billed by."""

    def clean(self) -> dict[str, Any]:
        """Refuse to change a price that is in use, or that no longer exists."""
        cleaned = super().clean() or self.cleaned_data
        changed = self._changes()
        if self.instance.pk is None or not changed:
            return cleaned
        revise()  # from here on, other transactions that change a price wait
        if not Price.objects.filter(pk=self.instance.pk).exists():
            self._refuse(changed, _CHANGED)
        elif (of_bill := changed - _NOT_OF_THE_BILL) and is_in_use(self.instance):
            self._refuse(of_bill, _SUPERSEDE)
        return cleaned

    def _refuse(self, fields: set[str], fault: Any) -> None:
        for name in fields:
            self.add_error(name, fault)

    def save(self, commit: bool = True) -> Any:
        """Save the row; a change that affects bills is stored as a new row."""
        row: Price = super().save(commit=False)
        if commit:
            self._store(row)
        return row

    def _store(self, row: Price) -> None:
        changed = self._changes()
        if row.pk is None:
            row.save()
        elif changed - _NOT_OF_THE_BILL:
            row.replace()
        else:
            # The other fields were read before the wait for another operator's change.
            row.save(force_update=True, update_fields=changed)

    def _changes(self) -> set[str]:
        fields = {field.name for field in Price._meta.concrete_fields}
        return fields.intersection(self.changed_data)


class PriceFormSet(PagedFormSet):
    """Prices that stay while answers are billed by them."""

    def clean(self) -> None:
        """Refuse to delete a price that is in use. Raises: ValidationError."""
        super().clean()
        if any(is_in_use(form.instance) for form in self.deleted_forms):
            raise ValidationError(_SUPERSEDE)


class PriceInline(StackedInline):
    """The prices on a model's page, the latest first."""

    model = Price
    form = PriceForm
    formset = PriceFormSet
    per_page = 10
    extra = 0
    fields = [
        ("valid_from", "valid_until"),
        ("input", "output"),
        ("cache_read", "cache_write"),
        "long_cache_write",
        "above_tokens",
        ("input_factor", "output_factor"),
        ("peak_hours", "peak_factor"),
        "off_days",
        "bills_refusals",
        "source",
    ]


@admin.register(ProviderModel)
class ProviderModelAdmin(_ShowsModels, ModelAdmin, SavesChanges):
    """The models of all providers, each with its prices."""

    form = ProviderModelForm
    inlines = [PriceInline]
    list_display = [
        "name",
        "label",
        "provider",
        "enabled",
        "limits",
        "price",
        "state",
    ]
    list_editable = ["enabled"]
    list_filter = ["provider", "enabled"]
    list_select_related = ["provider"]
    search_fields = ["name", "label"]
    change_form_outer_before_template = "admin/llmchat/providermodel/unpriced.html"
    readonly_fields = ["missing_since"]
    fields = [
        "provider",
        "name",
        "label",
        "enabled",
        "position",
        ("context_tokens", "max_output_tokens"),
        ("takes_images", "takes_tools"),
        "reasons",
        ("retires_on", "missing_since"),
    ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show a notice above the form if the model has no price."""
        row: ProviderModel | None = context["original"]
        context["unpriced"] = row is not None and price_text(row) == NOT_PRICED
        response: HttpResponse = super().render_change_form(
            request, context, *args, **kwargs
        )
        return response

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderModel]:
        """Read the prices in one more query."""
        rows: QuerySet[ProviderModel] = super().get_queryset(request)
        return rows.prefetch_related("prices")

    def get_readonly_fields(
        self, request: HttpRequest, obj: ProviderModel | None = None
    ) -> list[str]:
        """Fix a model's provider, and all fields if only the prices may be changed."""
        if obj is None:
            return [*self.readonly_fields]
        if not self._may_change_models(request, obj):
            return flatten(self.fields)
        return ["provider", *self.readonly_fields]

    def has_change_permission(
        self, request: HttpRequest, obj: ProviderModel | None = None
    ) -> bool:
        """Let operators who may only change prices save the page, too."""
        may_price = request.user.has_perm("llmchat.change_price")
        may_see = self.has_view_permission(request, obj)
        return self._may_change_models(request, obj) or (may_price and may_see)

    def _may_change_models(
        self, request: HttpRequest, obj: ProviderModel | None = None
    ) -> bool:
        return super().has_change_permission(request, obj)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Show a list without forms to operators who may only change prices."""
        found = super().get_changelist_instance(request)
        if not self._may_change_models(request):
            found.list_editable = ()
        return found

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keep models with prices that answers are billed by: they can be disabled."""
        allowed = super().has_delete_permission(request, obj)
        if not allowed or obj is None:
            return allowed
        is_used = running(obj).exists() or any(map(is_billed, obj.prices.all()))
        return not is_used

    @display(
        description=_("state"),
        label={"gone": "danger", "retired": "danger", "retires": "warning"},
    )
    def state(self, model: ProviderModel) -> tuple[str, str] | str:
        """Show if the provider no longer offers the model, or soon will not."""
        today = timezone.now().date()
        if model.retires_on is not None:
            is_over = model.retires_on <= today
            word = "retired" if is_over else "retires"
            return word, f"{word} {model.retires_on:%Y-%m-%d}"
        if model.missing_since is not None:
            return "gone", f"not listed since {model.missing_since:%Y-%m-%d}"
        return "", "–"

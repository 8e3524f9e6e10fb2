"""The models of providers as operators know them, and what they cost.

A price is a row of its own, so that the price of a billed answer stays as it was: a
price that answers are billed by is not edited, but superseded by one with a later date.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from llmchat.models.hours import check_days, check_hours
from llmchat.models.providers import Provider
from llmchat.models.revision import Watched


class ProviderModel(Watched):
    """A model of a provider; `name` is what the provider is sent."""

    provider = models.ForeignKey(
        Provider, on_delete=models.CASCADE, related_name="known_models"
    )
    name = models.CharField(
        max_length=128, help_text=_("The model’s name at the provider.")
    )
    label = models.CharField(
        max_length=128,
        blank=True,
        help_text=_(
            "The name that people see. Leave blank to show the name at the provider."
        ),
    )
    enabled = models.BooleanField(
        default=True, help_text=_("Requests for a disabled model are refused.")
    )
    position = models.PositiveSmallIntegerField(
        default=0, help_text=_("Models with lower numbers are listed first.")
    )
    context_tokens = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    takes_images = models.BooleanField(default=True)
    takes_tools = models.BooleanField(default=True)
    reasons = models.BooleanField(
        default=False, help_text=_("The model thinks before it answers.")
    )
    retires_on = models.DateField(
        null=True,
        blank=True,
        help_text=_("The first day on which the provider no longer offers the model."),
    )
    missing_since = models.DateField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("The day on which the provider’s list no longer had the model."),
    )

    class Meta:
        verbose_name = _("model")
        ordering = ["provider", "position", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "name"],
                name="provider_model_name",
                violation_error_message=_(
                    "The provider already has a model with this name."
                ),
            )
        ]

    def __str__(self) -> str:
        return self.label or self.name

    def clean(self) -> None:
        """Refuse to disable the model that answers requests that name none."""
        provider = self.provider if self.provider_id or self._has_provider else None
        if provider is None:
            return
        name = provider.canonical(self.name)
        is_default = name == provider.canonical(provider.default_model)
        if is_default and not self.enabled and not self._was(enabled=False):
            raise ValidationError(
                {
                    "enabled": _(
                        "This is the provider’s default model. Choose another default "
                        "model before you disable it."
                    )
                }
            )
        # A stored name is kept: another row might already have the canonical one.
        if name != self.name and not self._was(name=self.name):
            self.name = name

    def _was(self, **values: Any) -> bool:
        """Return whether the row is stored with these values."""
        if self.pk is None:
            return False
        return ProviderModel.objects.filter(pk=self.pk, **values).exists()

    @property
    def _has_provider(self) -> bool:
        return ProviderModel.provider.is_cached(self)

    @cached_property
    def price_rows(self) -> tuple[Price, ...]:
        """All prices of the model, as they were when this row was read."""
        return tuple(self.prices.all())


def _rate(what: Any, *, required: bool = False) -> models.DecimalField[Any, Any]:
    """Return a field of US dollars per million tokens."""
    return models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=not required,
        blank=not required,
        validators=[MinValueValidator(0)],
        help_text=what,
    )


def _factor() -> models.DecimalField[Any, Any]:
    return models.DecimalField(
        max_digits=8, decimal_places=4, default=1, validators=[MinValueValidator(0)]
    )


class Price(Watched):
    """What a model costs from a date on, in US dollars per million tokens.

    An answer is billed by the price with the latest `valid_from` at its beginning, in
    UTC. If a request has more than `above_tokens` of input, the factors apply to all
    of it.
    """

    model = models.ForeignKey(
        ProviderModel, on_delete=models.CASCADE, related_name="prices"
    )
    valid_from = models.DateField(
        help_text=_("The first day on which this price applies, in UTC.")
    )
    valid_until = models.DateField(
        null=True,
        blank=True,
        help_text=_(
            "The first day on which this price no longer applies, in UTC. Leave blank "
            "if it applies until a newer price begins."
        ),
    )
    input = _rate(_("US dollars per million input tokens."), required=True)
    cache_read = _rate(
        _("Input read from a cache. Leave blank if it costs the same as other input.")
    )
    cache_write = _rate(
        _("Input written to a cache. Leave blank if it costs the same as other input.")
    )
    long_cache_write = _rate(
        _(
            "Input written to a cache for longer. Leave blank if it costs the same as "
            "other cache writes."
        )
    )
    output = _rate(
        _("US dollars per million output tokens, including reasoning."),
        required=True,
    )
    above_tokens = models.PositiveIntegerField(
        _("input token threshold"),
        null=True,
        blank=True,
        help_text=_(
            "If a request has more input tokens than this, the prices of all its "
            "tokens are multiplied by the factors below. Leave blank for no threshold."
        ),
    )
    input_factor = _factor()
    output_factor = _factor()
    peak_hours = models.CharField(
        max_length=128,
        blank=True,
        validators=[check_hours],
        help_text=_(
            "Hours, Monday to Friday in UTC, in which all prices are multiplied by the "
            "peak factor, such as 01:00-04:00 06:00-10:00."
        ),
    )
    peak_factor = _factor()
    off_days = models.TextField(
        blank=True,
        validators=[check_days],
        help_text=_(
            "Days without peak hours, such as public holidays: 2026-10-01 2026-10-02."
        ),
    )
    bills_refusals = models.BooleanField(
        default=True,
        help_text=_("The provider bills a refusal even if it has no output."),
    )
    source = models.CharField(
        max_length=200,
        blank=True,
        help_text=_("Where the price was found, and when."),
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["model", "-valid_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "valid_from"],
                name="price_valid_from",
                violation_error_message=_(
                    "The model already has a price that begins on this day."
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.valid_from:%Y-%m-%d}"

    def clean(self) -> None:
        """Refuse a price that ends before it begins."""
        if self.valid_until and self.valid_from and self.valid_until <= self.valid_from:
            raise ValidationError(
                {"valid_until": _("Enter a day later than “Valid from”.")}
            )

    def replace(self) -> None:
        """Store changed rates as a new row, which takes the place of the old one.

        An answer that began earlier is billed by the rates of that time, and refers to
        their row. So no row ever shows rates other than those by which the answers that
        refer to it were billed.
        """
        with transaction.atomic():
            Price.objects.filter(pk=self.pk).delete()
            self.pk, self._state.adding = None, True
            self.save(force_insert=True)

"""Providers as operators configure them, and their keys."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from llmchat import conf
from llmchat.models.encryption import decrypt, encrypt
from llmchat.models.revision import Watched

if TYPE_CHECKING:
    from llmchat.models.catalogue import ProviderModel

# What most keys begin with; it reveals nothing about the key.
_KIND = "sk-"
# Gemini accepts this prefix in the name of a model, and ignores it.
_PREFIX = "models/"
# Gemini requires this prefix in the name of a tuned model, and accepts no other before
# it.
_TUNED = "tunedModels/"
# The settings that hold the addresses of the shipped providers.
_BASE_URLS = {
    "openai": "openai_base_url",
    "claude": "anthropic_base_url",
    "gemini": "gemini_base_url",
    "deepseek": "deepseek_base_url",
}


class Provider(Watched):
    """A provider as an operator configures it; `name` is what clients send."""

    class Protocol(models.TextChoices):
        OPENAI = "openai", _("OpenAI chat completions")
        DEEPSEEK = "deepseek", _("DeepSeek")
        CLAUDE = "claude", _("Anthropic messages")
        GEMINI = "gemini", _("Gemini generateContent")

    class MaxTokensField(models.TextChoices):
        MAX_TOKENS = "max_tokens"
        MAX_COMPLETION_TOKENS = "max_completion_tokens"

    class SystemRole(models.TextChoices):
        SYSTEM = "system"
        DEVELOPER = "developer"

    class Thinking(models.TextChoices):
        OMIT = "omit", _("up to the provider")
        DISABLED = "disabled", _("off")

    name = models.SlugField(max_length=64, unique=True)
    label = models.CharField(max_length=64, help_text=_("The name that people see."))
    protocol = models.CharField(max_length=16, choices=Protocol)
    enabled = models.BooleanField(default=True)
    embedded = models.BooleanField(
        default=False,
        help_text=_("Served by the language model that this server runs itself."),
    )
    restricted = models.BooleanField(
        _("only for groups"),
        default=False,
        db_default=False,
        help_text=_(
            "Only superusers and members of the groups listed below may use this "
            "provider. Otherwise everyone may."
        ),
    )
    # Not a URLField, which rejects hosts without a dot, such as a container's name.
    base_url = models.CharField(
        max_length=200,
        blank=True,
        validators=[
            RegexValidator(
                r"^https?://[^\s/?#@]+(/[^\s?#]*)?\Z",
                _("Enter an http or https URL without user, query or fragment."),
            )
        ],
        help_text=_(
            "Leave blank to use the address from the environment, which has one for "
            "OpenAI, Claude, Gemini and DeepSeek."
        ),
    )
    default_model = models.CharField(
        max_length=128, help_text=_("Used when a request names no model.")
    )
    needs_key = models.BooleanField(default=True)
    max_tokens_field = models.CharField(
        max_length=24, choices=MaxTokensField, default=MaxTokensField.MAX_TOKENS
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    accepts_sampling = models.BooleanField(
        default=True, help_text=_("The model accepts a temperature.")
    )
    temperature_max = models.FloatField(default=2.0)
    system_role = models.CharField(
        max_length=16, choices=SystemRole, default=SystemRole.SYSTEM
    )
    thinking = models.CharField(max_length=16, choices=Thinking, default=Thinking.OMIT)
    include_usage = models.BooleanField(
        default=True, help_text=_("Ask for token counts at the end of a stream.")
    )
    input_price = models.DecimalField(
        max_digits=10,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("In US dollars per million input tokens. Leave blank if unknown."),
    )
    output_price = models.DecimalField(
        max_digits=10,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("In US dollars per million output tokens. Leave blank if unknown."),
    )
    fallback = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="fallback_of",
        help_text=_("Answers when this provider cannot."),
    )
    # The result of the last test in the admin; "" means that it found no problem.
    tested_at = models.DateTimeField(null=True, blank=True, editable=False)
    test_problem = models.CharField(
        max_length=32, blank=True, default="", db_default="", editable=False
    )

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.label

    @property
    def address(self) -> str:
        """Return the base URL, the row's or else the environment's; "" means none."""
        if self.base_url or self.name not in _BASE_URLS:
            return self.base_url
        return str(getattr(conf.get(), _BASE_URLS[self.name]))

    def clean(self) -> None:
        """Set the default model's canonical name, unless the name was stored before."""
        one, entered = self.canonical(self.default_model), self.default_model
        is_kept = Provider.objects.filter(pk=self.pk, default_model=entered)
        # A name that is kept counts as enabled, whatever the row of its canonical name
        # says.
        if one != entered and not is_kept.exists():
            self.default_model = one

    def canonical(self, model: str) -> str:
        """Return the canonical name of a model, the only one that is used for it.

        Models are enabled, allowed, priced and requested by this name: a request that
        could use another name would bypass all of that.
        """
        if self.protocol == self.Protocol.GEMINI:
            while (rest := model.removeprefix(_PREFIX)) not in ("", model):
                model = rest
        return model

    def is_meant(self, model: str, pattern: str) -> bool:
        """Return whether a permission's pattern means a model, by its canonical name.

        A pattern with Gemini's ordinary prefix means only models whose names can have
        it. So it means no tuned model, even one whose name matches the rest of it.
        """
        rest = self.canonical(pattern)
        if rest != pattern and model.startswith(_TUNED):
            return False
        return fnmatchcase(model, rest)

    @cached_property
    def model_rows(self) -> dict[str, ProviderModel]:
        """The provider's models by name, as they were when this row was read."""
        return {row.name: row for row in self.known_models.all()}


class ProviderKey(Watched):
    """An API key, encrypted; only its last four characters can ever be shown."""

    provider = models.ForeignKey(
        Provider, on_delete=models.CASCADE, related_name="keys"
    )
    name = models.CharField(
        max_length=64, blank=True, help_text=_("What the key is for, or whose it is.")
    )
    encrypted_value = models.TextField(editable=False)
    prefix = models.CharField(
        max_length=3, blank=True, default="", db_default="", editable=False
    )
    last4 = models.CharField(max_length=4, editable=False)
    enabled = models.BooleanField(default=True)
    resting_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text=_("Not used before this time, after the provider refused it."),
    )
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.name or self.provider.name} {self.masked}"

    @property
    def masked(self) -> str:
        """Return the key as it is displayed."""
        return f"{self.prefix}…{self.last4}" if self.encrypted_value else ""

    def set_value(self, value: str) -> None:
        """Encrypt `value` as a new key; the caller saves the row.

        Raises: EncryptionError when no encryption key is configured.
        """
        value = value.strip()
        self.encrypted_value = encrypt(value)
        # A short key would be given away by its last four characters.
        self.last4 = value[-4:] if len(value) >= 12 else ""
        self.prefix = _KIND if value.startswith(_KIND) else ""
        # The history of the old key does not apply to this one.
        self.resting_until = self.last_used_at = None

    def reveal(self) -> str:
        """Return the key in plain text.

        No form field of the admin may be named `reveal`: to operators who may not
        change the row, Django shows what the row's member of the same name returns.

        Raises: EncryptionError when none of the encryption keys fits.
        """
        return decrypt(self.encrypted_value)

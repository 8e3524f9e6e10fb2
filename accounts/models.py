"""API keys, and users: a model of our own, because it cannot be replaced later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import sync_to_async
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import AbstractUser, UserManager
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import names, revocation
from accounts.key_text import PREFIX_LENGTH

if TYPE_CHECKING:
    _IntegerField = models.PositiveIntegerField[int, int]
else:
    _IntegerField = models.PositiveIntegerField


class AccountManager(UserManager["User"]):
    """Look users up by name, in any spelling."""

    use_in_migrations = False

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user of this name; called by Django's log-in.

        Raises: User.DoesNotExist.
        """
        spellings = list(names.spellings(username or ""))
        found = {user.username: user for user in self.filter(username__in=spellings)}
        for spelling in spellings:
            if spelling in found:
                return found[spelling]
        raise self.model.DoesNotExist

    async def aget_by_natural_key(self, username: str | None) -> User:
        """Return the same as `get_by_natural_key`."""
        return await sync_to_async(self.get_by_natural_key)(username)


class CounterField(_IntegerField):
    """A number that `save` never sets back to the value that was read earlier."""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Return the value to store: in an update, what the row already has."""
        return super().pre_save(model_instance, add) if add else F(self.attname)


class User(AbstractUser):
    """A user or an operator; all fields except one are Django's.

    `token_generation` counts how often the password was replaced. A token contains the
    generation in which it was issued, and is valid only while that is the user's.
    """

    token_generation = CounterField(default=0, db_default=0, editable=False)

    objects: ClassVar[AccountManager] = AccountManager()
    # Sent with `user_ids` before users are deleted: a receiver deletes what it can of
    # their data, in short transactions, and returns how many conversations it deleted
    # (`done`), and for how many the time was too short (`left`).
    emptying: ClassVar[Signal] = Signal()
    # Sent with `user_ids` in the transaction that deletes users, before any row is
    # deleted.
    deleting: ClassVar[Signal] = Signal()

    @classmethod
    def normalize_username(cls, username: str) -> str:
        """Return the stored form of a name; called by Django."""
        return names.normalize(username)

    def check_password(self, raw_password: str | None) -> bool:
        """Return whether it is the password; if its hash is outdated, hash it again.

        Unlike in Django's method, rehashing never restores a password that was replaced
        in the meantime.
        """

        def rehash(raw: str) -> None:
            hashed, row = make_password(raw), User.objects.filter(pk=self.pk)
            if row.filter(password=self.password).update(password=hashed):
                self.password = hashed
                return
            # Another log-in may have rehashed the same password in the meantime.
            stored = row.values_list("password", flat=True).first()
            if stored is not None and check_password(raw, stored):
                self.password = stored

        return check_password(raw_password, self.password, rehash)

    def set_unusable_password(self) -> None:
        """Remove the password, which ends all tokens just as a new password does."""
        super().set_unusable_password()
        self._password = ""

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the user; a new password ends all tokens of the old one.

        A new password is recognized by `_password`, where Django keeps what was entered
        until the row is stored.
        """
        entered: str | None = getattr(self, "_password", None)
        if entered is None or self._state.adding:
            super().save(*args, **kwargs)
            return
        with transaction.atomic(using=kwargs.get("using")):
            super().save(*args, **kwargs)
            self._end_tokens()

    def _end_tokens(self) -> None:
        """Invalidate all tokens that were issued until now."""
        revocation.revoke_all(self.pk)
        row = User.objects.filter(pk=self.pk)
        row.update(token_generation=F("token_generation") + 1)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """API keys, which can be filtered to the live ones."""

    def live(self) -> ApiKeyQuerySet:
        """Return the keys that are neither revoked nor expired."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(unexpired, revoked_at=None)


class ApiKey(models.Model):
    """A user's key for a program: its hash and its beginning, but never the key itself.

    A revoked key is kept, so that a key that is found somewhere can be looked up.
    """

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        EXPIRED = "expired", _("expired")
        REVOKED = "revoked", _("revoked")

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(
        max_length=100,
        help_text=_("What the key is for, such as the program that uses it."),
    )
    prefix = models.CharField(max_length=PREFIX_LENGTH, db_index=True, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    # Names of scopes, separated by spaces.
    scopes = models.CharField(max_length=100)
    messages_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "A limit for this key, in addition to the user’s. Leave blank for none."
        ),
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text=_("In UTC. Leave blank if the key does not expire."),
    )
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[Any] = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> State:
        """Whether the key can be used now, and if not, why."""
        if self.revoked_at is not None:
            return self.State.REVOKED
        is_over = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.State.EXPIRED if is_over else self.State.ACTIVE

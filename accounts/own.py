"""What users can do with their own account: set a new password, and delete it.

Both require the password, because a token may have been stolen.
"""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import transaction
from rest_framework.exceptions import ValidationError

from accounts import audit
from accounts.deletion import delete_emptied, empty
from accounts.errors import LastSuperuserError, PasswordError, TokenError
from accounts.models import User


def change_password(user_id: int, *, current: str, new: str) -> User:
    """Set a new password, which ends all tokens of the user.

    Raises: PasswordError, ValidationError, TokenError.
    """
    user = _known(user_id, current)
    try:
        validate_password(new, user=user)
    except DjangoValidationError as exc:
        raise ValidationError({"new": exc.messages}) from exc
    old = user.password
    user.set_password(new)  # slow, so before the transaction
    with transaction.atomic():
        # Of two concurrent changes, the second was requested with the old password.
        same = User.objects.select_for_update(no_key=True).filter(
            pk=user_id, password=old
        )
        if same.first() is None:
            raise PasswordError
        user.save(update_fields=["password"])
    return user


def delete_account(user_id: int, *, password: str) -> None:
    """Delete the account of a user, and everything that belongs to it.

    Raises: PasswordError, LastSuperuserError, TokenError, UnfinishedError.
    """
    user = _known(user_id, password)
    mine = User.objects.filter(pk=user_id)
    _check_others(user)  # before anything goes
    empty(mine, by=user_id)
    with transaction.atomic():
        _check_others(user)
        delete_emptied(mine)


def _known(user_id: int, password: str) -> User:
    """Return the user from the database, after checking the password.

    The accounts that keep the audit belong to nobody, so they are refused.

    Raises: TokenError, PasswordError.
    """
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None or user.username in audit.KEEPERS:
        raise TokenError("token_invalid")
    if not user.check_password(password):
        raise PasswordError
    return user


@transaction.atomic
def _check_others(user: User) -> None:
    """Check that another superuser remains; the locks let only one leave at a time.

    Raises: LastSuperuserError.
    """
    if not user.is_superuser:
        return
    superusers = User.objects.filter(is_superuser=True, is_active=True)
    locked = superusers.order_by("pk").select_for_update()
    if not set(locked.values_list("pk", flat=True)) - {user.pk}:
        raise LastSuperuserError

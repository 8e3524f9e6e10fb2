"""Log-in and registration."""

from __future__ import annotations

from django.contrib.auth import authenticate
from django.contrib.auth.models import update_last_login
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.http import HttpRequest
from rest_framework.exceptions import ValidationError

from accounts import conf, names
from accounts.errors import CredentialsError, RegistrationError
from accounts.models import User

TAKEN = "This username is taken."
# An arbitrary number that no other advisory lock uses.
_REGISTRATION = 7_263_849_105


def user_for_credentials(request: HttpRequest, *, username: str, password: str) -> User:
    """Return the active user with this name and password.

    An unknown name takes as long as a known one: Django hashes the password either
    way.

    Raises: CredentialsError.
    """
    user = authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        raise CredentialsError
    update_last_login(User, user)
    return user


def require_registration() -> None:
    """Raise RegistrationError if registration is disabled."""
    if not conf.get().registration:
        raise RegistrationError


def register_user(*, username: str, password: str, email: str) -> User:
    """Create an account.

    Raises: ValidationError, if another request has just taken the name.
    """
    user = User(username=username, email=User.objects.normalize_email(email))
    user.set_password(password)  # slow, so before the transaction
    try:
        with transaction.atomic():
            _wait_for_others()
            if is_taken(username):
                raise ValidationError({"username": [TAKEN]})
            user.save()
    except IntegrityError as exc:
        raise ValidationError({"username": [TAKEN]}) from exc
    return user


def is_taken(username: str) -> bool:
    """Return whether an account has this name, ignoring case."""
    taken = Q()
    for spelling in names.spellings(username):
        taken |= Q(username__iexact=spelling)
    return User.objects.filter(taken).exists()


def _wait_for_others() -> None:
    """Serialize registrations: one ends before the next looks for its name.

    The database's unique constraint refuses a name only in the same case. SQLite has
    only one writer anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_REGISTRATION])

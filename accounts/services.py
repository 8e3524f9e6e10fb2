"""Log-in and registration."""

from __future__ import annotations

from django.contrib.auth import authenticate
from django.contrib.auth.models import update_last_login
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from rest_framework.exceptions import ValidationError

from accounts import conf
from accounts.errors import CredentialsError, RegistrationError
from accounts.models import User


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
            user.save()
    except IntegrityError as exc:
        raise ValidationError({"username": ["This username is taken."]}) from exc
    return user

"""Request and response bodies of the account routes."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers

from accounts import names, services
from accounts.models import User

_PASSWORD_MAX_LENGTH = 1024


class TextField(serializers.CharField):
    """A string; unlike in REST framework, a number is not accepted as one."""

    def to_internal_value(self, data: Any) -> str:
        """Return the string. Raises: ValidationError."""
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


def _password_field() -> TextField:
    return TextField(
        max_length=_PASSWORD_MAX_LENGTH, trim_whitespace=False, write_only=True
    )


class UserNameField(TextField):
    """A user name in its normalized form."""

    def to_internal_value(self, data: Any) -> str:
        """Return the normalized name. Raises: ValidationError."""
        return names.normalize(super().to_internal_value(data))


class CredentialsSerializer(serializers.Serializer[Any]):
    """A username and a password."""

    username = UserNameField(max_length=150)
    password = _password_field()


class RefreshSerializer(serializers.Serializer[Any]):
    """A refresh token."""

    refresh = TextField(max_length=4096)


class PasswordSerializer(serializers.Serializer[Any]):
    """The current password of the user."""

    password = _password_field()


class NewPasswordSerializer(serializers.Serializer[Any]):
    """The current password of the user, and a new one."""

    current = _password_field()
    new = _password_field()


class RegistrationSerializer(serializers.Serializer[Any]):
    """A new account; the password must pass Django's validators."""

    username = UserNameField(max_length=150, validators=[User.username_validator])
    password = _password_field()
    email = serializers.EmailField(
        required=False,
        allow_blank=True,
        default="",
        max_length=User._meta.get_field("email").max_length,
    )

    def validate_username(self, value: str) -> str:
        """Reject a name that another account has, ignoring case."""
        if services.is_taken(value):
            raise serializers.ValidationError(services.TAKEN)
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Validate the password, which must not resemble the name."""
        person = User(username=attrs["username"], email=attrs["email"])
        try:
            validate_password(attrs["password"], user=person)
        except DjangoValidationError as exc:
            raise serializers.ValidationError({"password": exc.messages}) from exc
        return attrs


class UserSerializer(serializers.ModelSerializer[User]):
    """The user of a token."""

    isStaff = serializers.BooleanField(source="is_staff")  # noqa: N815 (wire name)

    class Meta:
        model = User
        fields = ("id", "username", "email", "isStaff")
        read_only_fields = fields

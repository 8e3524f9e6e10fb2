"""The routes below /auth/, and the rate-limited log-in of the admin."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.contrib import admin
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.defaultfilters import pluralize
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import own, tokens
from accounts.attempts import count_attempt, count_registration
from accounts.errors import AttemptsError
from accounts.key_uses import uses
from accounts.models import User
from accounts.rest_view import RestView
from accounts.serializers import (
    CredentialsSerializer,
    NewPasswordSerializer,
    PasswordSerializer,
    RefreshSerializer,
    RegistrationSerializer,
    UserSerializer,
)
from accounts.services import (
    register_user,
    require_registration,
    user_for_credentials,
)
from accounts.verified import TOKEN_ONLY, Scope


@method_decorator(never_cache, name="dispatch")
class OpenView(RestView):
    """A route that needs no access token."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


def _checked(
    serializer_class: type[serializers.Serializer[Any]], request: Request
) -> dict[str, Any]:
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class TokenView(OpenView):
    """Exchange username and password for an access and a refresh token."""

    def post(self, request: Request) -> Response:
        """Log in."""
        credentials = _checked(CredentialsSerializer, request)
        count_attempt(request, account=credentials["username"])
        user = user_for_credentials(request, **credentials)
        return Response(asdict(tokens.issue_tokens(user=user)))


class RefreshView(OpenView):
    """Exchange a refresh token for a new pair; the old one is used up."""

    def post(self, request: Request) -> Response:
        """Rotate the refresh token."""
        raw = _checked(RefreshSerializer, request)["refresh"]
        return Response(asdict(tokens.rotate_refresh_token(raw=raw)))


class RevokeView(OpenView):
    """Revoke a refresh token."""

    def post(self, request: Request) -> Response:
        """Revoke the refresh token."""
        raw = _checked(RefreshSerializer, request)["refresh"]
        tokens.revoke_refresh_token(raw=raw)
        return Response({})


class RegisterView(OpenView):
    """Create an account and its tokens."""

    def post(self, request: Request) -> Response:
        """Register, if registration is enabled."""
        require_registration()
        count_registration(request)
        user = register_user(**_checked(RegistrationSerializer, request))
        pair = asdict(tokens.issue_tokens(user=user))
        return Response(UserSerializer(user).data | pair, status=201)


@method_decorator(never_cache, name="dispatch")
class MeView(RestView):
    """The user of the access token."""

    scopes = {"GET": Scope.READ, "DELETE": TOKEN_ONLY}

    def get(self, request: Request) -> Response:
        """Show the user."""
        if uses.are_due:
            with suppress(DatabaseError, InterfaceError):
                uses.store()
        return Response(UserSerializer(_user_of(request)).data)

    def delete(self, request: Request) -> Response:
        """Delete the user and everything that belongs to it."""
        password = _checked(PasswordSerializer, request)["password"]
        user = _user_of(request)
        count_attempt(request, account=user.username)
        own.delete_account(user.pk, password=password)
        return Response(status=204)


@method_decorator(never_cache, name="dispatch")
class PasswordView(RestView):
    """Set a new password, for whoever knows the current one."""

    scopes = {"POST": TOKEN_ONLY}

    def post(self, request: Request) -> Response:
        """Set it, end all tokens, and return a new pair."""
        passwords = _checked(NewPasswordSerializer, request)
        user = _user_of(request)
        count_attempt(request, account=user.username)
        changed = own.change_password(user.pk, **passwords)
        return Response(asdict(tokens.issue_tokens(user=changed)))


def _user_of(request: Request) -> User:
    assert isinstance(request.user, User)  # by the permission class
    return request.user


@never_cache
def admin_login(request: HttpRequest) -> HttpResponseBase:
    """Log in to the admin, with the same limits as the API's log-in."""
    try:
        if request.method == "POST":
            count_attempt(request, account=request.POST.get("username", ""))
        return admin.site.login(request)
    except AttemptsError as exc:
        wait = f"{exc.retry_after} second{pluralize(exc.retry_after)}"
        return HttpResponse(
            f"{exc.text}. Try again in {wait}.",
            status=exc.status,
            content_type="text/plain; charset=utf-8",
            headers={"Retry-After": str(exc.retry_after)},
        )

"""The access token of the `Authorization` header, for REST."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import User
from accounts.tokens import bearer_token, user_for_token


class BearerAuthentication(BaseAuthentication):
    """Finds the user of a request by its bearer token, never by a cookie."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        """Return the user, or None where the request brings no token.

        Raises: TokenError.
        """
        token = bearer_token(request.headers.get("authorization"))
        if not token:
            return None
        user, _ = user_for_token(token)
        return user, None

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge that goes with a 401."""
        return "Bearer"

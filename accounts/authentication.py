"""Authentication of REST requests by the access token in `Authorization`."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import User
from accounts.tokens import bearer_token, user_for_token


class BearerAuthentication(BaseAuthentication):
    """Authenticate a request by its bearer token, never by a cookie."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        """Return the user, or None if the request has no token.

        Raises: TokenError.
        """
        token = bearer_token(request.headers.get("authorization"))
        if not token:
            return None
        user, _ = user_for_token(token)
        return user, None

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401 response."""
        return "Bearer"

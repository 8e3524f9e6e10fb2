"""Authentication of REST requests by the bearer in `Authorization`."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import User
from accounts.tokens import bearer_token, user_for_token
from accounts.verified import Verified


class BearerAuthentication(BaseAuthentication):
    """Authenticate a request by its access token or API key, never by a cookie."""

    def authenticate(self, request: Request) -> tuple[User, Verified] | None:
        """Return the user and what the bearer grants, or None if there is no bearer.

        Raises: TokenError.
        """
        token = bearer_token(request.headers.get("authorization"))
        return user_for_token(token) if token else None

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401 response."""
        return "Bearer"

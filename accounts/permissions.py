"""What REST requests are allowed to do: all with an access token, less with an API key.

A view names the scope of each of its methods in `scopes`, such as
`{"GET": Scope.READ, "DELETE": TOKEN_ONLY}`. A method without a scope needs an access
token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from accounts.verified import TOKEN_ONLY, Verified

if TYPE_CHECKING:
    # REST framework imports this module while its `views` are being imported.
    from rest_framework.views import APIView


class HasScope(IsAuthenticated):
    """Let in access tokens, and API keys with the scope that the view names."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether there is a user.

        Raises: ScopeError, if the user's API key lacks the scope.
        """
        if not super().has_permission(request, view):
            return False
        method = "GET" if request.method == "HEAD" else str(request.method)
        is_there = method in view.allowed_methods
        if isinstance(request.auth, Verified) and is_there:  # otherwise 405 follows
            request.auth.require(getattr(view, "scopes", {}).get(method, TOKEN_ONLY))
        return True

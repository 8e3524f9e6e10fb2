"""What a REST request may do: everything with an access token, less with an API key.

A view names the scope of each of its methods in `scopes`, such as
`{"GET": Scope.READ, "DELETE": TOKEN_ONLY}`. What is not named is for access tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from accounts.verified import TOKEN_ONLY, Verified

if TYPE_CHECKING:
    # The framework imports this module while that one is being imported.
    from rest_framework.views import APIView


class HasScope(IsAuthenticated):
    """Let in access tokens, and API keys with the scope that the view names."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether there is a user.

        Raises: ScopeError.
        """
        if not super().has_permission(request, view):
            return False
        method = "GET" if request.method == "HEAD" else str(request.method)
        is_there = method in view.allowed_methods
        if isinstance(request.auth, Verified) and is_there:  # or else it gets its 405
            request.auth.require(getattr(view, "scopes", {}).get(method, TOKEN_ONLY))
        return True

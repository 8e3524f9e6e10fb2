"""Bearer tokens for REST."""

from rest_framework.authentication import BaseAuthentication


class BearerAuthentication(BaseAuthentication):
    """Reads the access token."""

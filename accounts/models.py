"""The project's own user model, so that it can grow without a swap later."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person who chats, or an operator; names and flags are Django's."""

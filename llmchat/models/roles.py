"""The groups of operators that the product ships, and the permissions given to each."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.db import models


class ShippedRole(models.Model):
    """A group that was created once, and the permissions it was given, one per line.

    An operator's changes to the group are kept: each permission is given only once, a
    deleted group is not created again, and one whose name was taken is never created.
    """

    name = models.CharField(max_length=150, unique=True)
    group = models.ForeignKey(
        Group, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    given = models.TextField(default="")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name

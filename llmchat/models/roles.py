"""The groups of operators that the product ships, and what each was given."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.db import models


class ShippedRole(models.Model):
    """A group that was made once, and the permissions that it was given, one a line.

    What an operator changes of the group stays so: each permission is given once, and
    a group that was deleted, or whose name was taken, is never made.
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

"""Users and groups in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework_simplejwt.token_blacklist.models import (
    BlacklistedToken,
    OutstandingToken,
)
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.deletion import delete_users, summary
from accounts.models import User

if TYPE_CHECKING:
    # The look's own annotations contradict Django's.
    _UserAdmin = DjangoUserAdmin[User]
    _Look = object
else:
    from unfold.admin import ModelAdmin as _Look

    _UserAdmin = DjangoUserAdmin

# Their pages would show tokens that somebody can log in with.
admin.site.unregister([OutstandingToken, BlacklistedToken])
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(_UserAdmin, _Look):
    """People and operators, as Django shows its own."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups"]
    change_form_template = "admin/accounts/user/change_form.html"

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count what goes with an account, instead of reading it."""
        return summary(objs, self.model)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete the account and everything of it."""
        delete_users(User.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete the accounts and everything of them."""
        delete_users(queryset)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, _Look):
    """Groups, as Django shows its own."""

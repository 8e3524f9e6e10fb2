"""Users and groups in the admin."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.token_blacklist.models import (
    BlacklistedToken,
    OutstandingToken,
)
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import audit
from accounts.deletion import delete_emptied, empty, summary
from accounts.errors import UnfinishedError
from accounts.models import User

if TYPE_CHECKING:
    # The look's own annotations contradict Django's.
    _UserAdmin = DjangoUserAdmin[User]
    _Look = object
else:
    from unfold.admin import ModelAdmin as _Look

    _UserAdmin = DjangoUserAdmin

# An operator who is allowed to change these fields of an account can give it any right.
_RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")

# When an account was made and last used.
_NOTED = ("last_login", "date_joined")

_DEACTIVATED = (
    "Accounts that are not deleted yet are deactivated. To keep what is left of one, "
    "make it active again."
)

# Their pages would show tokens that can be used to log in.
admin.site.unregister([OutstandingToken, BlacklistedToken])
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(_UserAdmin, _Look):
    """Users and operators, on Django's own pages."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups"]
    change_form_template = "admin/accounts/user/change_form.html"
    actions = ["delete_selected"]

    def get_readonly_fields(
        self, request: HttpRequest, obj: User | None = None
    ) -> list[str]:
        """Return what cannot be changed: the server's notes and, for most, rights.

        Only superusers can change rights.
        """
        return [*_NOTED] if _is_superuser(request) else [*_NOTED, *_RIGHTS]

    def has_change_permission(
        self, request: HttpRequest, obj: User | None = None
    ) -> bool:
        """Let only superusers change superusers, passwords included.

        Nobody can change the accounts that keep the audit: only their names protect
        them.
        """
        allowed = super().has_change_permission(request, obj)
        return allowed and not _keeps_audit(obj) and _may_touch(request, obj)

    def has_delete_permission(
        self, request: HttpRequest, obj: User | None = None
    ) -> bool:
        """Let only superusers delete superusers; the audit's accounts always stay."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and not _keeps_audit(obj) and _may_touch(request, obj)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count the rows that are deleted with an account, without loading them."""
        names, counts, refused, protected = summary(
            objs, self.model, counted=not request.POST.get("post")
        )
        if not all(_may_touch(request, user) for user in objs):
            refused = refused | {"administrator"}
        protected += [
            f"{user.username}: the audit entries of other accounts"
            for user in objs
            if _keeps_audit(user)
        ]
        return names, counts, refused, protected

    def delete_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Empty the account first; Django then deletes it in one transaction."""
        user = self.get_object(request, unquote(object_id)) if request.POST else None
        if user is not None and self.has_delete_permission(request, user):
            mine = User.objects.filter(pk=user.pk)
            try:
                self._empty(request, mine)
            except UnfinishedError as exc:
                self._tell(request, mine, exc)
                return HttpResponseRedirect(request.get_full_path())
        return super().delete_view(request, object_id, extra_context)

    @admin.action(
        description=_("Delete selected %(verbose_name_plural)s"),
        permissions=["delete"],
    )
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[User]
    ) -> HttpResponseBase | None:
        """Empty the accounts first; Django then deletes them in one transaction."""
        if not request.POST.get("post"):
            return delete_selected(self, request, queryset)
        # The list may be filtered to active accounts, and these soon are not.
        idents = list(queryset.order_by().values_list("pk", flat=True))
        queryset = User.objects.filter(pk__in=idents).order_by("pk")
        try:
            self._empty(request, queryset)
        except UnfinishedError as exc:
            self._tell(request, queryset, exc)
            return HttpResponseRedirect(request.path)
        # Otherwise Django would log the deletion first, in a transaction of its own.
        with transaction.atomic():
            return delete_selected(self, request, queryset)

    def _empty(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """Empty accounts, unless Django is about to refuse to delete them.

        Raises: UnfinishedError.
        """
        *_ignored, refused, protected = self.get_deleted_objects(users, request)
        if not refused and not protected:
            note = partial(self._note_deactivated, request)
            empty(users, by=request.user.pk, note=note)

    def _tell(
        self, request: HttpRequest, users: QuerySet[User], exc: UnfinishedError
    ) -> None:
        """Tell the operator what is left, and how to keep accounts of others."""
        said = exc.text
        if users.exclude(pk=request.user.pk or 0).exists():
            said += f". {_DEACTIVATED}"
        self.message_user(request, said, messages.WARNING)

    def _note_deactivated(self, request: HttpRequest, user: User) -> None:
        self.log_change(request, user, "Deactivated, to be deleted.")

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete the account and what still belongs to it."""
        delete_emptied(User.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete the accounts and what still belongs to them."""
        delete_emptied(queryset)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, _Look):
    """Groups, on Django's own pages."""

    def get_readonly_fields(
        self, request: HttpRequest, obj: Group | None = None
    ) -> list[str]:
        """Let only superusers change what the members may do."""
        return [] if _is_superuser(request) else ["permissions"]


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_superuser


def _keeps_audit(user: User | None) -> bool:
    return user is not None and user.username in audit.KEEPERS


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    return user is None or not user.is_superuser or _is_superuser(request)

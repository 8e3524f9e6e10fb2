"""Users and groups in the admin, with their budgets and members."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from accounts.admin import GroupAdmin, UserAdmin
from accounts.models import User
from llmchat.admin.base import may_view_users
from llmchat.admin.budgets import BudgetInline, GroupBudgetInline
from llmchat.admin.look import TabularInline
from llmchat.admin.lookups import RefusesLookups
from llmchat.admin.noted import NumbersRows

# They are registered again below, with what this application adds to them.
admin.site.unregister([User, Group])


class MemberInline(TabularInline):
    """The members of a group, which gives them its rights: superusers choose them."""

    model = User.groups.through
    extra = 0
    per_page = 50
    ordering = ["user__username"]
    autocomplete_fields = ["user"]
    hide_title = True
    verbose_name = _("member")
    verbose_name_plural = _("members")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow it to superusers."""
        return bool(request.user.is_superuser)

    has_add_permission = has_view_permission
    has_change_permission = has_view_permission
    has_delete_permission = has_view_permission


@admin.register(User)
class PeopleUserAdmin(NumbersRows, RefusesLookups, UserAdmin):
    """Users with their budgets."""

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[Any]:
        """Show the budgets of a user that already exists."""
        return [] if obj is None else [BudgetInline]


@admin.register(Group)
class PeopleGroupAdmin(NumbersRows, RefusesLookups, GroupAdmin):
    """Groups with their members and budgets."""

    def get_fields(self, request: HttpRequest, obj: Group | None = None) -> list[Any]:
        """Show how many members there are."""
        shown = ["member_list"] if obj and may_view_users(request) else []
        return ["name", *shown, "permissions"]

    def get_readonly_fields(
        self, request: HttpRequest, obj: Group | None = None
    ) -> list[str]:
        """Make the number of members read-only."""
        return [*super().get_readonly_fields(request, obj), "member_list"]

    def get_inlines(self, request: HttpRequest, obj: Group | None) -> list[Any]:
        """Show what belongs to a group that already exists."""
        return [] if obj is None else [MemberInline, GroupBudgetInline]

    @admin.display(description=_("members"))
    def member_list(self, group: Group) -> str:
        """Show the number of members, with a link to them in the list of users."""
        url = reverse("admin:accounts_user_changelist")
        count = User.objects.filter(groups=group).count()
        words = "1 member" if count == 1 else f"{count:,} members"
        return format_html(
            '<a class="llm-link" href="{}?groups__id__exact={}">{}</a>',
            url,
            group.pk,
            words,
        )

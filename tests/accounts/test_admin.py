"""Accounts in the admin: who is allowed to change whom."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User

LIST = "/admin/accounts/user/"


@pytest.fixture
def operator(db: None) -> User:
    """A user who is allowed to edit and delete accounts and groups."""
    user = User.objects.create_user("operator", is_staff=True)
    models = ("user", "group")
    user.user_permissions.set(Permission.objects.filter(content_type__model__in=models))
    return user


@pytest.fixture
def editor(operator: User, client: Client) -> Client:
    client.force_login(operator)
    return client


def change(client: Client, user: User, **entered: object) -> int:
    data = {
        "username": user.username,
        "is_active": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "budgets-TOTAL_FORMS": 0,
        "budgets-INITIAL_FORMS": 0,
        **entered,
    }
    return client.post(f"{LIST}{user.pk}/change/", data).status_code


def test_an_operator_gives_nobody_rights(editor: Client, operator: User) -> None:
    group = Group.objects.create(name="team")
    rights = Permission.objects.values_list("pk", flat=True)
    before = operator.user_permissions.count()
    entered = {
        "is_superuser": "on",
        "groups": [group.pk],
        "user_permissions": list(rights),
    }

    assert change(editor, operator, email="new@example.com", **entered) == 302

    operator.refresh_from_db()
    assert operator.email == "new@example.com"
    assert operator.is_staff
    assert not operator.is_superuser
    assert not operator.groups.exists()
    assert operator.user_permissions.count() == before


def test_an_operator_gives_no_group_rights(editor: Client) -> None:
    group = Group.objects.create(name="team")
    right = Permission.objects.first()
    assert right is not None
    url = reverse("admin:auth_group_change", args=[group.pk])

    data = {"name": "renamed", "permissions": [right.pk]}
    assert editor.post(url, data).status_code == 302

    group.refresh_from_db()
    assert group.name == "renamed"
    assert not group.permissions.exists()


def test_an_operator_does_not_touch_an_administrator(editor: Client) -> None:
    boss = User.objects.create_superuser("boss", password="one-long-password")
    passwords = {"password1": "mine-0123456789", "password2": "mine-0123456789"}
    selected = {"action": "delete_selected", "_selected_action": [boss.pk]}

    assert change(editor, boss, email="mine@example.com") == 403
    assert editor.post(f"{LIST}{boss.pk}/password/", passwords).status_code == 403
    assert editor.post(f"{LIST}{boss.pk}/delete/", {"post": "yes"}).status_code == 403
    assert editor.post(LIST, {**selected, "post": "yes"}).status_code == 403

    saved = User.objects.get(pk=boss.pk)
    assert saved.email == ""
    assert saved.check_password("one-long-password")


def test_an_operator_deletes_a_selection_of_others(editor: Client) -> None:
    ann = User.objects.create_user("ann")
    selected = {"action": "delete_selected", "_selected_action": [ann.pk]}

    editor.post(LIST, {**selected, "post": "yes"})

    assert not User.objects.filter(pk=ann.pk).exists()


def test_a_selection_of_a_list_that_a_group_filters_is_deleted(editor: Client) -> None:
    team = Group.objects.create(name="team")
    for name in ("ann", "bob", "cid"):
        User.objects.create_user(name).groups.add(team)
    wanted = User.objects.filter(username__in=["ann", "bob"])
    pks = list(wanted.values_list("pk", flat=True))
    selected = {"action": "delete_selected", "_selected_action": pks, "post": "yes"}

    answer = editor.post(f"{LIST}?groups__id__exact={team.pk}", selected)

    assert answer.status_code == 302
    assert not wanted.exists()
    assert User.objects.filter(username="cid").exists()


def test_an_administrator_gives_rights(admin_client: Client, operator: User) -> None:
    group = Group.objects.create(name="team")

    entered = {"is_staff": "on", "is_superuser": "on", "groups": [group.pk]}
    assert change(admin_client, operator, **entered) == 302

    operator.refresh_from_db()
    assert operator.is_superuser
    assert list(operator.groups.all()) == [group]

"""The audit: who changed what, for operators who may see it, and never a value."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys, audit
from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat.models import Budget, Provider, ProviderKey
from tests.support.admin_fixtures import make_conversation
from tests.support.deletion import delete_users
from tests.support.log_in import PASSWORD
from tests.support.provider_forms import change_url, submit

pytestmark = pytest.mark.django_db
LIST = "/admin/admin/logentry/"
SECRET = "sk-canary-0123456789-wxyz"


def page_of(client: Client, **wanted: object) -> str:
    client.get(LIST)  # the first page after an action shows messages about it
    response = client.get(LIST, wanted)
    assert response.status_code == 200
    return response.text


def budget_form(user: User, limit: str) -> dict[str, object]:
    return {"user": user.pk, "period": "day", "unit": "tokens", "limit": limit}


def test_it_tells_what_was_changed_and_not_to_what(
    admin_client: Client, ann: User
) -> None:
    form = budget_form(ann, "777777")
    admin_client.post(reverse("admin:llmchat_budget_add"), form)
    url = reverse("admin:llmchat_budget_change", args=[Budget.objects.get().pk])
    admin_client.post(url, budget_form(ann, "888888"))
    page = page_of(admin_client)
    assert "changed Limit" in page
    assert "admin" in page
    assert "777" not in page
    assert "888" not in page
    entry = LogEntry.objects.first()
    assert entry is not None
    for way in ("change", "history"):
        assert admin_client.get(f"{LIST}{entry.pk}/{way}/").status_code == 403


async def whole(response: Any) -> str:
    return b"".join([piece async for piece in response]).decode()


@pytest.mark.django_db(transaction=True)
def test_neither_keys_nor_texts_are_in_it(admin_client: Client, ann: User) -> None:
    provider = Provider.objects.create(
        name="x", label="Xprovider", protocol="openai", default_model="m"
    )
    add = reverse("admin:llmchat_providerkey_add")
    form = {"provider": provider.pk, "name": "main", "value": SECRET, "enabled": "on"}
    assert admin_client.post(add, form).status_code == 302
    key, _ = api_keys.create(user_id=ann.pk, name="mine", scopes="chat")
    selected = {"action": "revoke_keys", "_selected_action": [key.pk]}
    admin_client.post(reverse("admin:accounts_apikey_changelist"), selected)
    row = make_conversation(ann, title="A secret title")
    export = reverse("admin:llmchat_conversation_export", args=[row.pk, "json"])
    sent: str = async_to_sync(whole)(admin_client.get(export))
    assert "A secret title" in sent
    selected = {"action": "delete_selected", "_selected_action": [row.pk]}
    chats = reverse("admin:llmchat_conversation_changelist")
    admin_client.post(chats, selected | {"post": "yes"})

    page = page_of(admin_client)
    for told in ("Revoked.", "Exported as json: 1 conversation.", "deleted"):
        assert told in page
    stored = ProviderKey.objects.get()
    for hidden in (SECRET, stored.last4, key.prefix, "secret title"):
        assert hidden not in page
    assert str(row.pk) in page


def test_the_history_of_a_page_tells_nothing_of_the_keys_and_budgets_on_it(
    admin_client: Client, client: Client, ann: User
) -> None:
    acme = Provider.objects.create(
        name="acme", label="Acme", protocol="openai", default_model="m"
    )
    page = change_url(acme)
    key = {"keys-TOTAL_FORMS": 1, "keys-0-name": "of bob", "keys-0-value": SECRET}
    submit(admin_client, page, **key)
    row = acme.keys.get()
    submit(admin_client, page, **{"keys-0-name": "of carl"})
    submit(admin_client, page, **{"keys-0-DELETE": "on"})
    assert not acme.keys.exists()
    person = reverse("admin:accounts_user_change", args=[ann.pk])
    amount = {"budgets-0-limit": "777777", "budgets-0-period": "day"}
    rows = {"budgets-TOTAL_FORMS": 1, "budgets-0-unit": "tokens", **amount}
    submit(admin_client, person, **rows)
    assert ann.budgets.get().limit == 777777

    reader = User.objects.create_user("reader", is_staff=True)
    codes = ("view_provider", "view_user")
    reader.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client.force_login(reader)
    ways = ("llmchat_provider", acme.pk), ("accounts_user", ann.pk)
    urls = [reverse(f"admin:{way}_history", args=[pk]) for way, pk in ways]
    said = "".join(client.get(url).text for url in urls)

    for told in ("Added", "Changed Name for", "Deleted"):
        assert f"{told} provider key “{row.pk}”" in said
    assert "Added budget" in said
    for hidden in (SECRET[-4:], "of bob", "of carl", "777777"):
        assert hidden not in said


def test_the_history_tells_no_names_that_earlier_versions_wrote(
    admin_user: User, client: Client, ann: User
) -> None:
    acme = Provider.objects.create(
        name="acme", label="Acme", protocol="openai", default_model="m"
    )
    group = Group.objects.create(name="Xteam")
    moved = "group 3, now group 4"
    old = [
        {"changed": {"fields": ["Label"]}},
        {"added": {"name": "provider key", "object": "of bob sk-a…9z9z"}},
        {"changed": {"name": "budget", "object": "777777 a day", "fields": ["Limit"]}},
        {"deleted": {"name": "permission", "object": "acme: Yteam"}},
    ]
    new = [
        {"added": {"name": "model", "object": "m-1"}},
        {"added": {"name": "provider key", "object": "12"}},
        {"changed": {"name": "permission", "fields": ["Group"], "object": moved}},
        {"deleted": {"name": "user-group relationship", "object": "user 5"}},
    ]
    for row in (acme, group, ann):
        for message in (json.dumps(old), json.dumps(new), "Tested. Works."):
            LogEntry.objects.log_actions(
                admin_user.pk, [row], 2, message, single_object=True
            )
    reader = User.objects.create_user("reader", is_staff=True)
    codes = ("view_provider", "view_user", "view_group")
    reader.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client.force_login(reader)

    for way, row in (
        ("llmchat_provider", acme),
        ("auth_group", group),
        ("accounts_user", ann),
    ):
        said = client.get(reverse(f"admin:{way}_history", args=[row.pk])).text
        assert "Changed Label. Added provider key “…”." in said
        assert "Changed Limit for budget “…”. Deleted permission “…”." in said
        for hidden in ("of bob", "9z9z", "777777", "Yteam"):
            assert hidden not in said
        assert "Added model “m-1”. Added provider key “12”." in said
        assert f"Changed Group for permission “{moved}”." in said
        assert "Deleted user-group relationship “user 5”." in said
        assert "Tested. Works." in said
    gone = client.get(reverse("admin:llmchat_provider_history", args=[acme.pk + 1]))
    assert gone.status_code == 302


def last_said() -> str:
    return str(LogEntry.objects.latest("pk").get_change_message())


def test_the_history_of_a_provider_names_groups_by_their_number(
    admin_client: Client,
) -> None:
    """The rows that link groups to the provider have numbers that no page shows."""
    acme = Provider.objects.create(
        name="acme", label="Acme", protocol="openai", default_model="m", restricted=True
    )
    for name in ("Xpad", "Ypad"):
        Group.objects.create(name=name)
    red, blue = (Group.objects.create(name=name) for name in ("Xred", "Yblue"))
    page = change_url(acme)

    submit(admin_client, page, **{"access-TOTAL_FORMS": 1, "access-0-group": red.pk})
    assert acme.access.get().pk != red.pk
    assert last_said() == f"Added permission “group {red.pk}”."
    submit(admin_client, page, **{"access-0-allowed_models": "m"})
    assert f"for permission “group {red.pk}”." in last_said()
    submit(admin_client, page, **{"access-0-group": blue.pk})
    moved = f"group {red.pk}, now group {blue.pk}"
    assert last_said() == f"Changed Group for permission “{moved}”."
    gone = {"access-0-group": red.pk, "access-0-DELETE": "on"}
    submit(admin_client, page, **gone)
    assert last_said() == f"Deleted permission “group {blue.pk}”."


def test_the_history_of_a_group_names_members_by_their_number(
    admin_client: Client, ann: User
) -> None:
    for name in ("pad", "pod"):
        User.objects.create_user(name)
    bob = User.objects.create_user("bob")
    group = Group.objects.create(name="Xteam")
    page = reverse("admin:auth_group_change", args=[group.pk])

    rows = {"User_groups-TOTAL_FORMS": 1, "User_groups-0-user": bob.pk}
    submit(admin_client, page, **rows)
    assert User.groups.through.objects.get().pk != bob.pk
    assert last_said() == f"Added user-group relationship “user {bob.pk}”."
    submit(admin_client, page, **{"User_groups-0-DELETE": "on"})
    assert last_said() == f"Deleted user-group relationship “user {bob.pk}”."


def test_it_is_filtered_by_user_kind_and_day(admin_client: Client, ann: User) -> None:
    boss = User.objects.get(username="admin")
    group = Group.objects.create(name="Xteam")
    LogEntry.objects.log_actions(boss.pk, [group], 2, "Renamed.", single_object=True)
    LogEntry.objects.log_actions(ann.pk, [boss], 2, "Painted.", single_object=True)
    old = LogEntry.objects.get(change_message="Painted.")
    old.action_time = timezone.now() - timedelta(days=5)
    old.save()
    kind = LogEntry.objects.get(change_message="Renamed.").content_type_id
    today = str(timezone.now().date())
    for wanted in (
        {"user__id__exact": boss.pk},
        {"kind": kind},
        {"action_time_from": today, "action_time_to": today},
    ):
        page = page_of(admin_client, **wanted)
        assert "Renamed." in page
        assert "Xteam" in page
        assert "Painted." not in page
    assert "Painted." in page_of(admin_client, kind="x")


def test_it_is_for_superusers_and_operators_and_nobody_changes_it(
    client: Client, admin_client: Client, ann: User
) -> None:
    LogEntry.objects.log_actions(ann.pk, [ann], 2, "Renamed.", single_object=True)
    entry = LogEntry.objects.get()
    ann.is_staff = True
    ann.save()
    others = Permission.objects.exclude(content_type__model="logentry")
    ann.user_permissions.set(others)
    client.force_login(ann)
    assert client.get(LIST).status_code == 403
    assert LIST not in client.get("/admin/").text
    ann.user_permissions.add(Permission.objects.get(codename="view_logentry"))
    assert "Renamed." in page_of(client)
    assert LIST in client.get("/admin/").text
    for one in (client, admin_client):
        for what in (f"{entry.pk}/delete/", f"{entry.pk}/change/", "add/"):
            assert one.post(f"{LIST}{what}", {"post": "yes"}).status_code == 403
    assert LogEntry.objects.filter(pk=entry.pk).exists()


def test_commands_are_noted(
    admin_client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(ann, ago=timedelta(days=9))
    call_command("prune", "--older-than", "8d", verbosity=0, stdout=io.StringIO())
    call_command("prune", "--older-than", "8d", verbosity=0, stdout=io.StringIO())
    call_command("rotate_keys", stdout=io.StringIO())
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: "another-long-password")
    call_command("changepassword", "ann", stdout=io.StringIO())
    page = page_of(admin_client)
    assert page.count("(manage.py)") >= 2
    assert page.count("prune: deleted 1 conversation") == 1
    assert "changepassword: set a password" in page
    assert "another-long-password" not in page
    nobody = User.objects.get(username="(manage.py)")
    assert not nobody.is_active
    assert not nobody.has_usable_password()


def test_what_a_deleted_operator_did_stays_without_the_name(
    admin_client: Client, ann: User
) -> None:
    group = Group.objects.create(name="Xteam")
    LogEntry.objects.log_actions(ann.pk, [group], 2, "Renamed.", single_object=True)
    delete_users(User.objects.filter(pk=ann.pk))
    page = page_of(admin_client)
    assert "Renamed." in page
    assert "(deleted)" in page


@pytest.fixture
def kept(ann: User) -> User:
    """The account that keeps the audit of deleted operators."""
    group = Group.objects.create(name="Xteam")
    LogEntry.objects.log_actions(ann.pk, [group], 2, "Renamed.", single_object=True)
    delete_users(User.objects.filter(pk=ann.pk))
    return User.objects.get(username="(deleted)")


def test_nobody_deletes_the_audit_with_the_account_that_keeps_it(
    admin_client: Client, kept: User
) -> None:
    bob = User.objects.create_user("bob")
    url = reverse("admin:accounts_user_delete", args=[kept.pk])
    users = reverse("admin:accounts_user_changelist")
    chosen = {"action": "delete_selected", "_selected_action": [kept.pk, bob.pk]}

    assert admin_client.get(url).status_code == 403
    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    answer = admin_client.post(users, {**chosen, "post": "yes"})
    assert "(deleted): the audit entries of other accounts" in answer.text
    assert User.objects.filter(pk=bob.pk).exists()
    delete_users(User.objects.all())

    assert set(User.objects.values_list("username", flat=True)) == {"(deleted)"}
    assert LogEntry.objects.filter(change_message="Renamed.", user=kept).exists()


@pytest.mark.parametrize("name", sorted(audit.KEEPERS))
def test_nobody_changes_the_account_that_keeps_it(
    admin_client: Client, kept: User, name: str
) -> None:
    """Under another name it could be deleted, and the audit with it."""
    User.objects.filter(pk=kept.pk).update(username=name)
    page = reverse("admin:accounts_user_change", args=[kept.pk])
    password = reverse("admin:auth_user_password_change", args=[kept.pk])
    chosen = {"password1": PASSWORD, "password2": PASSWORD}
    renamed = {"username": "ghost", "is_active": "on", "budgets-TOTAL_FORMS": 0}
    renamed |= {"budgets-INITIAL_FORMS": 0}

    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page, renamed).status_code == 403
    assert admin_client.post(password, chosen).status_code == 403

    kept.refresh_from_db()
    assert (kept.username, kept.is_active) == (name, False)
    assert not kept.has_usable_password()


def test_its_account_cannot_delete_itself(client: Client, kept: User) -> None:
    kept.set_password(PASSWORD)
    kept.is_active = True
    kept.save()
    bearer = f"Bearer {issue_tokens(user=kept).access}"
    headers, kind = {"authorization": bearer}, "application/json"
    body = {"password": PASSWORD}

    answer = client.delete("/auth/me", body, content_type=kind, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    assert LogEntry.objects.filter(change_message="Renamed.", user=kept).exists()


def test_what_is_about_to_be_deleted_leaves_out_the_audit(
    admin_client: Client, ann: User
) -> None:
    group = Group.objects.create(name="Xteam")
    LogEntry.objects.log_actions(ann.pk, [group], 2, "Renamed.", single_object=True)
    url = reverse("admin:accounts_user_delete", args=[ann.pk])
    counted = dict(admin_client.get(url).context["model_count"])
    assert counted["users"] == 1
    assert "log entries" not in counted

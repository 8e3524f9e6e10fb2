"""Lists are filtered only by their filters and our links: hidden values do not leak."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.models import Budget, Conversation, Message, Provider, ProviderModel

pytestmark = pytest.mark.django_db

LISTS = sorted(admin.site._registry, key=lambda model: model._meta.label)
by_list = pytest.mark.parametrize("model", LISTS, ids=lambda model: model._meta.label)


def list_of(model: type[Model]) -> str:
    opts = model._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")


def is_refused(response: Any) -> bool:
    """Return whether it was refused, as any unknown parameter is."""
    return response.status_code == 302 and response.url.endswith("?e=1")


@by_list
def test_no_list_is_filtered_by_any_field_of_its_rows(
    admin_client: Client, model: type[Model]
) -> None:
    url = list_of(model)
    for name in (field.name for field in model._meta.concrete_fields):
        found = admin_client.get(url, {f"{name}__gte": "1"})
        # Django itself refuses password hashes.
        assert is_refused(found) or (name, found.status_code) == ("password", 400)
    data = {"action": "delete_selected", "_selected_action": "1"}
    assert is_refused(admin_client.post(f"{url}?pk__gte=1", data))
    assert admin_client.get(f"{url}?e=1").status_code == 200


@pytest.mark.parametrize("field", ["object_repr", "change_message"])
def test_the_audit_does_not_tell_letter_by_letter_what_it_hides(
    client: Client, ann: User, field: str
) -> None:
    prompt = "My secret prompt"
    LogEntry.objects.create(
        user=ann,
        content_type=ContentType.objects.get_for_model(Conversation),
        object_id="1",
        object_repr=prompt,
        action_flag=DELETION,
        change_message=prompt,
    )
    client.force_login(staff("view_logentry"))
    url = list_of(LogEntry)
    for asked in ("My sec", "My zzz"):
        assert is_refused(client.get(url, {f"{field}__startswith": asked})), asked
    assert client.get(url).context["cl"].result_count == 1


def test_who_may_watch_streams_does_not_read_them_letter_by_letter(
    client: Client, running: Message
) -> None:
    Message.objects.filter(pk=running.pk).update(content="My secret")
    client.force_login(staff("view_runningstream"))
    url = reverse("admin:llmchat_runningstream_changelist")
    for asked in ("My sec", "My zzz"):
        assert is_refused(client.get(url, {"content__startswith": asked})), asked
    assert client.get(url).context["cl"].result_count == 1


def staff(*codes: str) -> User:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    return user


@pytest.mark.parametrize("model", [Budget, Provider, ProviderModel, User])
def test_each_link_of_a_filter_is_followed(
    admin_client: Client, ann: User, model: type[Model]
) -> None:
    ann.groups.add(Group.objects.create(name="team"))
    for name in ("acme", "other"):
        fields = {"label": name, "protocol": "openai", "default_model": "m"}
        row, _ = Provider.objects.get_or_create(name=name, defaults=fields)
        ProviderModel.objects.create(provider=row, name="m")
    url = list_of(model)
    lists = admin_client.get(url).context["cl"]
    links = [
        choice["query_string"]
        for spec in lists.filter_specs
        for choice in spec.choices(lists)
    ]
    assert len(links) > len(lists.filter_specs) > 0
    for link in links:
        assert admin_client.get(url + link).status_code == 200, link

"""Who may use a provider, in the admin: shown in words, changed with care."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.models import Budget, Provider, ProviderAccess
from llmchat.providers.registry import LOCAL_MODELS

LIST = "admin:llmchat_provider_changelist"


@pytest.fixture
def provider(db: None) -> Provider:
    return Provider.objects.create(
        name="acme",
        label="Acme",
        protocol="openai",
        base_url="http://127.0.0.1:9/v1",
        default_model="acme-1",
        restricted=True,
    )


@pytest.fixture
def team(provider: Provider) -> Group:
    group = Group.objects.create(name="blue team")
    ProviderAccess.objects.create(provider=provider, group=group)
    return group


def page_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def save(client: Client, provider: Provider, **changes: Any) -> str:
    """Save the provider's page as it is shown, except for `changes`."""
    url = reverse("admin:llmchat_provider_change", args=[provider.pk])
    shown = client.get(url).context
    data = {**_values(shown["adminform"].form)}
    for inline in shown["inline_admin_formsets"]:
        data |= _values(inline.formset.management_form)
        for form in inline.formset.initial_forms:
            data |= _values(form)
    data |= changes
    sent = {k: v for k, v in data.items() if v is not None and v is not False}
    return client.post(url, sent, follow=True).content.decode()


def _values(form: Any) -> dict[str, Any]:
    return {field.html_name: field.value() for field in form}


def one_group(group: Group) -> dict[str, Any]:
    return {
        "access-TOTAL_FORMS": 1,
        "access-0-group": group.pk,
        "access-0-allowed_models": "",
    }


def test_the_list_says_who_may_use_a_provider(
    admin_client: Client, provider: Provider, team: Group
) -> None:
    Provider.objects.create(name="x", label="X", default_model="x", restricted=True)
    Provider.objects.create(name="y", label="Y", default_model="y", restricted=False)
    page = page_of(admin_client, reverse(LIST))
    for shown in ("everyone", "blue team", "superusers only"):
        assert shown in page


@pytest.mark.parametrize("count", [1, 12])
def test_the_list_reads_the_groups_of_all_providers_at_once(
    admin_client: Client,
    provider: Provider,
    django_assert_max_num_queries: Any,
    count: int,
) -> None:
    for number in range(count):
        group = Group.objects.create(name=f"group {number}")
        ProviderAccess.objects.create(provider=provider, group=group)
    with django_assert_max_num_queries(12):
        page_of(admin_client, reverse(LIST))


@pytest.mark.parametrize("bulk", [False, True])
def test_deleting_the_last_group_opens_nothing(
    admin_client: Client, provider: Provider, team: Group, bulk: bool
) -> None:
    if bulk:
        url = reverse("admin:auth_group_changelist")
        data = {"action": "delete_selected", "_selected_action": team.pk}
    else:
        url = reverse("admin:auth_group_delete", args=[team.pk])
        data = {}
    admin_client.post(url, data | {"post": "yes"})

    assert not Group.objects.filter(pk=team.pk).exists()
    provider.refresh_from_db()
    assert provider.restricted
    assert "superusers only" in page_of(admin_client, reverse(LIST))


def test_removing_the_last_group_from_the_page_opens_nothing(
    admin_client: Client, provider: Provider, team: Group
) -> None:
    save(admin_client, provider, **{"access-0-DELETE": "on"})
    provider.refresh_from_db()
    assert (provider.access.count(), provider.restricted) == (0, True)


def test_a_provider_is_opened_and_restricted_by_its_own_field(
    admin_client: Client, provider: Provider
) -> None:
    save(admin_client, provider, restricted=False)
    provider.refresh_from_db()
    assert not provider.restricted
    save(admin_client, provider, restricted="on")
    provider.refresh_from_db()
    assert provider.restricted


def test_a_group_for_a_provider_that_everyone_may_use_is_refused(
    admin_client: Client, provider: Provider
) -> None:
    group = Group.objects.create(name="red team")
    page = save(admin_client, provider, restricted=False, **one_group(group))
    assert "Everyone may use this provider, so" in page
    assert not ProviderAccess.objects.exists()

    save(admin_client, provider, restricted="on", **one_group(group))
    assert ProviderAccess.objects.get().group == group


def test_a_provider_is_not_opened_while_a_group_is_listed(
    admin_client: Client, provider: Provider, team: Group
) -> None:
    other = Group.objects.create(name="red team")
    ProviderAccess.objects.create(provider=provider, group=other)
    page = save(admin_client, provider, restricted=False, **{"access-0-DELETE": "on"})
    assert "select “Delete” for each group" in page
    provider.refresh_from_db()
    assert (provider.restricted, provider.access.count()) == (True, 2)

    both = {"access-0-DELETE": "on", "access-1-DELETE": "on"}
    save(admin_client, provider, restricted=False, **both)
    provider.refresh_from_db()
    assert (provider.restricted, provider.access.count()) == (False, 0)


def test_a_form_that_does_not_know_of_a_group_opens_nothing(
    admin_client: Client, provider: Provider, team: Group
) -> None:
    """The form was loaded before the group was added, or is sent by a script."""
    none = {"access-TOTAL_FORMS": 0, "access-INITIAL_FORMS": 0}
    page = save(admin_client, provider, restricted=False, **none)
    assert "Everyone may use this provider, so" in page
    provider.refresh_from_db()
    assert provider.restricted


def log_in_with(client: Client, *rights: str) -> None:
    """Log in an operator who may change providers, with `rights` to their groups."""
    operator = User.objects.create_user("operator", is_staff=True)
    names = ["view_provider", "change_provider"]
    names += [f"{right}_provideraccess" for right in rights]
    operator.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(operator)


@pytest.mark.parametrize(
    "rights", [["view"], ["view", "add"], ["view", "change"], ["delete"]]
)
def test_who_cannot_delete_groups_may_change_what_a_dump_has_opened(
    client: Client, provider: Provider, team: Group, rights: list[str]
) -> None:
    Provider.objects.filter(pk=provider.pk).update(restricted=False)
    log_in_with(client, *rights)
    save(client, provider, label="Renamed")
    provider.refresh_from_db()
    assert provider.label == "Renamed"


@pytest.mark.parametrize("right", ["add", "change"])
def test_whoever_adds_a_group_to_an_open_provider_is_refused(
    client: Client, provider: Provider, right: str
) -> None:
    Provider.objects.filter(pk=provider.pk).update(restricted=False)
    log_in_with(client, "view", "add", right)
    group = Group.objects.create(name="red team")
    page = save(client, provider, **one_group(group))
    assert "Everyone may use this provider, so" in page
    assert not ProviderAccess.objects.exists()


def test_who_may_change_groups_but_not_delete_them_does_not_open_a_provider(
    client: Client, provider: Provider, team: Group
) -> None:
    log_in_with(client, "view", "change")
    page = save(client, provider, restricted=False)
    assert "Everyone may use this provider, so" in page
    provider.refresh_from_db()
    assert provider.restricted


def test_who_may_delete_the_groups_of_an_open_provider_has_to(
    client: Client, provider: Provider, team: Group
) -> None:
    Provider.objects.filter(pk=provider.pk).update(restricted=False)
    log_in_with(client, "view", "delete")
    page = save(client, provider, label="Renamed")
    assert "select “Delete” for each group" in page
    save(client, provider, label="Renamed", **{"access-0-DELETE": "on"})
    provider.refresh_from_db()
    assert (provider.label, provider.access.count()) == ("Renamed", 0)


def test_who_may_not_change_the_groups_may_not_open_a_provider(
    client: Client, provider: Provider, team: Group
) -> None:
    log_in_with(client, "view")

    save(client, provider, label="Renamed", restricted=False)
    provider.refresh_from_db()
    assert (provider.label, provider.restricted) == ("Renamed", True)


@pytest.mark.parametrize("bulk", [False, True])
def test_a_group_with_a_budget_is_not_deleted(
    admin_client: Client, provider: Provider, team: Group, bulk: bool
) -> None:
    """Without the budget, its members could spend without a limit."""
    Budget.objects.create(group=team, limit=5, period="month", unit="dollars")
    if bulk:
        url = reverse("admin:auth_group_changelist")
        data = {"action": "delete_selected", "_selected_action": team.pk}
    else:
        url = reverse("admin:auth_group_delete", args=[team.pk])
        data = {}
    response = admin_client.post(url, data | {"post": "yes"})

    assert "5 dollars a month" in response.content.decode()
    assert Budget.objects.filter(group=team).exists()


def custom(**fields: Any) -> dict[str, Any]:
    return {
        "name": "own-server",
        "label": "Own server",
        "protocol": "openai",
        "default_model": "m",
        "max_tokens_field": "max_tokens",
        "temperature_max": "2",
        "system_role": "system",
        "thinking": "omit",
        "enabled": "on",
        "keys-TOTAL_FORMS": 0,
        "keys-INITIAL_FORMS": 0,
        "access-TOTAL_FORMS": 0,
        "access-INITIAL_FORMS": 0,
        **fields,
    }


@pytest.mark.parametrize("protocol", ["openai", "claude", "deepseek"])
def test_a_custom_provider_without_an_address_is_refused(
    admin_client: Client, db: None, protocol: str
) -> None:
    url = reverse("admin:llmchat_provider_add")
    response = admin_client.post(url, custom(protocol=protocol))
    assert "Enter a base URL, or disable the provider." in response.content.decode()
    assert not Provider.objects.filter(name="own-server").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "http://gpu-1:8000/v1"},
        {"embedded": "on", "default_model": LOCAL_MODELS[0]},
        {"enabled": ""},
    ],
)
def test_a_provider_with_an_address_or_no_need_of_one_is_saved(
    admin_client: Client, db: None, fields: dict[str, Any]
) -> None:
    admin_client.post(reverse("admin:llmchat_provider_add"), custom(**fields))
    assert Provider.objects.filter(name="own-server").exists()


def test_the_list_enables_no_provider_without_an_address(
    admin_client: Client, db: None
) -> None:
    row = Provider.objects.create(
        name="old", label="Old", protocol="openai", default_model="m", enabled=False
    )
    pages = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": row.pk}
    data = {**pages, "form-0-enabled": "on", "_save": "Save"}
    url = f"{reverse(LIST)}?q=old"
    response = admin_client.post(url, data)
    assert "Enter a base URL" in response.content.decode()
    row.refresh_from_db()
    assert not row.enabled

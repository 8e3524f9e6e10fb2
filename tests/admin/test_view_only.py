"""The admin's pages as operators see them who may view but not change the rows."""

from __future__ import annotations

from datetime import date

import pytest
from cryptography.fernet import Fernet
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.forms import BaseForm
from django.test import Client
from django.urls import reverse

from accounts import api_keys
from accounts.models import User
from llmchat.models import Budget, Price, Provider, ProviderKey, ProviderModel
from llmchat.models.permissions import ProviderAccess
from tests.support.admin_fixtures import make_conversation
from tests.support.provider_keys import CANARY, configure, stored

pytestmark = pytest.mark.django_db

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


def staff(*rights: str) -> Client:
    """Return the client of an operator with these rights, or all rights to view."""
    user = User.objects.create_user("someone", is_staff=True)
    found = Permission.objects.filter(codename__in=rights)
    if not rights:
        found = Permission.objects.filter(codename__startswith="view_")
    user.user_permissions.set(found)
    client = Client()
    client.force_login(user)
    return client


def page_of(row: Model, page: str = "change") -> str:
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=[row.pk])


@pytest.fixture
def key(provider: Provider) -> ProviderKey:
    return stored(provider, name="main")


RIGHTS = [
    ["view_provider", "view_providerkey"],
    ["change_provider", "view_providerkey"],
    ["change_provider", "view_providerkey", "add_providerkey"],
    ["change_provider", "view_providerkey", "delete_providerkey"],
]


@pytest.mark.parametrize("rights", RIGHTS, ids="-".join)
def test_a_key_is_masked_for_who_may_not_change_it(
    key: ProviderKey, rights: list[str]
) -> None:
    client = staff(*rights)
    for row in (key, key.provider):
        text = client.get(page_of(row)).content.decode()
        assert key.masked in text
        assert CANARY not in text


@pytest.mark.parametrize("rights", RIGHTS, ids="-".join)
def test_a_key_that_cannot_be_read_is_no_fault_for_them(
    key: ProviderKey, rights: list[str], settings: object
) -> None:
    configure(settings, Fernet.generate_key().decode())
    client = staff(*rights)
    for row in (key, key.provider):
        assert client.get(page_of(row)).status_code == 200


@pytest.mark.parametrize(
    ("rights", "may_enter"),
    [
        (["view_providerkey"], False),
        (["view_providerkey", "change_providerkey"], True),
    ],
)
def test_a_key_is_entered_by_who_may(
    key: ProviderKey, rights: list[str], may_enter: bool
) -> None:
    text = staff(*rights).get(page_of(key)).content.decode()
    assert ('name="value"' in text) is may_enter


@pytest.fixture
def secrets(key: ProviderKey) -> list[str]:
    """Store rows of every kind; return what no page may show of them."""
    model = ProviderModel.objects.create(provider=key.provider, name="m-1")
    Price.objects.create(model=model, input=1, output=2, valid_from=date(2026, 1, 1))
    person = User.objects.create_user("ann", password="x", email="ann@example.org")
    group = Group.objects.create(name="staff")
    person.groups.add(group)
    ProviderAccess.objects.create(provider=key.provider, group=group)
    for whose in ({"user": person}, {"group": group}, {"is_default": True}):
        Budget.objects.create(period="day", unit="tokens", limit=10, **whose)
    row, value = api_keys.create(user_id=person.pk, name="program", scopes="chat")
    make_conversation(person)
    return [
        CANARY,
        key.encrypted_value,
        row.digest,
        value,
        *person.password.split("$")[2:],
    ]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_no_page_shows_a_secret_to_who_may_only_view(
    secrets: list[str], model: type[Model]
) -> None:
    client, meta = staff(), model._meta
    urls = [reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")]
    for row in model._default_manager.all()[:3]:
        urls += [page_of(row), page_of(row, "history")]
    for url in urls:
        response = client.get(url)
        assert response.status_code in (200, 302, 403), url
        found = [secret for secret in secrets if secret in response.content.decode()]
        assert not found, url


def forms_of(model: type[Model]) -> list[tuple[type[Model], type[BaseForm]]]:
    its = admin.site._registry[model]
    inlines = [(inline.model, inline.form) for inline in its.inlines]
    return [(model, its.form), *inlines]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_no_field_of_a_form_has_the_name_of_another_member_of_the_row(
    model: type[Model],
) -> None:
    """Django shows that member to operators who may not change the form."""
    for row, form in forms_of(model):
        stored_fields = {field.name for field in row._meta.get_fields()}
        own = set(form.declared_fields) - stored_fields  # type: ignore[attr-defined]
        assert [name for name in own if hasattr(row, name)] == []

"""The groups of operators that the migrations create."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.models import Provider, ProviderModel, ShippedRole
from tests.support.admin_fixtures import make_conversation
from tests.support.roles import migrate

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def roles() -> None:
    migrate()


def rights_of(name: str) -> set[str]:
    rows = Permission.objects.filter(group__name=name)
    return {f"{row.content_type.app_label}.{row.codename}" for row in rows}


def client_of(name: str) -> Client:
    user = User.objects.create_user("someone", is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    client = Client()
    client.force_login(user)
    return client


def codes(client: Client, *names: str) -> list[int]:
    return [
        client.get(reverse(f"admin:{name}_changelist")).status_code for name in names
    ]


def test_support_reads_chats_and_nothing_else() -> None:
    rows = ("conversation", "message", "runningstream")
    assert rights_of("Support") == {f"llmchat.view_{name}" for name in rows}
    client = client_of("Support")
    assert codes(client, *(f"llmchat_{name}" for name in rows)) == [200] * 3
    assert codes(client, "llmchat_providerkey", "accounts_apikey") == [403] * 2
    assert codes(client, "llmchat_budget", "accounts_user") == [403] * 2
    row = make_conversation(User.objects.create_user("ann"))
    page = reverse("admin:llmchat_conversation_change", args=[row.pk])
    assert client.get(page).status_code == 200
    delete = reverse("admin:llmchat_conversation_delete", args=[row.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403


def test_billing_sees_what_was_used_and_no_text() -> None:
    client = client_of("Billing")
    assert codes(client, "llmchat_budget", "llmchat_provider") == [200] * 2
    assert codes(client, "llmchat_conversation", "llmchat_message") == [403] * 2
    assert codes(client, "llmchat_providerkey") == [403]
    assert "usage" in client.get(reverse("admin:index")).context
    ann = User.objects.create_user("ann")
    form = {"user": ann.pk, "period": "day", "unit": "tokens", "limit": "5"}
    assert client.post(reverse("admin:llmchat_budget_add"), form).status_code == 302
    assert ann.budgets.get().limit == 5


def price_form(model: ProviderModel, **rates: object) -> dict[str, object]:
    rows = {"prices-TOTAL_FORMS": 1, "prices-INITIAL_FORMS": 0}
    factors = ("input_factor", "output_factor", "peak_factor")
    price = {"model": model.pk, "valid_from": "2026-01-01", **rates}
    price |= dict.fromkeys(factors, 1) | {"bills_refusals": "on"}
    return rows | {f"prices-0-{name}": value for name, value in price.items()}


def test_billing_changes_prices_and_nothing_else_of_a_model() -> None:
    client = client_of("Billing")
    fields = {"label": "Acme", "protocol": "openai", "default_model": "m-1"}
    acme = Provider.objects.create(name="acme", **fields)
    model = ProviderModel.objects.create(provider=acme, name="m-1")
    url = reverse("admin:llmchat_providermodel_change", args=[model.pk])
    models = reverse("admin:llmchat_providermodel_changelist")

    sent = price_form(model, input="1.5", output="2.5")
    of_model = {"name": "m-2", "label": "Other", "position": 7, "provider": acme.pk}
    assert client.post(url, sent | of_model).status_code == 302
    price = model.prices.get()
    assert (price.input, price.output) == (Decimal("1.5"), Decimal("2.5"))
    more = {"prices-INITIAL_FORMS": 1, "prices-0-id": price.pk}
    again = price_form(model, input="3", output="4") | more
    assert client.post(url, again).status_code == 302
    price = model.prices.get()  # changed rates are stored as a new row
    assert price.input == 3
    # The data of a list with forms, as operators who may change models would post it.
    rows = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": model.pk}
    shown = f"{models}?provider__id__exact={acme.pk}"
    client.post(shown, rows | {"_save": "Save"})
    assert 'name="form-0-enabled"' not in client.get(shown).text

    stored = acme.known_models.get()
    assert (stored.name, stored.label, stored.enabled) == ("m-1", "", True)
    assert stored.position == model.position
    assert client.get(f"{models}add/").status_code == 403
    delete = reverse("admin:llmchat_providermodel_delete", args=[model.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403
    page = reverse("admin:llmchat_provider_change", args=[acme.pk])
    assert client.post(page, {"label": "Other"}).status_code == 403


def test_the_right_to_change_prices_alone_shows_no_model(client: Client) -> None:
    user = User.objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="change_price"))
    client.force_login(user)
    assert codes(client, "llmchat_providermodel") == [403]


def test_the_right_to_add_models_alone_suffices_to_add_one(client: Client) -> None:
    user = User.objects.create_user("someone", is_staff=True)
    names = ("view_providermodel", "add_providermodel")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    fields = {"label": "Acme", "protocol": "openai", "default_model": "m-1"}
    acme = Provider.objects.create(name="acme", **fields)
    url = reverse("admin:llmchat_providermodel_add")

    shown = client.get(url).context["adminform"].form.fields
    assert {"provider", "name", "position"} <= set(shown)
    assert "missing_since" not in shown
    sent = {"provider": acme.pk, "name": "m-2", "position": 0}
    assert client.post(url, sent).status_code == 302

    model = acme.known_models.get(name="m-2")
    page = reverse("admin:llmchat_providermodel_change", args=[model.pk])
    assert client.post(page, sent | {"name": "m-3"}).status_code == 403
    assert not client.get(page).context["adminform"].form.fields


def test_operators_may_do_all_of_this_product_but_set_passwords() -> None:
    own = Permission.objects.filter(content_type__app_label="llmchat")
    assert {f"llmchat.{row.codename}" for row in own} <= rights_of("Operator")
    client = client_of("Operator")
    ann = User.objects.create_user("ann")
    assert codes(client, "llmchat_providerkey", "accounts_user") == [200] * 2
    password = f"/admin/accounts/user/{ann.pk}/password/"
    assert client.get(password).status_code == 403
    page = reverse("admin:accounts_user_change", args=[ann.pk])
    shown = client.get(page)
    # A budget takes four clicks: users, the user, this link, and save.
    add = f"{reverse('admin:llmchat_budget_add')}?user={ann.pk}"
    assert add in shown.text
    assert f'<option value="{ann.pk}" selected' in client.get(add).text
    assert "budgets-0-limit" not in shown.text
    assert client.post(page, {"is_staff": "on"}).status_code == 403


def test_what_an_operator_changes_stays() -> None:
    group = Group.objects.get(name="Support")
    group.permissions.remove(Permission.objects.get(codename="view_message"))
    more = Permission.objects.get(codename="view_provider")
    group.permissions.add(more)
    group.name = "Help desk"
    group.save()
    Group.objects.get(name="Billing").delete()
    migrate()
    assert "llmchat.view_message" not in rights_of("Help desk")
    assert "llmchat.view_provider" in rights_of("Help desk")
    assert not Group.objects.filter(name__in=["Support", "Billing"]).exists()


def test_a_group_that_is_there_already_gets_no_rights() -> None:
    ShippedRole.objects.all().delete()
    Group.objects.filter(name__in=["Operator", "Support", "Billing"]).delete()
    Group.objects.create(name="Support")
    migrate()
    assert rights_of("Support") == set()
    assert rights_of("Operator")


def test_a_model_that_comes_later_brings_its_rights() -> None:
    kind, _ = ContentType.objects.get_or_create(app_label="llmchat", model="price")
    Permission.objects.filter(content_type=kind).delete()
    ShippedRole.objects.exclude(name="Support").update(given="")
    assert "llmchat.change_price" not in rights_of("Billing")
    Permission.objects.create(content_type=kind, codename="change_price", name="x")
    migrate()
    assert "llmchat.change_price" in rights_of("Billing")
    assert "llmchat.change_price" in rights_of("Operator")
    assert "llmchat.change_price" not in rights_of("Support")

"""Models that were entered with a prefix before names were canonical, in the admin.

Gemini also knows `gemini-pro` as `models/gemini-pro`, so both names can have rows.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.access import memory
from llmchat.access.catalogue import is_enabled
from llmchat.models import Provider, ProviderModel
from tests.support.access import gemini_provider
from tests.support.provider_forms import LIST, change_url, submit

pytestmark = pytest.mark.django_db
MODELS = reverse("admin:llmchat_providermodel_changelist")


@pytest.fixture
def google() -> Provider:
    return gemini_provider("google")


@pytest.fixture
def fetched(google: Provider) -> Provider:
    """A provider whose default model has a prefix, unlike in the list it fetched."""
    google.known_models.create(name="gemini-flash", enabled=False)
    google.default_model = "models/gemini-flash"
    google.save()
    return google


def page_of(model: ProviderModel) -> str:
    return reverse("admin:llmchat_providermodel_change", args=[model.pk])


def faults(response: Any) -> str:
    """Return the errors of a page that is shown again, "" if it was saved."""
    context = response.context
    if "adminform" not in context:
        return ""
    found = [context["adminform"].form.errors]
    for inline in context["inline_admin_formsets"]:
        found += [inline.formset.errors, inline.formset.non_form_errors()]
    return " ".join(map(str, found))


def test_a_provider_is_saved_though_a_model_has_two_rows(
    admin_client: Client, google: Provider
) -> None:
    names = ["gemini-pro", "models/gemini-pro"]
    for name in names:
        google.known_models.create(name=name)
    assert faults(submit(admin_client, change_url(google), label="G")) == ""
    assert list(google.known_models.values_list("name", flat=True)) == names
    google.refresh_from_db()
    assert google.label == "G"


@pytest.mark.parametrize("change", [{"label": "G"}, {"fallback": "other"}, "list"])
def test_a_provider_that_is_saved_goes_on_answering_by_its_default_model(
    admin_client: Client, fetched: Provider, change: Any
) -> None:
    if change == "list":
        Provider.objects.exclude(pk=fetched.pk).delete()
        Provider.objects.update(enabled=False)
        posted = {"form-0-id": fetched.pk, "form-0-enabled": "on", "_save": "Save"}
        total = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1}
        assert admin_client.post(LIST, posted | total).status_code == 302
    else:
        if "fallback" in change:
            other = Provider.objects.create(
                name="other", label="Other", default_model="m"
            )
            change = {"fallback": other.pk}
        change |= {"known_models-0-label": "Flash"}
        assert faults(submit(admin_client, change_url(fetched), **change)) == ""
    row = memory.current().providers["google"]
    assert row.enabled
    assert is_enabled(row, "gemini-flash")


def test_a_default_model_that_is_entered_anew_must_be_enabled(
    admin_client: Client, fetched: Provider
) -> None:
    change = {"default_model": "gemini-flash"}
    found = submit(admin_client, change_url(fetched), **change)
    assert "The default model is disabled." in faults(found)
    row = fetched.known_models.get()
    assert faults(submit(admin_client, page_of(row), enabled="on")) == ""
    assert faults(submit(admin_client, change_url(fetched), **change)) == ""
    fetched.refresh_from_db()
    assert fetched.default_model == "gemini-flash"


@pytest.mark.parametrize("name", ["models/gemini-flash", "models/gemini-pro"])
def test_who_may_change_prices_saves_the_page_of_a_second_row(
    client: Client, google: Provider, name: str
) -> None:
    for other in ("gemini-flash", "gemini-pro"):
        google.known_models.create(name=other)
    row = google.known_models.create(name=name, enabled=False)
    user = User.objects.create_user("staff", is_staff=True)
    codes = ["view_providermodel", "change_price", "view_price"]
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client.force_login(user)
    response = submit(client, page_of(row))
    assert response.status_code == 200
    assert faults(response) == ""


def test_a_second_row_of_a_model_is_disabled_on_the_list(
    admin_client: Client, google: Provider
) -> None:
    ProviderModel.objects.all().delete()
    names = ["gemini-pro", "models/gemini-pro"]
    rows = [google.known_models.create(name=name) for name in names]
    posted = {f"form-{n}-id": row.pk for n, row in enumerate(rows)}
    total = {"form-TOTAL_FORMS": 2, "form-INITIAL_FORMS": 2, "_save": "Save"}
    assert admin_client.post(MODELS, posted | total).status_code == 302
    stored = list(google.known_models.values_list("name", "enabled"))
    assert stored == [(name, False) for name in names]


@pytest.mark.parametrize("name", ["gemini-pro", "models/gemini-pro"])
def test_a_model_is_not_renamed_to_another(
    admin_client: Client, google: Provider, name: str
) -> None:
    google.known_models.create(name="gemini-pro")
    row = google.known_models.create(name="gemini-other")
    found = submit(admin_client, page_of(row), name=name)
    assert "already has a model with this name" in faults(found)
    found = submit(admin_client, page_of(row), name="models/gemini-ultra")
    assert faults(found) == ""
    row.refresh_from_db()
    assert row.name == "gemini-ultra"


def test_two_names_of_a_model_are_not_entered_at_once(
    admin_client: Client, google: Provider
) -> None:
    new = {
        "known_models-TOTAL_FORMS": 2,
        "known_models-0-name": "gemini-pro",
        "known_models-1-name": "models/gemini-pro",
    }
    found = submit(admin_client, change_url(google), **new)
    assert "duplicate" in faults(found)
    assert not google.known_models.exists()

"""Budgets in the admin."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models.signals import pre_save
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from llmchat.models import Budget, Reservation

LIST = "admin:llmchat_budget_changelist"


def make_budget(name: str, **fields: object) -> Budget:
    values = {"limit": Decimal("12345"), "spent": Decimal("1234"), **fields}
    if values["unit"] == Budget.Unit.DOLLARS:
        return Budget.objects.create(group=Group.objects.create(name=name), **values)
    return Budget.objects.create(user=User.objects.create_user(name), **values)


@pytest.fixture
def budgets(db):
    tokens = make_budget("ann", unit=Budget.Unit.TOKENS)
    Reservation.objects.create(budget=tokens, message_id=uuid.uuid4(), amount=567)
    make_budget(
        "team", unit=Budget.Unit.DOLLARS, spent=Decimal("0.0123"), limit=Decimal("2.5")
    )


def text_of(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def test_the_list_shows_what_is_spent_and_when_it_renews(admin_client, budgets):
    page = text_of(admin_client.get(reverse(LIST)))
    renews_at = Budget(limit=1).renews_at(timezone.now())
    for shown in ("ann", "group team", "12,345", "1,234", "567", "$2.50", "$0.0123"):
        assert shown in page
    assert f"{renews_at:%Y-%m-%d %H:%M} UTC" in page


def test_the_list_takes_the_same_queries_for_any_number(admin_client, budgets):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text_of(admin_client.get(reverse(LIST)))
        return len(captured)

    few = queries()
    for number in range(10):
        make_budget(f"user {number}", unit=Budget.Unit.TOKENS)
        make_budget(f"group {number}", unit=Budget.Unit.DOLLARS)
    assert queries() == few


def test_a_budget_is_made_and_changed_by_hand(admin_client, db):
    user = User.objects.create_user("ann")
    form = {"user": user.pk, "group": "", "period": "day", "unit": "tokens"}
    url = reverse("admin:llmchat_budget_add")
    admin_client.post(url, form | {"limit": "500"})
    budget = Budget.objects.get()
    assert (budget.user, budget.limit, budget.spent) == (user, 500, 0)

    url = reverse("admin:llmchat_budget_change", args=[budget.pk])
    assert "spent in this period" in text_of(admin_client.get(url)).lower()
    admin_client.post(url, form | {"limit": "700"})
    budget.refresh_from_db()
    assert budget.limit == 700


def test_what_is_spent_meanwhile_stays_spent(admin_client, budgets):
    budget = Budget.objects.get(unit="tokens")

    def spend(**kwargs: object) -> None:
        Budget.objects.filter(pk=budget.pk).update(spent=9999)

    pre_save.connect(spend, sender=Budget)
    try:
        url = reverse("admin:llmchat_budget_change", args=[budget.pk])
        assert admin_client.post(url, {"limit": "700"}).status_code == 302
    finally:
        pre_save.disconnect(spend, sender=Budget)
    budget.refresh_from_db()
    assert (budget.limit, budget.spent) == (700, 9999)


def test_what_is_spent_keeps_its_owner_its_unit_and_its_period(admin_client, budgets):
    budget = Budget.objects.get(unit="tokens")
    bob = User.objects.create_user("bob")
    url = reverse("admin:llmchat_budget_change", args=[budget.pk])
    form = {"user": bob.pk, "unit": "dollars", "period": "month", "limit": "10"}
    assert admin_client.post(url, form).status_code == 302

    saved = Budget.objects.get(pk=budget.pk)
    assert saved.limit == 10
    assert (saved.user, saved.unit, saved.period) == (budget.user, "tokens", "day")


@pytest.mark.parametrize("both", [False, True])
def test_a_budget_without_one_owner_is_refused(admin_client, db, both):
    form = {"period": "day", "unit": "tokens", "limit": "500"}
    if both:
        user, group = User.objects.create_user("ann"), Group.objects.create(name="x")
        form |= {"user": user.pk, "group": group.pk}
    page = text_of(admin_client.post(reverse("admin:llmchat_budget_add"), form))
    assert "Choose a user, a group or an API key." in page
    assert not Budget.objects.exists()


def test_a_limit_that_cannot_be_read_again_is_refused(admin_client, db):
    form = {"user": User.objects.create_user("ann").pk, "period": "day"}
    form |= {"unit": "tokens", "limit": "999999999999.999999"}
    url = reverse("admin:llmchat_budget_add")
    assert "less than or equal to 999999999999" in text_of(admin_client.post(url, form))
    assert not Budget.objects.exists()
    # The list of all of them can be read on.
    assert admin_client.post(url, form | {"limit": "999999999999"}).status_code == 302
    assert "999,999,999,999" in text_of(admin_client.get(reverse(LIST)))

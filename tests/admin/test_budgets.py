"""Budgets in the admin."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models.signals import pre_save
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys
from accounts.models import User
from llmchat.models import Budget, BudgetUse, Reservation
from llmchat.models.budgets import today
from tests.support.admin_fixtures import make_conversation

DAILY = {"period": "day"}
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
        form = {"unit": "tokens", "limit": "700"} | DAILY
        assert admin_client.post(url, form).status_code == 302
    finally:
        pre_save.disconnect(spend, sender=Budget)
    budget.refresh_from_db()
    assert (budget.limit, budget.spent) == (700, 9999)


def test_another_unit_and_period_are_counted_anew_for_the_same_owner(
    admin_client, budgets
):
    budget = Budget.objects.get(unit="tokens")
    answered(budget.user, cost="0.25")
    bob = User.objects.create_user("bob")
    url = reverse("admin:llmchat_budget_change", args=[budget.pk])
    form = {"user": bob.pk, "unit": "dollars", "period": "month", "limit": "10"}
    assert admin_client.post(url, form).status_code == 302

    saved = Budget.objects.get(pk=budget.pk)
    assert (saved.user, saved.unit, saved.period) == (budget.user, "dollars", "month")
    assert (saved.limit, saved.spent) == (10, Decimal("0.25"))
    # An amount that was reserved in tokens is not an amount of money.
    assert Reservation.objects.get().amount == 0


@pytest.mark.parametrize(
    "change", [{"period": "month"}, {"unit": "dollars"}, {"limit": "200"}]
)
def test_the_default_one_that_applies_again_is_counted_anew(admin_client, db, change):
    """Usage under the user's own budget was not added to the default one."""
    user = User.objects.create_user("ann")
    own = Budget.objects.create(user=user, limit=100)
    uses = [
        BudgetUse.objects.create(
            budget=Budget.objects.create(is_default=True, limit=100, **fields),
            user=user,
            period_start=today(),
        )
        for fields in ({}, {"unit": "dollars", "period": "month"})
    ]
    form = {"unit": "tokens", "limit": "100"} | DAILY | change
    assert admin_client.post(url_of(own), form).status_code == 302

    for use in uses:
        use.refresh_from_db()
    applies_again = "limit" not in change
    assert [use.period_start is None for use in uses] == [applies_again, False]


def test_that_of_a_key_begins_with_nothing_again(admin_client, db):
    key, _ = api_keys.create(
        user_id=User.objects.create_user("ann").pk, name="x", scopes="chat"
    )
    budget = Budget.objects.create(api_key=key, unit="tokens", limit=100, spent=50)
    form = {"unit": "dollars", "limit": "10"} | DAILY
    assert admin_client.post(url_of(budget), form).status_code == 302
    budget.refresh_from_db()
    assert (budget.unit, budget.spent) == ("dollars", 0)


def test_a_budget_does_not_take_the_unit_of_another_of_its_owner(admin_client, budgets):
    budget = Budget.objects.get(unit="tokens")
    Budget.objects.create(user=budget.user, unit="dollars", limit=1)
    url = reverse("admin:llmchat_budget_change", args=[budget.pk])
    page = text_of(admin_client.post(url, {"unit": "dollars", "limit": "10"} | DAILY))
    assert "This user already has a budget with this period and unit." in page


def answered(user: User, cost: str = "0.5", tokens: int = 10) -> None:
    """Store an answer of today."""
    make_conversation(user, input_tokens=tokens, output_tokens=0, cost=Decimal(cost))


def test_a_bar_says_in_words_what_it_shows(admin_client, db):
    make_budget("ann", unit="tokens", limit=100, spent=81)
    make_budget("bob", unit="tokens", limit=100, spent=100)
    make_budget("cid", unit="tokens", limit=100, spent=1, notice_percent=1)
    make_budget("dan", unit="tokens", limit=100, spent=99, notice_percent=0)
    page = text_of(admin_client.get(reverse(LIST)))
    for words in (
        "81 of 100 (81%), nearly used up<",
        "100 of 100 (100%), used up<",
        "1 of 100 (1%), nearly used up<",
        "99 of 100 (99%)<",
    ):
        assert words in page
    assert '<progress max="100" value="81"' in page


def test_a_budget_of_everybody_shows_who_has_used_most(admin_client, db):
    page = reverse("admin:llmchat_budget_add")
    form = {"is_default": "on", "unit": "tokens", "limit": "100"} | DAILY
    assert admin_client.post(page, form).status_code == 302
    budget = Budget.objects.get(is_default=True)
    assert budget.notice_percent == 80
    for address in (url_of(budget), reverse(LIST)):
        shown = text_of(admin_client.get(address))
        assert "0 of 100 (0%), no one has used it yet" in shown
    for name, spent in (("ann", 30), ("bob", 90), ("cid", 99)):
        user = User.objects.create_user(name)
        day = timezone.now().date() - timedelta(days=name == "cid")
        budget.uses.create(user=user, spent=spent, period_start=day)
    shown = text_of(admin_client.get(reverse(LIST)))
    assert "default for everybody" in shown
    assert "90 of 100 (90%), top user: bob, nearly used up" in shown
    shown = text_of(admin_client.get(url_of(budget)))
    assert "30 of 100 (30%)" in shown
    assert "cid" not in shown


def url_of(budget: Budget) -> str:
    return reverse("admin:llmchat_budget_change", args=[budget.pk])


def test_a_user_gets_a_budget_on_the_user_s_own_page(admin_client, db):
    ann = User.objects.create_user("ann")
    answered(ann, tokens=7)
    page = reverse("admin:accounts_user_change", args=[ann.pk])
    form = admin_client.get(page).context["adminform"].form
    data = {name: form.initial[name] for name in ("username", "is_active")}
    data |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    data |= {"budgets-TOTAL_FORMS": 1, "budgets-INITIAL_FORMS": 0}
    data |= {"budgets-0-period": "day", "budgets-0-unit": "tokens"}
    data |= {"budgets-0-limit": "50", "budgets-0-notice_percent": "80"}
    assert admin_client.post(page, data).status_code == 302
    assert Budget.objects.get().user == ann
    assert "7 of 50 (14%)" in text_of(admin_client.get(page))
    assert f"{reverse('admin:llmchat_budget_add')}?user={ann.pk}" in text_of(
        admin_client.get(page)
    )


def test_a_group_has_its_members_and_budgets_on_its_page(admin_client, db):
    team = Group.objects.create(name="team")
    ann, bob = (User.objects.create_user(name) for name in ("ann", "bob"))
    team.user_set.add(ann)
    page = reverse("admin:auth_group_change", args=[team.pk])
    shown = text_of(admin_client.get(page))
    assert "1 member<" in shown
    assert f"?groups__id__exact={team.pk}" in shown
    row = User.groups.through.objects.get()
    data = {
        "name": "team",
        "User_groups-TOTAL_FORMS": 2,
        "User_groups-INITIAL_FORMS": 1,
        "User_groups-0-id": row.pk,
        "User_groups-0-group": team.pk,
        "User_groups-0-user": ann.pk,
        "User_groups-0-DELETE": "on",
        "User_groups-1-group": team.pk,
        "User_groups-1-user": bob.pk,
        "budgets-TOTAL_FORMS": 1,
        "budgets-INITIAL_FORMS": 0,
        "budgets-0-per_member": "on",
        "budgets-0-period": "day",
        "budgets-0-unit": "tokens",
        "budgets-0-limit": "50",
    }
    response = admin_client.post(page, data)
    assert response.status_code == 302, response.context["errors"]
    assert list(team.user_set.all()) == [bob]
    assert Budget.objects.get().per_member


@pytest.mark.parametrize("both", [False, True])
def test_a_budget_without_one_owner_is_refused(admin_client, db, both):
    form = {"period": "day", "unit": "tokens", "limit": "500"}
    if both:
        user, group = User.objects.create_user("ann"), Group.objects.create(name="x")
        form |= {"user": user.pk, "group": group.pk}
    page = text_of(admin_client.post(reverse("admin:llmchat_budget_add"), form))
    assert "Choose one user, one group or one API key, or" in page
    assert not Budget.objects.exists()


def test_a_limit_that_cannot_be_read_again_is_refused(admin_client, db):
    form = {"user": User.objects.create_user("ann").pk, "period": "day"}
    form |= {"unit": "tokens", "limit": "999999999999.999999"}
    url = reverse("admin:llmchat_budget_add")
    assert "less than or equal to 999999999999" in text_of(admin_client.post(url, form))
    assert not Budget.objects.exists()
    # The list of all budgets can still be read.
    assert admin_client.post(url, form | {"limit": "999999999999"}).status_code == 302
    assert "999,999,999,999" in text_of(admin_client.get(reverse(LIST)))

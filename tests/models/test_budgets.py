"""The periods and owners of budgets."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError

from llmchat.models import Budget
from tests.support.chat_fixtures import User

DAY, MONTH = Budget.Period.DAY, Budget.Period.MONTH


@pytest.mark.parametrize(
    ("period", "now", "start", "renews"),
    [
        (DAY, "2026-11-23T00:00", date(2026, 11, 23), "2026-11-24"),
        (DAY, "2026-12-31T23:59", date(2026, 12, 31), "2027-01-01"),
        (MONTH, "2026-11-23T12:00", date(2026, 11, 1), "2026-12-01"),
        (MONTH, "2026-12-31T23:59", date(2026, 12, 1), "2027-01-01"),
    ],
)
def test_periods_are_those_of_the_calendar(period, now, start, renews):
    budget = Budget(period=period, limit=1)
    moment = datetime.fromisoformat(f"{now}+00:00")
    assert budget.start_of_period(moment) == start
    assert budget.renews_at(moment) == datetime.fromisoformat(f"{renews}T00:00+00:00")
    assert budget.renews_at(moment).tzinfo is UTC


@pytest.mark.django_db
def test_a_budget_has_one_owner():
    user = User.objects.create_user("ann")
    group = Group.objects.create(name="team")
    for owner in ({}, {"user": user, "group": group}):
        with pytest.raises(ValidationError, match="one user, one group or one API key"):
            Budget(limit=1, **owner).full_clean()
    Budget(limit=1, user=user).full_clean()
    Budget(limit=1, group=group).full_clean()

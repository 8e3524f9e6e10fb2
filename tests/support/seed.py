"""Prepares a database for live tests: `python -m tests.support.seed COUNT`.

Migrates the database of `DATABASE_URL`, creates COUNT users and prints them as JSON,
each with the tokens that a log-in would return.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import django


def main(count: int) -> None:
    """Migrate, create the users and print them."""
    django.setup()
    from django.contrib.auth.hashers import make_password
    from django.core.management import call_command

    from accounts.models import User
    from accounts.tokens import issue_tokens

    call_command("migrate", verbosity=0)
    password = "a live password"
    hashed = make_password(password)  # once: it is slow on purpose
    users = [
        User.objects.create(username=f"user{number}", password=hashed)
        for number in range(count)
    ]
    accounts = [
        {
            "user_id": user.pk,
            "username": user.username,
            "password": password,
            **asdict(issue_tokens(user=user)),
        }
        for user in users
    ]
    json.dump(accounts, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))

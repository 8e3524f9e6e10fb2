"""Requests of the account routes, as a client sends them."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

PASSWORD = "correct horse battery"


def post(client: Client, path: str, body: object, **extra: Any) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json", **extra)


def log_in(client: Client, username: str, password: str = PASSWORD) -> Any:
    return post(client, "/auth/token", {"username": username, "password": password})

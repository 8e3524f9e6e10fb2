"""The REST API of a user's own API keys, which no API key can use."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import api_keys
from accounts.models import ApiKey
from accounts.verified import TOKEN_ONLY
from llmchat.access.ratelimit import count_message
from llmchat.api.async_view import AsyncAPIView, user_id_of, verified_of
from llmchat.api.key_fields import KEY_FIELDS, shown, shown_keys
from llmchat.api.validation import validated
from llmchat.database import in_database, read_database
from llmchat.errors import refusal
from llmchat.models import Budget


class KeysView(AsyncAPIView):
    """`/auth/keys`: the user's API keys, the latest first."""

    scopes = {"GET": TOKEN_ONLY, "POST": TOKEN_ONLY}

    async def get(self, request: Request) -> Response:
        """List them, including those that can no longer be used."""
        return Response({"keys": await read_database(shown_keys, user_id_of(request))})

    async def post(self, request: Request) -> Response:
        """Create one; only this response ever holds the key itself, as `key`."""
        sender = verified_of(request)
        await count_message(sender)
        fields = validated(KEY_FIELDS, request.data)
        made = await in_database(_made, sender.user_id, fields)
        return Response(made, status=201, headers={"Cache-Control": "no-store"})


class KeyView(AsyncAPIView):
    """`/auth/keys/{id}`: one of the user's API keys."""

    scopes = {"DELETE": TOKEN_ONLY}

    async def delete(self, request: Request, key_id: str) -> HttpResponse:
        """Revoke it, for good."""
        await in_database(_revoked, user_id_of(request), key_id)
        return HttpResponse(status=204)


def _made(user_id: int, fields: dict[str, Any]) -> dict[str, Any]:
    with transaction.atomic():
        row, key = api_keys.create(
            user_id=user_id,
            name=fields["name"],
            scopes=fields["scopes"],
            expires_at=fields.get("expiresAt"),
            messages_per_minute=fields.get("messagesPerMinute"),
        )
        budgets: list[Budget] = fields.get("budgets") or []
        for budget in budgets:
            budget.api_key = row
        Budget.objects.bulk_create(budgets)
    return shown(row) | {"key": key}


def _revoked(user_id: int, key_id: str) -> None:
    is_number = key_id.isascii() and key_id.isdigit() and len(key_id) < 19
    keys = ApiKey.objects.filter(user_id=user_id, pk=int(key_id) if is_number else 0)
    row = keys.first()
    if row is None:
        raise refusal("key_not_found")
    api_keys.revoke(row)

"""The REST API's list of providers."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.verified import Scope
from llmchat.access import budgets, catalogue
from llmchat.access.catalogue import Offer
from llmchat.access.known_models import is_priced, names_of
from llmchat.access.permissions import Access, access_of
from llmchat.api.async_view import AsyncAPIView, user_id_of
from llmchat.database import read_database
from llmchat.models import Provider


class ProvidersView(AsyncAPIView):
    """`GET /llm/providers`: what a client may name as `provider`."""

    scopes = {"GET": Scope.READ}

    async def get(self, request: Request) -> Response:
        """List the enabled providers that the user may use, the usable ones first.

        `models` are those known by name, each with its limits and abilities (null if
        unknown) and whether its answers are `priced`. `allowedModels` are the patterns
        of the models that are allowed. `configured` says whether the provider has a key
        and an address, `usable` whether it can answer now. If it cannot, `error` and
        `code` say why, and `adminUrl` where to change that, if the user is allowed to.
        """
        user_id, key_id = user_id_of(request), getattr(request.auth, "key_id", None)
        access, offers, allowed = await read_database(_read, user_id, key_id)
        rows = [_offered(offer, access, allowed) for offer in offers]
        return Response({"providers": rows})


def _read(
    user_id: int, key_id: int | None
) -> tuple[Access, list[Offer], frozenset[str]]:
    """Return the user's access, the offers, and the user's permissions in the admin."""
    access, is_budgeted = access_of(user_id), budgets.apply_to(user_id, key_id)
    offers = sorted(catalogue.offers(access, is_budgeted=is_budgeted), key=_order)
    if all(offer.refusal is None for offer in offers):
        return access, offers, frozenset()
    user = get_user_model().objects.filter(pk=user_id, is_staff=True).first()
    if user is None:  # not staff, or deleted a moment ago
        return access, offers, frozenset()
    names = ("add_providerkey", "change_provider")
    allowed = {name for name in names if user.has_perm(f"llmchat.{name}")}
    return access, offers, frozenset(allowed)


def _order(offer: Offer) -> tuple[bool, str]:
    return offer.refusal is not None, offer.row.name


def _offered(offer: Offer, access: Access, allowed: frozenset[str]) -> dict[str, Any]:
    name, model = offer.row.name, offer.row.default_model
    fields: dict[str, Any] = {
        "name": name,
        "label": offer.row.label,
        "model": model,
        "models": [_model(offer.row, known) for known in names_of(offer.row, access)],
        "allowedModels": access.patterns(name),
        "configured": offer.configured,
        "usable": offer.refusal is None,
    }
    if offer.refusal is not None:
        fields |= {"error": offer.refusal.text, "code": offer.refusal.code}
        if address := _admin_url(offer, offer.refusal.code, allowed):
            fields["adminUrl"] = address
    return fields


def _model(row: Provider, name: str) -> dict[str, Any]:
    """Return a model as clients see it; None for what is not known about it."""
    known = row.model_rows.get(name)
    fields: dict[str, Any] = {
        "name": name,
        "label": name,
        "contextTokens": None,
        "maxOutputTokens": None,
        "abilities": None,
        "priced": is_priced(row, name),
    }
    if known is not None:
        able = {
            "images": known.takes_images,
            "tools": known.takes_tools,
            "reasoning": known.reasons,
        }
        fields |= {
            "label": known.label or name,
            "contextTokens": known.context_tokens,
            "maxOutputTokens": known.max_output_tokens,
            "abilities": [ability for ability, has in able.items() if has],
        }
    return fields


def _admin_url(offer: Offer, code: str, allowed: frozenset[str]) -> str:
    """Return the admin page that helps, "" if the user has no permission for it."""
    if code == "key_not_configured":
        query = urlencode({"provider": offer.row.pk})
        page = reverse("admin:llmchat_providerkey_add")
        return f"{page}?{query}" if "add_providerkey" in allowed else ""
    if "change_provider" not in allowed:
        return ""
    return reverse("admin:llmchat_provider_change", args=[offer.row.pk])

"""The REST API's list of providers."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.verified import Scope
from llmchat.access import catalogue
from llmchat.access.catalogue import Offer
from llmchat.access.permissions import Access, access_of
from llmchat.api.async_view import AsyncAPIView, user_id_of
from llmchat.database import read_database


class ProvidersView(AsyncAPIView):
    """`GET /llm/providers`: what a client may name as `provider`."""

    scopes = {"GET": Scope.READ}

    async def get(self, request: Request) -> Response:
        """List the enabled providers that the user may use, the usable ones first.

        `models` are those known by name, `allowedModels` patterns of those allowed;
        `configured` says whether it has a key and an address, `usable` whether it can
        answer now; where it cannot, `error` and `code` say why not, and `adminUrl`
        where to change that, if the user may.
        """
        user_id = user_id_of(request)
        access, offers, allowed = await read_database(_read, user_id)
        rows = [_offered(offer, access, allowed) for offer in offers]
        return Response({"providers": rows})


def _read(user_id: int) -> tuple[Access, list[Offer], frozenset[str]]:
    """Return what the user may use, and what of it in the admin."""
    access = access_of(user_id)
    offers = sorted(catalogue.offers(access), key=_order)
    if all(offer.refusal is None for offer in offers):
        return access, offers, frozenset()
    user = get_user_model().objects.filter(pk=user_id, is_staff=True).first()
    if user is None:  # perhaps deleted a moment ago
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
        "models": access.named_models(name, model),
        "allowedModels": access.patterns(name),
        "configured": offer.configured,
        "usable": offer.refusal is None,
    }
    if offer.refusal is not None:
        fields |= {"error": offer.refusal.text, "code": offer.refusal.code}
        if address := _admin_url(offer, offer.refusal.code, allowed):
            fields["adminUrl"] = address
    return fields


def _admin_url(offer: Offer, code: str, allowed: frozenset[str]) -> str:
    """Return the page of the admin that helps, "" where the user may not use it."""
    if code == "key_not_configured":
        query = urlencode({"provider": offer.row.pk})
        page = reverse("admin:llmchat_providerkey_add")
        return f"{page}?{query}" if "add_providerkey" in allowed else ""
    if "change_provider" not in allowed:
        return ""
    return reverse("admin:llmchat_provider_change", args=[offer.row.pk])

"""Models by name: `provider/model`, a bare name that is known, or a provider's name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llmchat.access import budgets, catalogue, memory
from llmchat.access.catalogue import Offer
from llmchat.access.known_models import names_of
from llmchat.access.permissions import Access, access_of
from llmchat.api.openai.errors import ParameterError
from llmchat.api.openai.fields import MODEL_LENGTH
from llmchat.errors import ChatError


@dataclass(frozen=True, slots=True)
class Target:
    """What is to answer: a provider and its model, None for the provider's default."""

    provider: str
    model: str | None


def full_name(provider: str, model: str) -> str:
    """Return the name that means a model of this provider and no other."""
    return f"{provider}/{model}"


def target_of(user_id: int, name: str, key_id: int | None = None) -> Target:
    """Return what a name means; `key_id` is the API key that asks, if one does.

    `provider/model` means just that, and the name of a provider means its default
    model. A bare name means a provider that knows it. Of several, usable ones come
    first, then the one whose default model it is, then those that list it by name, then
    those for which it fits the pattern of a permission; then the alphabet decides.

    Raises: ChatError `model_not_found`.
    """
    target = _meant(user_id, name, key_id)
    if len(target.model or "") > MODEL_LENGTH:
        raise _unknown(name)
    return target


def model_names(user_id: int, key_id: int | None = None) -> list[str]:
    """Return the full names of the models that can answer a user now."""
    access = access_of(user_id)
    usable = [o for o in _offers(user_id, access, key_id) if o.refusal is None]
    return [name for offer in usable for name in _named(offer, access)]


def model_named(user_id: int, name: str, key_id: int | None = None) -> str:
    """Return the full name of a model that can answer a user now.

    Raises: ChatError `model_not_found`.
    """
    target = target_of(user_id, name, key_id)
    row = memory.current().providers[target.provider]
    full = full_name(row.name, row.canonical(target.model or row.default_model))
    if full not in model_names(user_id, key_id):
        raise _unknown(name)
    return full


def _meant(user_id: int, name: str, key_id: int | None) -> Target:
    provider, _, model = name.partition("/")
    if _is_enabled(name):
        return Target(name, None)
    if model and _is_enabled(provider):
        return Target(provider, model)
    return Target(_knowing(user_id, name, key_id), name)


def _is_enabled(provider: str) -> bool:
    row = memory.current().providers.get(provider)
    return row is not None and row.enabled


def _named(offer: Offer, access: Access) -> Iterator[str]:
    for model in names_of(offer.row, access):
        yield full_name(offer.row.name, model)


def _offers(user_id: int, access: Access, key_id: int | None) -> Iterable[Offer]:
    is_budgeted = budgets.apply_to(user_id, key_id)
    return catalogue.offers(access, is_budgeted=is_budgeted)


def _knowing(user_id: int, model: str, key_id: int | None) -> str:
    """Return the provider that knows a model by its bare name best."""
    access, found = access_of(user_id), []
    for offer in _offers(user_id, access, key_id):
        closeness = _closeness(offer, access, model)
        if closeness is not None:
            found.append((offer.refusal is not None, closeness, offer.row.name))
    if not found:
        raise _unknown(model)
    return min(found)[2]


def _closeness(offer: Offer, access: Access, model: str) -> int | None:
    """Return how well a provider knows a model: 0 is best, None means not at all."""
    row = offer.row
    model = row.canonical(model)
    if model in names_of(row, access):
        return int(model != row.default_model)
    # A pattern that allows every model does not mean that this one is known.
    return 2 if access.singles_out(row, model) else None


def _unknown(name: str) -> ChatError:
    text = f"The model '{name}' does not exist, or you may not use it"
    return ParameterError(ChatError("model_not_found", text, 404), "model")

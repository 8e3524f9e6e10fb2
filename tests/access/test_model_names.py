"""A model has one name, by which it is enabled, allowed, priced and asked for.

Gemini answers to two: `gemini-pro` and `models/gemini-pro`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError

from llmchat.access import catalogue, memory, price_uses, rules
from llmchat.access.known_models import names_of
from llmchat.access.permissions import access_of
from llmchat.api.openai.models import model_named, target_of
from llmchat.books.turn import Begun, Turn
from llmchat.errors import ChatError
from llmchat.models import Message, Price, Provider, ProviderAccess, ProviderModel
from llmchat.providers.types import Usage
from llmchat.reports import unpriced
from tests.support.access import cost_of, gemini_provider
from tests.support.turns import begin_turn

MILLION = Usage(10**6, 0, "provider")
BOTH = pytest.mark.parametrize("name", ["gemini-pro", "models/gemini-pro"])


@pytest.fixture
def google(transactional_db: None) -> Provider:
    """A provider of Gemini's protocol that knows `gemini-flash`, its default one."""
    row = gemini_provider("test")
    row.known_models.create(name="gemini-flash")
    return row


@pytest.fixture
def begin(
    google: Provider, django_user_model: Any, turn: Callable[..., Turn]
) -> Callable[..., Begun]:
    """Begin a turn that may name a model."""
    user = django_user_model.objects.create_user("ann")
    user.groups.add(Group.objects.create(name="team"))
    begun = iter(range(100))

    def make(name: str | None = None) -> Begun:
        asked = turn("Hi", model=name, session_id=f"s-{next(begun)}")
        return begin_turn(user.pk, asked)

    return make


def refused(begin: Callable[..., Begun], name: str | None = None) -> str:
    with pytest.raises(ChatError) as refusal:
        begin(name)
    return refusal.value.code


def add_price(model: ProviderModel, dollars: int = 10) -> Price:
    first = date(2026, 1, 1)
    return Price.objects.create(
        model=model, valid_from=first, input=dollars, output=dollars
    )


@pytest.mark.parametrize(
    "name", ["gemini-pro", "models/gemini-pro", "models/models/gemini-pro"]
)
def test_a_disabled_model_is_refused_by_any_name(begin, google, name):
    google.known_models.create(name="gemini-pro", enabled=False)
    assert refused(begin, name) == "model_not_found"


@pytest.mark.parametrize("name", ["tunedModels/gemini-pro", "Gemini-Pro", "models/"])
def test_another_model_is_another_one(begin, google, name):
    google.known_models.create(name="gemini-pro", enabled=False)
    assert begin(name).model == name


def test_a_name_means_what_it_says_where_the_protocol_knows_no_other(begin, google):
    google.known_models.create(name="gemini-pro", enabled=False)
    google.protocol = "openai"
    google.save()
    assert begin("models/gemini-pro").model == "models/gemini-pro"


@BOTH
@pytest.mark.parametrize("stored", ["gemini-pro", "models/gemini-pro"])
def test_it_is_priced_stored_and_told_alike(begin, google, name, stored):
    price = add_price(google.known_models.create(name=stored))
    begun = begin(name)
    assert begun.model == "gemini-pro"
    assert cost_of(begun.route, MILLION, begun.model) == 10
    assert Message.objects.get(role="assistant").model == "gemini-pro"
    assert price_uses.is_in_use(price)


@BOTH
@pytest.mark.parametrize("pattern", ["gemini-p*", "models/gemini-p*", "models/*"])
def test_who_may_use_it_may_by_both_names(begin, google, name, pattern):
    allow(google, pattern)
    assert begin(name).model == "gemini-pro"


@BOTH
@pytest.mark.parametrize("pattern", ["gemini-f*", "models/gemini-f*"])
def test_who_may_not_use_it_may_not_by_either(begin, google, name, pattern):
    allow(google, pattern)
    assert refused(begin, name) == "permission_denied"


@pytest.mark.parametrize(
    "pattern",
    ["models/*", "models/*-pro", "models/tunedModels/my-pro", "models/[!x]*", "m*"],
)
def test_who_may_use_what_has_the_prefix_may_use_no_tuned_model(begin, google, pattern):
    """A tuned model never has the prefix, even if the rest of the pattern would fit."""
    allow(google, pattern)
    for prefix in ("", "models/"):
        tuned = f"{prefix}tunedModels/my-pro"
        assert refused(begin, tuned) == "permission_denied"


@pytest.mark.parametrize(
    "pattern", ["*", "tunedModels/*", "tunedModels/my-pro", "*pro"]
)
def test_a_tuned_model_is_allowed_by_its_own_name(begin, google, pattern):
    allow(google, pattern)
    assert begin("tunedModels/my-pro").model == "tunedModels/my-pro"


@BOTH
@pytest.mark.parametrize("pattern", ["m*", "*/*", "?odels*"])
def test_a_pattern_does_not_fit_a_prefix_that_it_does_not_name(
    begin, google, name, pattern
):
    """A pattern for names with an m does not mean every name that may have a prefix."""
    allow(google, pattern)
    assert refused(begin, name) == "permission_denied"


def test_where_the_protocol_knows_no_prefix_a_pattern_means_what_it_says(begin, google):
    google.protocol = "openai"
    google.save()
    allow(google, "models/*")
    assert begin("models/tunedModels/x").model == "models/tunedModels/x"
    assert refused(begin, "gemini-pro") == "permission_denied"


def test_what_a_permission_names_is_listed_by_the_one_name(begin, google):
    user_id = begin().user_id
    allow(google, "models/gemini-pro\ngemini-pro\nmodels/tunedModels/x\ntunedModels/y")
    row = memory.current().providers["test"]
    assert names_of(row, access_of(user_id)) == ["gemini-pro", "tunedModels/y"]


@pytest.mark.parametrize("pattern", ["*", "models/*"])
def test_nothing_is_known_by_a_pattern_that_means_every_name(begin, google, pattern):
    user_id = begin().user_id
    allow(google, pattern)
    with pytest.raises(ChatError, match="does not exist"):
        target_of(user_id, "another-model")


@BOTH
def test_a_name_that_fits_a_pattern_means_the_provider(begin, google, name):
    user_id = begin().user_id
    allow(google, "models/gemini-p*")
    assert target_of(user_id, name).provider == "test"


def allow(google: Provider, pattern: str) -> None:
    Provider.objects.update(restricted=True)
    ProviderAccess.objects.create(
        provider=google, group=Group.objects.get(name="team"), allowed_models=pattern
    )


def test_a_default_model_with_a_prefix_answers_and_is_priced(begin, google):
    """A fetched list has added its row, which is disabled like all new rows."""
    model = google.known_models.create(name="gemini-pro", enabled=False)
    add_price(model)
    Provider.objects.update(default_model="models/gemini-pro")
    begun = begin()
    assert (begun.model, begun.route.default_model) == ("gemini-pro", "gemini-pro")
    assert cost_of(begun.route, MILLION) == 10
    assert unpriced._priced() == {google.pk}
    row = memory.current().providers["test"]
    named = names_of(row, access_of(begun.user_id))
    assert named == ["gemini-pro", "gemini-flash"]


@pytest.mark.parametrize("enabled", ["gemini-pro", "models/gemini-pro", "both", ""])
def test_of_two_rows_of_a_model_an_enabled_one_counts(begin, google, enabled):
    for number, name in enumerate(("gemini-pro", "models/gemini-pro"), 1):
        is_enabled = enabled in (name, "both")
        add_price(google.known_models.create(name=name, enabled=is_enabled), number)
    for name in ("gemini-pro", "models/gemini-pro"):
        if not enabled:
            assert refused(begin, name) == "model_not_found"
            continue
        begun = begin(name)
        cost = 2 if enabled == "models/gemini-pro" else 1
        assert cost_of(begun.route, MILLION, begun.model) == cost


@pytest.mark.parametrize(
    "name", ["test/gemini-flash", "test/models/gemini-flash", "models/gemini-flash"]
)
def test_openai_s_names_mean_it_too(begin, google, name):
    user_id = begin().user_id
    assert model_named(user_id, name) == "test/gemini-flash"
    assert target_of(user_id, name).provider == "test"


def test_what_is_entered_is_stored_by_the_one_name(google):
    google.default_model = "models/gemini-pro"
    google.full_clean()
    assert google.default_model == "gemini-pro"
    again = ProviderModel(provider=google, name="models/gemini-flash")
    with pytest.raises(ValidationError, match="already has a model with this name"):
        again.full_clean()


def test_a_default_model_is_not_disabled_by_another_name(google):
    Provider.objects.update(default_model="models/gemini-flash")
    row = ProviderModel.objects.select_related("provider").get(name="gemini-flash")
    row.enabled = False
    with pytest.raises(ValidationError, match="default model"):
        row.full_clean()


@pytest.mark.parametrize("is_enabled", [False, True])
def test_a_disabled_row_of_it_is_a_fault_of_the_default_model(google, is_enabled):
    google.known_models.create(name="models/gemini-pro", enabled=is_enabled)
    google.default_model = "gemini-pro"
    faults = [field for field, _ in rules._faults_of_model(google)]
    assert faults == ([] if is_enabled else ["default_model"])


def test_a_fallback_is_asked_by_the_one_name(begin, google):
    google.known_models.create(name="gemini-pro")
    google.fallback = gemini_provider("spare", "models/gemini-pro")
    google.save()
    fallback = begin().route.fallback
    assert isinstance(fallback, catalogue.Route)
    assert (fallback.model, fallback.default_model) == ("gemini-pro", "gemini-pro")


@BOTH
def test_an_answer_of_any_name_leads_to_the_page_of_its_price(google, name):
    model = google.known_models.create(name="gemini-pro")
    assert f"/providermodel/{model.pk}/" in unpriced._page(google, f"{name}-2026")

"""Models and prices in the admin: entered, kept, fetched."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from llmchat.access import fetching, memory
from llmchat.books.turn import Begun, Outcome, Turn
from llmchat.database import in_database
from llmchat.models import Message, Price, Provider, ProviderModel
from llmchat.models.revision import Revision
from llmchat.providers import listing
from llmchat.providers.types import ChatMessage, Usage
from tests.emulator.application import emulator
from tests.support.access import gemini_provider
from tests.support.admin_fixtures import make_conversation
from tests.support.databases import is_waited_for
from tests.support.provider_keys import stored
from tests.support.turns import begin_turn, end_turn

MODELS = "/admin/llmchat/providermodel/"
PROVIDERS = "/admin/llmchat/provider/"


@pytest.fixture
def model(provider: Provider) -> ProviderModel:
    ProviderModel.objects.all().delete()
    return ProviderModel.objects.create(
        provider=provider, name="m-1", context_tokens=8000, takes_tools=False
    )


def price(model: ProviderModel, **fields: Any) -> Price:
    rates = {"input": 2, "output": 10, "valid_from": date(2026, 1, 1)}
    return Price.objects.create(model=model, **(rates | fields))


def told(response: HttpResponse) -> str:
    return " ".join(map(str, response.context["messages"]))  # type: ignore[attr-defined]


def posted_model(boss: Client, model: ProviderModel, *prices: dict[str, Any]) -> str:
    """Save the model's page with these prices; return the page that follows."""
    data: dict[str, Any] = {
        "name": model.name,
        "enabled": "on",
        "position": 0,
        "prices-TOTAL_FORMS": len(prices),
        "prices-INITIAL_FORMS": sum(bool(one.get("id")) for one in prices),
    }
    for number, fields in enumerate(prices):
        given = {
            "model": model.pk,
            "valid_from": "2026-06-01",
            "input": "3",
            "output": "4",
            "input_factor": "1",
            "output_factor": "1",
            "peak_factor": "1",
            "bills_refusals": "on",
            **fields,
        }
        data |= {f"prices-{number}-{name}": value for name, value in given.items()}
    url = reverse("admin:llmchat_providermodel_change", args=[model.pk])
    return boss.post(url, data, follow=True).content.decode()


def test_a_price_that_is_entered_holds_for_whoever_reads_next(boss, provider, model):
    assert memory.current().providers["openai"].model_rows["m-1"].price_rows == ()
    posted_model(boss, model, {"cache_read": "0.1"})
    (found,) = memory.current().providers["openai"].model_rows["m-1"].price_rows
    assert (found.input, found.cache_read) == (3, Decimal("0.1"))
    assert found.cache_write is None


def billed_by(row: Price) -> Message:
    user = User.objects.create_user("ann")
    conversation = make_conversation(user, price=row)
    return conversation.messages.get(role="assistant")


@pytest.mark.parametrize("change", [{"input": "5"}, {"DELETE": "on"}])
def test_a_price_that_answers_were_billed_by_stays(boss, model, change):
    row = price(model)
    answer = billed_by(row)
    entry = {"id": row.pk, "valid_from": "2026-01-01", "input": "2", "output": "10"}

    page = posted_model(boss, model, entry | change)

    assert "Add a price with a later date instead." in page
    row.refresh_from_db()
    answer.refresh_from_db()
    assert (row.input, answer.price_id) == (2, row.pk)


def test_a_price_that_is_in_use_can_be_ended_and_superseded(boss, model):
    row = price(model)
    billed_by(row)
    entry = {"id": row.pk, "valid_from": "2026-01-01", "input": "2", "output": "10"}

    posted_model(boss, model, entry | {"valid_until": "2026-05-01"}, {})

    row.refresh_from_db()
    assert row.valid_until == date(2026, 5, 1)
    assert [one.input for one in model.prices.all()] == [3, 2]


def test_a_price_that_nothing_was_billed_by_can_be_corrected(boss, model):
    row = price(model)
    entry = {"id": row.pk, "valid_from": "2026-01-01", "input": "5", "output": "10"}
    posted_model(boss, model, entry)
    assert [one.input for one in model.prices.all()] == [5]


@pytest.fixture
def begun(provider: Provider, model: ProviderModel) -> Callable[..., Begun]:
    """A function that begins an answer, by default one of the model."""
    Provider.objects.filter(pk=provider.pk).update(needs_key=False)
    user = User.objects.create_user("ann")

    def begin(provider: str = "openai", named: str | None = "m-1") -> Begun:
        said = (ChatMessage("user", "Hi"),)
        turn = Turn(session_id="s-1", provider=provider, model=named, messages=said)
        return begin_turn(user.pk, turn)

    return begin


def ended(begun: Begun) -> Message:
    """Store an end with a million tokens each of input and output."""
    used = Usage(1_000_000, 1_000_000, "provider")
    state, model = Message.State.COMPLETE, begun.model
    end_turn(begun, Outcome(state, "Hello", used, model, "stop"))
    return Message.objects.get(pk=begun.message_id)


CORRECTED = {"valid_from": "2026-01-01", "input": "5", "output": "10"}


@pytest.mark.parametrize("change", [{}, {"DELETE": "on"}])
def test_a_price_that_a_running_answer_began_by_stays(boss, model, begun, change):
    row = price(model)
    running = begun()
    page = posted_model(boss, model, {"id": row.pk} | CORRECTED | change)
    assert "Add a price with a later date instead." in page
    url = reverse("admin:llmchat_providermodel_delete", args=[model.pk])
    assert boss.post(url, {"post": "yes"}).status_code == 403

    answer = ended(running)
    row.refresh_from_db()
    assert (answer.cost, answer.price_id, row.input) == (12, row.pk, 2)


def test_a_price_that_was_ended_while_an_answer_is_written_by_it_stays(
    boss, model, begun
):
    row = price(model)
    running = begun()
    Price.objects.update(valid_until=timezone.now().date())
    entry = {"id": row.pk} | CORRECTED
    page = posted_model(boss, model, entry | {"DELETE": "on"})
    assert "Add a price with a later date instead." in page

    answer = ended(running)
    assert (answer.cost, answer.price_id) == (12, row.pk)


def test_a_price_that_no_running_answer_began_by_can_be_corrected(boss, model, begun):
    old = price(model, valid_from=date(2020, 1, 1))
    price(model)
    begun()
    later = price(model, valid_from=date(2026, 2, 1))  # created after the answer began
    entries = [
        {"id": row.pk, "valid_from": row.valid_from, "input": "9", "output": "10"}
        for row in (later, old)
    ]
    posted_model(boss, model, *entries)
    assert [one.input for one in model.prices.all()] == [9, 2, 9]


def test_a_price_that_a_running_answer_may_fall_back_to_stays(
    boss, provider, model, begun
):
    """The answer's row names the provider that was requested, not the fallback."""
    rows = Provider.objects.filter(pk=provider.pk)
    rows.update(default_model="m-1")
    fields = {"base_url": "http://127.0.0.1:9/v1", "default_model": "x"}
    Provider.objects.create(
        name="first", label="F", protocol="openai", fallback=provider, **fields
    )
    row = price(model)
    begun("first", None)
    page = posted_model(boss, model, {"id": row.pk} | CORRECTED)
    assert "Add a price with a later date instead." in page


def test_no_price_shows_rates_that_an_answer_was_not_billed_by(boss, model, begun):
    """Its worker was taken for dead, but still stores the answer's end."""
    row = price(model)
    running = begun()
    rows = Message.objects.filter(pk=running.message_id)
    rows.update(state=Message.State.INTERRUPTED)
    posted_model(boss, model, {"id": row.pk} | CORRECTED)

    answer = ended(running)
    corrected = model.prices.get()
    assert (answer.cost, corrected.input) == (12, 5)
    assert answer.price_id == row.pk != corrected.pk


def test_what_says_nothing_of_the_bill_is_changed_in_place(boss, model, begun):
    row = price(model)
    begun()
    entry = {"id": row.pk, "valid_from": "2026-01-01", "input": "2", "output": "10"}
    posted_model(boss, model, entry | {"source": "their page"})
    assert [(one.pk, one.source) for one in model.prices.all()] == [
        (row.pk, "their page")
    ]


UNCHANGED = CORRECTED | {"input": "2"}


@pytest.mark.parametrize(
    "entered",
    [
        CORRECTED,
        UNCHANGED | {"source": "their page"},
        UNCHANGED | {"valid_until": "2026-05-01"},
    ],
)
def test_a_price_that_somebody_else_has_replaced_is_told(
    boss, model, monkeypatch, entered
):
    """As if both saved at the same time, and this request waited for the other."""
    row = price(model)
    monkeypatch.setattr(
        "llmchat.admin.models.revise", lambda: Price.objects.get(pk=row.pk).replace()
    )
    page = posted_model(boss, model, {"id": row.pk} | entered)
    assert "Someone else has changed this price." in page
    stored = model.prices.get()
    assert (stored.source, stored.valid_until) == ("", None)


def test_a_change_of_what_is_not_billed_waits_for_who_replaces_the_price(boss, model):
    """It finds the price gone, and does not bring it back with its old rates."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    row = price(model)
    entry = {"id": row.pk} | UNCHANGED | {"source": "their page"}

    def post() -> str:
        try:
            return posted_model(boss, model, entry)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            other = Price.objects.get(pk=row.pk)
            other.input = 5
            other.replace()
            posting = threads.submit(post)
            wait_for_who_wants_the_revision(posting)
        page = posting.result(30)
    assert "Someone else has changed this price." in page
    assert [(one.pk, one.input) for one in Price.objects.all()] == [(other.pk, 5)]


def wait_for_who_wants_the_revision(work: Future[str]) -> None:
    end = time.monotonic() + 30
    with connection.cursor() as cursor:
        while not is_waited_for(cursor, Revision._meta.db_table):
            assert not work.done(), work.result()
            assert time.monotonic() < end


def test_two_who_change_what_is_not_billed_keep_each_other_s(boss, model, monkeypatch):
    row = price(model)

    def end_it() -> None:
        Price.objects.filter(pk=row.pk).update(valid_until=date(2026, 5, 1))

    monkeypatch.setattr("llmchat.admin.models.revise", end_it)
    posted_model(boss, model, {"id": row.pk} | UNCHANGED | {"source": "their page"})
    row.refresh_from_db()
    assert (row.source, row.valid_until) == ("their page", date(2026, 5, 1))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"peak_hours": "all day"}, "Enter hours such as"),
        ({"off_days": "Easter"}, "Enter days such as"),
        ({"valid_until": "2026-06-01"}, "Enter a day later than"),
        ({"input": "-1"}, "greater than or equal to 0"),
    ],
)
def test_what_is_no_price_is_refused(boss, model, fields, word):
    assert word in posted_model(boss, model, fields)
    assert not model.prices.exists()


def test_a_model_has_one_price_of_a_date(boss, model):
    page = posted_model(boss, model, {}, {})
    assert "duplicate" in page or "already has a price that begins on this day" in page
    assert not model.prices.exists()


def test_a_model_whose_prices_are_in_use_is_not_deleted(boss, model):
    row = price(model)
    url = reverse("admin:llmchat_providermodel_delete", args=[model.pk])
    billed_by(row)
    assert boss.post(url, {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [model.pk], "post": "yes"}
    boss.post(MODELS, data)
    assert ProviderModel.objects.filter(pk=model.pk).exists()

    Message.objects.all().delete()
    assert boss.post(url, {"post": "yes"}).status_code == 302
    assert not Price.objects.exists()


def test_deleting_a_provider_keeps_the_answers_and_what_they_cost(
    boss, provider, model
):
    answer = billed_by(price(model))
    Message.objects.filter(pk=answer.pk).update(cost=1)
    provider.delete()
    answer.refresh_from_db()
    assert (answer.price_id, answer.cost) == (None, 1)


def test_the_page_of_a_provider_shows_its_models(boss, provider, model):
    price(model, input=Decimal("0.15"), output=Decimal("2.5"))
    ProviderModel.objects.create(provider=provider, name="m-2", reasons=True)
    url = reverse("admin:llmchat_provider_change", args=[provider.pk])

    page = boss.get(url).content.decode()

    assert "$0.15 in, $2.50 out" in page
    assert "not priced" in page
    assert "8,000 context" in page
    assert "images, tools, reasoning" in page
    assert reverse("admin:llmchat_providermodel_change", args=[model.pk]) in page


def test_the_list_of_models_tells_prices_and_what_is_gone(boss, provider, model):
    today = timezone.now().date()
    provider.input_price = provider.output_price = 1
    provider.save()
    ProviderModel.objects.create(provider=provider, name="m-2", missing_since=today)
    later = today + timedelta(days=9)
    ProviderModel.objects.create(provider=provider, name="m-3", retires_on=later)

    page = boss.get(MODELS).content.decode()

    assert "$1.00 in, $1.00 out (the provider&#x27;s)" in page
    assert f"not listed since {today}" in page
    assert f"retires {later}" in page


def test_the_lists_take_as_many_queries_for_many_models(
    boss, provider, model, django_assert_max_num_queries
):
    many = [ProviderModel(provider=provider, name=f"x-{n}") for n in range(60)]
    for row in ProviderModel.objects.bulk_create(many):
        price(row)
    with django_assert_max_num_queries(20):
        boss.get(MODELS)
    with django_assert_max_num_queries(25):
        boss.get(reverse("admin:llmchat_provider_change", args=[provider.pk]))


@pytest.mark.parametrize("enabled", ["on", ""])
def test_the_default_model_stays_enabled(boss, provider, model, enabled):
    row = ProviderModel.objects.create(provider=provider, name="model-1")
    data = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": row.pk}
    page = boss.post(
        f"{MODELS}?q=model-1",
        data | {"form-0-enabled": enabled, "_save": "Save"},
        follow=True,
    )
    row.refresh_from_db()
    assert row.enabled
    refused = "This is the provider’s default model." in page.content.decode()
    assert refused == (enabled == "")


def test_a_disabled_model_does_not_become_the_default(boss, provider, model):
    ProviderModel.objects.filter(pk=model.pk).update(enabled=False)
    provider.default_model = "m-1"
    url = reverse("admin:llmchat_provider_change", args=[provider.pk])
    form = boss.get(url).context["adminform"].form
    data = {name: value for name, value in form.initial.items() if value}
    data |= {"keys-TOTAL_FORMS": 0, "keys-INITIAL_FORMS": 0}
    data |= {"access-TOTAL_FORMS": 0, "access-INITIAL_FORMS": 0}
    page = boss.post(url, data | {"default_model": "m-1"}, follow=True)
    assert "The default model is disabled." in page.content.decode()


def test_the_page_of_a_message_shows_its_price_and_bears_that_it_is_gone(boss, model):
    row = price(model)
    answer = billed_by(row)
    url = reverse("admin:llmchat_message_change", args=[answer.pk])
    assert "m-1 from 2026-01-01" in boss.get(url).content.decode()
    # Like an end that is stored while its price is being deleted.
    Message.objects.filter(pk=answer.pk).update(price_id=row.pk + 1)
    assert boss.get(url).status_code == 200


def test_a_conversation_says_what_is_not_priced(boss, model):
    user = User.objects.create_user("ann")
    used = {"usage_source": "provider", "input_tokens": 7, "output_tokens": 3}
    row = make_conversation(user, **used)
    url = reverse("admin:llmchat_conversation_change", args=[row.pk])
    assert "· not priced" in boss.get(url).content.decode()
    row.messages.update(cost=0)
    assert "· not priced" not in boss.get(url).content.decode()


def test_a_default_model_without_a_price_says_so_and_where_to_enter_it(
    boss, provider, model
):
    Provider.objects.filter(pk=provider.pk).update(default_model=model.name)
    page = reverse("admin:llmchat_provider_change", args=[provider.pk])
    entered = reverse("admin:llmchat_providermodel_change", args=[model.pk])
    link = f'href="{entered}">'
    hint = "Not priced: the cost of this"

    assert f'<dd>not priced: <a class="llm-link" {link}enter it' in told_on(boss, page)
    assert hint in told_on(boss, entered)
    price(model)
    shown = "$2.00 in, $10.00 out"
    assert f'<dd>{shown}: <a class="llm-link" {link}see it' in told_on(boss, page)
    assert hint not in told_on(boss, entered)
    # A model without a row of its own has the provider's prices, on the same page.
    Provider.objects.filter(pk=provider.pk).update(
        default_model="alias", input_price=1, output_price=2
    )
    assert "<dd>$1.00 in, $2.00 out (the provider&#x27;s)</dd>" in told_on(boss, page)


def told_on(boss: Client, url: str) -> str:
    return boss.get(url).content.decode()


# --- Fetching ----------------------------------------------------------------------


async def fetched(boss: Client, provider: Provider, *, page: bool = False) -> str:
    """Fetch models from the emulator; return the admin's messages."""

    def post() -> str:
        if not page:
            data = {"action": "fetch_models", "_selected_action": [provider.pk]}
            return told(boss.post(PROVIDERS, data, follow=True))
        url = reverse("admin:llmchat_provider_change", args=[provider.pk])
        form = boss.get(url).context["adminform"].form
        data = {name: value for name, value in form.initial.items() if value}
        data |= {"keys-TOTAL_FORMS": 0, "keys-INITIAL_FORMS": 0}
        data |= {"access-TOTAL_FORMS": 0, "access-INITIAL_FORMS": 0}
        data["llmchat_provider_save_and_fetch"] = ""
        return told(boss.post(url, data, follow=True))

    async with emulator() as server:
        fields = {"base_url": server.url}
        rows = Provider.objects.filter(pk=provider.pk)
        await in_database(lambda: rows.update(**fields))
        return await in_database(post)


@pytest.mark.parametrize("page", [False, True])
async def test_models_are_fetched_with_the_stored_key(boss, provider, model, page):
    await in_database(stored, provider, "sk-good-0123456789")
    said = await fetched(boss, provider, page=page)

    assert "It lists 3 models; 3 new: gpt-6-luna, gpt-7, text-embedding-3;" in said
    assert "1 gone: m-1." in said
    assert "New models are disabled until you enable them." in said

    def read() -> dict[str, tuple[bool, Any, Any]]:
        rows = ProviderModel.objects.filter(provider=provider)
        fields = ("name", "enabled", "missing_since", "retires_on")
        return {name: tuple(rest) for name, *rest in rows.values_list(*fields)}  # type: ignore[misc]

    today = timezone.now().date()
    assert await in_database(read) == {
        "m-1": (True, today, None),
        "gpt-6-luna": (False, None, None),
        "gpt-7": (False, None, date(2027, 3, 1)),
        "text-embedding-3": (False, None, None),
    }
    entry = await in_database(
        lambda: LogEntry.objects.filter(change_message__startswith="Fetched").get()
    )
    assert "3 new" in entry.change_message


async def test_what_is_known_stays_as_the_operator_has_it(boss, provider):
    def prepare() -> None:
        ProviderModel.objects.all().delete()
        stored(provider, "sk-good-0123456789")
        yesterday = timezone.now().date() - timedelta(days=1)
        ProviderModel.objects.create(
            provider=provider, name="gpt-7", label="Ours", missing_since=yesterday
        )
        Provider.objects.filter(pk=provider.pk).update(default_model="gpt-6-luna")

    await in_database(prepare)
    said = await fetched(boss, provider)

    assert "1 back: gpt-7" in said
    rows = {
        row.name: row
        for row in await in_database(lambda: [*ProviderModel.objects.all()])
    }
    assert (rows["gpt-7"].label, rows["gpt-7"].missing_since) == ("Ours", None)
    assert rows["gpt-7"].enabled
    # The model that requests without a model get must not be refused.
    assert rows["gpt-6-luna"].enabled
    assert "nothing has changed" in await fetched(boss, provider)


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("sk-bad-0123456789", "The provider refused the API key (401 "),
        ("", "Enter a key first."),
    ],
)
async def test_why_nothing_was_fetched_is_told(boss, provider, model, key, word):
    if key:
        await in_database(stored, provider, key)
    said = await fetched(boss, provider)
    assert word in said
    assert "sk-bad" not in said
    assert await in_database(ProviderModel.objects.count) == 1


def test_a_provider_without_an_address_is_not_asked(provider):
    provider.name, provider.base_url = "mine", ""
    assert fetching.fetch_models(provider).text == "Enter its base URL first."


async def test_a_list_of_too_many_changes_nothing(boss, provider, model, monkeypatch):
    monkeypatch.setattr(fetching, "MAX_MODELS", 2)
    await in_database(stored, provider, "sk-good-0123456789")
    assert "It lists 3 models, which is too many." in await fetched(boss, provider)
    assert await in_database(ProviderModel.objects.count) == 1
    assert listing.MAX_MODELS > 2


def test_the_embedded_server_has_its_one_model(boss):
    row = Provider.objects.create(
        name="own", label="Own", protocol="openai", embedded=True, needs_key=False
    )
    said = fetching.fetch_models(row)
    assert said.text.startswith("It lists 1 model; 1 new: SmolLM2-135M-Instruct.")


def test_at_most_three_are_fetched_at_once(boss, provider):
    for number in range(3):
        Provider.objects.create(name=f"p-{number}", label="P", protocol="openai")
    data = {
        "action": "fetch_models",
        "_selected_action": list(Provider.objects.values_list("pk", flat=True)),
    }
    assert "Select at most three providers." in told(
        boss.post(PROVIDERS, data, follow=True)
    )


@pytest.mark.parametrize("name", ["m-1", "models/m-1"])
async def test_a_model_that_is_known_with_a_prefix_is_not_new(
    transactional_db, monkeypatch, name
):
    """Nor is it missing, although Gemini's own list has it without the prefix."""
    rows = [listing.Listed("m-1"), listing.Listed("m-2")]
    monkeypatch.setattr(fetching, "_listed", lambda row: rows)

    def fetch() -> tuple[str, list[tuple[str, bool]]]:
        row = gemini_provider("g", "models/m-2")
        row.known_models.create(name=name, enabled=False)
        said = fetching.fetch_models(row).text
        known = row.known_models.filter(missing_since=None)
        return said, list(known.values_list("name", "enabled"))

    said, known = await in_database(fetch)
    assert said.startswith("It lists 2 models; 1 new: m-2.")
    assert known == [(name, False), ("m-2", True)]


async def test_a_list_with_prefixes_is_fetched_again_and_again(
    transactional_db, monkeypatch
):
    """Some gateways list a model with a prefix, or by both names."""
    rows = [listing.Listed(name) for name in ("models/m-1", "m-1", "models/m-2")]
    monkeypatch.setattr(fetching, "_listed", lambda row: rows)

    def fetch() -> list[tuple[str, bool]]:
        row = gemini_provider("g", "m-2")
        assert "2 new: m-1, m-2" in fetching.fetch_models(row).text
        assert "new" not in fetching.fetch_models(row).text
        known = row.known_models.filter(missing_since=None)
        return list(known.values_list("name", "enabled"))

    assert await in_database(fetch) == [("m-1", False), ("m-2", True)]

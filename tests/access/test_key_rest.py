"""Keys that a provider rejects rest, and the next key is used."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from llmchat.access import keys
from llmchat.answers import runtime
from llmchat.answers.events import Done
from llmchat.answers.refusals import KeyRefusals
from llmchat.books.turn import KeyRefusal
from llmchat.books.writer import Books
from llmchat.database import in_database
from llmchat.models import Provider, ProviderKey
from llmchat.models.revision import current_revision
from llmchat.providers.types import Key
from tests.emulator.driver import APIS
from tests.support.access import env_name, turn_for
from tests.support.chat_fixtures import end_of
from tests.support.provider_keys import stored
from tests.support.streaming import streaming


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("bad", "code"), [("sk-bad-1", "provider_auth"), ("sk-broke", "provider_quota")]
)
async def test_a_refused_key_of_the_environment_rests_and_the_next_one_is_used(
    user, make_row, emulated, turn, settings, fresh_memory, api, bad, code
):
    await make_row(api)
    name = f"{env_name(api)}_api_key"
    settings.LLMCHAT = settings.LLMCHAT | {name: f"{bad}, sk-good"}
    first = await end_of(user, turn_for(turn, api, "short"))
    asked = len(emulated.requests)
    second = await end_of(user, turn_for(turn, api, "unicode"))

    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert (asked, len(emulated.requests)) == (2, 3)
    assert [refused for _, refused in keys._resting.values()] == [code]


async def test_a_refused_stored_key_rests_and_tells_the_operator_why(
    user, make_row, emulated, turn
):
    row = await make_row("openai")

    def store() -> None:
        for value in ("sk-broke-0123456789", "sk-good-0123456789"):
            key = ProviderKey(provider=row)
            key.set_value(value)
            key.save()

    await in_database(store)
    for _ in range(2):
        done = await end_of(user, turn_for(turn, "openai", "short"))
        assert isinstance(done, Done)

    broke, good = await in_database(lambda: list(ProviderKey.objects.all()))
    assert len(emulated.requests) == 3
    assert broke.last_error == "provider_quota"
    assert timezone.now() < broke.resting_until < timezone.now() + keys.REST
    assert (good.last_error, good.resting_until) == ("", None)
    assert good.last_used_at is not None


async def test_a_provider_that_is_down_is_no_word_for_its_key(user, make_row, turn):
    row = await make_row("openai")

    def store() -> ProviderKey:
        key = ProviderKey(provider=row, last_error="provider_auth")
        key.set_value("sk-good-0123456789")
        key.save()
        return key

    key = await in_database(store)
    await end_of(user, turn_for(turn, "openai", "fail-bad-request"))
    await in_database(key.refresh_from_db)
    assert key.last_error == "provider_auth"


async def test_a_providers_401_is_never_the_users(
    user, make_row, turn, settings, fresh_memory
):
    await make_row("openai")
    settings.LLMCHAT = settings.LLMCHAT | {"openai_api_key": "sk-bad"}
    failed = await end_of(user, turn_for(turn, "openai", "short"))
    assert (failed.error.code, failed.error.status) == ("provider_auth", 502)


@pytest.mark.parametrize("is_stored", [False, True], ids=["environment", "stored"])
async def test_a_refused_key_rests_while_the_answer_that_met_it_is_being_written(
    user, make_row, emulated, turn, settings, fresh_memory, is_stored
):
    row = await make_row("openai")
    values = ("sk-bad-1-0123456789", "sk-good-0123456789")
    if is_stored:
        await in_database(lambda: [stored(row, value) for value in values])
    else:
        given = {"openai_api_key": ", ".join(values)}
        settings.LLMCHAT = settings.LLMCHAT | given
    async with streaming(user, turn_for(turn, "openai", "endless")) as (_, _, stream):
        asked = len(emulated.requests)
        second = replace(turn_for(turn, "openai", "short"), session_id="s-2")
        assert isinstance(await end_of(user, second), Done)
        again = len(emulated.requests) - asked
        stream.cancel()
    assert (asked, again) == (2, 1)


# --- What is noted of a stored key -------------------------------------------------


@pytest.fixture
def old(acme: Provider, monkeypatch: pytest.MonkeyPatch) -> tuple[ProviderKey, Key]:
    """A stored key, and its `Key` as an answer that has begun holds it."""
    monkeypatch.setattr(keys, "_noted", {})
    row = stored(acme, "sk-old-0123456789")
    return row, keys.stored_key(row)


@pytest.fixture
def acme(transactional_db: None) -> Provider:
    return Provider.objects.create(name="acme", label="Acme", protocol="openai")


def state_of(row: ProviderKey) -> tuple[str, bool, bool]:
    """Return why a key was refused, whether it rests, and whether it was used."""
    row.refresh_from_db()
    rests = row.resting_until is not None and row.resting_until > timezone.now()
    return row.last_error, rests, row.last_used_at is not None


def test_what_becomes_of_an_old_value_says_nothing_of_the_new_one(old):
    row, used = old
    row.set_value("sk-new-0123456789")
    row.save()
    keys.note_refusal(used, "provider_auth", timezone.now())
    assert state_of(row) == ("", False, False)

    keys.note_refusal(keys.stored_key(row), "provider_quota", timezone.now())
    keys.note_use([used], {}, timezone.now())
    assert state_of(row) == ("provider_quota", True, False)

    keys.note_use([keys.stored_key(row)], {}, timezone.now())
    assert state_of(row) == ("", False, True)


def test_an_answer_that_was_let_in_before_says_nothing_against_a_refusal(old):
    row, key = old
    began = timezone.now() - timedelta(minutes=4)
    keys.note_refusal(key, "provider_auth", began + timedelta(minutes=3))
    keys.note_use([key], {}, began)
    assert state_of(row) == ("provider_auth", True, False)
    # But a later success does count.
    keys.note_use([key], {}, timezone.now())
    assert state_of(row) == ("", False, True)


def test_a_refusal_of_before_says_nothing_against_a_key_that_has_worked_since(old):
    row, key = old
    refused = timezone.now()
    keys.note_use([key], {}, refused + timedelta(seconds=1))
    keys.note_refusal(key, "provider_auth", refused)
    assert state_of(row) == ("", False, True)


def test_a_key_of_the_environment_is_noted_alike(fresh_memory):
    key, now = Key("environment acme 1", "sk-1"), timezone.now()
    keys.note_refusal(key, "provider_auth", now)
    keys.note_use([key], {}, now - timedelta(minutes=1))
    assert key in keys._resting
    keys.note_use([key], {}, now + timedelta(minutes=1))
    assert key not in keys._resting


class Shared(dict[Key, tuple[datetime, str]]):
    """A dict from which another thread seems to remove a key whenever it is read."""

    def __getitem__(self, key: Key) -> tuple[datetime, str]:
        return self.pop(key)

    def get(self, key: Key, default: Any = None) -> Any:
        return self.pop(key, default)


def test_two_threads_note_at_once_that_a_key_of_the_environment_works(monkeypatch):
    key, now = Key("environment openai 1", "sk"), timezone.now()
    monkeypatch.setattr(keys, "_resting", Shared({key: (now, "provider_auth")}))
    keys.note_use([key], {}, now)
    assert not keys._resting


def test_a_refusal_that_is_known_changes_nothing_that_is_remembered(old):
    row, key = old
    keys.note_refusal(key, "provider_auth", timezone.now())
    known = current_revision()
    for _ in range(3):
        keys.note_refusal(key, "provider_auth", timezone.now())
    assert current_revision() == known
    # That the key is out of money is new.
    keys.note_refusal(key, "provider_quota", timezone.now())
    assert state_of(row) == ("provider_quota", True, False)


class Gone(Books):
    """Books that record what they are given, and fail."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[KeyRefusal] = []

    async def refuse(self, refusal: KeyRefusal) -> None:
        self.given.append(refusal)
        await asyncio.sleep(0)
        raise OperationalError("no connection")


async def test_a_refusal_of_each_key_is_stored_at_a_time_and_fails_alone(caplog):
    tasks: list[asyncio.Task[Any]] = []

    def spawn(work: Any) -> asyncio.Task[Any]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    books = Gone()
    refusals = KeyRefusals(books, spawn)
    one, other = Key("key 1", "sk-1", "gA"), Key("key 2", "sk-2", "gB")
    for _ in range(100):
        refusals.note(one, "provider_auth")
        refusals.note(other, "provider_quota")
    await asyncio.gather(*tasks)
    assert [refusal.key for refusal in books.given] == [one, other]
    assert "the refusal of key 1 could not be stored" in caplog.text
    assert "sk-1" not in caplog.text
    # The refusal is met, and noted, again.
    refusals.note(one, "provider_auth")
    await asyncio.gather(*tasks)
    assert len(books.given) == 3


async def test_refusals_are_stored_before_the_turns_that_come_later(
    user, make_row, turn
):
    row = await make_row("openai")
    values = ("sk-bad-1-0123456789", "sk-good-0123456789")
    bad, good = await in_database(lambda: [stored(row, value) for value in values])
    books = runtime.get().books
    key = await in_database(keys.stored_key, bad)
    refused = asyncio.create_task(
        books.refuse(KeyRefusal(key, "provider_auth", timezone.now()))
    )
    await asyncio.sleep(0)
    begun = await books.begin(user.pk, turn_for(turn, "openai", "short"))
    await refused
    assert [key.ident for key in begun.route.keys] == [keys.ident(good)]

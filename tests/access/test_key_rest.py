"""Keys that a provider rejects rest, and the next key is used."""

from __future__ import annotations

import pytest
from django.utils import timezone

from llmchat.access import keys
from llmchat.answers.events import Done
from llmchat.database import in_database
from llmchat.models import ProviderKey
from tests.emulator.driver import APIS
from tests.support.access import env_name, turn_for
from tests.support.chat_fixtures import end_of


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

"""Settings are read again if they have changed, and only then."""

from __future__ import annotations

from typing import Any

from llmchat import conf


def test_the_same_settings_are_the_same_values() -> None:
    assert conf.get() is conf.get()


def test_a_setting_that_is_replaced_or_changed_is_seen(settings: Any) -> None:
    settings.LLMCHAT = {**settings.LLMCHAT, "messages_per_minute": 7}
    assert conf.get().messages_per_minute == 7

    settings.LLMCHAT["messages_per_minute"] = 8
    assert conf.get().messages_per_minute == 8

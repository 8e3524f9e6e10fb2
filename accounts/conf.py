"""The settings of accounts, read each time they are needed."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Conf:
    """The values of the `LLMCHAT` setting that accounts use."""

    registration: bool
    login_attempts_per_minute: int


def get() -> Conf:
    """Return the current settings."""
    values = settings.LLMCHAT
    return Conf(values["registration"], values["login_attempts_per_minute"])

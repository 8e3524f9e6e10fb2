"""What is wrong with a provider's settings, found before anybody uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from llmchat.access.status import Source, State, status_of
from llmchat.models import Provider
from llmchat.providers.registry import LOCAL_MODELS

# The ends of the addresses that requests go to, and the protocols that use them.
_PATHS = {
    "/chat/completions": ("openai", "deepseek"),
    "/v1/messages": ("claude",),
    ":generateContent": ("gemini",),
    ":streamGenerateContent": ("gemini",),
}
_OPENAI = "openai"


def faults(row: Provider) -> Iterator[tuple[str, Any]]:
    """Yield the fields that keep the provider from working, each with a sentence."""
    yield from _faults_of_address(row)
    yield from _faults_of_model(row)
    yield from _faults_of_embedded(row)
    yield from _faults_of_protocol(row)
    yield from _faults_of_fallback(row)


def warnings(row: Provider) -> Iterator[str]:
    """Yield warnings about settings that can be saved but are hardly intended."""
    other = row.fallback
    if other is not None and not other.enabled:
        yield (
            f"The fallback {other.label} is disabled, so it does not answer when "
            f"{row.label} cannot."
        )
    if not row.enabled:
        return
    status = status_of(row)
    if status.state is State.NO_KEY and status.source is Source.NONE:
        yield f"{row.label} has no key yet, so it cannot answer. Add one under “Keys”."


def _faults_of_address(row: Provider) -> Iterator[tuple[str, Any]]:
    if row.base_url:
        yield from _faults_of_url(row.base_url, row.protocol)
    elif row.enabled and not row.embedded and not row.address:
        yield "base_url", _("Enter a base URL, or disable the provider.")


def _faults_of_model(row: Provider) -> Iterator[tuple[str, Any]]:
    if row.pk is None:
        return
    default = row.canonical(row.default_model)
    if default != row.default_model:
        return  # its remembered row is enabled in any case
    known = [
        model.enabled
        for model in row.known_models.all()
        if row.canonical(model.name) == default
    ]
    if known and not any(known):
        yield "default_model", _("The default model is disabled. Enable it first.")


def _faults_of_url(url: str, protocol: str) -> Iterator[tuple[str, Any]]:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises ValueError for a port that is none
        host = parts.hostname or ""
    except ValueError:
        yield "base_url", _("This is not a valid address: check the host and the port.")
        return
    if parts.scheme not in ("http", "https"):
        yield "base_url", _("Begin the address with http:// or https://.")
    elif "@" in parts.netloc:
        yield (
            "base_url",
            _(
                "Leave the user name and password out of the address, which is not "
                "secret. Store a key instead."
            ),
        )
    elif not _is_host(host):
        yield "base_url", _("This is not a valid address: check the host and the port.")
    elif parts.query or parts.fragment or url.endswith(("?", "#")):
        yield "base_url", _("Leave out the “?” or “#” and everything after it.")
    elif any(c.isspace() for c in url):
        yield "base_url", _("An address cannot contain spaces.")
    else:
        yield from _faults_of_path(parts.path.rstrip("/"), protocol)


def _is_host(host: str) -> bool:
    if ":" in host:  # IPv6, whose form urlsplit has checked
        return True
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        return False
    return bool(re.fullmatch(r"[A-Za-z0-9_.-]+", name)) and ".." not in name


def _faults_of_path(path: str, protocol: str) -> Iterator[tuple[str, Any]]:
    for end, protocols in _PATHS.items():
        if path.endswith(end) and protocol not in protocols:
            yield (
                "base_url",
                _(
                    "This address belongs to another protocol. Choose that one, or "
                    "leave out the end of the path."
                ),
            )


def _faults_of_embedded(row: Provider) -> Iterator[tuple[str, Any]]:
    if not row.embedded:
        return
    if row.base_url:
        yield (
            "base_url",
            _(
                "The built-in model has no base URL. Leave this empty, or turn off "
                "“Built-in model”."
            ),
        )
    if row.protocol != _OPENAI:
        yield "protocol", _("The built-in model uses the OpenAI protocol.")
    if row.needs_key:
        yield "needs_key", _("The built-in model does not use a key.")
    if row.default_model and row.default_model not in LOCAL_MODELS:
        names = ", ".join(LOCAL_MODELS)
        yield (
            "default_model",
            _("The built-in model is called %(names)s.") % {"names": names},
        )


def _faults_of_protocol(row: Provider) -> Iterator[tuple[str, Any]]:
    if row.protocol != "deepseek" and row.thinking != Provider.Thinking.OMIT:
        yield (
            "thinking",
            _("Thinking can be turned off only with the DeepSeek protocol."),
        )
    if row.temperature_max is not None and row.temperature_max < 0:
        yield "temperature_max", _("Enter zero or more.")
    if row.protocol == _OPENAI:
        return
    if row.system_role != Provider.SystemRole.SYSTEM:
        yield "system_role", _("Only the OpenAI protocol supports “developer”.")
    if row.max_tokens_field != Provider.MaxTokensField.MAX_TOKENS:
        yield (
            "max_tokens_field",
            _("Only the OpenAI protocol supports “max_completion_tokens”."),
        )


def _faults_of_fallback(row: Provider) -> Iterator[tuple[str, Any]]:
    if row.pk is None or row.fallback_id is None:
        return
    if row.fallback_id == row.pk:
        yield "fallback", _("A provider cannot be its own fallback.")
        return
    names, seen = [], {row.pk}
    other = row.fallback
    while other is not None and other.pk not in seen:
        names.append(other.label)
        seen.add(other.pk)
        other = other.fallback
    if other is not None and other.pk == row.pk:
        way = " → ".join([row.label, *names, row.label])
        yield (
            "fallback",
            _("The fallbacks lead back to this provider: %(way)s.") % {"way": way},
        )

"""What needs an operator's attention: keys and providers that fail, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from llmchat.models import Message, Provider, ProviderKey
from llmchat.models.encryption import EncryptionError
from llmchat.reports import links, unpriced
from llmchat.reports.outcomes import Outcome, ended

_RETIRED_WITHIN = timedelta(days=7)
# A provider is failing if at least so many of its recent answers have failed, and at
# least this share of them.
_LATELY = timedelta(hours=1)
_FEWEST, _SHARE = 3, 0.2
_REASONS = {
    "provider_auth": "it refused the API key",
    "provider_quota": "its account has no quota or balance left",
    "provider_rate_limited": "it is limiting requests",
    "provider_unavailable": "it is unreachable or overloaded",
    "provider_timeout": "it took too long",
    "provider_error": "it failed to answer",
    "empty_answer": "it gave empty answers",
    "model_not_found": "it does not offer the model",
    "local_model_missing": "the packages of the local model are not installed",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A problem for operators, and the page to solve it on, "" if that is closed."""

    text: str
    url: str


def providers() -> Iterator[Notice]:
    """Yield the providers that have repeatedly failed to answer in the last hour.

    Failures that are the request's own fault do not count, such as a prompt too long.
    """
    since = timezone.now() - _LATELY
    latest = ended(Message.objects.filter(created_at__gte=since)).order_by()
    counts = latest.values_list("provider", "error_code").annotate(Count("pk"))
    asked: Counter[str] = Counter()
    failed: dict[str, Counter[str]] = {}
    for name, code, count in counts:
        asked[name] += count
        if code in _REASONS:
            failed.setdefault(name, Counter())[code] += count
    labels = dict(Provider.objects.values_list("name", "label"))
    days = [since.date(), timezone.now().date()]
    when = "from today" if days[0] == days[1] else "since yesterday"
    for name, codes in sorted(failed.items()):
        count = codes.total()
        if count < _FEWEST or count < _SHARE * asked[name]:
            continue
        code = codes.most_common(1)[0][0]
        yield Notice(
            f"{labels.get(name, name)}: {count:,} of {asked[name]:,} answers failed in"
            f" the last hour, mostly because {_REASONS[code]} ({code}). See all its"
            f" failures {when}.",
            links.messages(days, Outcome.FAILED, provider=name),
        )


def keys() -> Iterator[Notice]:
    """Yield the keys that a provider rejected or that cannot be decrypted."""
    for key in ProviderKey.objects.filter(enabled=True).select_related("provider"):
        if problem := _problem(key):
            url = reverse("admin:llmchat_providerkey_change", args=[key.pk])
            yield Notice(f"{key.provider.label}: the key {key} {problem}", url)


def _problem(key: ProviderKey) -> str:
    try:
        key.reveal()
    except EncryptionError:
        return "cannot be decrypted with LLMCHAT_ENCRYPTION_KEYS."
    if key.last_error:
        return f"was refused ({key.last_error})."
    return ""


def retired_models() -> Iterator[Notice]:
    """Yield the default models that a provider no longer offers."""
    refused = set(
        Message.objects.filter(
            role=Message.Role.ASSISTANT,
            created_at__gte=timezone.now() - _RETIRED_WITHIN,
            state=Message.State.ERROR,  # for the index
            error_code="model_not_found",
        )
        .order_by()
        .values_list("provider", "model")
        .distinct()
    )
    for provider in Provider.objects.filter(enabled=True):
        model = provider.canonical(provider.default_model)
        if (provider.name, model) in refused:
            url = reverse("admin:llmchat_provider_change", args=[provider.pk])
            yield Notice(
                f"{provider.label} does not offer its default model {model}. Choose"
                " another one.",
                url,
            )


def unpriced_models() -> Iterator[Notice]:
    """Yield the models whose answers of this month are not priced."""
    return (Notice(text, url) for text, url in unpriced.notices())


def open_providers() -> Iterator[Notice]:
    """Yield the providers that everyone may use although they have groups.

    The admin rejects this, but restoring a dump of an older version can bring it back.
    """
    for provider in Provider.objects.exclude(access=None).filter(restricted=False):
        url = reverse("admin:llmchat_provider_change", args=[provider.pk])
        yield Notice(
            f"{provider.label}: everyone may use it, although it has groups. Turn on"
            " “Only for groups”, or delete the groups there.",
            url,
        )

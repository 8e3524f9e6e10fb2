"""The admin: keys go in and never come out, conversations can be read."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from llmchat.models import Conversation, Message, Provider, ProviderKey

CANARY = "sk-canary-0123456789-wxyz"
PREFIX = "keys-"


@pytest.fixture
def provider(db):
    # A test that commits leaves all tables empty, even those that migrations fill.
    fields = {"label": "OpenAI", "protocol": "openai", "default_model": "model-1"}
    return Provider.objects.get_or_create(name="openai", defaults=fields)[0]


@pytest.fixture
def conversation(db):
    user = User.objects.create_user("ann")
    row = Conversation.objects.create(
        user=user, title="Greeting", provider="openai", updated_at=timezone.now()
    )
    texts = [("user", "Hello there"), ("assistant", "<script>alert(1)</script>")]
    for position, (role, content) in enumerate(texts):
        Message.objects.create(
            conversation=row,
            user=user,
            position=position,
            role=role,
            content=content,
            created_at=timezone.now() + timedelta(seconds=position),
        )
    return row


def submit(admin_client, provider, **key):
    """Save the provider's page with one key row on it."""
    url = reverse("admin:llmchat_provider_change", args=[provider.pk])
    form = admin_client.get(url).context["adminform"].form
    data = {name: form.initial.get(name) or "" for name in form.fields}
    data |= {
        name: "on" for name in ("enabled", "needs_key", "include_usage") if data[name]
    }
    data = {name: value for name, value in data.items() if value is not False}
    stored = ProviderKey.objects.filter(provider=provider)
    data |= {
        f"{PREFIX}TOTAL_FORMS": 1,
        f"{PREFIX}INITIAL_FORMS": stored.count(),
        f"{PREFIX}0-provider": provider.pk,
        f"{PREFIX}0-id": getattr(stored.first(), "pk", ""),
        f"{PREFIX}0-enabled": "on",
        "access-TOTAL_FORMS": 0,
        "access-INITIAL_FORMS": 0,
    }
    data |= {f"{PREFIX}0-{name}": value for name, value in key.items()}
    return admin_client.post(url, data, follow=True)


def test_a_key_is_stored_encrypted(admin_client, provider):
    submit(admin_client, provider, name="main", value=CANARY)

    (key,) = provider.keys.all()
    assert CANARY not in key.encrypted_value
    assert key.reveal() == CANARY
    assert key.last4 == "wxyz"


def test_a_blank_field_keeps_the_key(admin_client, provider):
    submit(admin_client, provider, name="main", value=CANARY)
    submit(admin_client, provider, name="renamed", value="")

    (key,) = provider.keys.all()
    assert (key.name, key.reveal()) == ("renamed", CANARY)


def test_a_new_row_without_a_key_is_refused(admin_client, provider):
    response = submit(admin_client, provider, name="main", value="")

    assert "Enter a key." in response.content.decode()
    assert not provider.keys.exists()


@pytest.mark.parametrize("value", ["sk-with space", "sk-ключ", "sk-a\u2028b"])
def test_what_fits_no_header_is_refused(admin_client, provider, value):
    submit(admin_client, provider, name="main", value=value)
    assert not provider.keys.exists()


def test_a_key_appears_on_no_page_nor_in_the_history_nor_in_a_dump(
    admin_client, provider
):
    response = submit(admin_client, provider, name="main", value=CANARY)
    pages = [response.content.decode()]
    urls = [
        reverse("admin:llmchat_provider_change", args=[provider.pk]),
        reverse("admin:llmchat_provider_history", args=[provider.pk]),
    ]
    pages += [admin_client.get(url).content.decode() for url in urls]
    pages += LogEntry.objects.values_list("change_message", flat=True)
    dump = io.StringIO()
    call_command("dumpdata", stdout=dump)

    assert "…wxyz" in pages[1]
    assert not [page for page in [*pages, dump.getvalue()] if "0123456789" in page]


def test_without_an_encryption_key_the_form_says_so(admin_client, provider, settings):
    settings.LLMCHAT = settings.LLMCHAT | {"encryption_keys": ()}
    response = submit(admin_client, provider, name="main", value=CANARY)

    assert "LLMCHAT_ENCRYPTION_KEYS is not set" in response.content.decode()
    assert CANARY not in response.content.decode()


def test_a_conversation_is_read_with_its_messages_escaped(admin_client, conversation):
    url = reverse("admin:llmchat_conversation_change", args=[conversation.pk])
    page = admin_client.get(url).content.decode()

    assert "Hello there" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page


@pytest.mark.parametrize("name", ["conversation", "message"])
def test_what_was_said_cannot_be_changed(admin_client, conversation, name):
    assert admin_client.get(reverse(f"admin:llmchat_{name}_add")).status_code == 403
    row = conversation if name == "conversation" else conversation.messages.first()
    url = reverse(f"admin:llmchat_{name}_change", args=[row.pk])
    assert admin_client.post(url, {"title": "Forged"}).status_code == 403


@pytest.mark.parametrize("name", ["provider", "conversation", "message"])
def test_lists_ask_no_query_for_each_row(
    admin_client, conversation, django_assert_max_num_queries, name
):
    for number in range(20):
        other = User.objects.create_user(f"user{number}")
        row = Conversation.objects.create(
            user=other, title="x", provider="openai", updated_at=timezone.now()
        )
        Message.objects.create(
            conversation=row,
            user=other,
            position=0,
            role="user",
            created_at=timezone.now(),
        )
    url = reverse(f"admin:llmchat_{name}_changelist")
    with django_assert_max_num_queries(12):
        assert admin_client.get(url).status_code == 200


def test_deleting_a_user_leaves_no_row_behind(admin_client, conversation):
    conversation.user.delete()
    assert not Conversation.objects.exists()
    assert not Message.objects.exists()

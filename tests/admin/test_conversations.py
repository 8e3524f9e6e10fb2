"""Conversations in the admin: found, read, deleted, stopped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat.models import Conversation, Message, Provider
from llmchat.reports import search
from tests.support.admin_fixtures import make_conversation

LIST = "/admin/llmchat/conversation/"


def titles(response: Any) -> list[str]:
    return [row.title for row in response.context["cl"].result_list]


# --- The list --------------------------------------------------------------------


def test_the_list_shows_what_the_answers_add_up_to(
    admin_client: Client, ann: User
) -> None:
    row = make_conversation(ann, title="Ships")
    Conversation.objects.filter(pk=row.pk).update(
        turn_count=7, input_tokens=1234, output_tokens=56, cost="1.5", model="m-9"
    )

    page = admin_client.get(LIST).content.decode()

    for shown in ("Ships", "ann", "openai", "m-9", "complete", "1,234 → 56", "$1.50"):
        assert shown in page


def test_the_list_reads_no_text_and_asks_no_query_for_each_row(
    admin_client: Client,
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(30):
        make_conversation(User.objects.create_user(f"user{number}"))

    with django_assert_max_num_queries(10) as asked:
        admin_client.get(LIST)

    assert not [q for q in asked.captured_queries if '"content"' in q["sql"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("provider=claude", ["Old"]),
        ("state__exact=error", ["New"]),
        ("updated_at_from=2026-01-01", ["New"]),
        ("updated_at_to=2025-01-01", ["Old"]),
        ("updated_at_from=nonsense&updated_at_to=2025-13-01", ["New", "Old"]),
        ("provider=claude&state__exact=error", []),
    ],
)
def test_the_filters_narrow_the_list_down(
    admin_client: Client,
    ann: User,
    query: str,
    found: list[str],
) -> None:
    # A test that commits leaves all tables empty, even those that migrations fill.
    fields = {"label": "Claude", "protocol": "claude", "default_model": "m"}
    Provider.objects.get_or_create(name="claude", defaults=fields)
    now = timezone.now()
    then = now - now.replace(year=2025, month=1, day=1)
    make_conversation(ann, title="Old", provider="claude", ago=then)
    make_conversation(ann, title="New", state="error")

    assert titles(admin_client.get(f"{LIST}?{query}")) == found


def test_the_list_is_filtered_by_user(admin_client: Client, ann: User) -> None:
    make_conversation(ann, title="Hers")
    make_conversation(User.objects.create_user("bob"), title="His")

    assert titles(admin_client.get(f"{LIST}?user__id__exact={ann.pk}")) == ["Hers"]


# --- Search ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["lighthouse", "LIGHTHOUSE keeper", "Tales", "ann"])
def test_a_conversation_is_found_by_its_text_title_and_user(
    admin_client: Client, ann: User, text: str
) -> None:
    said = (("user", "Tell me"), ("assistant", "A lighthouse keeper lived"))
    make_conversation(ann, *said, title="Tales")
    make_conversation(User.objects.create_user("bob"), title="Other")

    assert titles(admin_client.get(LIST, {"q": text})) == ["Tales"]


def test_what_was_replaced_is_shown_as_replaced_and_not_found_by_its_text(
    admin_client: Client, ann: User
) -> None:
    row = make_conversation(
        ann, ("user", "an old word"), ("user", "a new one"), title="T"
    )
    row.messages.filter(position=0).update(replaced_by=1)

    page = admin_client.get(f"{LIST}{row.pk}/change/").content.decode()
    found = [titles(admin_client.get(LIST, {"q": q})) for q in ("old word", "new one")]

    assert page.count(">replaced<") == 1
    assert page.index(">replaced<") < page.index("an old word") < page.index("a new")
    assert found == [[], [str(row)]]


def test_a_conversation_is_found_by_its_id_and_by_a_message_s(ann: User) -> None:
    row = make_conversation(ann)
    make_conversation(ann)
    answer = row.messages.get(role="assistant")
    everything = Conversation.objects.all()

    assert list(search.matching(everything, str(row.pk))) == [row]
    assert list(search.matching(everything, str(answer.pk))) == [row]
    assert list(search.matching(everything, str(uuid4()))) == []


@pytest.mark.parametrize(
    "text", ["\0", "' OR 1=1 --", "a & | !", "%", '"', "日本", "a" * 51_000]
)
def test_no_search_text_breaks_the_list(
    admin_client: Client, ann: User, text: str
) -> None:
    make_conversation(ann)
    assert admin_client.get(LIST, {"q": text}).status_code == 200


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5000, "-1", "one"])
def test_no_number_breaks_a_page(admin_client: Client, ann: User, number: str) -> None:
    row = make_conversation(ann)
    found = admin_client.get(LIST, {"q": "hello", "user__id__exact": number})
    assert found.status_code in (200, 302)
    page = admin_client.get(f"{LIST}{row.pk}/change/", {"part": number})
    assert page.status_code == 200


@pytest.mark.parametrize(
    ("kind", "field"), [("conversation", "updated_at"), ("message", "created_at")]
)
def test_the_last_day_there_is_ends_no_list(
    admin_client: Client, ann: User, kind: str, field: str
) -> None:
    make_conversation(ann)
    page = admin_client.get(f"/admin/llmchat/{kind}/?{field}_to=9999-12-31")
    assert len(page.context["cl"].result_list) > 0


def test_the_latest_matches_count(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MATCHES", 1)
    new = make_conversation(ann, ("user", "the sea"))
    make_conversation(ann, ("user", "the sea"), ago=timedelta(days=1))

    assert list(search.matching(Conversation.objects.all(), "sea")) == [new]


# --- Reading ---------------------------------------------------------------------


def test_a_conversation_reads_like_a_chat_with_the_model_s_markup_escaped(
    admin_client: Client, ann: User
) -> None:
    said = (("user", "Hello there"), ("assistant", "<script>alert(1)</script>"))
    row = make_conversation(ann, *said)

    page = admin_client.get(f"{LIST}{row.pk}/change/").content.decode()

    assert page.index("Hello there") < page.index("&lt;script&gt;alert(1)&lt;")
    assert "<script>alert(1)" not in page


def test_an_answer_shows_what_its_provider_has_told(
    admin_client: Client, ann: User
) -> None:
    counts = {"input_tokens": 9, "cache_read_tokens": 5, "cache_write_tokens": 3}
    told = {"answered_by": "model-1-1017", "fingerprint": "fp_1017"}
    row = make_conversation(ann, output_tokens=2, **counts, **told)

    page = admin_client.get(f"{LIST}{row.pk}/change/").content.decode()
    assert "9 → 2 tokens, 5 from a cache, 3 to a cache" in page
    assert "answered by model-1-1017 · fp_1017" in page

    answer = row.messages.get(role="assistant")
    page = admin_client.get(f"/admin/llmchat/message/{answer.pk}/change/")
    for shown in ("Cache read tokens", "Cache write tokens", "model-1-1017", "fp_1017"):
        assert shown in page.content.decode()


def test_a_long_conversation_is_read_in_parts(
    admin_client: Client,
    ann: User,
    django_assert_max_num_queries: Any,
) -> None:
    row = make_conversation(ann, *[("user", f"message {n}.") for n in range(250)])

    with django_assert_max_num_queries(8):
        first = admin_client.get(f"{LIST}{row.pk}/change/").content.decode()
    last = admin_client.get(f"{LIST}{row.pk}/change/?part=2").content.decode()

    assert "message 99." in first
    assert "message 100." not in first
    assert "message 249." in last
    beyond = admin_client.get(f"{LIST}{row.pk}/change/?part=99").content.decode()
    assert "message 249." in beyond


def test_an_unknown_conversation_leads_back(admin_client: Client) -> None:
    response = admin_client.get(f"{LIST}{uuid4()}/change/")
    assert response.status_code == 302


# --- Deleting --------------------------------------------------------------------


def test_deleting_counts_the_messages_first_and_leaves_nothing(
    admin_client: Client, ann: User
) -> None:
    row = make_conversation(ann)
    url = f"{LIST}{row.pk}/delete/"

    page = admin_client.get(url).content.decode()
    assert "Greeting" in page
    assert "Hello there" not in page
    assert admin_client.post(url, {"post": "yes"}).status_code == 302

    assert not Conversation.objects.exists()
    assert not Message.objects.exists()


def test_a_selection_is_deleted(admin_client: Client, ann: User) -> None:
    rows = [make_conversation(ann) for _ in range(3)]
    data = {
        "action": "delete_selected",
        "_selected_action": [str(row.pk) for row in rows[:2]],
        "post": "yes",
    }

    admin_client.post(LIST, data)

    assert list(Conversation.objects.all()) == [rows[2]]


def test_a_selection_of_a_list_that_looks_at_messages_is_deleted(
    admin_client: Client, ann: User
) -> None:
    rows = [make_conversation(ann, state="error") for _ in range(2)]
    data = {
        "action": "delete_selected",
        "_selected_action": [rows[0].pk],
        "post": "yes",
    }

    admin_client.post(f"{LIST}?outcome=failed", data)

    assert list(Conversation.objects.all()) == [rows[1]]


def test_a_large_selection_is_deleted(admin_client: Client, ann: User) -> None:
    now = timezone.now()
    rows = [Conversation(user=ann, updated_at=now) for _ in range(1500)]
    Conversation.objects.bulk_create(rows)
    data = {
        "action": "delete_selected",
        "_selected_action": [str(row.pk) for row in rows],
        "post": "yes",
    }

    assert admin_client.post(LIST, data).status_code == 302

    assert not Conversation.objects.exists()


def test_deleting_a_user_leaves_no_row_and_no_token_behind(
    admin_client: Client, running: Message
) -> None:
    user = running.user
    issue_tokens(user=user)
    url = reverse("admin:accounts_user_delete", args=[user.pk])

    assert admin_client.post(url, {"post": "yes"}).status_code == 302

    assert not User.objects.filter(pk=user.pk).exists()
    assert not Conversation.objects.exists()
    assert not Message.objects.exists()
    assert not OutstandingToken.objects.exists()


def test_no_page_of_the_admin_shows_tokens(admin_client: Client, ann: User) -> None:
    issue_tokens(user=ann)
    for name in ("outstandingtoken", "blacklistedtoken"):
        assert admin_client.get(f"/admin/token_blacklist/{name}/").status_code == 404


def test_a_message_alone_is_not_deleted(admin_client: Client, ann: User) -> None:
    message = make_conversation(ann).messages.first()
    assert message is not None
    url = reverse("admin:llmchat_message_delete", args=[message.pk])

    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    assert Message.objects.filter(pk=message.pk).exists()

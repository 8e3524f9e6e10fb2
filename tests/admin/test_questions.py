"""What operators ask about conversations: why, how much, and where it was said."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from llmchat.models import Conversation, Message
from llmchat.reports import search
from llmchat.reports.outcomes import Outcome
from tests.support.admin_fixtures import make_conversation

LIST = "/admin/llmchat/conversation/"
MESSAGES = "/admin/llmchat/message/"


def titles(response: Any) -> list[str]:
    return [row.title for row in response.context["cl"].result_list]


def page_of(client: Client, row: Conversation, query: str = "") -> str:
    page: str = client.get(f"{LIST}{row.pk}/change/{query}").content.decode()
    return page


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"finish_reason": "length"}, "cut off (length)"),
        ({"finish_reason": "content_filter"}, "cut off (content filter)"),
        ({"state": "interrupted", "finish_reason": "error"}, "interrupted"),
        ({"state": "error", "finish_reason": "error"}, "failed"),
        ({"state": "cancelled", "finish_reason": "cancelled"}, "cancelled"),
    ],
)
def test_why_an_answer_is_not_whole_is_said_in_words_and_filtered_by(
    admin_client: Client, ann: User, fields: dict[str, str], outcome: str
) -> None:
    make_conversation(ann, title="Whole", finish_reason="stop")
    row = make_conversation(ann, title="Cut", **fields)
    value = next(one.value for one in Outcome if one.label == outcome)

    for page in (
        page_of(admin_client, row),
        admin_client.get(LIST, {"outcome": value}).content.decode(),
        admin_client.get(MESSAGES, {"outcome": value}).content.decode(),
    ):
        assert outcome in page
    assert titles(admin_client.get(LIST, {"outcome": value})) == ["Cut"]
    for filters in ({"outcome": value}, {"finish_reason": fields["finish_reason"]}):
        found = admin_client.get(MESSAGES, filters).context["cl"].result_list
        assert [message.conversation for message in found] == [row]


def test_a_filter_by_any_outcome_leaves_prompts_and_histories_out(
    admin_client: Client, ann: User
) -> None:
    row = make_conversation(ann)
    make_conversation(ann, provider="")
    make_conversation(ann, state="streaming")

    found = admin_client.get(MESSAGES, {"outcome": "ended"}).context["cl"].result_list

    assert [(one.conversation, one.role) for one in found] == [(row, "assistant")]
    everything = admin_client.get(MESSAGES, {"outcome": "nonsense"})
    assert len(everything.context["cl"].result_list) == 6


def test_why_an_answer_failed_is_beside_its_code(
    admin_client: Client, ann: User
) -> None:
    why = {"error_code": "provider_error", "error_detail": "openai: 500 <x>"}
    row = make_conversation(ann, state="error", **why)

    page = page_of(admin_client, row)

    assert "<code>provider_error</code> openai: 500 &lt;x&gt;" in page


def test_an_answer_s_markdown_is_rendered_and_a_prompt_is_as_it_was_typed(
    admin_client: Client, ann: User
) -> None:
    row = make_conversation(ann, ("user", "a **b**"), ("assistant", "c **d**"))

    page = page_of(admin_client, row)

    assert "a **b**" in page
    assert "<p>c <strong>d</strong></p>" in page


def test_a_search_shows_what_was_said_and_leads_there(
    admin_client: Client, ann: User
) -> None:
    said = [("user", f"message {number}") for number in range(120)]
    said[110] = ("user", "word " * 50 + "a <b>lighthouse</b> keeper " + "word " * 50)
    row = make_conversation(ann, *said)
    hit = row.messages.get(position=110)

    page = admin_client.get(LIST, {"q": "lighthouse"}).content.decode()

    assert "… word" in page
    assert "&lt;b&gt;<mark>lighthouse</mark>&lt;/b&gt; keeper" in page
    address = f"{LIST}{row.pk}/change/?part=1#message-{hit.pk}"
    assert f'href="{address}"' in page
    assert f'id="message-{hit.pk}"' in page_of(admin_client, row, "?part=1")
    assert "llm-found" not in admin_client.get(LIST).content.decode()


def test_a_search_says_what_it_leaves_out(
    admin_client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        make_conversation(ann, ("user", "the sea"))

    assert (
        "Many messages match"
        not in admin_client.get(LIST, {"q": "sea"}).content.decode()
    )
    monkeypatch.setattr(search, "MATCHES", 2)
    page = admin_client.get(LIST, {"q": "sea"}).content.decode()
    assert "Many messages match: only the latest 2 of them were considered." in page
    page = admin_client.get(LIST, {"q": "sea " + "x" * 1000}).content.decode()
    assert "Only the first 1,000 characters of the text were searched for." in page


def test_what_has_no_price_is_said_to_have_none(
    admin_client: Client, ann: User
) -> None:
    free = make_conversation(ann, output_tokens=5)
    both = make_conversation(ann, output_tokens=5, cost="0.0042")
    Message.objects.create(
        conversation=both,
        user=ann,
        position=2,
        role="assistant",
        provider="local",
        created_at=timezone.now(),
    )
    Conversation.objects.update(turn_count=1, output_tokens=5)
    Conversation.objects.filter(pk=both.pk).update(cost="0.0042")

    rows = {
        row.pk: row.shown_cost
        for row in admin_client.get(LIST).context["cl"].result_list
    }
    assert rows == {free.pk: None, both.pk: Decimal("0.0042")}
    assert "<dd>not priced</dd>" in page_of(admin_client, free)
    assert "$0.0042 <small>(1 answer without a known cost)</small>" in page_of(
        admin_client, both
    )

"""What an export contains, and what it does not."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.http import StreamingHttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from llmchat.admin.base import log_all
from llmchat.database import in_database
from llmchat.models import Conversation, Piece
from llmchat.reports import exports
from tests.support.admin_fixtures import make_conversation

LIST = "/admin/llmchat/conversation/"
AUDIT = "/admin/admin/logentry/"
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1")


@pytest.fixture
def boss(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann")


async def stored(username: str, *said: tuple[str, str], **fields: Any) -> Conversation:
    def make() -> Conversation:
        user, _ = User.objects.get_or_create(username=username)
        return make_conversation(user, *said, **fields)

    make_it: Callable[[], Conversation] = make
    return await in_database(make_it)


async def content(response: Any) -> str:
    assert isinstance(response, StreamingHttpResponse)
    return b"".join([chunk async for chunk in response]).decode()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


async def test_a_user_s_json_holds_everything_of_theirs_and_nothing_else(
    boss: Client,
) -> None:
    said = [("user", f"line {n}\n“quoted”") for n in range(450)]
    mine = await stored("ann", *said, title="Long")
    others = [await stored("ann") for _ in range(30)]
    await stored("bob", ("user", "secret of bob"))

    url = f"{LIST}of-user/{mine.user_id}/export/json/"
    text = await content(await in_database(boss.get, url))

    exported = json.loads(text)
    assert exported["user"]["username"] == "ann"
    by_id = {row["id"]: row for row in exported["conversations"]}
    assert set(by_id) == {str(mine.pk), *(str(row.pk) for row in others)}
    contents = [row["content"] for row in by_id[str(mine.pk)]["messages"]]
    assert contents == [content for _, content in said]
    assert "secret of bob" not in text
    assert "password" not in text


async def test_a_selection_is_exported(boss: Client) -> None:
    chosen = [await stored("ann", title=f"t{n}") for n in range(2)]
    await stored("ann", title="left out")

    data = {
        "action": "export_json",
        "_selected_action": [str(row.pk) for row in chosen],
    }
    response = await in_database(boss.post, LIST, data)

    assert 'filename="conversations.json"' in response["Content-Disposition"]
    exported = json.loads(await content(response))["conversations"]
    assert {row["title"] for row in exported} == {"t0", "t1"}


async def test_numbers_and_times_are_plain(boss: Client) -> None:
    told = {"cache_read_tokens": 2, "answered_by": "m-1017", "fingerprint": "fp"}
    row = await stored("ann", cost=Decimal("0.0000000012"), output_tokens=3, **told)

    text = await content(await in_database(boss.get, f"{LIST}{row.pk}/export/json/"))

    (conversation,) = json.loads(text)["conversations"]
    answer = conversation["messages"][1]
    assert answer["cost"] == "0.0000000012"
    assert answer["output_tokens"] == 3
    assert {name: answer[name] for name in told} == told
    assert answer["cache_write_tokens"] is None
    assert conversation["updated_at"] == row.updated_at.isoformat()


async def test_a_spreadsheet_takes_nothing_for_a_formula(boss: Client) -> None:
    said = [("user", text) for text in FORMULAS]
    row = await stored("ann", *said, title="=cmd|' /C calc'!A0")

    table = rows(
        await content(await in_database(boss.get, f"{LIST}{row.pk}/export/csv/"))
    )

    assert [line["content"] for line in table] == [f"'{text}" for text in FORMULAS]
    assert all(line["title"].startswith("'=cmd") for line in table)


PERSONAL = ("ann@example.org", "Annabel", "Lee", "2024-05-06")


async def operator_with(*permissions: str) -> Client:
    def make() -> Client:
        operator = User.objects.create_user("operator", is_staff=True)
        rows = Permission.objects.filter(codename__in=permissions)
        operator.user_permissions.set(rows)
        client = Client()
        client.force_login(operator)
        return client

    return await in_database(make)


@pytest.mark.parametrize(
    ("permission", "seen"),
    [("view_user", PERSONAL), ("change_user", PERSONAL), ("view_message", ())],
)
@pytest.mark.parametrize("format_name", ["json", "csv"])
async def test_mail_and_names_are_exported_for_those_who_may_view_users(
    transactional_db: None, permission: str, seen: tuple[str, ...], format_name: str
) -> None:
    row = await stored("ann")
    fields = {"email": PERSONAL[0], "first_name": PERSONAL[1], "last_name": PERSONAL[2]}
    joined = datetime(2024, 5, 6, tzinfo=UTC)
    await in_database(
        lambda: User.objects.filter(username="ann").update(date_joined=joined, **fields)
    )
    client = await operator_with("view_conversation", permission)

    texts = [
        await content(
            await in_database(client.get, f"{LIST}{place}/export/{format_name}/")
        )
        for place in (f"of-user/{row.user_id}", f"{row.pk}")
    ]

    expected = seen if format_name == "json" else ()
    assert all("Hello there" in text for text in texts)
    assert [part for part in PERSONAL if part in texts[0]] == list(expected)
    assert not [part for part in PERSONAL if part in texts[1]]
    if format_name == "json":
        assert json.loads(texts[0])["user"]["username"] == "ann"


@pytest.mark.parametrize("format_name", ["json", "csv"])
async def test_an_export_takes_the_same_queries_for_few_conversations_and_many(
    boss: Client, format_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored("ann")

    def queries() -> int:
        is_csv = format_name == "csv"
        pieces = exports._csv_pieces if is_csv else exports._json_pieces
        with CaptureQueriesContext(connection) as captured:
            for batch in exports._batches(Conversation.objects.all()):
                list(pieces(exports._each(batch)))
        return len(captured)

    few = await in_database(queries)
    for _ in range(exports._CONVERSATIONS - 2):
        await stored("ann")
    assert await in_database(queries) == few


async def test_an_export_is_whole_where_its_pages_end(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conversations of every length, even empty ones, across pages of three rows."""
    monkeypatch.setattr(exports, "_CONVERSATIONS", 3)
    monkeypatch.setattr(exports, "_MESSAGES", 3)
    expected = {}
    for length in (0, 1, 3, 0, 2, 3, 7, 0, 6, 0):
        said = [("user", f"{length}: {number}") for number in range(length)]
        row = await stored("ann", *said)
        if not said:
            await in_database(row.messages.all().delete)
        expected[str(row.pk)] = [text for _, text in said]

    pieces = exports.export(Conversation.objects.all(), "json")
    exported = json.loads(b"".join([piece async for piece in pieces]))

    assert {
        row["id"]: [message["content"] for message in row["messages"]]
        for row in exported["conversations"]
    } == expected


async def test_nothing_selected_is_still_json(db: None) -> None:
    pieces = exports.export(Conversation.objects.none(), "json")
    assert json.loads(b"".join([p async for p in pieces])) == {"conversations": []}


async def test_an_export_is_written_down(boss: Client) -> None:
    row = await stored("ann")
    await content(
        await in_database(boss.get, f"{LIST}of-user/{row.user_id}/export/csv/")
    )

    entry = await in_database(LogEntry.objects.get)
    assert entry.change_message == "Exported as csv: 1 conversation."
    assert entry.object_repr == "ann"


async def test_the_threads_that_read_an_export_write_nothing(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write waits for other transactions' locks, which would hold up all readers."""
    monkeypatch.setattr(exports, "_CONVERSATIONS", 2)
    chosen = [str((await stored("ann")).pk) for _ in range(3)]
    threads: list[str] = []

    def logged(*args: Any) -> None:
        threads.append(threading.current_thread().name)
        log_all(*args)

    monkeypatch.setattr("llmchat.admin.conversations.log_all", logged)
    data = {"action": "export_json", "_selected_action": chosen}
    await content(await in_database(lambda: boss.post(LIST, data)))

    assert [name.split("_")[0] for name in threads] == ["database"] * 2


async def test_nothing_is_sent_of_what_could_not_be_written_down(boss: Client) -> None:
    row = await stored("ann")

    def refuse(batch: Sequence[Conversation]) -> None:
        raise OperationalError("the disk is full")

    pieces = exports.export(Conversation.objects.all(), "json", note=refuse)
    sent = await anext(pieces)
    with pytest.raises(OperationalError, match="full"):
        await anext(pieces)
    assert str(row.pk).encode() not in sent


def test_many_entries_take_a_few_statements(
    rf: RequestFactory, django_assert_max_num_queries: Any, ann: User
) -> None:
    request = rf.get("/")
    request.user = ann
    rows = ((number, "") for number in range(1000))
    with django_assert_max_num_queries(30):
        log_all(request, Conversation, rows, "Exported.")
    assert LogEntry.objects.count() == 1000


async def test_a_selection_is_written_down_with_each_of_it(boss: Client) -> None:
    exported = [await stored("ann", title="A private matter") for _ in range(30)]
    other = await stored("bob")
    chosen = [str(row.pk) for row in exported]
    data = {"action": "export_json", "_selected_action": chosen}
    response = await in_database(lambda: boss.post(LIST, data))
    await content(response)

    entries = await in_database(lambda: [*LogEntry.objects.all()])
    assert sorted(entry.object_id for entry in entries) == sorted(chosen)
    assert {entry.change_message for entry in entries} == {
        "Exported as json: 30 conversations."
    }
    assert not any("private" in entry.object_repr for entry in entries)
    for row, is_told in ((exported[-1], True), (other, False)):
        page = await in_database(boss.get, f"{LIST}{row.pk}/history/")
        assert ("Exported as json" in page.content.decode()) == is_told


def test_the_usage_is_written_down(admin_client: Client, ann: User) -> None:
    make_conversation(ann, cost=1)
    assert admin_client.get("/admin/llmchat/message/usage/7/csv/").status_code == 200
    assert admin_client.get("/admin/llmchat/message/usage/8/csv/").status_code == 404

    said = "Exported as csv: the usage of 7 days, with titles."
    assert LogEntry.objects.get().change_message == said
    assert said.removesuffix(".") in admin_client.get(AUDIT).content.decode()


def test_who_may_not_read_exports_nothing(db: None, client: Client) -> None:
    row = make_conversation(User.objects.create_user("ann"))
    operator = User.objects.create_user("operator", is_staff=True)
    permission = Permission.objects.get(codename="view_provider")
    operator.user_permissions.add(permission)
    client.force_login(operator)

    for place in (f"{row.pk}", f"of-user/{row.user_id}"):
        assert client.get(f"{LIST}{place}/export/json/").status_code == 403


def test_no_other_format_and_no_unknown_row(admin_client: Client) -> None:
    row = make_conversation(User.objects.create_user("ann"))

    assert admin_client.get(f"{LIST}{row.pk}/export/xml/").status_code == 404
    assert admin_client.get(f"{LIST}of-user/999999/export/json/").status_code == 404


async def test_a_running_answer_is_exported_with_its_text_so_far(boss: Client) -> None:
    said = [("user", "Hi"), ("assistant", "")]
    mine = await stored("ann", *said, state="streaming")

    def write() -> None:
        answer = mine.messages.get(role="assistant")
        fields = {"message_id": answer.pk, "written_at": datetime.now(UTC)}
        Piece.objects.create(start=0, text="So ", **fields)
        Piece.objects.create(start=3, text="far", **fields)

    await in_database(write)
    url = f"{LIST}of-user/{mine.user_id}/export/json/"
    [exported] = json.loads(await content(await in_database(boss.get, url)))[
        "conversations"
    ]
    assert [message["content"] for message in exported["messages"]] == ["Hi", "So far"]

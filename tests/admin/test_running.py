"""Streaming now: running answers, and who may stop them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from llmchat.books.workers import worker_id
from llmchat.models import Message, Piece, Worker
from tests.support.admin_fixtures import make_conversation

LIST = "/admin/llmchat/conversation/"
RUNNING = "/admin/llmchat/runningstream/"


def test_streaming_now_lists_what_runs(admin_client: Client, running: Message) -> None:
    page = admin_client.get(RUNNING).content.decode()

    assert str(running.conversation_id) in page
    assert "3 characters" in page


def test_a_running_answer_is_shown_with_its_text_so_far(
    admin_client: Client, running: Message
) -> None:
    Message.objects.filter(pk=running.pk).update(content="")
    Piece.objects.update(text="The text so far")
    urls = [
        f"{LIST}{running.conversation_id}/change/",
        f"/admin/llmchat/message/{running.pk}/change/",
    ]
    for url in urls:
        assert "The text so far" in admin_client.get(url).content.decode()
    page = admin_client.get(f"{RUNNING}{running.pk}/change/").content.decode()
    assert "The text so far" not in page


def test_stop_marks_the_stream_and_says_who_did_it(
    admin_client: Client, running: Message
) -> None:
    admin_client.post(RUNNING, {"_stop": str(running.pk)})

    running.refresh_from_db()
    assert running.stop_requested
    assert LogEntry.objects.get().change_message == "Stopped."


def test_a_selection_is_stopped(admin_client: Client, running: Message) -> None:
    data = {"action": "stop_selected", "_selected_action": [str(running.pk)]}
    admin_client.post(RUNNING, data)

    running.refresh_from_db()
    assert running.stop_requested


def test_the_conversation_s_page_stops_its_stream(
    admin_client: Client, running: Message
) -> None:
    url = f"{LIST}{running.conversation_id}/change/"
    assert "Stop the answer" in admin_client.get(url).content.decode()

    admin_client.post(url, {"_stop": "1"})

    running.refresh_from_db()
    assert running.stop_requested


@pytest.mark.parametrize("url", [RUNNING, f"{LIST}abc/change/"])
def test_what_does_not_exist_is_not_stopped(
    admin_client: Client, running: Message, url: str
) -> None:
    assert admin_client.post(url, {"_stop": "abc"}).status_code == 302

    running.refresh_from_db()
    assert not running.stop_requested


def test_who_comes_too_late_is_told_why(admin_client: Client, running: Message) -> None:
    page = f"{LIST}{running.conversation_id}/change/"
    Message.objects.filter(pk=running.pk).update(state="complete")
    for url in (RUNNING, page):
        shown = admin_client.post(url, {"_stop": str(running.pk)}, follow=True)
        told = [str(message) for message in shown.context["messages"]]
        assert told == ["Nothing to stop: the answer had already ended."]


@pytest.mark.parametrize("page", [RUNNING, LIST])
def test_what_was_not_stopped_is_not_logged(
    admin_client: Client, running: Message, page: str
) -> None:
    """The answer's process has died, which the attempt to stop the answer finds out."""
    past = timezone.now() - timedelta(seconds=1)
    Worker.objects.create(name="elsewhere/1/2", lease_until=past)
    Message.objects.filter(pk=running.pk).update(worker="elsewhere/1/2")

    url = page if page == RUNNING else f"{page}{running.conversation_id}/change/"
    shown = admin_client.post(url, {"_stop": str(running.pk)}, follow=True)

    told = [str(message) for message in shown.context["messages"]]
    assert told == ["Nothing to stop: the answer had already ended."]
    assert not LogEntry.objects.exists()


def test_all_that_are_stopped_are_logged_in_one_statement(
    admin_client: Client, ann: User, running: Message
) -> None:
    more = [make_conversation(ann, state="streaming", worker=worker_id())]
    more += [make_conversation(ann, state="streaming", worker=worker_id())]
    rows = Message.objects.filter(conversation__in=more, role="assistant")
    idents = [str(running.pk), *map(str, rows.values_list("pk", flat=True))]
    data = {"action": "stop_selected", "_selected_action": idents}
    with CaptureQueriesContext(connection) as queries:
        admin_client.post(RUNNING, data)

    assert set(LogEntry.objects.values_list("object_id", flat=True)) == {*idents}
    insert = f'INSERT INTO "{LogEntry._meta.db_table}"'
    assert sum(one["sql"].startswith(insert) for one in queries) == 1


def test_looking_at_what_runs_stops_nothing(
    admin_client: Client, running: Message
) -> None:
    admin_client.get(RUNNING, {"_stop": str(running.pk)})

    running.refresh_from_db()
    assert not running.stop_requested


def test_what_a_dead_process_left_does_not_run(
    admin_client: Client, running: Message
) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Worker.objects.create(name="elsewhere/1/2", lease_until=past)
    Message.objects.filter(pk=running.pk).update(worker="elsewhere/1/2")

    assert not admin_client.get(RUNNING).context["cl"].result_list

    running.refresh_from_db()
    running.conversation.refresh_from_db()
    assert running.state == running.conversation.state == "interrupted"


def test_who_may_watch_streams_may_not_therefore_read_them(
    running: Message, client: Client
) -> None:
    running.conversation.title = "A private matter"
    running.conversation.save()
    running.content = "A private answer"
    running.save()
    looker = User.objects.create_user("looker", is_staff=True)
    watching = Permission.objects.get(codename="view_runningstream")
    looker.user_permissions.add(watching)
    client.force_login(looker)

    pages = [client.get(RUNNING), client.get(f"{RUNNING}{running.pk}/change/")]
    assert [page.status_code for page in pages] == [200, 200]
    for secret in (running.content, "A private matter"):
        assert not [page for page in pages if secret in page.content.decode()]


def test_who_may_only_look_stops_nothing(running: Message, client: Client) -> None:
    looker = User.objects.create_user("looker", is_staff=True)
    names = ("view_runningstream", "view_conversation")
    looker.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(looker)

    assert "llm-stop" not in client.get(RUNNING).content.decode()
    client.post(RUNNING, {"_stop": str(running.pk)})
    page = f"{LIST}{running.conversation_id}/change/"
    assert client.post(page, {"_stop": "1"}).status_code == 403

    running.refresh_from_db()
    assert not running.stop_requested

"""Budgets: reserved before a provider is called, settled after, never raced for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Barrier

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmchat.answers import runtime
from llmchat.answers.answer import stream_answer
from llmchat.answers.events import Cancelled, Done, Failed, Token
from llmchat.books.batch import begin_turn, finish_turn
from llmchat.books.sweep import sweep
from llmchat.books.turn import Outcome
from llmchat.database import in_database
from llmchat.errors import ChatError, refusal
from llmchat.models import Budget, Conversation, Message, Provider, Reservation
from llmchat.providers import retry
from llmchat.providers.types import Delta, Usage
from tests.support.chat_fixtures import User, end_of, events_of, registered, until
from tests.support.streaming import streaming
from tests.support.upstream import running_upstream

DAY, MONTH = Budget.Period.DAY, Budget.Period.MONTH
TOKENS, DOLLARS = Budget.Unit.TOKENS, Budget.Unit.DOLLARS


@pytest.fixture
def budget(user):
    """Make a budget of the user, of 1000 tokens a day unless said otherwise."""

    async def make(limit=1000, **fields):
        fields = {"user": user, "period": DAY, "unit": TOKENS, **fields}
        return await in_database(lambda: Budget.objects.create(limit=limit, **fields))

    return make


async def spent(budget: Budget) -> Decimal:
    await in_database(budget.refresh_from_db)
    return budget.spent


async def reservations() -> list[Decimal]:
    rows = Reservation.objects.order_by("pk").values_list("amount", flat=True)
    return await in_database(lambda: list(rows))


async def refused(user, turn) -> ChatError:
    with pytest.raises(ChatError) as refusal:
        await events_of(user, turn)
    return refusal.value


async def test_the_most_an_answer_can_cost_is_reserved_and_its_cost_settled(
    user, provider, upstream, turn, budget
):
    tokens, dollars = await budget(), await budget(1, unit=DOLLARS)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi there", max_tokens=100)):
        # 8 characters and 1 message are guessed to be 3 tokens; there are two retries.
        assert await reservations() == [3 * Decimal(103), 3 * Decimal("0.000203")]
        assert await spent(tokens) == 0
        go.set()
    assert await reservations() == []
    assert await spent(tokens) == 10
    assert await spent(dollars) == Decimal("0.000013")


@pytest.mark.parametrize(
    ("asked", "cap", "reserved"), [(None, None, 4096), (None, 50, 50), (100, 50, 50)]
)
async def test_an_answer_is_taken_to_be_as_long_as_it_may_become(
    user, provider, upstream, turn, budget, asked, cap, reserved
):
    await budget()
    await in_database(lambda: Provider.objects.update(max_output_tokens=cap))
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi", max_tokens=asked)):
        assert await reservations() == [3 * Decimal(reserved + 1)]
        go.set()
    assert [request["max_tokens"] for request in upstream.requests] == [reserved]


async def test_without_a_budget_no_limit_is_asked_for(user, provider, upstream, turn):
    assert isinstance(await end_of(user, turn("Hi")), Done)
    assert "max_tokens" not in upstream.requests[0]


async def test_a_fallback_is_within_the_reservation_and_has_its_limit(
    user, provider, upstream, turn, budget
):
    await budget()
    dollars = await budget(1, unit=DOLLARS)
    upstream.status = 500
    async with running_upstream() as other:
        await in_database(add_fallback, provider, other.base_url)
        other.steps = ("Hel", go := asyncio.Event(), "lo")
        async with streaming(user, turn("Hi", max_tokens=100)):
            both = [6 * Decimal(101), 3 * (Decimal("0.000201") + Decimal("0.00201"))]
            assert await reservations() == both
            go.set()
    assert other.requests[0]["max_tokens"] == 100
    assert await spent(dollars) == Decimal("0.00013")


def add_fallback(provider: Provider, base_url: str) -> None:
    provider.fallback = Provider.objects.create(
        name="other",
        label="Other",
        protocol="openai",
        base_url=base_url,
        default_model="model-2",
        needs_key=False,
        input_price=10,
        output_price=20,
    )
    provider.save()


async def test_a_budget_that_is_used_up_refuses_the_turn_and_says_when_it_renews(
    user, provider, upstream, turn, budget
):
    row = await budget(10)
    assert isinstance(await end_of(user, turn("Hi")), Done)

    error = await refused(user, turn("More"))
    renews_at = row.renews_at(timezone.now())
    assert (error.code, error.status) == ("budget_exceeded", 429)
    assert error.text == (
        "Your daily token budget is used up; "
        f"it renews on {renews_at:%Y-%m-%d at %H:%M} UTC"
    )
    seconds = (renews_at - timezone.now()).total_seconds()
    assert error.retry_after == pytest.approx(seconds, abs=2)
    assert len(upstream.requests) == 1
    assert await in_database(Conversation.objects.count) == 1


async def test_what_is_only_reserved_may_be_asked_for_again_soon(
    user, provider, upstream, turn, budget
):
    await budget(10)
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        error = await refused(user, turn("More", session_id="s-2"))
        assert error.code == "budget_exceeded"
        assert "taken up by answers that are being written" in error.text
        assert error.retry_after == 5
        go.set()


@pytest.mark.parametrize("limit", [1, 4097], ids=["one token", "one answer"])
@pytest.mark.parametrize("of_group", [False, True], ids=["user", "group"])
async def test_of_fifty_at_a_limit_of_one_one_gets_through(
    user, provider, upstream, turn, budget, settings, limit, of_group
):
    settings.LLMCHAT = settings.LLMCHAT | {"max_streams_per_user": 50}
    users = [user]
    if of_group:
        users, group = await in_database(members, 50)
        await budget(limit, user=None, group=group)
    else:
        await budget(limit)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    asked = [
        asyncio.create_task(
            events_of(users[n % len(users)], turn("Hi", session_id=f"s-{n}"))
        )
        for n in range(50)
    ]
    async with asyncio.timeout(60):
        while sum(task.done() for task in asked) < 49:
            await asyncio.wait(
                [task for task in asked if not task.done()],
                return_when=asyncio.FIRST_COMPLETED,
            )
        go.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [end for end in ends if isinstance(end, ChatError)]
    assert {error.code for error in refusals} == {"budget_exceeded"}
    assert len(refusals) == 49
    assert len(upstream.requests) == 1
    assert await in_database(Message.objects.filter(role="assistant").count) == 1


def members(count: int) -> tuple[list, Group]:
    group = Group.objects.create(name="team")
    made = [User.objects.create_user(f"member{n}") for n in range(count)]
    group.user_set.set(made)
    return made, group


async def test_workers_that_ask_at_the_same_moment_do_not_overdraw(
    user, provider, upstream, turn, budget
):
    """Four connections of their own, as of four processes."""
    users, group = await in_database(members, 4)
    await budget(1, user=None, group=group)
    barrier = Barrier(4)

    def begin(member) -> str:
        barrier.wait(10)
        try:
            begin_turn(member.pk, turn("Hi"))
        except ChatError as exc:
            return exc.code
        return "begun"

    ends = await asyncio.gather(*(in_database(begin, member) for member in users))
    assert sorted(ends) == ["begun"] + 3 * ["budget_exceeded"]


async def test_a_group_budget_is_shared_by_its_members_and_nobody_else(
    user, provider, upstream, turn, budget
):
    (ann, bob), group = await in_database(members, 2)
    row = await budget(10, user=None, group=group)
    await end_of(ann, turn("Hi"))
    assert await spent(row) == 10
    error = await refused(bob, turn("Hi"))
    assert error.text.startswith("Your group's daily token budget is used up")
    assert isinstance(await end_of(user, turn("Hi")), Done)


async def test_the_strictest_of_several_budgets_counts(
    user, provider, upstream, turn, budget
):
    day = await budget(1000)
    month = await budget(5, period=MONTH)
    await end_of(user, turn("Hi"))
    assert "monthly" in (await refused(user, turn("Hi"))).text
    assert await spent(day) == await spent(month) == 10
    assert await reservations() == []


async def test_a_budget_renews_with_its_period(user, provider, upstream, turn, budget):
    yesterday = timezone.now().date() - timedelta(days=1)
    row = await budget(10, spent=10, period_start=yesterday)
    assert isinstance(await end_of(user, turn("Hi")), Done)
    assert await spent(row) == 10
    assert row.period_start == timezone.now().date()
    assert (await refused(user, turn("Hi"))).code == "budget_exceeded"


async def test_a_budget_of_nothing_allows_nothing(
    user, provider, upstream, turn, budget
):
    await budget(0)
    assert (await refused(user, turn("Hi"))).code == "budget_exceeded"
    assert not upstream.requests


async def test_money_is_not_spent_on_an_unknown_price(
    user, provider, upstream, turn, budget
):
    await budget(1, unit=DOLLARS)
    await in_database(lambda: Provider.objects.update(output_price=None))
    error = await refused(user, turn("Hi"))
    assert (error.code, error.status) == ("price_not_configured", 503)
    assert not upstream.requests


async def test_a_cancelled_answer_costs_what_was_sent_of_it(
    user, provider, upstream, turn, budget
):
    row = await budget()
    upstream.steps = ("Hel", "lo", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, stream):

        async def has_two_tokens() -> bool:
            return sum(isinstance(event, Token) for event in events) == 2

        await until(has_two_tokens)
        stream.cancel()
    assert isinstance(events[-1], Cancelled)
    assert await spent(row) == 3
    assert await reservations() == []


async def test_a_cancelled_answer_costs_its_text_however_large_its_pieces_are(
    user, provider, upstream, turn, budget
):
    row = await budget()
    upstream.steps = ("x" * 400, asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, _events, stream):
        stream.cancel()
    assert await spent(row) == 101


@pytest.mark.parametrize("interrupted", [False, True], ids=["cancelled", "cut off"])
async def test_an_answer_that_is_broken_off_while_it_thinks_costs_its_prompt(
    user, provider, upstream, turn, budget, interrupted
):
    row = await budget()
    upstream.steps = (asyncio.Event(),)
    asked = asyncio.create_task(end_of(user, turn("x" * 400)))
    await upstream.received.wait()
    (stream,) = runtime.get().streams.running()
    if interrupted:
        stream.interrupt(refusal("draining"))
    else:
        stream.cancel()
    await asked
    assert await spent(row) == 101
    assert await reservations() == []


async def test_an_answer_that_is_cancelled_before_its_provider_is_asked_costs_nothing(
    user, provider, upstream, turn, budget
):
    row = await budget()
    with registered(user, turn("x" * 400)) as stream:
        stream.cancel()
        answer = stream_answer(turn=turn("x" * 400), stream=stream)
        assert isinstance([event async for event in answer][-1], Cancelled)
    assert await spent(row) == 0
    assert await booked() == {(0, 0, Decimal(0))}
    assert not upstream.requests


@pytest.mark.parametrize("left", [False, True], ids=["cancelled", "left"])
async def test_what_a_provider_has_counted_of_a_cancelled_answer_is_booked(
    user, provider, upstream, turn, budget, monkeypatch, left
):
    """The client of the providers tells it as the stream is closed."""

    async def stream_chat(*args, on_billed, **kwargs):
        try:
            yield Delta("Hel")
            await asyncio.Event().wait()
        finally:
            on_billed(Usage(7, 50, "provider"))

    row = await budget()
    monkeypatch.setattr(runtime.get().client, "stream_chat", stream_chat)
    with suppress(asyncio.CancelledError):
        async with streaming(user, turn("Hi")) as (task, _events, stream):
            if left:
                task.cancel()
            else:
                stream.cancel()
    assert await spent(row) == 57


async def test_an_answer_that_never_began_costs_nothing(
    user, provider, upstream, turn, budget
):
    row = await budget()
    upstream.status = 401
    assert isinstance(await end_of(user, turn("Hi")), Failed)
    assert await spent(row) == 0
    assert await reservations() == []
    assert await booked() == {(0, 0, Decimal(0))}


async def booked() -> set[tuple[int, int, Decimal]]:
    """Return what is booked on the answers and on the conversations."""

    def read() -> set[tuple[int, int, Decimal]]:
        fields = ("input_tokens", "output_tokens", "cost")
        answers = Message.objects.filter(role="assistant").values_list(*fields)
        return {*answers, *Conversation.objects.values_list(*fields)}

    return await in_database(read)


@pytest.fixture
def empty(upstream, monkeypatch):
    """Let the provider think, say nothing, and bill for it."""
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)
    upstream.steps = ()
    upstream.usage = {"prompt_tokens": 5000, "completion_tokens": 100_000}


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_an_answer_without_a_word_costs_what_all_attempts_are_billed(
    user, provider, upstream, turn, budget, empty, reason
):
    tokens, dollars = await budget(10**6), await budget(1, unit=DOLLARS)
    upstream.reason = reason
    assert isinstance(await end_of(user, turn("Hi")), Failed)
    attempts = len(upstream.requests)
    assert attempts == (2 if reason == "stop" else 1)
    assert await spent(tokens) == attempts * 105_000
    assert await spent(dollars) == attempts * Decimal("0.205")
    assert await booked() == {
        (attempts * 5000, attempts * 100_000, attempts * Decimal("0.205"))
    }


async def test_an_attempt_without_a_word_is_billed_beside_the_one_that_answers(
    user, provider, upstream, turn, budget, empty
):
    row = await budget(10**6)
    # It is asked again after the wait that follows its first answer.
    asked = asyncio.create_task(end_of(user, turn("Hi")))
    await upstream.answered.wait()
    upstream.steps, upstream.usage = (
        ("Hel", "lo"),
        {
            "prompt_tokens": 7,
            "completion_tokens": 3,
        },
    )
    end = await asked
    assert isinstance(end, Done)
    assert await spent(row) == 105_000 + 10
    assert await booked() == {(5007, 100_003, Decimal("0.205013"))}
    assert end.usage.output_tokens == 100_003


async def test_what_the_first_provider_bills_is_booked_beside_its_fallback(
    user, provider, upstream, turn, budget, empty
):
    tokens, dollars = await budget(10**6), await budget(1, unit=DOLLARS)
    async with running_upstream() as other:
        await in_database(add_fallback, provider, other.base_url)
        end = await end_of(user, turn("Hi"))
    assert isinstance(end, Done)
    assert end.usage.output_tokens == 3
    assert await spent(tokens) == 210_010
    assert await spent(dollars) == Decimal("0.41013")
    assert await booked() == {(10_007, 200_003, Decimal("0.41013"))}


async def test_an_answer_that_is_deleted_while_it_streams_has_cost_all_the_same(
    user, provider, upstream, turn, budget
):
    row = await budget()
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")):
        await in_database(lambda: Conversation.objects.all().delete())
        go.set()
    assert await spent(row) == 10
    assert await reservations() == []


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
async def test_what_a_dead_process_had_reserved_is_freed(
    user, provider, upstream, turn, budget, deleted
):
    row = await budget(10)

    def die() -> None:
        begin_turn(user.pk, turn("Hi"))
        # No row of that worker tells that it lives.
        Message.objects.filter(state="streaming").update(worker="elsewhere/1/2")
        if deleted:
            Conversation.objects.all().delete()

    await in_database(die)
    assert len(await reservations()) == 1
    await in_database(sweep)
    assert await reservations() == []
    assert await spent(row) == 0
    assert isinstance(await end_of(user, turn("Hi", session_id="s-2")), Done)


async def test_the_sweep_leaves_what_a_living_process_has_reserved(
    user, provider, upstream, turn, budget
):
    await budget()
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        await in_database(sweep)
        assert len(await reservations()) == 1
        go.set()


async def test_an_end_is_settled_once(user, provider, turn, budget):
    row = await budget()

    def end_twice() -> list[bool]:
        begun = begin_turn(user.pk, turn("Hi"))
        usage = Usage(7, 3, "provider")
        ending = Outcome(Message.State.COMPLETE, "Hello", usage, "model-1")
        return [finish_turn(begun, ending) for _ in range(2)]

    assert await in_database(end_twice) == [True, False]
    assert await spent(row) == 10


async def test_without_any_budget_none_is_asked_for(user, provider, turn):
    def statements() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            begun = begin_turn(user.pk, turn("Hi"))
            usage = Usage(7, 3, "provider")
            finish_turn(begun, Outcome(Message.State.COMPLETE, "Hello", usage, "m"))
        return [query["sql"] for query in queries.captured_queries]

    await in_database(statements)  # with what a process reads once
    sent = await in_database(statements)
    assert [sql for sql in sent if "budget" in sql or "reservation" in sql] == []


@pytest.mark.parametrize(
    ("period", "now", "start", "renews"),
    [
        (DAY, "2026-11-23T00:00", date(2026, 11, 23), "2026-11-24"),
        (DAY, "2026-12-31T23:59", date(2026, 12, 31), "2027-01-01"),
        (MONTH, "2026-11-23T12:00", date(2026, 11, 1), "2026-12-01"),
        (MONTH, "2026-12-31T23:59", date(2026, 12, 1), "2027-01-01"),
    ],
)
def test_periods_are_those_of_the_calendar(period, now, start, renews):
    budget = Budget(period=period, limit=1)
    moment = datetime.fromisoformat(f"{now}+00:00")
    assert budget.start_of_period(moment) == start
    assert budget.renews_at(moment) == datetime.fromisoformat(f"{renews}T00:00+00:00")
    assert budget.renews_at(moment).tzinfo is UTC


@pytest.mark.django_db
def test_a_budget_is_either_a_users_or_a_groups():
    user = User.objects.create_user("ann")
    group = Group.objects.create(name="team")
    for owner in ({}, {"user": user, "group": group}):
        with pytest.raises(ValidationError, match="either a user or a group"):
            Budget(limit=1, **owner).full_clean()
    Budget(limit=1, user=user).full_clean()
    Budget(limit=1, group=group).full_clean()

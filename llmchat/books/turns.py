"""The stored life of a turn: its start, its checkpoints, its one end.

Plain functions on the ORM, each one short transaction at most, run through
`database.in_database`. A late write changes rows that are there and never makes one,
so what was deleted meanwhile stays deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.utils import timezone

from llmchat import conf
from llmchat.access import budgets, catalogue, keys, permissions
from llmchat.books import totals
from llmchat.books.conversations import extended_hash, open_conversation, stored_hash
from llmchat.books.turn import Turn
from llmchat.books.workers import is_known_dead, worker_id
from llmchat.errors import refusal
from llmchat.models import AnswerState, Conversation, Message
from llmchat.providers.answer import estimate_input_tokens
from llmchat.providers.request import max_tokens
from llmchat.providers.types import Chat, Usage

logger = logging.getLogger(__name__)

# Checkpoints push it forward; a worker that misses so many of them is dead.
LEASE = timedelta(seconds=60)
_RETRY_AFTER_S = 5
_Role = Message.Role
_State = Message.State


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn that is stored; `thread_hash` is its conversation's at that moment.

    `budgets` are those that something is reserved of.
    """

    user_id: int
    route: catalogue.Route
    model: str
    conversation_id: UUID
    message_id: UUID
    thread_hash: str
    budgets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended. `refused` maps the idents of refused keys to codes.

    `usage` is what all attempts are billed for where the answer came from.
    `fell_back` says that the route's fallback was asked in the end; `before` is what
    the route's own provider has billed until then.
    """

    state: AnswerState
    text: str
    usage: Usage
    model: str
    finish_reason: str = ""
    error_code: str = ""
    attempts: int = 1
    first_token_at: datetime | None = None
    refused: dict[str, str] = field(default_factory=dict)
    fell_back: bool = False
    before: Usage | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a checkpoint stores of one stream; `text` None: nothing new.

    `parts` is the number of pieces that the text is made of.
    """

    message_id: UUID
    text: str | None
    first_token_at: datetime | None
    parts: int


def begin_turn(user_id: int, turn: Turn) -> Begun:
    """Store the user's message and the answer to come, in one transaction.

    Raises: ChatError `provider_not_found`, `key_not_configured`, `permission_denied`,
        `token_invalid`, `session_active`, `too_many_streams`,
        `conversation_not_found`, `budget_exceeded`, `price_not_configured`,
        `database_unavailable`.
    """
    try:
        may_use = partial(permissions.permits, user_id)
        route = catalogue.route(turn.provider, may_use=may_use)
        permissions.require(user_id, turn.provider, turn.model or route.default_model)
        with transaction.atomic():
            _lock_user(user_id)
            _check_running(user_id, turn)
            return _stored(user_id, turn, route)
    except (OperationalError, InterfaceError) as exc:
        raise refusal("database_unavailable", retry_after=_RETRY_AFTER_S) from exc
    except IntegrityError as exc:
        raise refusal("session_active") from exc


def checkpoint(progress: Sequence[Progress]) -> set[UUID]:
    """Store the text so far and renew the leases; return the streams to stop.

    Those are the ones that an operator has stopped and the ones whose row is gone.
    """
    lease_until = timezone.now() + LEASE
    wanted = {item.message_id for item in progress}
    rows = Message.objects.filter(pk__in=wanted)
    going = set(rows.filter(stop_requested=False).values_list("pk", flat=True))
    running = rows.filter(state=_State.STREAMING)
    with transaction.atomic():
        # In the order in which a deletion locks them.
        list(running.order_by("pk").select_for_update().values_list("pk"))
        for item in progress:
            if item.text is not None:
                running.filter(pk=item.message_id).update(
                    content=_storable(item.text), first_token_at=item.first_token_at
                )
        running.update(lease_until=lease_until)
    return wanted - going


def end_turn(begun: Begun, ending: Ending) -> None:
    """Store how an answer ended, at least its text and what it has cost.

    Raises: OperationalError, InterfaceError: the database does not answer.
    """
    try:
        finish_turn(begun, ending)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        # Whatever it is that cannot be stored, the row does not stay `streaming`.
        logger.exception("an end cannot be stored as it is")
        finish_turn(begun, _reduced(begun, ending))


def finish_turn(begun: Begun, ending: Ending) -> bool:
    """Store how an answer ended; return whether its row was still there."""
    usage, cost = _booked(begun, ending)
    _note_keys(begun, ending)
    with transaction.atomic():
        conversation = (
            Conversation.objects.select_for_update()
            .filter(pk=begun.conversation_id)
            .first()
        )
        if conversation is None:
            # Deleted; what was used is used.
            budgets.settle(begun.budgets, begun.message_id, usage, cost)
            return False
        if not _write_end(begun, ending, usage, cost):
            return False
        budgets.settle(begun.budgets, begun.message_id, usage, cost)
        if conversation.thread_hash != begun.thread_hash:
            # Another turn went on with it meanwhile.
            conversation.thread_hash = stored_hash(conversation.pk)
        elif ending.text:
            conversation.thread_hash = extended_hash(
                begun.thread_hash, _Role.ASSISTANT, _storable(ending.text)
            )
        conversation.updated_at = timezone.now()
        totals.note_end(conversation, usage, cost)
        conversation.save(update_fields=["thread_hash", "updated_at", *totals.FIELDS])
    return True


def sweep(user_id: int | None = None, *, own_before: datetime | None = None) -> int:
    """Mark the answers of dead processes as interrupted; return how many they were.

    A lease of this process's own may have run out because it was suspended, so its
    rows are left alone: but for those whose lease ended before `own_before`, when the
    leases of all that it writes were renewed.
    """
    rows = Message.objects.filter(state=_State.STREAMING)
    if user_id is not None:
        rows = rows.filter(user_id=user_id)
    else:
        budgets.release_orphans()
    now = timezone.now()
    fields = ("pk", "conversation_id", "worker", "lease_until")
    dead = [
        (pk, conversation_id, lease_until)
        for pk, conversation_id, worker, lease_until in rows.values_list(*fields)
        if _is_over(worker, lease_until, own_before, now)
    ]
    return sum(_interrupt(*row) for row in dead)


def _is_over(
    worker: str,
    lease_until: datetime | None,
    own_before: datetime | None,
    now: datetime,
) -> bool:
    if worker == worker_id():
        return bool(own_before and lease_until and lease_until < own_before)
    return lease_until is None or lease_until < now or is_known_dead(worker)


def _lock_user(user_id: int) -> None:
    """Make the turns of one user start one after another, on every worker."""
    users = get_user_model().objects.select_for_update(no_key=True)
    if not users.filter(pk=user_id, is_active=True).exists():
        raise refusal("token_invalid")


def _check_running(user_id: int, turn: Turn) -> None:
    limit = conf.get().max_streams_per_user
    running = _running_sessions(user_id)
    if turn.session_id in running or len(running) >= limit:
        sweep(user_id)
        running = _running_sessions(user_id)
    if turn.session_id in running:
        raise refusal("session_active")
    if len(running) >= limit:
        raise refusal("too_many_streams")


def _running_sessions(user_id: int) -> list[str]:
    rows = Message.objects.filter(user_id=user_id, state=_State.STREAMING)
    return list(rows.values_list("session_id", flat=True))


def _stored(user_id: int, turn: Turn, route: catalogue.Route) -> Begun:
    conversation = open_conversation(user_id, turn)
    now = timezone.now()
    model = turn.model or route.default_model
    answer = Message.objects.create(
        conversation=conversation,
        user_id=user_id,
        position=conversation.message_count,
        role=_Role.ASSISTANT,
        state=_State.STREAMING,
        created_at=now,
        session_id=turn.session_id,
        provider=turn.provider,
        model=model,
        worker=worker_id(),
        lease_until=now + LEASE,
    )
    most = _most(turn, route)
    drawn_on = budgets.reserve(user_id, answer.pk, most, route.highest_cost(most))
    if drawn_on and route.fallback and route.fallback.cost(most) is None:
        # What it would cost could not be settled.
        route = replace(route, fallback=None)
    conversation.message_count += 1
    totals.note_begin(conversation, model)
    conversation.save()
    return Begun(
        user_id=user_id,
        route=route,
        model=model,
        conversation_id=conversation.pk,
        message_id=answer.pk,
        thread_hash=conversation.thread_hash,
        budgets=drawn_on,
    )


def _most(turn: Turn, route: catalogue.Route) -> Usage:
    """Return what the answer to a turn uses at most, as far as can be said."""
    chat = Chat(
        turn.model or route.default_model,
        turn.messages,
        max_output_tokens=turn.max_tokens,
    )
    output = max_tokens(route.provider, chat) or budgets.DEFAULT_OUTPUT_TOKENS
    return Usage(estimate_input_tokens(chat), output, "estimated")


def _route(begun: Begun, ending: Ending) -> catalogue.Route:
    """Return where the answer came from, or was last asked for."""
    fallback = begun.route.fallback
    return fallback if ending.fell_back and fallback else begun.route


def _note_keys(begun: Begun, ending: Ending) -> None:
    route = _route(begun, ending)
    if route is not begun.route:
        keys.note(begun.route.keys, ending.refused, worked=False)
    worked = ending.state == _State.COMPLETE or bool(ending.text)
    keys.note(route.keys, ending.refused, worked=worked)


def _booked(begun: Begun, ending: Ending) -> tuple[Usage, Decimal | None]:
    """Return what is booked for an answer, everywhere alike, and what it costs."""
    usage, cost = ending.usage, _route(begun, ending).cost(ending.usage)
    if ending.before is None:
        return usage, cost
    before = begun.route.cost(ending.before)
    total = None if cost is None or before is None else cost + before
    return usage + ending.before, total


def _reduced(begun: Begun, ending: Ending) -> Ending:
    """Return an end without any word of the provider's own."""
    return Ending(
        state=_State.ERROR,
        text=ending.text,
        usage=ending.usage,
        model=begun.model,
        finish_reason="error",
        error_code="internal_error",
        fell_back=ending.fell_back,
        before=ending.before,
    )


def _write_end(begun: Begun, ending: Ending, usage: Usage, cost: Decimal | None) -> int:
    route = _route(begun, ending)
    # A row that another worker took for dead is this one's all the same.
    rows = Message.objects.filter(
        pk=begun.message_id, state__in=(_State.STREAMING, _State.INTERRUPTED)
    )
    return rows.update(
        state=ending.state,
        content=_storable(ending.text),
        provider=route.provider.name,
        model=ending.model,
        finish_reason=ending.finish_reason,
        error_code=ending.error_code,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        usage_source=usage.source,
        cost=cost,
        attempts=ending.attempts,
        first_token_at=ending.first_token_at,
        finished_at=timezone.now(),
        lease_until=None,
    )


def _interrupt(
    message_id: UUID, conversation_id: UUID, lease_until: datetime | None
) -> int:
    with transaction.atomic():
        conversation = (
            Conversation.objects.select_for_update().filter(pk=conversation_id).first()
        )
        # Its lease has moved on: the worker lives after all.
        rows = Message.objects.filter(
            pk=message_id, state=_State.STREAMING, lease_until=lease_until
        )
        changed = rows.update(
            state=_State.INTERRUPTED,
            error_code="interrupted",
            finished_at=timezone.now(),
            lease_until=None,
        )
        if changed:
            budgets.release([message_id])
        if conversation is not None and changed:
            conversation.thread_hash = stored_hash(conversation_id)
            totals.note_state(conversation)
            conversation.save(update_fields=["thread_hash", *totals.STATE_FIELDS])
    return changed


def _storable(text: str) -> str:
    """Return `text` as every database takes it: PostgreSQL refuses NUL."""
    return text.replace("\0", "\ufffd")

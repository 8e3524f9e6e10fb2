"""Conversations and their messages; an answer is a message with a state."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TypeAlias

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class AnswerState(models.TextChoices):
    """The state of an answer."""

    COMPLETE = "complete", _("complete")
    STREAMING = "streaming", _("streaming")
    CANCELLED = "cancelled", _("cancelled")
    ERROR = "error", _("error")
    INTERRUPTED = "interrupted", _("interrupted")


class Conversation(models.Model):
    """One chat of one user.

    `thread_hash` is the hash of all stored messages in order
    (`books/conversations.py`); it finds the conversation when a client sends its whole
    history. `message_count` is the position of the next message; of the messages before
    it, `replaced_count` have been replaced and are no longer part of the history. The
    totals of the messages are stored here, too (`books/totals.py`), so that a list of
    conversations reads no messages.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="conversations",
    )
    title = models.CharField(max_length=120, blank=True)
    provider = models.CharField(
        max_length=64, help_text=_("Provider of the latest turn.")
    )
    thread_hash = models.CharField(max_length=64, editable=False)
    message_count = models.PositiveIntegerField(default=0, editable=False)
    replaced_count = models.PositiveIntegerField(
        default=0, db_default=0, editable=False
    )
    model = models.CharField(
        max_length=128,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("Model of the latest answer."),
    )
    state = models.CharField(
        max_length=16,
        choices=AnswerState,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("State of the latest answer."),
    )
    turn_count = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    input_tokens = models.PositiveBigIntegerField(
        default=0, db_default=0, editable=False
    )
    output_tokens = models.PositiveBigIntegerField(
        default=0, db_default=0, editable=False
    )
    cost = models.DecimalField(
        max_digits=16,
        decimal_places=10,
        default=0,
        db_default=0,
        editable=False,
        help_text=_("In US dollars; answers without a known price are not included."),
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ["-updated_at"]
        indexes = [
            models.Index(
                fields=["user", "thread_hash", "-updated_at"],
                name="conversation_thread",
            ),
            models.Index(fields=["user", "-updated_at"], name="conversation_recent"),
            models.Index(fields=["-updated_at"], name="conversation_updated"),
            models.Index(fields=["-cost"], name="conversation_cost"),
        ]

    def __str__(self) -> str:
        return self.title or str(self.id)


class Message(models.Model):
    """One message of a conversation; an assistant message is one stored stream.

    `extra` is what the message holds besides text, as `books/extra.py` writes it; ""
    means nothing. A message that is `replaced_by` another question is kept for its
    costs, and because it is part of the history of the answers before that question.
    `worker` names the process that streams the answer. Until the answer ends, its text
    is in pieces (`workers.py`).
    """

    class Role(models.TextChoices):
        SYSTEM = "system", _("system")
        USER = "user", _("user")
        ASSISTANT = "assistant", _("assistant")
        TOOL = "tool", _("tool")

    State: TypeAlias = AnswerState

    class UsageSource(models.TextChoices):
        PROVIDER = "provider", _("counted by the provider")
        ESTIMATED = "estimated", _("estimated")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    position = models.PositiveIntegerField()
    replaced_by = models.PositiveIntegerField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("Position of the question that replaced it."),
    )
    role = models.CharField(max_length=16, choices=Role)
    content = models.TextField(blank=True)
    extra = models.TextField(
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("Images and tool calls, as JSON."),
    )
    state = models.CharField(max_length=16, choices=State, default=State.COMPLETE)
    created_at = models.DateTimeField()

    # For answers only:
    session_id = models.CharField(max_length=128, blank=True)
    # Not a foreign key, with which deleting a key would search for all its answers.
    key_id = models.BigIntegerField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("The API key that the request was made with, if any."),
    )
    provider = models.CharField(max_length=64, blank=True)
    model = models.CharField(max_length=128, blank=True)
    finish_reason = models.CharField(max_length=32, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.CharField(
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text=_("Why it failed, for operators."),
    )
    input_tokens = models.PositiveIntegerField(null=True, blank=True)
    output_tokens = models.PositiveIntegerField(null=True, blank=True)
    reasoning_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text=_("Included in the output tokens."),
    )
    cache_read_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text=_("Included in the input tokens."),
    )
    cache_write_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text=_("Included in the input tokens."),
    )
    cache_write_long_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text=_(
            "Included in the cache write tokens. They are cached for longer and cost "
            "more."
        ),
    )
    usage_source = models.CharField(max_length=16, choices=UsageSource, blank=True)
    cost = models.DecimalField(
        max_digits=16,
        decimal_places=10,
        null=True,
        blank=True,
        help_text=_("In US dollars."),
    )
    # Without a constraint, so that an end is stored even if its price is deleted first.
    price = models.ForeignKey(
        "llmchat.Price",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_constraint=False,
        db_index=False,
        help_text=_("The price that the cost was calculated from."),
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    answered_by = models.CharField(
        max_length=128,
        blank=True,
        default="",
        db_default="",
        help_text=_("The model that answered, according to the provider."),
    )
    fingerprint = models.CharField(
        max_length=128,
        blank=True,
        default="",
        db_default="",
        help_text=_(
            "Changes when the provider changes what runs under the model’s name."
        ),
    )
    first_token_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=96, blank=True)
    stop_requested = models.BooleanField(default=False)

    class Meta:
        # No default ordering: only queries that need an order ask for one, and sort.
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "position"], name="message_position"
            ),
            models.UniqueConstraint(
                fields=["user", "session_id"],
                condition=Q(state="streaming"),
                name="message_one_stream_for_a_session",
            ),
        ]
        indexes = [
            models.Index(
                fields=["worker"],
                condition=Q(state="streaming"),
                name="message_running",
            ),
            models.Index(fields=["-created_at"], name="message_created"),
            models.Index(
                fields=["price"],
                condition=Q(price__isnull=False),
                name="message_price",
            ),
            # The few answers that operators look for.
            models.Index(
                fields=["finish_reason", "-created_at"],
                condition=~Q(finish_reason__in=["", "stop"]),
                name="message_cut_off",
            ),
            models.Index(
                fields=["state", "-created_at"],
                condition=Q(state__in=["error", "interrupted", "cancelled"]),
                name="message_not_whole",
            ),
            # Covers all columns that usage is added up from, so that no text is read.
            models.Index(
                fields=[
                    "created_at",
                    "provider",
                    "model",
                    "user",
                    "state",
                    "input_tokens",
                    "output_tokens",
                    "cost",
                ],
                condition=Q(role="assistant"),
                name="message_usage",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:40]}"

    @property
    def is_replaced(self) -> bool:
        """Return whether the message is no longer part of its conversation."""
        return self.replaced_by is not None

    @property
    def first_token_ms(self) -> int | None:
        """Return the time to the first token, None if there was none."""
        return self._ms_until(self.first_token_at)

    @property
    def duration_ms(self) -> int | None:
        """Return the duration of the whole answer, None while it is running."""
        return self._ms_until(self.finished_at)

    def _ms_until(self, moment: datetime | None) -> int | None:
        if moment is None:
            return None
        return round((moment - self.created_at).total_seconds() * 1000)


class RunningStream(Message):
    """A running answer, as the admin lists it."""

    class Meta:
        proxy = True
        verbose_name = _("running stream")
        verbose_name_plural = _("streaming now")

    def __str__(self) -> str:
        # Not the text: the permission to watch streams does not allow reading them.
        return f"Answer {self.pk}"

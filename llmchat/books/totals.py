"""What the answers of a conversation add up to, kept on its row.

Changed together with the answer, in the same transaction and under the lock of the
conversation's row, so that the admin lists conversations without reading messages.
"""

from __future__ import annotations

from decimal import Decimal

from llmchat.books.billing import HIGHEST
from llmchat.models import Conversation, Message
from llmchat.providers.types import Usage

STATE_FIELDS = ("state", "model")


def note_begin(conversation: Conversation, model: str) -> None:
    """Count an answer that has begun; the caller saves the conversation."""
    conversation.turn_count += 1
    conversation.model = model
    conversation.state = Message.State.STREAMING


def note_end(conversation: Conversation, usage: Usage, cost: Decimal | None) -> None:
    """Add up an answer whose end is stored; the caller saves the conversation."""
    conversation.input_tokens += usage.input_tokens or 0
    conversation.output_tokens += usage.output_tokens
    conversation.cost = min(conversation.cost + (cost or 0), HIGHEST)


def note_state(conversation: Conversation) -> None:
    """Copy the latest answer's state; the caller saves `STATE_FIELDS`."""
    latest = (
        Message.objects.filter(
            conversation_id=conversation.pk, role=Message.Role.ASSISTANT
        )
        .exclude(session_id="")  # came with a history
        .order_by("-position")
        .values_list("state", "model")
        .first()
    )
    if latest is not None:
        conversation.state, conversation.model = latest

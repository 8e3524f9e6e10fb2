"""What is stored, a file a concept."""

from llmchat.models.budgets import Budget, ProviderAccess, Reservation
from llmchat.models.conversations import (
    AnswerState,
    Conversation,
    Message,
    Provider,
    ProviderKey,
    RunningStream,
)

__all__ = [
    "AnswerState",
    "Budget",
    "Conversation",
    "Message",
    "Provider",
    "ProviderAccess",
    "ProviderKey",
    "Reservation",
    "RunningStream",
]

"""What is stored, a file a concept."""

from llmchat.models.budgets import Budget, Reservation
from llmchat.models.catalogue import Price, ProviderModel
from llmchat.models.conversations import (
    AnswerState,
    Conversation,
    Message,
    RunningStream,
)
from llmchat.models.day_totals import DayChange, DayTotal
from llmchat.models.permissions import ProviderAccess
from llmchat.models.providers import Provider, ProviderKey
from llmchat.models.revision import Revision
from llmchat.models.workers import Piece, Worker

__all__ = [
    "AnswerState",
    "Budget",
    "Conversation",
    "DayChange",
    "DayTotal",
    "Message",
    "Piece",
    "Price",
    "Provider",
    "ProviderAccess",
    "ProviderKey",
    "ProviderModel",
    "Reservation",
    "Revision",
    "RunningStream",
    "Worker",
]

"""What is stored, with a file for each concept."""

from llmchat.models.budget_uses import BudgetUse, Reservation
from llmchat.models.budgets import Budget
from llmchat.models.catalogue import Price, ProviderModel
from llmchat.models.conversations import (
    AnswerState,
    Conversation,
    Message,
    RunningStream,
)
from llmchat.models.day_totals import DayChange, DayTotal
from llmchat.models.past import PastUse
from llmchat.models.permissions import ProviderAccess
from llmchat.models.providers import Provider, ProviderKey
from llmchat.models.revision import Revision
from llmchat.models.roles import ShippedRole
from llmchat.models.workers import Piece, Worker

__all__ = [
    "AnswerState",
    "Budget",
    "BudgetUse",
    "Conversation",
    "DayChange",
    "DayTotal",
    "Message",
    "PastUse",
    "Piece",
    "Price",
    "Provider",
    "ProviderAccess",
    "ProviderKey",
    "ProviderModel",
    "Reservation",
    "Revision",
    "RunningStream",
    "ShippedRole",
    "Worker",
]

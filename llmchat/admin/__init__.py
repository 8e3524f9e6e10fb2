"""The admin: providers, keys, budgets, conversations, what streams now.

Django imports this package for what its modules register.
"""

from llmchat.admin import (
    api_keys,
    audit,
    budgets,
    conversations,
    keys,
    messages,
    models,
    people,
    providers,
    running,
)

__all__ = [
    "api_keys",
    "audit",
    "budgets",
    "conversations",
    "keys",
    "messages",
    "models",
    "people",
    "providers",
    "running",
]

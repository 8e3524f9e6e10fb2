"""The admin: providers, keys, budgets, conversations, running streams.

Django imports this package, so that its modules register their classes.
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

"""The admin: providers and their keys, budgets, conversations, what streams now.

Django imports this package for what its modules register.
"""

from llmchat.admin import budgets, conversations, keys, messages, providers, running

__all__ = ["budgets", "conversations", "keys", "messages", "providers", "running"]

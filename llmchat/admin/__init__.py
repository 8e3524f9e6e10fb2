"""The admin: providers and their keys, conversations, what streams now.

Django imports this package for what its modules register.
"""

from llmchat.admin import conversations, keys, messages, providers, running

__all__ = ["conversations", "keys", "messages", "providers", "running"]

"""An operator who stops and deletes running answers, in a process of its own.

`python -m tests.support.operator`, with the `DATABASE_URL` of the servers, works as the
admin of another worker would until its input is closed. Then it prints as JSON what it
has stopped and deleted.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from typing import Any

import django

EVERY_S = 0.1


def work(until: threading.Event) -> dict[str, list[str]]:
    """Stop a few answers and delete a few conversations, again and again."""
    from llmchat.answers import stopping
    from llmchat.models import Conversation, Message

    running = Message.objects.filter(state="streaming").order_by("?")
    stopped: list[Any] = []
    deleted: list[Any] = []
    while not until.wait(EVERY_S):
        some = list(running.values_list("pk", flat=True)[: random.randint(1, 4)])
        stopped += some
        stopping.stop(Message.objects.filter(pk__in=some))
        rows = list(running.values_list("conversation", flat=True)[:2])
        deleted += rows
        stopping.delete(Conversation.objects.filter(pk__in=rows))
    return {"stopped": [*map(str, stopped)], "deleted": [*map(str, deleted)]}


def main() -> None:
    """Work until the input ends."""
    django.setup()
    print("ready", flush=True)
    until = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), until.set())).start()
    json.dump(work(until), sys.stdout)


if __name__ == "__main__":
    main()

"""A transport that plays scripts instead of asking a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import ProviderError
from llmchat.providers.registry import DEFAULT_PROVIDERS
from llmchat.providers.transport import Request, Response
from llmchat.providers.types import (
    NO_OPTIONS,
    Delta,
    Finished,
    Options,
    Provider,
    Timeouts,
    Usage,
)
from tests.emulator.driver import KEY, PATIENT, chat
from tests.support.clock import Passing, let_pass

EVENTS = "text/event-stream"
FOREVER = 3600.0
# Bytes are sent, seconds are waited for, and an error breaks off the body.
Step = bytes | float | Exception


@dataclass(frozen=True, slots=True)
class Script:
    """One response; an error in place of a status is raised instead of responding."""

    steps: Sequence[Step] = ()
    content_type: str = EVENTS
    status: int | Exception = 200


@dataclass(slots=True)
class ScriptedTransport:
    """Answers each request with the next script, and repeats the last one."""

    scripts: Sequence[Script]
    requests: list[Request] = field(default_factory=list)
    closed: int = 0
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, request: Request) -> Response:
        script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
        self.requests.append(request)
        if isinstance(script.status, Exception):
            raise script.status
        request.on_sending()
        headers = {"content-type": script.content_type}
        return Response(script.status, headers, self._play(script), self._release)

    async def aclose(self) -> None:
        pass

    async def _release(self) -> None:
        self.closed += 1

    async def _play(self, script: Script) -> AsyncGenerator[bytes, None]:
        for step in script.steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Passing):
                await let_pass(step)
            elif isinstance(step, float):
                self.waiting.set()
                await asyncio.sleep(step)
            else:
                yield step


@dataclass(slots=True)
class Played:
    """The outcome of one question, and how often the provider was asked."""

    text: str = ""
    finished: Finished | None = None
    error: ProviderError | None = None
    billed: list[Usage] = field(default_factory=list)
    requests: int = 0

    @property
    def code(self) -> str:
        return self.error.code if self.error else ""

    @property
    def end(self) -> Finished:
        assert self.finished is not None, self.error
        return self.finished


def sse(*values: object, newline: str = "\n") -> bytes:
    """Return server-sent events; a string is sent as it is."""
    texts = (v if isinstance(v, str) else json.dumps(v) for v in values)
    return "".join(f"data: {text}{newline}{newline}" for text in texts).encode()


def provider(api: str, **changes: object) -> Provider:
    """Return a provider as the project ships it."""
    return replace(DEFAULT_PROVIDERS[api].provider, **changes)  # type: ignore[arg-type]


def scripts_of(steps: Sequence[Step | Script]) -> Iterator[Script]:
    """Yield the scripts that were given, or one script made of the steps."""
    given = [step for step in steps if isinstance(step, Script)]
    loose = [step for step in steps if not isinstance(step, Script)]
    yield from given or [Script(loose)]


async def play(
    api: str,
    *steps: Step | Script,
    timeouts: Timeouts = PATIENT,
    options: Options = NO_OPTIONS,
    **changes: object,
) -> Played:
    """Ask one question of a provider that answers with these steps or scripts."""
    transport = ScriptedTransport(list(scripts_of(steps)))
    client = ProviderClient(timeouts, transport=transport)
    played = Played()
    stream = client.stream_chat(
        provider(api, **changes),
        [KEY],
        replace(chat("m"), options=options),
        on_billed=played.billed.append,
    )
    try:
        async with aclosing(stream) as events:
            async for event in events:
                if isinstance(event, Delta):
                    played.text += event.text
                else:
                    played.finished = event
    except ProviderError as error:
        played.error = error
    await client.aclose()
    played.requests = len(transport.requests)
    return played

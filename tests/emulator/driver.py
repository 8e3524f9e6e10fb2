"""Asking the emulator through the project's own client, for tests."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import (
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field, replace

from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import KeyRefusedError, ProviderError
from llmchat.providers.http.default import new_transport
from llmchat.providers.registry import DEFAULT_PROVIDERS
from llmchat.providers.transport import Transport
from llmchat.providers.types import (
    Chat,
    ChatMessage,
    Delta,
    Event,
    Finished,
    Key,
    Provider,
    Role,
    Timeouts,
    Usage,
)

from .api import PREFIX
from .application import emulator
from .request import Request
from .server import Emulator

NewTransport = Callable[..., Transport]
APIS = ("openai", "deepseek", "claude", "gemini")
KEY = Key("k1", "key-one-SECRET")
PATIENT = Timeouts(connect_s=5, first_token_s=30, idle_s=30, total_s=60)
HASTY = Timeouts(connect_s=1, first_token_s=0.4, idle_s=0.25, total_s=0.9)
# Time enough to read what comes before the silence, even on a busy machine.
SOON_IDLE = replace(PATIENT, first_token_s=2, idle_s=0.25)


@dataclass(slots=True)
class Outcome:
    """The outcome of one question."""

    deltas: list[str] = field(default_factory=list)
    finished: Finished | None = None
    error: ProviderError | None = None
    requests: list[Request] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    billed: list[Usage] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.deltas)

    @property
    def code(self) -> str:
        return self.error.code if self.error else ""


@dataclass(slots=True)
class Lab:
    """An emulator and a client."""

    server: Emulator
    client: ProviderClient

    def provider(self, api: str, **changes: object) -> Provider:
        """Return the provider as the project ships it, with the emulator's address."""
        provider = DEFAULT_PROVIDERS[api].provider
        changes.setdefault("base_url", self.server.url)
        return replace(provider, **changes)  # type: ignore[arg-type]

    async def settle(self) -> None:
        """Wait until both ends are done with every answer."""
        await self.server.until(lambda: not self.server.open_requests)
        await asyncio.gather(*self.client._drains)

    def stream(
        self,
        api: str,
        scenario: str,
        *,
        keys: Sequence[Key] = (KEY,),
        timeouts: Timeouts = PATIENT,
        refused: list[str] | None = None,
        passed_over: list[str] | None = None,
        billed: list[Usage] | None = None,
        provider: Provider | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Return the stream of one answer."""
        blamed = [] if refused is None else refused
        others = [] if passed_over is None else passed_over

        def note(key: Key, error: KeyRefusedError) -> None:
            seen = blamed if error.blames_key else others
            seen.append(f"{key.ident} {error.code}")

        return self.client.stream_chat(
            provider or self.provider(api),
            keys,
            chat(PREFIX + scenario),
            timeouts=timeouts,
            on_key_refused=note,
            on_billed=None if billed is None else billed.append,
        )

    async def ask(
        self,
        api: str,
        scenario: str,
        *,
        keys: Sequence[Key] = (KEY,),
        timeouts: Timeouts = PATIENT,
        provider: Provider | None = None,
    ) -> Outcome:
        """Return everything that comes of one question."""
        outcome = Outcome()
        before = len(self.server.requests)
        stream = self.stream(
            api,
            scenario,
            keys=keys,
            timeouts=timeouts,
            refused=outcome.refused,
            passed_over=outcome.passed_over,
            billed=outcome.billed,
            provider=provider,
        )
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    assert outcome.finished is None, "nothing comes after the end"
                    if isinstance(event, Delta):
                        outcome.deltas.append(event.text)
                    else:
                        outcome.finished = event
        except ProviderError as error:
            outcome.error = error
        outcome.requests = self.server.requests[before:]
        return outcome


def chat(model: str, *texts: str) -> Chat:
    """Return a chat in which the user and the assistant take turns."""
    roles: tuple[Role, Role] = ("user", "assistant")
    messages = (
        ChatMessage(roles[n % 2], text) for n, text in enumerate(texts or ("Hello?",))
    )
    return Chat(model, tuple(messages))


@asynccontextmanager
async def lab(
    *,
    max_connections: int = 1000,
    tls: ssl.SSLContext | None = None,
    new_transport: NewTransport = new_transport,
) -> AsyncIterator[Lab]:
    """Start an emulator and a client for it."""
    async with emulator(tls=tls) as server:
        transport = new_transport(max_connections=max_connections)
        client = ProviderClient(PATIENT, transport=transport)
        try:
            yield Lab(server, client)
        finally:
            await client.aclose()


@contextmanager
def full_listener() -> Iterator[str]:
    """Yield the address of a listener whose full queue accepts no more connections."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host, port = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect((host, port))
        yield f"{host}:{port}"

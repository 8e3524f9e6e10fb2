"""A stock client comes back while the database fails: it recovers after that."""

from __future__ import annotations

import asyncio

import pytest

from llmchat.api import moves
from tests.support import live
from tests.support.stock_client import StockClient, connected_client

# With it gone, nobody can say whose a token is, as in an outage of the database.
USERS = "accounts_user"
AWAY = f"ALTER TABLE {USERS} RENAME TO {USERS}_away"
BACK = f"ALTER TABLE {USERS}_away RENAME TO {USERS}"


async def recovered(client: StockClient) -> bool:
    """Return whether the client's next connection is a recovery; none is refused."""
    report = await client.until(lambda r: r["on"] in {"connect", "connect_error"}, "it")
    assert report["on"] == "connect", report
    return bool(report["recovered"])


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)])
@pytest.mark.parametrize("waits", ["for the database", "and is sent away"])
async def test_a_client_that_comes_back_in_an_outage_recovers_after_it(
    server: live.LiveServer, transports: tuple[str, ...], waits: str
) -> None:
    account = server.account()
    async with connected_client(
        server.url, account.access, transports=transports
    ) as client:
        # What it is sent has the offset that it hands back.
        await client.ask("before", "Hi")
        server.change(AWAY)
        try:
            await client.drop()
            await client.on("disconnect")
            # Within two seconds it is back for the first time.
            is_sent_away = waits == "and is sent away"
            await asyncio.sleep(moves.PATIENCE_S + 4 if is_sent_away else 3)
        finally:
            server.change(BACK)

        assert await recovered(client)
        answer = await client.ask("after", "Hi")

    assert answer[-1][0] == "llm:stream:done"

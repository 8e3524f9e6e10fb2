"""A user who is deactivated by another process is out within the second."""

from __future__ import annotations

import asyncio

from accounts.remembered import KEPT_S
from tests.support import live
from tests.support.stock_client import connected_client, stock_client


async def test_a_user_deactivated_by_another_process_is_out_within_the_second(
    server: live.LiveServer,
) -> None:
    account = server.account()
    async with connected_client(server.url, account.access):
        server.change(
            "UPDATE accounts_user SET is_active = FALSE WHERE id = ?", account.user_id
        )
        await asyncio.sleep(KEPT_S)
        async with stock_client(server.url, account.access) as refused:
            error = await refused.on("connect_error")

    assert error["data"] == {"code": "token_invalid"}

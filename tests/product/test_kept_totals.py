"""The totals of days are kept by the upgrade, and by the server in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg

from llmchat.books.day_totals import DAYS
from tests.support import live
from tests.support.databases import Cluster

KNOWN = "SELECT count(*) FROM llmchat_daytotal WHERE kind = 'day'"
CONVERSATION = """
    INSERT INTO llmchat_conversation
        (id, user_id, title, provider, thread_hash, message_count, updated_at,
         created_at)
    VALUES (gen_random_uuid(), %(user)s, 'Old', 'openai', '', 1, now(), now())
    RETURNING id"""
MESSAGE = """
    INSERT INTO llmchat_message
        (id, conversation_id, user_id, position, role, content, state, created_at,
         session_id, provider, model, finish_reason, error_code, usage_source,
         attempts, worker, stop_requested, output_tokens)
    SELECT gen_random_uuid(), %(id)s, %(user)s, n, 'assistant', '', 'complete',
        now() - n * interval '1 day', '', 'openai', 'model-1', 'stop', '', '', 1, '',
        false, 7
    FROM generate_series(1, 20) AS days(n)"""
TOTALS = """
    SELECT kind, count(*), sum(answers)::int, sum(output_tokens)::int
    FROM llmchat_daytotal WHERE kind IN ('model', 'user') GROUP BY kind ORDER BY kind"""
WAIT_S = 30


async def test_a_server_adds_up_the_days_that_are_not(
    migrated: str, cluster: Cluster, start_server: Callable[..., live.LiveServer]
) -> None:
    account = cluster.accounts[0]
    with psycopg.connect(migrated, autocommit=True) as connection:

        def read(query: str) -> list[tuple[object, ...]]:
            return connection.execute(query).fetchall()

        assert read(KNOWN) == [(DAYS,)]
        values: dict[str, object] = {"user": account.user_id}
        ((ident,),) = connection.execute(CONVERSATION, values).fetchall()
        connection.execute(MESSAGE, values | {"id": ident})
        assert read(TOTALS) == []
        connection.execute("DELETE FROM llmchat_daytotal WHERE day < current_date - 9")

        start_server("uvicorn", {"DATABASE_URL": migrated})
        async with asyncio.timeout(WAIT_S):
            while True:
                if read(KNOWN) == [(DAYS,)]:
                    break
                await asyncio.sleep(0.05)

        # Half of the days are added from noted changes, the others are counted.
        assert read(TOTALS) == [("model", 20, 20, 140), ("user", 20, 20, 140)]
        assert read("SELECT count(*) FROM llmchat_daychange") == [(0,)]

"""Users who are no longer allowed in are disconnected by every worker, immediately."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from html.parser import HTMLParser

import httpx
import pytest

from tests.support import live
from tests.support.stock_client import connected_client
from tests.support.stress import STRESSED
from tests.support.two_workers import Pair, client_of

pytestmark = pytest.mark.timeout(240)

PING_S = 60
# What is promised; or, on a machine that may stall, less than until the next ping,
# which would also end them.
SOON_S = 1.0 if STRESSED else PING_S / 3


@pytest.fixture(scope="module")
def server_env() -> dict[str, str]:
    return {"LLMCHAT_PING_INTERVAL_MS": str(1000 * PING_S)}


class Form(HTMLParser):
    """The fields of a page's forms, as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "select":
            self._select = found.get("name") or ""
        if tag == "option" and "selected" in found:
            self.fields[self._select] = found.get("value") or ""
        is_off = found.get("type") == "checkbox" and "checked" not in found
        if tag == "input" and found.get("name") and not is_off:
            self.fields[str(found["name"])] = found.get("value") or ""


@asynccontextmanager
async def operator(pair: Pair) -> AsyncIterator[httpx.AsyncClient]:
    """Log an operator in to the admin of the first worker."""
    account = next(pair.accounts)
    with closing(sqlite3.connect(pair.path, timeout=20)) as connection:
        sql = "UPDATE accounts_user SET is_staff = 1, is_superuser = 1 WHERE id = ?"
        connection.execute(sql, (account.user_id,))
        connection.commit()
    async with httpx.AsyncClient(
        base_url=pair.a.url, timeout=30, follow_redirects=True
    ) as client:
        fields = Form((await client.get("/admin/login/")).text).fields
        fields |= {"username": account.username, "password": account.password}
        page = await client.post("/admin/login/", data=fields)
        assert "sessionid" in client.cookies, page.text
        yield client


async def deactivate(pair: Pair, account: live.Account) -> None:
    async with operator(pair) as client:
        address = f"/admin/accounts/user/{account.user_id}/change/"
        fields = Form((await client.get(address)).text).fields
        del fields["is_active"]
        fields = {n: v for n, v in fields.items() if not n.startswith("_")}
        saved = await client.post(address, data=fields | {"_save": "Save"})
        assert "was changed successfully" in saved.text


async def change_password(pair: Pair, account: live.Account) -> None:
    body = {"current": account.password, "new": "quite another one"}
    async with client_of(pair.a, account) as client:
        changed = await client.post("/auth/password", json=body)
        assert changed.status_code == 200, changed.text


async def delete_account(pair: Pair, account: live.Account) -> None:
    body = {"password": account.password}
    async with client_of(pair.a, account) as client:
        deleted = await client.request("DELETE", "/auth/me", json=body)
        assert deleted.is_success, deleted.text


ENDINGS = {
    "deactivated": deactivate,
    "password": change_password,
    "deleted": delete_account,
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_the_sockets_of_a_user_are_closed_on_both_workers_at_once(
    pair: Pair, how: str
) -> None:
    account, other = next(pair.accounts), next(pair.accounts)
    async with (
        connected_client(pair.a.url, account.access) as on_a,
        connected_client(pair.b.url, account.access) as on_b,
        connected_client(pair.b.url, other.access) as another,
    ):
        await ENDINGS[how](pair, account)
        began = time.monotonic()
        for client in (on_a, on_b):
            assert (await client.on("disconnect"))["reason"] == "transport close"
        took_s = time.monotonic() - began
        # They reconnect immediately, and are not let in by anything remembered.
        errors = [await client.on("connect_error") for client in (on_a, on_b)]
        reports = await another.quiet(for_s=0.3)
    assert took_s < SOON_S
    assert [error["data"]["code"] for error in errors] == ["token_invalid"] * 2
    assert "disconnect" not in [report["on"] for report in reports]


async def test_the_sockets_of_a_revoked_key_are_closed_on_both_workers(
    pair: Pair,
) -> None:
    account = next(pair.accounts)
    body = {"name": "a program", "scopes": ["chat"]}
    async with client_of(pair.a, account) as client:
        made = (await client.post("/auth/keys", json=body)).json()
        async with (
            connected_client(pair.a.url, made["key"]) as on_a,
            connected_client(pair.b.url, made["key"]) as on_b,
            connected_client(pair.b.url, account.access) as another,
        ):
            revoked = await client.delete(f"/auth/keys/{made['id']}")
            assert revoked.is_success
            began = time.monotonic()
            for program in (on_a, on_b):
                await program.on("disconnect")
            took_s = time.monotonic() - began
            reports = await another.quiet(for_s=0.3)
    assert took_s < SOON_S
    assert "disconnect" not in [report["on"] for report in reports]

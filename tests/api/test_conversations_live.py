"""A user's conversations over REST, on real servers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.conftest import ONE_SERVER
from tests.support.live import LiveServer
from tests.support.upstream import Upstream

pytestmark = ONE_SERVER

USER = {"role": "user", "content": "Hi"}
ADDRESS = "/llm/conversations"
# In UTC this is beyond the last moment of the calendar.
_EDGE = b"9999-12-31T23:59:59-14:00 00000000-0000-4000-8000-000000000000"
EDGE_OF_THE_CALENDAR = base64.urlsafe_b64encode(_EDGE).decode().rstrip("=")


@pytest.fixture(scope="module")
def server_env(upstream_env: dict[str, str]) -> dict[str, str]:
    return {
        **upstream_env,
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
    }


@pytest.fixture
async def client(server: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    headers = server.account().headers
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=20
    ) as made:
        yield made


async def turn(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    body = {"provider": "openai", "messages": [USER], **fields}
    response = await client.post("/llm/chat", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_conversation_is_listed_read_renamed_and_deleted(
    client: httpx.AsyncClient, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", "lo")
    live_upstream.usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_cache_hit_tokens": 4,
    }
    done = await turn(client)
    address = f"{ADDRESS}/{done['conversationId']}"

    listed = (await client.get(f"{ADDRESS}/")).json()
    [row] = listed["results"]
    assert listed["cursor"] is None
    assert row["id"] == done["conversationId"]
    assert (row["title"], row["state"]) == ("Hi", "complete")
    assert (row["provider"], row["messageCount"]) == ("openai", 2)

    read = (await client.get(address)).json()
    asked, answered = read["messages"]
    assert (asked["role"], asked["content"], asked["usage"]) == ("user", "Hi", None)
    assert answered["id"] == done["messageId"]
    assert answered["content"] == "Hello"
    assert answered["finishReason"] == "stop"
    assert answered["usage"] == done["usage"]
    assert (done["usage"]["inputTokens"], done["usage"]["cacheReadTokens"]) == (7, 4)
    assert answered["answeredBy"] == "upstream-1"
    assert answered["fingerprint"] is None

    renamed = await client.patch(address, json={"title": "  A new\nname "})
    assert renamed.json()["title"] == "A new name"
    assert (await client.get(address)).json()["title"] == "A new name"

    assert (await client.delete(address)).status_code == 204
    assert (await client.get(address)).status_code == 404
    assert (await client.delete(address)).json()["code"] == "conversation_not_found"


async def test_a_question_is_edited_in_its_conversation(
    client: httpx.AsyncClient, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hello",)
    first = await turn(client)
    named = {"conversationId": first["conversationId"]}
    edit = {
        "messages": [{"role": "user", "content": "Hey"}],
        "replaces": first["questionId"],
    }

    alone = await client.post("/llm/chat", json={"provider": "openai"} | edit)
    done = await turn(client, **named, **edit)
    again = {"provider": "openai"} | named | edit
    gone = await client.post("/llm/chat", json=again)

    assert (alone.status_code, alone.json()["code"]) == (400, "bad_request")
    assert "conversationId" in alone.json()["error"]
    assert (gone.status_code, gone.json()["code"]) == (404, "message_not_found")
    read = (await client.get(f"{ADDRESS}/{first['conversationId']}")).json()
    asked, answered = read["messages"]
    assert (asked["id"], asked["content"]) == (done["questionId"], "Hey")
    assert (answered["id"], read["messageCount"]) == (done["messageId"], 2)
    assert answered["durationMs"] >= 0
    assert asked["durationMs"] is None


async def test_an_empty_conversation_is_gone_on_with(
    client: httpx.AsyncClient, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hello",)
    made = await client.post(ADDRESS, json={"title": "Plans"})
    assert made.status_code == 201
    ident = made.json()["id"]
    assert made.json()["state"] is None

    done = await turn(client, conversationId=ident)

    assert done["conversationId"] == ident
    read = (await client.get(f"{ADDRESS}/{ident}")).json()
    assert read["title"] == "Plans"
    assert [message["role"] for message in read["messages"]] == ["user", "assistant"]


async def test_an_empty_conversation_is_named_by_its_first_question(
    client: httpx.AsyncClient, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hello",)
    ident = (await client.post(ADDRESS, json={})).json()["id"]

    await turn(client, conversationId=ident)
    assert (await client.get(f"{ADDRESS}/{ident}")).json()["title"] == "Hi"
    await client.patch(f"{ADDRESS}/{ident}", json={"title": "Other"})
    question = {"role": "user", "content": "And now?"}
    await turn(client, conversationId=ident, messages=[question])

    assert (await client.get(f"{ADDRESS}/{ident}")).json()["title"] == "Other"


async def test_a_running_answer_is_read_and_stops_when_it_is_deleted(
    server: LiveServer, client: httpx.AsyncClient, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", asyncio.Event())
    asked = asyncio.create_task(
        client.post("/llm/chat", json={"provider": "openai", "messages": [USER]})
    )
    await live_upstream.received.wait()
    [running] = (await client.get("/llm/streams")).json()["streams"]
    address = f"{ADDRESS}/{running['conversationId']}"
    query = "SELECT text FROM llmchat_piece WHERE message_id = ?"
    await server.rows_soon(query, UUID(running["messageId"]).hex, count=1)
    read = (await client.get(address)).json()
    assert read["state"] == "streaming"
    assert read["messages"][1]["content"] == "Hel"

    assert (await client.delete(address)).status_code == 204

    async with asyncio.timeout(20):
        await live_upstream.hung_up.wait()
    assert (await asked).status_code == 409
    assert (await client.get(address)).status_code == 404


async def test_pages_hold_every_conversation_once(
    client: httpx.AsyncClient,
) -> None:
    made = []
    for number in range(7):
        response = await client.post(ADDRESS, json={"title": f"Number {number}"})
        made.append(response.json()["id"])
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = (await client.get(ADDRESS, params=query)).json()
        seen += [row["id"] for row in page["results"]]
        cursor = page["cursor"]

    assert seen == made[::-1]
    found = (await client.get(ADDRESS, params={"search": "number 4"})).json()
    assert [row["id"] for row in found["results"]] == [made[4]]


async def test_what_has_not_changed_is_not_sent_again(
    client: httpx.AsyncClient,
) -> None:
    made = (await client.post(ADDRESS, json={"title": "Once"})).json()
    for address in (ADDRESS, f"{ADDRESS}/{made['id']}"):
        first = await client.get(address)
        known = {"If-None-Match": first.headers["etag"]}
        again = await client.get(address, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        await client.patch(f"{ADDRESS}/{made['id']}", json={"title": address})
        assert (await client.get(address, headers=known)).status_code == 200


async def test_exports_hold_the_whole_conversation(
    client: httpx.AsyncClient, live_upstream: Upstream
) -> None:
    live_upstream.steps = ("Hel", "lo")
    done = await turn(client)
    address = f"{ADDRESS}/{done['conversationId']}"

    as_json = await client.get(f"{address}/export.json")
    markdown = {"Accept": "text/markdown"}
    as_markdown = await client.get(f"{address}/export.md", headers=markdown)

    assert as_json.json()["messages"] == (await client.get(address)).json()["messages"]
    assert as_json.headers["content-disposition"].startswith("attachment; ")
    model = done["model"]
    assert as_markdown.text == (
        f"# Hi\n\n## User\n\nHi\n\n## Assistant ({model})\n\nHello\n"
    )


@pytest.mark.parametrize(
    "ident", ["00000000-0000-4000-8000-000000000000", "x", "%00", "1" * 500]
)
async def test_what_is_not_there_is_404(client: httpx.AsyncClient, ident: str) -> None:
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/export.json"),
        ("GET", "/export.md"),
    ):
        body = {"json": {"title": "x"}} if method == "PATCH" else {}
        response = await client.request(method, f"{ADDRESS}/{ident}{path}", **body)
        assert response.status_code == 404, (method, path)
        code = response.json()["code"]
        assert code == ("not_found" if "%" in ident else "conversation_not_found")


async def test_what_is_anothers_is_404(
    client: httpx.AsyncClient, server: LiveServer
) -> None:
    made = (await client.post(ADDRESS, json={"title": "Mine"})).json()
    assert UUID(made["id"])
    address = f"{ADDRESS}/{made['id']}"
    async with httpx.AsyncClient(
        base_url=server.url, headers=server.account().headers, timeout=20
    ) as other:
        assert (await other.get(ADDRESS)).json()["results"] == []
        found = await other.get(ADDRESS, params={"search": "Mine"})
        assert found.json()["results"] == []
        assert (await other.get(address)).status_code == 404
        assert (await other.get(f"{address}/export.md")).status_code == 404
        renamed = await other.patch(address, json={"title": "Theirs"})
        assert renamed.status_code == 404
        assert (await other.delete(address)).status_code == 404
    assert (await client.get(address)).json()["title"] == "Mine"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "\0"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": "MjAyNi0wMS0wMSAx"}, "cursor"),
        ({"cursor": EDGE_OF_THE_CALENDAR}, "cursor"),
    ],
)
async def test_a_bad_query_is_refused(
    client: httpx.AsyncClient, query: dict[str, str], field: str
) -> None:
    response = await client.get(ADDRESS, params=query)

    assert response.status_code == 400
    assert response.json()["code"] == "bad_request"
    assert response.json()["error"].startswith(f"{field}: ")


@pytest.mark.parametrize("search", ["\0", "%", "'", "\ud83d\ude00", "x" * 5000])
async def test_any_text_may_be_searched(client: httpx.AsyncClient, search: str) -> None:
    text = search.encode("utf-16", "surrogatepass").decode("utf-16")
    response = await client.get(ADDRESS, params={"search": text})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "body", [[], {}, {"title": 1}, {"title": "x" * 121}, {"title": "\0"}]
)
async def test_a_bad_title_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    made = (await client.post(ADDRESS, json={"title": "Good"})).json()

    response = await client.patch(f"{ADDRESS}/{made['id']}", json=body)

    assert response.status_code == 400
    assert (await client.get(f"{ADDRESS}/{made['id']}")).json()["title"] == "Good"


async def test_nobody_reads_without_a_token(server: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as stranger:
        for path in ("", f"/{uuid4()}", f"/{uuid4()}/export.md"):
            assert (await stranger.get(ADDRESS + path)).status_code == 401

"""Static files, before and after `collectstatic`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import AsyncClient, Client

from serving.static import CollectedStorage


@pytest.fixture(autouse=True)
def read_at_the_start(settings: Any) -> None:
    """Let the folders be read at the start, as in the server."""
    settings.WHITENOISE_AUTOREFRESH = False


@pytest.fixture
def collected(tmp_path: Path, settings: Any) -> Iterator[Path]:
    settings.STATIC_ROOT = tmp_path
    settings.WHITENOISE_USE_FINDERS = False
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def test_static_files_are_served_before_anybody_collected_them(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    settings.STATIC_ROOT = tmp_path / "nothing"

    answer = client.get("/static/admin/css/base.css")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/css")
    assert CollectedStorage().url("admin/css/base.css") == "/static/admin/css/base.css"


async def test_static_files_are_served_by_the_loop(async_client: AsyncClient) -> None:
    answer = await async_client.get("/static/admin/css/base.css")

    assert answer.status_code == 200
    assert not answer.streaming
    assert b"--primary" in answer.content


def test_collected_files_have_hashed_names_for_ever(
    client: Client, collected: Path
) -> None:
    url = CollectedStorage().url("admin/css/base.css")

    answer = client.get(url, headers={"accept-encoding": "gzip"})

    assert url != "/static/admin/css/base.css"
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Encoding"] == "gzip"


def test_a_file_that_is_newer_than_the_collected_ones_keeps_its_name(
    collected: Path,
) -> None:
    (collected / "llmchat/plain.css").unlink()
    storage = CollectedStorage()
    del storage.hashed_files["llmchat/plain.css"]

    assert storage.url("llmchat/plain.css") == "/static/llmchat/plain.css"
    assert storage.url("llmchat/theme.js") != "/static/llmchat/theme.js"


def test_collected_files_are_compressed_under_their_own_names_too(
    client: Client, collected: Path, settings: Any
) -> None:
    settings.WHITENOISE_USE_FINDERS = True

    answer = client.get(
        "/static/admin/css/base.css", headers={"accept-encoding": "gzip"}
    )

    assert answer.headers["Content-Encoding"] == "gzip"


def test_what_the_page_loads_later_is_cached_for_ever_as_a_script(
    client: Client, collected: Path
) -> None:
    chunk = collected / "llmchat/build/markdown-Ab3dE_g7.js"
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_text("export {};")
    (collected / "llmchat/build/chat.js").write_text("export {};")

    later = client.get("/static/llmchat/build/markdown-Ab3dE_g7.js")
    first = client.get("/static/llmchat/build/chat.js")

    for answer in (later, first):
        assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in later.headers["Cache-Control"]
    assert "max-age=60" in first.headers["Cache-Control"]


def test_every_page_has_an_icon(client: Client) -> None:
    answer = client.get("/favicon.ico", follow=True)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/svg+xml"


def test_a_static_file_that_does_not_exist_is_not_found(client: Client) -> None:
    assert client.get("/static/nothing.css").status_code == 404
